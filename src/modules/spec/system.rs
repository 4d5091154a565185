//! System containers: an init boots in them as on a machine. What they have beyond others, and the rules of it.

use super::namespace::{Mode, mode};
use super::paths;
use crate::api::container::{ContainerConfig, HostConfig};
use crate::api::oci::runtime::Mount;
use crate::api::resource::NAMESPACED_PARAMETERS;
use crate::error::{Error, Result};
use std::path::Path;

/// What booting needs beyond the default set: to mount, to end with a reboot, to configure the network of its own, to
/// take a terminal over.
pub(super) const CAPABILITIES: [&str; 4] = ["NET_ADMIN", "SYS_ADMIN", "SYS_BOOT", "SYS_TTY_CONFIG"];
/// The original's annotation.
pub(super) const ANNOTATION: &str = "system.container";
/// How programs see that they are in a container (systemd's container interface).
pub(super) const VARIABLE: &str = "container=isula";
/// Checks what goes with system containers only.
pub(super) fn validate(host: &HostConfig, config: &ContainerConfig) -> Result<()> {
    if !host.system_container {
        return match [
            (host.user_remap.is_empty(), "--user-remap"),
            (host.env_target_file.is_empty(), "--env-target-file"),
            (host.ns_change_files.is_empty(), "--ns-change-opt"),
        ]
        .iter()
        .find(|(absent, _)| !absent)
        {
            Some((_, flag)) => Err(Error::invalid(format!("{flag} is for system containers (--system-container)"))),
            None => Ok(()),
        };
    }
    if host.external_rootfs.is_empty() {
        return Err(Error::invalid("a system container needs an external root file system (--external-rootfs)"));
    }
    if host.init == Some(true) {
        return Err(Error::invalid("a system container boots an init of its own (--init)"));
    }
    validate_user_remap(host)?;
    let file = &host.env_target_file;
    if !file.is_empty() {
        let directory = file.ends_with('/') || Path::new(file).file_name().is_none();
        if !file.starts_with('/') || file.contains('\0') || directory {
            return Err(Error::invalid(format!("env target file {file:?}: want the absolute path of a file")));
        }
        if !Path::new(&host.external_rootfs).is_dir() {
            return Err(Error::invalid("an env target file needs a directory as the external root file system"));
        }
        if let Some(entry) = config.env.iter().find(|entry| entry.contains('\n')) {
            let name = entry.split('=').next().unwrap_or_default();
            return Err(Error::invalid(format!(
                "variable {name:?} has a line break, which an env target file cannot have"
            )));
        }
    }
    for path in &host.ns_change_files {
        let known = NAMESPACED_PARAMETERS.iter().find(|(_, known)| paths::clean(path) == *known);
        let Some((option, _)) = known else {
            return Err(Error::invalid(format!("{path:?} is not in a namespace of a container (--ns-change-opt)")));
        };
        let shared = if *option == "net" { &host.network_mode } else { &host.ipc_mode };
        if mode(shared) == Mode::Host {
            return Err(Error::invalid(format!(
                "--ns-change-opt {option} is not allowed in the host's {option} namespace"
            )));
        }
    }
    Ok(())
}

fn validate_user_remap(host: &HostConfig) -> Result<()> {
    let text = &host.user_remap;
    if text.is_empty() {
        return Ok(());
    }
    let numbers: Vec<&str> = text.split(':').collect();
    if numbers.len() != 3 || numbers.iter().any(|n| n.is_empty() || n.bytes().any(|b| !b.is_ascii_digit())) {
        return Err(Error::invalid(format!("invalid user remap {text:?}: want UID:GID:LENGTH")));
    }
    if host.privileged {
        return Err(Error::invalid("conflicting options: --user-remap and --privileged"));
    }
    if host.userns_mode == "host" {
        return Err(Error::invalid("conflicting options: --user-remap and --userns=host"));
    }
    if !Path::new(&host.external_rootfs).is_dir() {
        return Err(Error::invalid("--user-remap needs a directory as the external root file system"));
    }
    let remap = crate::modules::remap::Remap::parse(text)?;
    if [&remap.uids, &remap.gids].iter().any(|range| range.first < range.count) {
        // A file of such an id: nobody could tell whether it was given away already.
        return Err(Error::invalid(format!(
            "invalid user remap {text:?}: the ids of the host must not be among those inside, 0 to LENGTH - 1"
        )));
    }
    Ok(())
}

/// Where an init expects to write: `/run`, `/run/lock` and `/tmp`, each as large as half of the memory limit.
pub(super) fn mounts(host: &HostConfig) -> Vec<Mount> {
    let tmpfs = |destination: &str, options: &[&str]| {
        let mut options: Vec<String> = options.iter().map(|s| s.to_string()).collect();
        options.extend(half_of_memory(host));
        Mount {
            destination: destination.into(),
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options,
            ..Mount::default()
        }
    };
    vec![
        tmpfs("/run", &["nosuid", "nodev", "mode=755"]),
        tmpfs("/run/lock", &["nosuid", "nodev", "noexec", "mode=1777"]),
        tmpfs("/tmp", &["nosuid", "nodev", "mode=1777"]),
    ]
}

/// The size of a tmpfs; `None` without a limit.
pub(super) fn half_of_memory(host: &HostConfig) -> Option<String> {
    (host.memory > 0).then(|| format!("size={}k", host.memory / 2048))
}

/// What of `/proc/sys` stays writable: a mount of itself keeps it out of the read-only one above. Those that the kernel
/// does not have are left out.
pub(super) fn writable_parameters(host: &HostConfig) -> Vec<Mount> {
    let bind = |path: String| Mount {
        destination: path.clone(),
        kind: "bind".into(),
        source: path,
        options: ["bind", "nosuid", "noexec", "nodev"].map(str::to_owned).to_vec(),
        ..Mount::default()
    };
    let wanted = host.ns_change_files.iter().filter(|_| host.system_container).map(|path| paths::clean(path));
    // One file system shows each process the parameters of its own namespaces.
    wanted.filter(|path| Path::new(path).exists()).map(bind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> HostConfig {
        HostConfig { system_container: true, external_rootfs: "/tmp".into(), ..HostConfig::default() }
    }

    #[test]
    fn rules() {
        let config = ContainerConfig { env: vec!["A=b\nc".into()], ..ContainerConfig::default() };
        validate(&HostConfig::default(), &config).unwrap();
        validate(&system(), &config).unwrap();
        let files = |path: &str| vec![path.to_owned()];
        for (host, part) in vec![
            (HostConfig { external_rootfs: String::new(), ..system() }, "needs an external root file system"),
            (HostConfig { env_target_file: "/etc/e".into(), ..HostConfig::default() }, "--env-target-file is for"),
            (HostConfig { user_remap: "1:1:1".into(), ..HostConfig::default() }, "--user-remap is for system"),
            (HostConfig { ns_change_files: files("/proc/sys/net"), ..HostConfig::default() }, "--ns-change-opt is for"),
            (HostConfig { env_target_file: "etc/e".into(), ..system() }, "want the absolute path of a file"),
            (HostConfig { env_target_file: "/etc/".into(), ..system() }, "want the absolute path of a file"),
            (HostConfig { env_target_file: "/..".into(), ..system() }, "want the absolute path of a file"),
            (HostConfig { env_target_file: "/e".into(), ..system() }, "variable \"A\" has a line break"),
            (
                HostConfig { ns_change_files: files("/proc/sys/vm"), ..system() },
                "\"/proc/sys/vm\" is not in a namespace",
            ),
            (
                HostConfig { ns_change_files: files("/proc/sys/net"), network_mode: "host".into(), ..system() },
                "--ns-change-opt net is not allowed",
            ),
            (HostConfig { user_remap: "a:b:c".into(), ..system() }, "want UID:GID:LENGTH"),
            (HostConfig { user_remap: "1:1:1".into(), privileged: true, ..system() }, "--privileged"),
            (HostConfig { user_remap: "1:1:1".into(), userns_mode: "host".into(), ..system() }, "--userns=host"),
            (HostConfig { user_remap: "0:0:10".into(), ..system() }, "without the host's root"),
        ] {
            let e = validate(&host, &config).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
    }

    #[test]
    fn sizes_follow_the_memory_limit() {
        assert!(mounts(&system()).iter().all(|m| !m.options.iter().any(|o| o.starts_with("size="))));
        let limited = mounts(&HostConfig { memory: 64 << 20, ..system() });
        assert!(limited.iter().all(|m| m.options.last().is_some_and(|o| o == "size=32768k")), "{limited:?}");
    }
}
