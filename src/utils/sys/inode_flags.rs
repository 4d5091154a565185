//! Inode flags (ioctl_iflags(2)): what chattr(1) sets.

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

const APPEND_ONLY: libc::c_int = 0x20;
const IMMUTABLE: libc::c_int = 0x10;

// The numbers encode the size of a long by an old mistake; the kernel reads and writes an int.
const GET: libc::Ioctl = nix::request_code_read!(b'f', 1, size_of::<libc::c_long>());
const SET: libc::Ioctl = nix::request_code_write!(b'f', 2, size_of::<libc::c_long>());

/// Takes "immutable" and "append only" off a file or directory. Gives whether either was set.
///
/// # Errors
/// The failing call; ENOTTY and EOPNOTSUPP where the file system has no such flags.
pub fn make_mutable(fd: BorrowedFd<'_>) -> Result<bool> {
    let mut flags: libc::c_int = 0;
    // SAFETY: FS_IOC_GETFLAGS writes one int to `flags`, which outlives the call.
    if unsafe { libc::ioctl(fd.as_raw_fd(), GET, &raw mut flags) } != 0 {
        return Err(Error::last_os("ioctl(FS_IOC_GETFLAGS)"));
    }
    let wanted = flags & !(APPEND_ONLY | IMMUTABLE);
    if wanted == flags {
        return Ok(false);
    }
    // SAFETY: FS_IOC_SETFLAGS reads one int from `wanted`, which outlives the call.
    if unsafe { libc::ioctl(fd.as_raw_fd(), SET, &raw const wanted) } != 0 {
        return Err(Error::last_os("ioctl(FS_IOC_SETFLAGS)"));
    }
    Ok(true)
}

/// Sets "immutable". For tests of what must cope with it.
///
/// # Errors
/// The failing call.
#[cfg(test)]
pub fn make_immutable(fd: BorrowedFd<'_>) -> Result<()> {
    let flags = IMMUTABLE;
    // SAFETY: FS_IOC_SETFLAGS reads one int from `flags`, which outlives the call.
    if unsafe { libc::ioctl(fd.as_raw_fd(), SET, &raw const flags) } != 0 {
        return Err(Error::last_os("ioctl(FS_IOC_SETFLAGS)"));
    }
    Ok(())
}
