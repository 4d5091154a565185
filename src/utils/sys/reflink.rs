//! One file's content as another's, without a copy, where the file system shares blocks (ioctl_ficlonerange(2)).

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

const FICLONE: libc::Ioctl = nix::request_code_write!(0x94, 9, size_of::<libc::c_int>());

/// Gives the empty file `to` the content of `from`, holes included.
///
/// # Errors
/// The failing call; EOPNOTSUPP, ENOTTY, EXDEV or EINVAL where that cannot be.
pub fn reflink(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: FICLONE takes the number of a descriptor, which is open as long as `from` is borrowed.
    let r = unsafe { libc::ioctl(to.as_raw_fd(), FICLONE, from.as_raw_fd()) };
    if r == 0 { Ok(()) } else { Err(Error::last_os("ioctl(FICLONE)")) }
}
