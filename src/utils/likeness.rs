//! Giving one file the owner, mode, attributes and times of another.

use crate::error::{Context, Error, Result};
use crate::utils::entry::type_of;
use crate::utils::sys::xattr;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Which extended attributes a copy must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributed {
    /// All.
    Fully,
    /// Those that the file system has and the caller may set.
    WherePossible,
}

/// Makes what is open look like `model`, whose status is `stat`. Attributes that say how a layer lies on others stay
/// behind.
///
/// # Errors
/// The failing call.
pub fn imitate(fd: impl AsFd, model: impl AsFd, stat: &FileStat) -> Result<()> {
    imitate_with(fd.as_fd(), model.as_fd(), stat, Attributed::Fully)
}

/// As [`imitate`].
///
/// # Errors
/// The failing call.
pub fn imitate_with(fd: BorrowedFd<'_>, model: BorrowedFd<'_>, stat: &FileStat, attributed: Attributed) -> Result<()> {
    // A change of owner takes set-id bits and capabilities away.
    fchown(fd, owner(stat), group(stat)).context(|| "fchown()".into())?;
    fchmod(fd, Mode::from_bits_truncate(stat.st_mode)).context(|| "fchmod()".into())?;
    for (name, value) in xattr::all(model)? {
        settle(&name, attributed, || xattr::set(fd, &name, &value))?;
    }
    let [accessed, modified] = times(stat);
    futimens(fd, &accessed, &modified).context(|| "futimens()".into())
}

/// The same for what cannot be opened, links and devices: `name` in `parent` like `name` in `model`.
///
/// # Errors
/// The failing call.
pub fn imitate_at(
    parent: BorrowedFd<'_>,
    model: BorrowedFd<'_>,
    name: &[u8],
    stat: &FileStat,
    attributed: Attributed,
) -> Result<()> {
    fchownat(parent, name, owner(stat), group(stat), AtFlags::AT_SYMLINK_NOFOLLOW).context(|| "fchownat()".into())?;
    if type_of(stat) != SFlag::S_IFLNK {
        // Not a link: it was made a moment ago, in a tree that nobody else changes.
        fchmodat(parent, name, Mode::from_bits_truncate(stat.st_mode), FchmodatFlags::FollowSymlink)
            .context(|| "fchmodat()".into())?;
    }
    let (ours, theirs) = (path(parent, name)?, path(model, name)?);
    for (name, value) in xattr::all_of_link(&theirs)? {
        settle(&name, attributed, || xattr::set_link(&ours, &name, &value))?;
    }
    let [accessed, modified] = times(stat);
    utimensat(parent, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink).context(|| "utimensat()".into())
}

fn settle(name: &CStr, attributed: Attributed, set: impl FnOnce() -> Result<()>) -> Result<()> {
    if name.to_bytes().starts_with(b"trusted.overlay.") {
        return Ok(());
    }
    match set() {
        // Where a policy gives labels, the copy has one already.
        Err(_) if name == c"security.selinux" => Ok(()),
        Err(e)
            if attributed == Attributed::WherePossible && matches!(e.errno(), Some(libc::EOPNOTSUPP | libc::EPERM)) =>
        {
            Ok(())
        }
        result => result,
    }
}

fn owner(stat: &FileStat) -> Option<Uid> {
    Some(Uid::from_raw(stat.st_uid))
}

fn group(stat: &FileStat) -> Option<Gid> {
    Some(Gid::from_raw(stat.st_gid))
}

fn times(stat: &FileStat) -> [TimeSpec; 2] {
    [TimeSpec::new(stat.st_atime, stat.st_atime_nsec as _), TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec as _)]
}

/// A path for calls that take no descriptor of a directory.
fn path(directory: BorrowedFd<'_>, name: &[u8]) -> Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    CString::new(path).map_err(|_| Error::invalid("a name with a NUL"))
}
