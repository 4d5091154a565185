//! From a configuration to a running process: [`plan`] checks and prepares, the caller's half of the birth is in
//! [`parent`], the new process's own in [`child`], their conversation in [`sync`].

pub mod child;
pub mod parent;
pub mod plan;
pub mod program;
pub mod sync;

use crate::engine::cgroup::Entry;
use crate::error::{Context, Result};
use std::os::fd::OwnedFd;

/// The file through which a process joins a v2 cgroup that it could not be born in.
///
/// # Errors
/// The failing call.
pub fn late_entry(entry: &Entry, born_inside: bool) -> Result<Option<OwnedFd>> {
    match &entry.clone_into {
        Some(directory) if !born_inside => {
            let flags = nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_CLOEXEC;
            let file = nix::fcntl::openat(directory, "cgroup.procs", flags, nix::sys::stat::Mode::empty());
            file.map(Some).context(|| "open(\"cgroup.procs\")".into())
        }
        _ => Ok(None),
    }
}
