//! Paths of `/proc` and `/sys` that a container must not see, or not change.

use super::mount::{self as tree, Target};
use crate::error::{Error, Result};
use crate::utils::path::{Links, Root};
use crate::utils::sys::descriptor;
use crate::utils::sys::fd::path_of;
use crate::utils::sys::mount::{self, Attributes, attribute};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Covers each path: a file by `/dev/null`, a directory by an empty read-only tmpfs. Missing ones are left out.
///
/// It is the container's own `/dev/null`: of the host's its root could change mode and owner through the mask. Without
/// one the host's is mounted read-only.
///
/// # Errors
/// The failing call with the path.
pub fn hide(root: &Root, paths: &[String]) -> Result<()> {
    let mut null = None;
    let attributes = Attributes { set: attribute::RDONLY, ..Attributes::default() };
    let read_only = tree::Bind { attributes, ..tree::Bind::default() };
    for path in paths {
        let Some(target) = find(root, path)? else { continue };
        let failed = |e: nix::Error| Error::os(format!("mask {path:?}"), e as i32);
        let place = CString::new(path_of(&target)).expect("a number has no NUL byte");
        // Asked for, not tried: a bind that fails costs more than all the rest of a mask.
        let mode = nix::sys::stat::fstat(&target).map_err(failed)?.st_mode;
        if mode & libc::S_IFMT == libc::S_IFDIR {
            let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            mount::mount(Some(c"tmpfs"), &place, Some(c"tmpfs"), flags, Some(c"size=0k,nr_inodes=2"))
                .map_err(failed)?;
        } else if let Some((_, null)) = null.get_or_insert_with(|| own_null(root)) {
            mount::mount(Some(null), &place, None, libc::MS_BIND, None).map_err(failed)?;
        } else {
            let target = Target { root, path: Path::new(path), fd: target };
            tree::bind(&tree::Source::Path(Path::new("/dev/null")), &target, &read_only)
                .map_err(|e| e.context(format!("mask {path:?}")))?;
        }
    }
    Ok(())
}

/// The container's own null device, and a path to it.
fn own_null(root: &Root) -> Option<(OwnedFd, CString)> {
    let fd = root.resolve(Path::new("/dev/null"), Links::Follow).ok()?;
    let path = CString::new(path_of(&fd)).expect("a number has no NUL byte");
    (descriptor::kind(fd.as_fd()) == descriptor::Kind::Null).then_some((fd, path))
}

/// Makes each path read-only by a mount of itself. Missing ones are left out.
///
/// # Errors
/// The failing call with the path.
pub fn make_read_only(root: &Root, paths: &[String]) -> Result<()> {
    let read_only = Attributes { set: attribute::RDONLY, ..Attributes::default() };
    for path in paths {
        let Some(target) = find(root, path)? else { continue };
        let target = Target { root, path: Path::new(path), fd: target };
        let bind = tree::Bind { recursive: true, attributes: read_only, ..tree::Bind::default() };
        tree::bind(&tree::Source::Handle(&target.fd), &target, &bind)
            .map_err(|e| e.context(format!("make {path:?} read-only")))?;
    }
    Ok(())
}

fn find(root: &Root, path: &str) -> Result<Option<OwnedFd>> {
    match root.resolve(Path::new(path), Links::Follow) {
        Ok(fd) => Ok(Some(fd)),
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => Ok(None),
        Err(e) => Err(Error::os(format!("open({path:?}) in the container"), e as i32)),
    }
}
