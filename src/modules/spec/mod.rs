//! From a container configuration to the OCI runtime document.
//!
//! Three steps at three times: [`validate`] and [`merge_image`] when a container is created, [`generate`] at each
//! start, since devices, processors and joined namespaces may have changed by then.

pub mod seccomp_profile;

use crate::api::container::{ContainerConfig, HostConfig, Ulimit};
use crate::api::exec::ExecCreateRequest;
use crate::api::oci::image::ImageConfig;
use crate::api::oci::runtime::{Process, Spec};
use crate::error::Result;
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
    /// File mode creation mask; the kernel's 0022 when absent.
    pub umask: Option<u32>,
    /// A profile in docker's format in place of the built-in one.
    pub seccomp_profile: Option<PathBuf>,
}

/// The parts of a mode such as `container:ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode<'a> {
    /// Own namespace (empty, `private`, `shareable`, `default`, `none`, `bridge`).
    Own,
    /// The host's.
    Host,
    /// That of the container with this name or id.
    Container(&'a str),
}

/// Reads a mode; anything that is neither `host` nor `container:…` is [`Mode::Own`].
pub fn mode(text: &str) -> Mode<'_> {
    let _ = text;
    todo!()
}

/// The host name of a container that does not share another's: the configured one, with the host's network the
/// host's, else the first 12 digits of the id.
pub fn host_name(id: &str, config: &ContainerConfig, host: &HostConfig) -> String {
    let _ = (id, config, host);
    todo!()
}

/// Checks a request before anything is made for it. Gives warnings for what is left out.
///
/// # Errors
/// `Kind::Invalid` for a broken rule, `Kind::Unsupported` for what this build or kernel lacks; each text names the
/// option.
pub fn validate(host: &HostConfig, config: &ContainerConfig) -> Result<Vec<String>> {
    let _ = (host, config);
    todo!()
}

/// Fills what the user left open from the image.
///
/// # Errors
/// `Kind::Invalid`: `No command specified`, or a malformed entry of the image.
pub fn merge_image(config: &mut ContainerConfig, image: &ImageConfig) -> Result<()> {
    let _ = (config, image);
    todo!()
}

/// Makes the document for one start.
///
/// # Errors
/// As [`validate`]; and what cannot be found on the host (devices, bind sources).
pub fn generate(input: &Input<'_>) -> Result<Spec> {
    let _ = input;
    todo!()
}

/// The process of an exec session in a container that runs with `container`.
///
/// # Errors
/// `Kind::Invalid` for an empty command, a relative working directory or malformed environment.
pub fn exec_process(container: &Spec, request: &ExecCreateRequest) -> Result<Process> {
    let _ = (container, request);
    todo!()
}
