//! How a layer says what of the layers below it is gone.
//!
//! In overlayfs's form (kernel documentation, overlayfs.rst): a character device 0:0 for a whiteout, the attribute
//! `trusted.overlay.opaque` for a directory that hides all below. A file system that cannot hold these, as NFS or an
//! overlay itself, gets the form of archives (OCI image specification, layer.md, "Whiteouts"): an empty file `.wh.NAME`,
//! or `.wh..wh..opq` in the directory. No file of an image can have such a name, so that both may be looked for
//! everywhere; but overlayfs does not know the second, and such a layer can only be copied.

use super::tree::{DIRECTORY, WHITEOUT, lstat, type_of};
use crate::error::{Context, Error, Result};
use crate::utils::sys::xattr;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, mknodat};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// The sign of an opaque directory in archives.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that an older layer format kept its own records under.
pub(super) const RECORDS: &[u8] = b".wh..wh.";
/// The sign of an opaque directory for overlayfs.
pub(super) const OPAQUE_ATTRIBUTE: &CStr = c"trusted.overlay.opaque";

/// The form of a sign that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// overlayfs's.
    Overlay,
    /// That of archives.
    #[cfg_attr(not(feature = "storage"), allow(dead_code))] // without the copying driver nobody could read it
    Archive,
}

/// Whether this is overlayfs's whiteout.
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    type_of(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// Whether a directory hides everything below it. `archive` says that the layer may have signs in that form.
pub(super) fn is_opaque(directory: BorrowedFd<'_>, archive: bool) -> Result<bool> {
    Ok(xattr::get(directory, OPAQUE_ATTRIBUTE)?.is_some() || (archive && lstat(directory, OPAQUE)?.is_some()))
}

/// Whether a layer hides `name` of the layers below by a sign in the form of archives.
pub(super) fn hides(directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    // A name that leaves no room for the prefix cannot be meant.
    match lstat(directory, &[WHITEOUT, name].concat()) {
        Err(e) if e.errno() == Some(libc::ENAMETOOLONG) => Ok(false),
        found => Ok(found?.is_some()),
    }
}

/// Hides `name`, which is not there, of lower layers.
pub(super) fn white_out(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Form> {
    match mknodat(directory, name, SFlag::S_IFCHR, Mode::empty(), 0) {
        Ok(()) => Ok(Form::Overlay),
        Err(e) => archive_sign(directory, &[WHITEOUT, name].concat(), Error::os("mknodat(whiteout)", e as i32)),
    }
}

/// Hides what lower layers have in a directory.
pub(super) fn set_opaque(directory: BorrowedFd<'_>) -> Result<Form> {
    match xattr::set(directory, OPAQUE_ATTRIBUTE, b"y") {
        Ok(()) => Ok(Form::Overlay),
        Err(e) => archive_sign(directory, OPAQUE, e),
    }
}

/// As [`set_opaque`] for an entry of a directory.
pub(super) fn set_opaque_at(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Form> {
    let directory = openat(parent, name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())?;
    set_opaque(std::os::fd::AsFd::as_fd(&directory))
}

/// Makes a sign in the form of archives where the file system cannot hold the other, for the reason `why`.
fn archive_sign(directory: BorrowedFd<'_>, name: &[u8], why: Error) -> Result<Form> {
    if !matches!(why.errno(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)) {
        return Err(why);
    }
    if cfg!(not(feature = "storage")) {
        return Err(why.context("this file system cannot hold the layers of images"));
    }
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(_) | Err(Errno::EEXIST) => Ok(Form::Archive),
        Err(e) => Err(Error::os(format!("openat({:?}, O_CREAT)", String::from_utf8_lossy(name)), e as i32)),
    }
}
