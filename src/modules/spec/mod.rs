//! From a container configuration to the OCI runtime document.
//!
//! Three steps at three times: [`validate`] and [`merge_image`] when a container is created, [`generate`] at each
//! start, since devices, processors and joined namespaces may have changed by then.

mod block_io;
mod capability;
mod command;
mod device;
pub mod hook;
mod hugetlb;
mod kernel;
mod limit;
mod mount;
mod namespace;
mod paths;
mod process;
mod resource;
pub mod seccomp_profile;
mod security;
mod system;
mod template;
#[cfg(test)]
mod tests;
mod validate;
mod volume;

pub use command::{command_line, merge_image};
#[cfg(feature = "image-tools")]
pub use mount::at_rest;
pub use namespace::{Mode, host_name, mode, peers, remap_of};
pub use process::{console_size, exec_process};
pub use resource::{CGROUP_PARENT, has_realtime, limits, validate_cgroup_parent, validate_realtime};
pub use validate::validate;
pub use volume::{Stored, check_driver, destination, stored};

use crate::api::container::{ContainerConfig, HostConfig, Ulimit};
use crate::api::oci::runtime::{Capabilities, Hooks, Linux, Mount, Root, Spec};
use crate::api::volume::MountRecord;
use crate::error::Result;
use crate::modules::remap::Remap;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Everything a document is made of.
pub struct Input<'a> {
    /// Container id, 64 digits.
    pub id: &'a str,
    /// What runs, after [`merge_image`].
    pub config: &'a ContainerConfig,
    /// How it runs here, after [`validate`].
    pub host: &'a HostConfig,
    /// Where the root file system will be mounted; the document's root path.
    pub rootfs: &'a Path,
    /// Files that are mounted over those of the image.
    pub files: &'a ContainerFiles,
    /// What the modes `container:ID` stand for at this moment.
    pub namespaces: &'a JoinedNamespaces,
    /// The daemon's settings.
    pub defaults: &'a Defaults,
    /// The host name the container sees, [`host_name`] unless it shares another container's network: goes to
    /// `HOSTNAME` and, with an own UTS namespace, to the kernel.
    pub hostname: &'a str,
    /// What the image has mounted in its root; the request's mounts take their places.
    pub image_mounts: &'a [Mount],
    /// Its own hooks, as they were when the container was made.
    pub hooks: Option<&'a Hooks>,
    /// Where its output is logged as json-file; empty when it is not.
    pub log_path: &'a str,
    /// This executable, for [`wants_init`].
    pub init: Option<&'a Path>,
    /// What was stored of the mounts when the container was made.
    pub mount_points: &'a BTreeMap<String, MountRecord>,
}

/// Host files that are mounted over those of the image; absent ones are not mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFiles {
    /// `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
}

/// Namespace files of the containers whose namespaces are joined (`/proc/PID/ns/net` and the like). Must be set for
/// each mode `container:ID`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinedNamespaces {
    /// For `NetworkMode`.
    pub network: Option<PathBuf>,
    /// For `PidMode`.
    pub pid: Option<PathBuf>,
    /// For `IpcMode`.
    pub ipc: Option<PathBuf>,
    /// For `UTSMode`.
    pub uts: Option<PathBuf>,
    /// For `CgroupnsMode`.
    pub cgroup: Option<PathBuf>,
    /// The user namespace to which these belong, when it is not the host's.
    pub user: Option<PathBuf>,
    /// Directory that becomes `/dev/shm` in place of an own tmpfs: that of the container whose IPC namespace is
    /// joined.
    pub shm: Option<PathBuf>,
}

/// The daemon's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// Cgroup parent; `/isulad` when empty.
    pub cgroup_parent: String,
    /// Limits that a container has unless it sets its own of the same name.
    pub ulimits: Vec<Ulimit>,
    /// File mode creation mask; the template's when absent.
    pub umask: Option<u32>,
    /// A profile in docker's format in place of the built-in one.
    pub seccomp_profile: Option<PathBuf>,
    /// Hooks of every container, before its own.
    pub hooks: Option<Hooks>,
    /// The user namespace of containers that do not ask for the host's.
    pub remap: Option<Remap>,
    /// The operator's templates; see [`Defaults::load_files`].
    pub files: template::Files,
}

/// Version of the OCI runtime specification that documents name.
const OCI_VERSION: &str = "1.0.1";

fn given_annotations(config: &ContainerConfig, host: &HostConfig) -> BTreeMap<String, String> {
    let mut given = config.annotations.clone();
    given.extend(host.annotations.iter().map(|(k, v)| (k.clone(), v.clone())));
    given
}

/// What hooks and whoever inspects the container are told of it: what the user annotated, and what the original writes
/// down under names of its own. `log_path` as in [`Input`].
pub fn annotations(
    config: &ContainerConfig,
    host: &HostConfig,
    defaults: &Defaults,
    log_path: &str,
) -> BTreeMap<String, String> {
    let mut all = given_annotations(config, host);
    if host.system_container {
        all.insert(system::ANNOTATION.into(), "true".into());
    }
    let file = defaults.file(host.system_container);
    let umask = match defaults.umask.or(file.and_then(|file| file.process.as_ref()?.user.umask)) {
        Some(0o022) => "normal",
        None | Some(0o027) => "secure",
        Some(_) => "", // neither of the two that have a word
    };
    let network = if host.network_mode.is_empty() { "none" } else { &host.network_mode };
    let mut tell = |name: &str, value: &str| {
        if !value.is_empty() {
            all.entry(name.into()).or_insert_with(|| value.into());
        }
    };
    tell("host.network.mode", network);
    tell("cgroup.dir", resource::cgroup_parent(host, defaults));
    tell(process::UMASK_ANNOTATION, umask);
    tell("external.rootfs", &host.external_rootfs);
    match host.log_config.driver.as_str() {
        "json-file" => {
            let option = |name: &str| host.log_config.config.get(name).map_or("", String::as_str);
            tell("log.console.driver", "json-file");
            tell("log.console.file", log_path);
            tell("log.console.filesize", option("max-size"));
            tell("log.console.filerotate", option("max-file"));
        }
        "none" => tell("log.console.file", "none"),
        // Of syslog they were written down when the tag was made.
        _ => {}
    }
    for (name, value) in file.iter().flat_map(|file| &file.annotations) {
        all.entry(name.clone()).or_insert_with(|| value.clone());
    }
    all
}

/// Whether an init of ours is process 1. As for docker not where another one is: in a PID namespace that is the host's or
/// another container's.
pub fn wants_init(host: &HostConfig) -> bool {
    host.init == Some(true) && mode(&host.pid_mode) == Mode::Own
}

/// Makes the document for one start. A missing source of a `-v` bind is made as a directory, as users of docker
/// expect; nothing else is touched.
///
/// # Errors
/// As [`validate`]; and what cannot be found on the host (devices, bind sources), or a namespace that
/// [`JoinedNamespaces`] lacks.
pub fn generate(input: &Input<'_>) -> Result<Spec> {
    let (config, host) = (input.config, input.host);
    let remap = remap_of(host, input.defaults)?;
    let remap = remap.as_ref();
    let security = security::parse(&host.security_opt)?;
    let base = input.defaults.template(host.system_container)?;
    let process = base.process.unwrap_or_default();
    let linux = base.linux.unwrap_or_default();
    let resources = linux.resources.unwrap_or_default();
    let capabilities =
        capability::of_container(host, process.capabilities.as_ref().unwrap_or(&Capabilities::default()))?;
    let devices = device::of_container(host, resources.devices.clone(), linux.devices)?;
    let (masked_paths, readonly_paths) = paths::hidden(host, linux.masked_paths, linux.readonly_paths);
    // The kernel refuses nodes in a user namespace: the host's are shown there, each under its name inside.
    let (shown, made) = match remap {
        Some(_) => (devices.nodes, Vec::new()),
        None => (Vec::new(), devices.nodes),
    };
    let namespaces = namespace::of_container(linux.namespaces, host, input.namespaces, remap.is_some())?;
    let own_uts = namespaces.iter().any(|n| n.kind == "uts" && n.path.as_os_str().is_empty());
    let mut sysctl = host.sysctls.clone();
    for (name, value) in linux.sysctl {
        if limit::check_sysctl(host, &name).is_ok() {
            sysctl.entry(name).or_insert(value);
        }
    }
    let propagation = mount::rootfs_propagation(input)?;
    let hooks = hook::merge(base.hooks.as_ref(), input.defaults.hooks.as_ref());
    let annotations = given_annotations(config, host);
    Ok(Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(process::of_container(process, input, &security, &capabilities, &annotations)?),
        root: Some(Root { path: input.rootfs.to_owned(), readonly: host.readonly_rootfs }),
        hostname: if own_uts { input.hostname.to_owned() } else { String::new() },
        domainname: if own_uts { config.domainname.clone() } else { String::new() },
        mounts: mount::of_container(base.mounts, input, remap, &shown)?,
        hooks: hook::merge(hooks.as_ref(), input.hooks),
        annotations: self::annotations(config, host, input.defaults, input.log_path),
        linux: Some(Linux {
            sysctl,
            resources: Some(resource::over(resources, resource::of_container(host, devices.rules)?)),
            cgroups_path: resource::cgroups_path(input)?,
            uid_mappings: remap.map(|remap| remap.uids.mapping()).into_iter().collect(),
            gid_mappings: remap.map(|remap| remap.gids.mapping()).into_iter().collect(),
            namespaces,
            devices: made.into_iter().map(|(device, _)| device).collect(),
            seccomp: security::seccomp(&security, host.privileged, input.defaults, linux.seccomp, &capabilities)?,
            rootfs_propagation: if propagation.is_empty() { linux.rootfs_propagation } else { propagation.into() },
            masked_paths,
            readonly_paths,
            mount_label: linux.mount_label,
            time_offsets: linux.time_offsets,
            net_devices: linux.net_devices,
            personality: linux.personality,
            memory_policy: linux.memory_policy,
            intel_rdt: linux.intel_rdt,
        }),
    })
}
