//! Namespaces: own, the host's, or another container's.

use super::{Defaults, JoinedNamespaces, kernel};
use crate::api::container::{ContainerConfig, HostConfig};
use crate::api::oci::runtime::Namespace;
use crate::error::{Error, Kind, Result};
use crate::modules::remap::Remap;

/// What a container has of its own.
const KINDS: [&str; 6] = ["pid", "network", "ipc", "uts", "mount", "cgroup"];

/// The parts of a mode such as `container:ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode<'a> {
    /// Own namespace (empty, `private`, `shareable`, `default`, `none`).
    Own,
    /// The host's.
    Host,
    /// That of the container with this name or id.
    Container(&'a str),
}

/// Reads a mode; anything that is neither `host` nor `container:…` is [`Mode::Own`].
pub fn mode(text: &str) -> Mode<'_> {
    match text.strip_prefix("container:") {
        Some(reference) => Mode::Container(reference),
        None if text == "host" => Mode::Host,
        None => Mode::Own,
    }
}

pub(super) fn own(text: &str) -> bool {
    mode(text) == Mode::Own
}

/// The host name of a container that does not share another's: the configured one; with the host's network or UTS
/// namespace the host's; else the first 12 digits of the id.
pub fn host_name(id: &str, config: &ContainerConfig, host: &HostConfig) -> String {
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    if (host.network_mode == "host" || host.uts_mode == "host")
        && let Ok(name) = nix::unistd::gethostname()
    {
        return name.to_string_lossy().into_owned();
    }
    crate::utils::id::short(id).to_owned()
}

/// One row per mode: option, value, accepted words for an own namespace.
fn modes(host: &HostConfig) -> [(&'static str, &str, &'static [&'static str]); 6] {
    [
        ("network mode", &host.network_mode, &["", "none", "default"]),
        ("pid mode", &host.pid_mode, &["", "private"]),
        ("ipc mode", &host.ipc_mode, &["", "private", "shareable", "none"]),
        ("uts mode", &host.uts_mode, &["", "private"]),
        ("cgroup namespace mode", &host.cgroupns_mode, &["", "private", "none"]),
        ("user namespace mode", &host.userns_mode, &["", "host", "none"]),
    ]
}

/// Checks the modes, the host name, which needs an own UTS namespace and network identity, and what goes into the network
/// files, which are those of the container whose network is shared.
pub(super) fn validate(host: &HostConfig, config: &ContainerConfig) -> Result<()> {
    for (what, value, words) in modes(host) {
        match mode(value) {
            Mode::Container("") => return Err(Error::invalid(format!("{what} {value:?} names no container"))),
            Mode::Container(_) | Mode::Host if what == "user namespace mode" && value != "host" => {
                return Err(Error::new(Kind::Unsupported, format!("{what} {value:?} is not supported")));
            }
            Mode::Own if !words.contains(&value) => {
                return Err(match what {
                    "network mode" => Error::not_found(format!("network {value:?} not found")),
                    _ => Error::invalid(format!("invalid {what}: {value:?}")),
                });
            }
            _ => {}
        }
    }
    if matches!(mode(&host.network_mode), Mode::Container(_)) {
        if !(host.dns.is_empty() && host.dns_search.is_empty() && host.dns_options.is_empty()) {
            return Err(Error::invalid("conflicting options: dns and the network mode"));
        }
        if !host.extra_hosts.is_empty() {
            return Err(Error::invalid("conflicting options: custom host-to-IP mapping and the network mode"));
        }
    }
    if !config.hostname.is_empty() {
        if !valid_host_name(&config.hostname) {
            return Err(Error::invalid(format!(
                "invalid host name {:?}: want at most 64 letters, digits, '-' and '.', and no part that begins or ends with '-'",
                config.hostname
            )));
        }
        if !own(&host.uts_mode) {
            return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
        }
        if matches!(mode(&host.network_mode), Mode::Container(_)) {
            return Err(Error::invalid("conflicting options: hostname and the network mode"));
        }
    }
    if !config.domainname.is_empty() && (!own(&host.uts_mode) || config.domainname.len() > 64) {
        return Err(Error::invalid("a domain name needs an own UTS namespace and at most 64 characters"));
    }
    Ok(())
}

fn valid_host_name(name: &str) -> bool {
    name.len() <= 64
        && name.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// The containers whose namespaces one joins.
pub fn peers(host: &HostConfig) -> impl Iterator<Item = &str> {
    let modes = modes(host).map(|(_, value, _)| value);
    modes.into_iter().filter_map(|value| match mode(value) {
        Mode::Container(reference) => Some(reference),
        _ => None,
    })
}

/// The map of a container's user namespace; `None` when it has the host's: where the daemon has no map, where it is
/// asked for, and for privileged containers. System containers have one of their own or none.
///
/// # Errors
/// `Kind::Invalid` for namespaces of the host that root of another user namespace could do nothing with.
pub fn remap_of(host: &HostConfig, defaults: &Defaults) -> Result<Option<Remap>> {
    let own = Some(host.user_remap.as_str()).filter(|text| host.system_container && !text.is_empty());
    let remap = match own {
        Some(text) => Some(Remap::parse(text)?),
        None => defaults.remap.filter(|_| !host.system_container),
    };
    let Some(remap) = remap else { return Ok(None) };
    if host.userns_mode == "host" || host.privileged {
        return Ok(None);
    }
    for (what, value) in [("network", &host.network_mode), ("PID", &host.pid_mode)] {
        if mode(value) == Mode::Host {
            return Err(Error::invalid(format!(
                "cannot share the host's {what} namespace when user namespaces are enabled: use --userns=host"
            )));
        }
    }
    Ok(Some(remap))
}

/// The namespaces of a container that asks for nothing.
pub(super) fn built_in() -> Vec<Namespace> {
    KINDS.map(|kind| Namespace { kind: kind.into(), ..Namespace::default() }).to_vec()
}

/// Checks a template's: a container must be asked before it has one of the host's, and its users are the daemon's affair.
pub(super) fn check(template: &[Namespace]) -> Result<()> {
    let has = |kind: &str| template.iter().any(|n| n.kind == kind);
    if let Some(missing) = KINDS.iter().find(|kind| **kind != "cgroup" && !has(kind)) {
        let text = "is missing: containers have the host's when they are asked to, as by --pid=host";
        return Err(Error::invalid(format!("{missing:?} {text}")));
    }
    match has("user") {
        true => Err(Error::invalid("\"user\" is not for a template: use the daemon's --userns-remap")),
        false => Ok(()),
    }
}

/// The namespaces to make or join, of those of the template. Those that this kernel was built without and that nobody asked for are left out:
/// boards without System V IPC or cgroup namespaces have nothing to isolate there. With `user` there is a user
/// namespace: that of the containers whose namespaces are joined, or there would be no rights over these.
pub(super) fn of_container(
    template: Vec<Namespace>,
    host: &HostConfig,
    joined: &JoinedNamespaces,
    user: bool,
) -> Result<Vec<Namespace>> {
    let mut template = template;
    let rows = [
        (host.pid_mode.as_str(), &joined.pid),
        (&host.network_mode, &joined.network),
        (&host.ipc_mode, &joined.ipc),
        (&host.uts_mode, &joined.uts),
        ("", &None),
        (&host.cgroupns_mode, &joined.cgroup),
    ];
    let mut namespaces = Vec::with_capacity(rows.len() + 1);
    for (kind, (value, path)) in KINDS.into_iter().zip(rows) {
        let given = template.iter().position(|n| n.kind == kind).map(|at| template.remove(at));
        let path = match mode(value) {
            Mode::Host => continue,
            Mode::Own if matches!(kind, "ipc" | "cgroup") && !kernel::has_namespace(kind) => continue,
            Mode::Own => match given {
                None if value.is_empty() => continue,
                given => given.unwrap_or_default().path,
            },
            Mode::Container(name) => path
                .clone()
                .ok_or_else(|| Error::internal(format!("no {kind} namespace was given for container {name:?}")))?,
        };
        namespaces.push(Namespace { kind: kind.into(), path });
    }
    namespaces.extend(template);
    if user {
        namespaces.push(Namespace { kind: "user".into(), path: joined.user.clone().unwrap_or_default() });
    }
    Ok(namespaces)
}
