//! From a configuration to a running process: [`plan`] checks and prepares, the caller's half of the birth is in
//! [`parent`], the new process's own in [`child`], their conversation in [`sync`].

pub mod child;
pub mod parent;
pub mod plan;
pub mod program;
pub mod sync;

use crate::api::oci::runtime::{IdMapping, Linux};
use crate::engine::cgroup::Entry;
use crate::error::{Context, Result};
use nix::sys::stat::SFlag;
use nix::unistd::{Gid, Uid};
use std::os::fd::OwnedFd;

/// Gives the pipes of a process to root of its user namespace: a name like `/dev/stdout` opens them anew, and what is
/// the host's nobody in there may open.
pub fn give(stdio: &[OwnedFd; 3], linux: &Linux) {
    let root = |map: &[IdMapping]| map.iter().find(|m| m.container_id == 0).map(|m| m.host_id);
    let Some((uid, gid)) = root(&linux.uid_mappings).zip(root(&linux.gid_mappings)) else { return };
    if linux.namespaces.iter().all(|n| n.kind != "user") {
        return;
    }
    for fd in stdio {
        let kind = nix::sys::stat::fstat(fd).map_or(SFlag::empty(), |s| SFlag::from_bits_truncate(s.st_mode));
        if matches!(kind & SFlag::S_IFMT, SFlag::S_IFIFO | SFlag::S_IFSOCK) {
            // What belongs to somebody else for good stays theirs.
            let _ = nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
}

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
