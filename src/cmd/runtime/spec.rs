//! `lcr spec`: a configuration to start from.

use crate::api::oci::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, Process, Resources, Rlimit, Root, Spec,
};
use crate::error::{Context, Result};
use crate::utils::atomic_file::{Durability, write_new};
use crate::utils::json;
use argh::{ArgsInfo, FromArgs};
use serde_json::Value;
use std::path::PathBuf;

/// write a configuration for a shell to config.json
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "spec")]
pub struct SpecCommand {
    /// directory for config.json (default .)
    #[argh(option, short = 'b', arg_name = "dir")]
    bundle: Option<PathBuf>,
    /// with a user namespace for the calling user
    #[argh(switch)]
    rootless: bool,
}

/// Writes the file, which must not exist.
///
/// # Errors
/// The failing call.
pub fn spec(args: SpecCommand) -> Result<u8> {
    let path = args.bundle.unwrap_or_else(|| PathBuf::from(".")).join("config.json");
    let mut spec = shell();
    if args.rootless {
        make_rootless(&mut spec);
    }
    let mut text = json::to_pretty(&json::to_vec(&complete(json::to_value(&spec))));
    text.push(b'\n');
    write_new(&path, &text, 0o666, Durability::Volatile).context(|| "write the configuration".into())?;
    Ok(0)
}

/// Adds what the specification requires to be there although it is the default.
fn complete(mut document: Value) -> Value {
    if let Some(process) = document.get_mut("process").and_then(Value::as_object_mut) {
        let user = process.entry("user").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(user) = user.as_object_mut() {
            user.entry("uid").or_insert_with(|| 0.into());
            user.entry("gid").or_insert_with(|| 0.into());
        }
    }
    let rules = document.pointer_mut("/linux/resources/devices").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        rule.entry("allow").or_insert_with(|| false.into());
    }
    document
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn shell() -> Spec {
    let caps = words(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let process = Process {
        terminal: true,
        args: words(&["sh"]),
        env: words(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
        cwd: "/".into(),
        capabilities: Some(Capabilities {
            bounding: caps.clone(),
            effective: caps.clone(),
            permitted: caps,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 1024, soft: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    };
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: words(options),
        ..Mount::default()
    };
    let quiet = ["nosuid", "noexec", "nodev"];
    let more = |options: &[&'static str]| [&quiet[..], options].concat();
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    Spec {
        oci_version: super::OCI_VERSION.into(),
        process: Some(process),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: "lcr".into(),
        mounts: vec![
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount("/dev/shm", "tmpfs", "shm", &more(&["mode=1777", "size=65536k"])),
            mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
            mount("/sys", "sysfs", "sysfs", &more(&["ro"])),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &more(&["relatime", "ro"])),
        ],
        linux: Some(Linux {
            resources: Some(Resources {
                devices: vec![DeviceRule { access: "rwm".into(), ..DeviceRule::default() }],
                ..Resources::default()
            }),
            namespaces: namespaces.map(|kind| Namespace { kind: kind.into(), ..Namespace::default() }).into(),
            masked_paths: words(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]),
            readonly_paths: words(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn make_rootless(spec: &mut Spec) {
    let linux = spec.linux.get_or_insert_default();
    linux.namespaces.retain(|n| n.kind != "network");
    linux.namespaces.push(Namespace { kind: "user".into(), ..Namespace::default() });
    let map = |host_id| vec![IdMapping { container_id: 0, host_id, size: 1 }];
    linux.uid_mappings = map(nix::unistd::geteuid().as_raw());
    linux.gid_mappings = map(nix::unistd::getegid().as_raw());
    linux.resources = None;
    // The host's network namespace goes with the host's sysfs; a group that is not mapped cannot own terminals.
    for m in &mut spec.mounts {
        if m.destination == "/sys" {
            (m.kind, m.source) = ("none".into(), "/sys".into());
            m.options = words(&["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
        m.options.retain(|o| o != "gid=5");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_back() {
        for rootless in [false, true] {
            let mut spec = shell();
            if rootless {
                make_rootless(&mut spec);
                assert!(spec.mounts.iter().all(|m| !m.options.contains(&"gid=5".to_owned())));
            }
            let whole = complete(json::to_value(&spec));
            assert_eq!(whole.pointer("/process/user/gid"), Some(&0.into()));
            assert_eq!(whole.pointer("/linux/resources/devices/0/allow").is_some(), !rootless);
            let back: Spec = json::parse(&json::to_pretty(&json::to_vec(&whole))).unwrap();
            assert_eq!(back, spec);
        }
    }

    #[test]
    fn an_existing_file_stays() {
        let dir = std::env::temp_dir().join(format!("lcr-spec-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let command = || SpecCommand { bundle: Some(dir.clone()), rootless: false };
        assert_eq!(spec(command()).unwrap(), 0);
        assert_eq!(spec(command()).unwrap_err().errno(), Some(libc::EEXIST));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
