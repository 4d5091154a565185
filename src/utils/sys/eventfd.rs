//! eventfd(2).

use crate::error::{Error, Result};
use std::os::fd::{FromRawFd, OwnedFd};

/// A counter that polls readable when it is not zero; close-on-exec, non-blocking.
///
/// # Errors
/// The failing call.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: eventfd takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(Error::last_os("eventfd(0, EFD_CLOEXEC|EFD_NONBLOCK)"));
    }
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
