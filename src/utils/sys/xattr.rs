//! Extended attributes (xattr(7)).

use crate::error::{Error, Result};
use std::ffi::{CStr, CString};
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

/// Names and values of all attributes (flistxattr(2)); none on a file system that has none at all.
///
/// # Errors
/// The failing call.
pub fn all(fd: BorrowedFd<'_>) -> Result<Vec<(CString, Vec<u8>)>> {
    // The kernel's own limit of either: XATTR_LIST_MAX, XATTR_SIZE_MAX.
    let mut buffer = vec![0u8; 64 << 10];
    // SAFETY: pointer and length describe `buffer`, which is exclusively borrowed.
    let n = unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let names = match usize::try_from(n) {
        Ok(n) => buffer[..n].to_vec(),
        Err(_) => match Error::last_os("flistxattr()") {
            e if e.errno() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
            e => return Err(e),
        },
    };
    let mut all = Vec::new();
    for name in names.split_inclusive(|b| *b == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(|_| Error::internal("a list of attributes without end"))?;
        // SAFETY: as above; the name ends with NUL.
        let n = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        let n = usize::try_from(n).map_err(|_| Error::last_os(format!("fgetxattr({name:?})")))?;
        all.push((name.to_owned(), buffer[..n].to_vec()));
    }
    Ok(all)
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
