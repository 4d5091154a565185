//! Options that the interface knows and this release does not carry out. They are refused by name: an option that is
//! ignored is a container that does something else than its user thinks.

use crate::api::container::{CreateRequest, HostConfig};
use crate::error::{Error, Kind, Result};

/// Refuses the first option that is not carried out.
///
/// # Errors
/// `Kind::Unsupported` naming the option.
pub fn check(request: &CreateRequest) -> Result<()> {
    let host = &request.host_config;
    let rows: [(bool, &str); 4] = [
        (!host.port_bindings.is_empty(), "published port (--publish)"),
        (host.publish_all_ports, "published ports (--publish-all)"),
        (!host.device_requests.is_empty(), "device request (--gpus)"),
        (!host.links.is_empty(), "link to another container (--link)"),
    ];
    if let Some((_, name)) = rows.iter().find(|(present, _)| *present) {
        return Err(later(name));
    }
    network(&host.network_mode)?;
    mounts(host)
}

/// `default` is what docker's client sends when nothing was asked for; it means, as for the original, an own network
/// with nothing but the loopback device.
fn network(mode: &str) -> Result<()> {
    match mode {
        "" | "default" | "none" | "host" => Ok(()),
        _ if mode.strip_prefix("container:").is_some_and(|name| !name.is_empty()) => Ok(()),
        _ => Err(later(&format!("network {mode:?} (--network)"))),
    }
}

fn mounts(host: &HostConfig) -> Result<()> {
    let known = |kind: &str| {
        matches!(kind, "bind" | "tmpfs" | "volume" | "") || kind == "squashfs" && cfg!(feature = "embedded")
    };
    match host.mounts.iter().find(|m| !known(&m.kind)) {
        Some(m) => Err(later(&format!("mount of type {:?} (--mount)", m.kind))),
        None => Ok(()),
    }
}

fn later(name: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{name} comes with a later release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(host: &str) -> Result<()> {
        check(&CreateRequest::parse(format!("{{\"Image\":\"x\",\"HostConfig\":{host}}}").as_bytes()).unwrap())
    }

    #[test]
    fn what_dockers_client_sends_by_itself_passes() {
        let text = r#"{"Binds":null,"LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},
            "RestartPolicy":{"Name":"no","MaximumRetryCount":0},"VolumesFrom":null,"BlkioWeightDevice":[],
            "BlkioDeviceReadBps":[],"BlkioDeviceReadIOps":[],"DeviceRequests":null,"CpuRealtimePeriod":0,"Links":null,
            "KernelMemory":0,"Init":false,"Runtime":""}"#;
        checked(text).unwrap();
        for mode in ["", "none", "host", "container:x"] {
            checked(&format!("{{\"NetworkMode\":\"{mode}\"}}")).unwrap();
        }
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (host, part) in [
            (r#"{"PortBindings":{"80/tcp":[{"HostPort":"80"}]}}"#, "--publish"),
            (r#"{"PublishAllPorts":true}"#, "--publish-all"),
            (r#"{"Mounts":[{"Type":"npipe","Target":"/d"}]}"#, "npipe"),
            #[cfg(not(feature = "embedded"))]
            (r#"{"Mounts":[{"Type":"squashfs","Target":"/d"}]}"#, "squashfs"),
            (r#"{"NetworkMode":"bridge"}"#, "bridge"),
            (r#"{"NetworkMode":"container:"}"#, "container:"),
            (r#"{"DeviceRequests":[{}]}"#, "--gpus"),
        ] {
            let e = checked(host).unwrap_err();
            assert!(e.kind() == Kind::Unsupported && e.to_string().contains(part), "{host}: {e}");
        }
        let body = |config: &str| check(&CreateRequest::parse(config.as_bytes()).unwrap());
        assert!(body(r#"{"Healthcheck":{"Test":["CMD","true"]}}"#).is_ok());
    }
}
