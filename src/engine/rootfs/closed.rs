//! Binds whose sources a container with a user namespace could not reach.
//!
//! Its first process has the id of the host's root and none of the rights when it opens them, so that a directory on the
//! way that is neither root's nor open to all stops it. Such a source is copied before, as a detached mount.

use super::option::Fs;
use super::{Opened, Plan, c_path};
use crate::error::{Context, Result};
use crate::utils::sys::mount as sys;
use crate::utils::sys::prctl::{self, CapabilitySets};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::Mode;

/// Copies those, with the rights of the caller.
///
/// # Errors
/// The failing call with the mount.
pub fn copy(plan: &Plan<'_>, sources: &mut [Option<Opened>]) -> Result<()> {
    let own = prctl::capabilities().context(|| "capget()".into())?;
    let set = |sets: &CapabilitySets| prctl::set_capabilities(sets).context(|| "capset()".into());
    for (planned, opened) in plan.mounts.iter().zip(sources).filter(|(_, opened)| opened.is_none()) {
        let Fs::Bind { source, recursive } = &planned.kind else { continue };
        set(&CapabilitySets { effective: 0, ..own })?;
        let found = open(source, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        set(&own)?;
        if !matches!(found, Err(Errno::EACCES)) {
            continue;
        }
        match sys::open_tree(AT_FDCWD, &c_path(source)?, *recursive) {
            // Before Linux 5.2: it is refused when it is opened.
            Err(Errno::ENOSYS) => {}
            tree => {
                let call = || format!("mount at {:?}: bind source {source:?}", planned.destination);
                *opened = Some(Opened::Tree(tree.context(call)?));
            }
        }
    }
    Ok(())
}
