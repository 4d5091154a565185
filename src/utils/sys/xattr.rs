//! Extended attributes (xattr(7)).

use crate::error::{Error, Result};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// fsetxattr(2) without flags: makes or replaces.
///
/// # Errors
/// The failing call.
pub fn set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: the name ends with NUL, and pointer and length describe `value`; both live through the call.
    let r = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if r == 0 { Ok(()) } else { Err(Error::last_os(format!("fsetxattr({name:?})"))) }
}

/// lsetxattr(2) without flags: acts on a symbolic link itself.
///
/// # Errors
/// The failing call.
pub fn set_link(path: &CStr, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: both strings end with NUL, and pointer and length describe `value`; all live through the call.
    let r = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if r == 0 { Ok(()) } else { Err(Error::last_os(format!("lsetxattr({path:?}, {name:?})"))) }
}

/// fgetxattr(2); `None` when there is no such attribute or the file system has none at all.
///
/// # Errors
/// The failing call; ERANGE for a value of more than 256 bytes.
pub fn get(fd: BorrowedFd<'_>, name: &CStr) -> Result<Option<Vec<u8>>> {
    let mut buffer = [0u8; 256];
    // SAFETY: the name ends with NUL, and pointer and length describe `buffer`, which is exclusively borrowed.
    let n = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(n) {
        Ok(n) => Ok(Some(buffer[..n].to_vec())),
        Err(_) => match Error::last_os(format!("fgetxattr({name:?})")) {
            e if matches!(e.errno(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
            e => Err(e),
        },
    }
}
