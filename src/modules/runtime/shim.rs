//! Starts shims and talks to them: [`crate::api::shim`] has the conversation.

use crate::api::shim::{Event, Exit, Launch, Launched, Reply, Request};
use crate::error::Result;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// The connection on which a shim's events arrive.
pub struct Watch {
    // private: socket, pidfd of the shim
}

/// Spawns a shim from the sealed executable, sends the launch and waits for its answer.
///
/// # Errors
/// What the shim reports, with the kind of its class; `Kind::Timeout` past the start timeout. The shim has ended then
/// and nothing is left behind.
pub fn launch(launch: &Launch, fds: &[BorrowedFd<'_>]) -> Result<(Watch, Launched)> {
    let _ = (launch, fds);
    todo!()
}

/// Connects to a running shim after a restart of the daemon.
///
/// # Errors
/// `Kind::NotFound` when no shim listens.
pub fn watch(state_directory: &Path) -> Result<(Watch, Launched)> {
    let _ = state_directory;
    todo!()
}

/// Sends one request on a connection of its own and gives the answer; [`Reply::Failed`] becomes an error.
///
/// # Errors
/// `Kind::NotFound` when no shim listens, otherwise what the shim reports.
pub fn request(state_directory: &Path, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
    let _ = (state_directory, request, fds);
    todo!()
}

impl Watch {
    /// For poll(2).
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// The next event without waiting; `None` when there is none yet.
    ///
    /// # Errors
    /// `Kind::Remote` when the shim is gone.
    pub fn next(&mut self) -> Result<Option<Event>> {
        todo!()
    }

    /// Tells the shim that its exit is recorded, and reaps it when it is a child of this process.
    pub fn release(self) {
        todo!()
    }
}

/// The exit file that a shim left in `directory`; `None` when there is none.
///
/// # Errors
/// `Kind::Corrupt` when it is damaged.
pub fn read_exit(directory: &Path) -> Result<Option<Exit>> {
    let _ = directory;
    todo!()
}

/// After a shim died without an exit: kills what its container left in the cgroup `cgroups_path` and removes the
/// cgroup. Runs the engine in a process of its own (the shim applet with a clean-up order).
///
/// # Errors
/// What that process reports.
pub fn clean_up(cgroups_path: &str, pid: i32, start_time: u64) -> Result<()> {
    let _ = (cgroups_path, pid, start_time);
    todo!()
}

/// A descriptor of the own executable that cannot be written through, opened once per process (CVE-2019-5736): a
/// detached read-only clone of its mount (open_tree(2), mount_setattr(2), Linux 5.12), else a bind mount made in a
/// private mount namespace, else a sealed memfd.
///
/// # Errors
/// When every way fails.
pub fn sealed_executable() -> Result<&'static OwnedFd> {
    todo!()
}
