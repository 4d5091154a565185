//! Cgroups of users who are not the host's root: where they may make some, and which are theirs.

use super::layout::{Hierarchy, Layout, Version, of_self};
use crate::error::{Error, Result};
use nix::unistd::{AccessFlags, access, geteuid};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the cgroup `path` (normalised) is made: there, if that is possible in any hierarchy. Else in version 2, beside or
/// below the cgroup of this process, which a session manager may have handed to the user with all that is below.
///
/// # Errors
/// The failing call.
pub fn place(layout: &Layout, path: String) -> Result<String> {
    if layout.hierarchies.iter().any(|h| is_possible(h, &path)) {
        return Ok(path);
    }
    let Some(v2) = layout.v2() else { return Ok(path) };
    let own = of_self()?.into_iter().find(|(h, _)| *h == v2);
    let own = own.and_then(|(h, directory)| Some(directory.strip_prefix(&h.mount).ok()?.to_str()?.to_owned()));
    // Beside it first: a cgroup with processes in it gives its children no controllers.
    let own = own.unwrap_or_default();
    let candidates = own.rsplit_once('/').map(|(above, _)| above).into_iter().chain([own.as_str()]);
    let mut candidates = candidates.filter(|c| !c.is_empty()).map(|c| format!("/{c}{path}"));
    Ok(candidates.find(|c| is_possible(v2, c)).unwrap_or(path))
}

/// Whether this user may make the cgroup `path` in this hierarchy, and move a process of its own there.
pub fn is_possible(hierarchy: &Hierarchy, path: &str) -> bool {
    let directory = hierarchy.directory(path);
    let Some(above) = directory.ancestors().skip(1).find(|d| d.is_dir()) else { return false };
    if access(above, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return false;
    }
    if hierarchy.version == Version::V1 {
        return true;
    }
    // The process moves through the nearest cgroup that both are in (kernel documentation, admin-guide/cgroup-v2,
    // Delegation Containment).
    let own = of_self().ok().and_then(|all| all.into_iter().find(|(h, _)| *h == hierarchy)).map(|(_, d)| d);
    let common = own.as_deref().and_then(|own| own.ancestors().find(|d| directory.starts_with(d)));
    common.is_some_and(|d| access(&d.join("cgroup.procs"), AccessFlags::W_OK).is_ok())
}

/// Whether there is a cgroup at `directory`; with `own` one that belongs to this user.
pub fn exists(directory: &Path, own: bool) -> bool {
    let is_own = |uid| !own || uid == geteuid().as_raw();
    std::fs::metadata(directory).is_ok_and(|m| m.is_dir() && is_own(m.uid()))
}

/// Whether the kernel refused for want of rights.
pub fn is_refused(e: &Error) -> bool {
    matches!(e.errno(), Some(libc::EPERM | libc::EACCES | libc::EROFS))
}
