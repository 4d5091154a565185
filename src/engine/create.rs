//! Makes a container up to the point before its program runs, and lets it run.

use crate::api::oci::runtime::Spec;
use crate::api::shim::Overlay;
use crate::engine::cgroup::Cgroup;
use crate::error::Result;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What to make.
pub struct Request<'a> {
    /// Container id.
    pub id: &'a str,
    /// The configuration.
    pub spec: &'a Spec,
    /// The bundle directory; relative paths of the configuration start here.
    pub bundle: &'a Path,
    /// Mounted at the root path inside the new mount namespace when present.
    pub overlay: Option<&'a Overlay>,
    /// Standard input, output and error; `None` when the process has a terminal.
    pub stdio: Option<[OwnedFd; 3]>,
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot: bool,
}

/// A process that the engine started.
#[derive(Debug)]
pub struct Started {
    /// Process id in the caller's namespace.
    pub pid: i32,
    /// Polls readable at its end; `None` before Linux 5.3.
    pub pidfd: Option<OwnedFd>,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Master side of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// A container whose program has not run yet. Dropped without [`Created::start`], everything made for it is undone.
pub struct Created {
    // private: guards for process, cgroup
}

/// A container whose program runs.
pub struct Running {
    /// The first process.
    pub init: Started,
    /// Its cgroup; the caller destroys it after the end.
    pub cgroup: Cgroup,
}

/// Makes the container: cgroup, namespaces, mounts, identity; stops before execve(2).
///
/// # Errors
/// The failing step with its object; nothing is left behind. `Kind::CommandNotFound` and
/// `Kind::CommandNotExecutable` for the program, `Kind::Invalid` for a broken rule, `Kind::Unsupported` for what this
/// kernel lacks.
pub fn create(request: Request<'_>) -> Result<Created> {
    let _ = request;
    todo!()
}

impl Created {
    /// Lets the program run; returns after execve(2) succeeded.
    ///
    /// # Errors
    /// As [`create`].
    pub fn start(self) -> Result<Running> {
        todo!()
    }
}
