//! Runs a further process in a container: joins the namespaces of its first process.

use crate::api::oci::runtime::{Process, Spec};
use crate::engine::cgroup::Cgroup;
use crate::engine::create::Started;
use crate::error::Result;
use std::os::fd::OwnedFd;

/// What to run and where.
pub struct Request<'a> {
    /// First process of the container.
    pub init: i32,
    /// Start time of that process.
    pub init_start_time: u64,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// The container's configuration: seccomp and the like.
    pub spec: &'a Spec,
    /// What to run.
    pub process: &'a Process,
    /// Standard input, output and error; `None` when the process has a terminal.
    pub stdio: Option<[OwnedFd; 3]>,
}

/// Starts the process; returns after execve(2) succeeded. The process is a child of the caller.
///
/// # Errors
/// As [`crate::engine::create::create`].
pub fn exec(request: Request<'_>) -> Result<Started> {
    let _ = request;
    todo!()
}
