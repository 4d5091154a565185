//! `lcr features`: what this runtime can do (OCI runtime specification, features.md).

use crate::applet::COMMIT;
use crate::applet::VERSION;
use crate::cmd::runtime::output;
use crate::engine::rootfs::option;
use crate::engine::{scheduling, seccomp};
use crate::error::Result;
use crate::utils::capability::NAMES;
use crate::utils::json;
use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether systemd can be asked for cgroups.
const SYSTEMD: bool = cfg!(feature = "systemd");

/// print what this runtime can do as JSON
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "features")]
pub struct Features {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: Vec<String>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: [&'static str; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: &'static [&'static str],
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    mount_extensions: MountExtensions,
    intel_rdt: Enabled,
    memory_policy: MemoryPolicy,
    net_devices: Enabled,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: &'static [&'static str],
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

/// Prints the document.
///
/// # Errors
/// The failing call.
pub fn features() -> Result<u8> {
    let mut text = json::to_pretty(&json::to_vec(&document()));
    text.push(b'\n');
    output(&text)
}

fn document() -> Document {
    Document {
        oci_version_min: "1.0.0",
        oci_version_max: super::OCI_VERSION,
        mount_options: option::words(),
        hooks: &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        linux: Linux {
            namespaces: &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            capabilities: NAMES.iter().map(|name| format!("CAP_{name}")).collect(),
            cgroup: Cgroup { v1: true, v2: true, systemd: SYSTEMD, systemd_user: SYSTEMD, rdma: true },
            seccomp: Seccomp {
                enabled: true,
                actions: seccomp::ACTIONS,
                operators: seccomp::OPERATORS,
                archs: seccomp::architectures().collect(),
                known_flags: seccomp::FLAGS.iter().map(|(name, _)| *name).collect(),
                supported_flags: seccomp::supported_flags().collect(),
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
            intel_rdt: Enabled { enabled: false },
            memory_policy: MemoryPolicy {
                modes: &scheduling::MEMORY_MODES,
                flags: scheduling::MEMORY_FLAGS.iter().map(|(name, _)| *name).collect(),
            },
            net_devices: Enabled { enabled: true },
        },
        annotations: [("org.isulabox.lcr.version", VERSION), ("org.isulabox.lcr.commit", COMMIT)].into(),
        potentially_unsafe_config_annotations: [],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        let text = json::to_text(&document());
        for part in [
            r#""ociVersionMin":"1.0.0""#,
            r#""createRuntime""#,
            r#""CAP_CHOWN""#,
            r#""systemdUser":"#,
            r#""SCMP_ACT_NOTIFY""#,
            r#""knownFlags""#,
            r#""intelRdt":{"enabled":false}"#,
            r#""rnosuid""#,
            r#""rslave""#,
            r#""tmpcopyup""#,
            r#""mountExtensions":{"idmap":{"enabled":true}}"#,
            r#""MPOL_BIND""#,
            r#""netDevices":{"enabled":true}"#,
            r#""rdma":true"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
