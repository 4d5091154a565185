//! Sources that a container with a user namespace could not reach: of binds, and the root's directory.
//!
//! Its first process has the id of the host's root and none of the rights when it opens them, so that a directory on the
//! way that is neither root's nor open to all stops it. Such a source is copied before, as a detached mount.

use super::option::Fs;
use super::{Base, Opened, Plan, Sources, c_path};
use crate::error::{Context, Result};
use crate::utils::sys::mount as sys;
use crate::utils::sys::prctl::{self, CapabilitySets};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Copies those, with the rights of the caller.
///
/// # Errors
/// The failing call with the mount.
pub fn copy(plan: &Plan<'_>, sources: &mut Sources) -> Result<()> {
    let own = prctl::capabilities().context(|| "capget()".into())?;
    // Moved from its directory in the host's tree the root need not be reached again, nor can a copy of it.
    if matches!(plan.base, Base::Directory) && !plan.no_pivot {
        sources.root = closed(&plan.root, true, &own).context(|| format!("root {:?}", plan.root))?;
    }
    for (planned, opened) in plan.mounts.iter().zip(&mut sources.mounts).filter(|(_, opened)| opened.is_none()) {
        let Fs::Bind { source, recursive } = &planned.kind else { continue };
        let tree = closed(source, *recursive, &own);
        let tree = tree.context(|| format!("mount at {:?}: bind source {source:?}", planned.destination))?;
        *opened = tree.map(Opened::Tree);
    }
    Ok(())
}

/// A copy of what is at `path`, when only the caller's rights lead there.
fn closed(path: &Path, recursive: bool, own: &CapabilitySets) -> Result<Option<OwnedFd>> {
    let set = |sets: &CapabilitySets| prctl::set_capabilities(sets).context(|| "capset()".into());
    set(&CapabilitySets { effective: 0, ..*own })?;
    let found = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    set(own)?;
    if !matches!(found, Err(Errno::EACCES)) {
        return Ok(None);
    }
    match sys::open_tree(AT_FDCWD, &c_path(path)?, recursive) {
        // Before Linux 5.2: it is refused when it is opened.
        Err(Errno::ENOSYS) => Ok(None),
        tree => tree.map(Some).context(|| "open_tree()".into()),
    }
}
