//! What a member of a tar archive says about a file beside its content: owner, mode, attributes, time.

use super::tar::{Member, Type};
use crate::error::{Context, Error, Result};
use crate::utils::sys::xattr;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, makedev, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
#[cfg(feature = "image-tools")]
use {
    crate::utils::entry::type_of,
    crate::utils::sys::fd::path_of,
    nix::fcntl::{AT_FDCWD, OFlag, openat},
    nix::sys::stat::{SFlag, fstat},
};

/// What the kernel's device numbers hold (linux/kdev_t.h).
const MAJOR_LIMIT: u64 = 1 << 12;
const MINOR_LIMIT: u64 = 1 << 20;

/// The device that a member stands for.
///
/// # Errors
/// `Kind::Invalid` for a number that the kernel does not have.
pub fn device(member: &Member) -> Result<libc::dev_t> {
    let (major, minor) = member.device;
    if major >= MAJOR_LIMIT || minor >= MINOR_LIMIT {
        return Err(Error::invalid(format!("device number {major}:{minor} is out of range")));
    }
    Ok(makedev(major as _, minor as _))
}

/// When a member was modified.
pub fn modified(member: &Member) -> TimeSpec {
    TimeSpec::new(member.mtime.0 as _, member.mtime.1 as _)
}

fn owner(member: &Member) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
}

/// An owner that is left as it is (chown(2)).
pub const SAME: u32 = u32::MAX;

/// Gives a file or directory the owner, mode, attributes and time of a member. The owner first, since a change of it
/// takes set-id bits and capabilities away; the time last.
///
/// # Errors
/// The failing call.
pub fn set_metadata(fd: BorrowedFd<'_>, member: &Member) -> Result<()> {
    let (uid, gid) = owner(member);
    fchown(fd, uid, gid).context(|| format!("fchown({}, {})", member.uid, member.gid))?;
    fchmod(fd, Mode::from_bits_truncate(member.mode as _)).context(|| format!("fchmod({:o})", member.mode))?;
    for (name, value) in &member.xattrs {
        set_attribute(name, member.kind, |name| xattr::set(fd, name, value))?;
    }
    futimens(fd, &TimeSpec::UTIME_OMIT, &modified(member)).context(|| "futimens()".into())
}

/// The same for what cannot be opened, links and devices, in a tree that nobody else changes.
///
/// # Errors
/// The failing call.
pub fn set_metadata_at(parent: BorrowedFd<'_>, name: &[u8], member: &Member) -> Result<()> {
    let (uid, gid) = owner(member);
    fchownat(parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
        .context(|| format!("fchownat({}, {})", member.uid, member.gid))?;
    if member.kind != Type::Symlink {
        // Not a link: it was made a moment ago, in a tree that nobody else changes.
        fchmodat(parent, name, Mode::from_bits_truncate(member.mode as _), FchmodatFlags::FollowSymlink)
            .context(|| format!("fchmodat({:o})", member.mode))?;
    }
    if !member.xattrs.is_empty() {
        let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        let path = CString::new(path).map_err(|_| Error::invalid("a name with a NUL"))?;
        for (name, value) in &member.xattrs {
            set_attribute(name, member.kind, |name| xattr::set_link(&path, name, value))?;
        }
    }
    utimensat(parent, name, &TimeSpec::UTIME_OMIT, &modified(member), UtimensatFlags::NoFollowSymlink)
        .context(|| "utimensat()".into())
}

/// The same for a link, device or pipe that was just made in a tree which others change: nothing that they put in its
/// place leads anywhere else. Attributes are not set.
///
/// # Errors
/// The failing call; `Kind::Conflict` when something else is there.
#[cfg(feature = "image-tools")]
pub fn set_node_metadata(parent: BorrowedFd<'_>, name: &[u8], kind: SFlag, member: &Member) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let node = openat(parent, name, flags, Mode::empty()).context(|| "openat(O_PATH)".into())?;
    if type_of(&fstat(&node).context(|| "fstat()".into())?) != kind {
        return Err(Error::conflict("something else took its place"));
    }
    let (uid, gid) = owner(member);
    fchownat(&node, "", uid, gid, AtFlags::AT_EMPTY_PATH)
        .context(|| format!("fchownat({}, {})", member.uid, member.gid))?;
    if kind == SFlag::S_IFLNK {
        return utimensat(parent, name, &TimeSpec::UTIME_OMIT, &modified(member), UtimensatFlags::NoFollowSymlink)
            .context(|| "utimensat()".into());
    }
    let path = path_of(&node);
    let mode = Mode::from_bits_truncate(member.mode as _);
    fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)
        .context(|| format!("chmod({:o})", member.mode))?;
    let time = modified(member);
    utimensat(AT_FDCWD, path.as_str(), &TimeSpec::UTIME_OMIT, &time, UtimensatFlags::FollowSymlink)
        .context(|| "utimensat()".into())
}

/// Sets an attribute unless it is overlayfs's own. A file system or kind of file that has no such attributes is no
/// reason to fail, except for what a program's privileges hang on.
fn set_attribute(name: &[u8], kind: Type, set: impl FnOnce(&CStr) -> Result<()>) -> Result<()> {
    let text = String::from_utf8_lossy(name);
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        log::debug!("attribute {text:?} of a layer is overlayfs's own and was left out");
        return Ok(());
    }
    let c = CString::new(name).map_err(|_| Error::invalid("an attribute's name with a NUL"))?;
    match set(&c) {
        Ok(()) => Ok(()),
        Err(e) => match e.errno() {
            Some(libc::EOPNOTSUPP) if name != b"security.capability" => Ok(()),
            Some(libc::EPERM) if !matches!(kind, Type::Regular | Type::Directory) => Ok(()),
            _ if name == b"security.selinux" => Ok(()),
            _ => Err(e),
        },
    }
}
