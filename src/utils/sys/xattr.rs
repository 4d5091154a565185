//! Extended attributes (xattr(7)).

use crate::error::{Error, Kind, Result};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kernel's own limit of a list of names and of a value: XATTR_LIST_MAX, XATTR_SIZE_MAX.
const LARGEST: usize = 64 << 10;

/// What all attributes of one file may occupy here, in bytes: no archive carries more (see `utils::archive::tar`), and some
/// file systems have no limit.
const MOST: usize = 1 << 20;

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
    let fd = fd.as_raw_fd();
    read_all(
        // SAFETY: pointer and length describe the buffer, which is exclusively borrowed.
        |out| unsafe { libc::flistxattr(fd, out.as_mut_ptr().cast(), out.len()) },
        // SAFETY: as above; the name ends with NUL.
        |name, out| unsafe { libc::fgetxattr(fd, name.as_ptr(), out.as_mut_ptr().cast(), out.len()) },
    )
}

/// As [`all`] of what a path names, of a symbolic link itself (llistxattr(2)).
///
/// # Errors
/// The failing call.
pub fn all_of_link(path: &CStr) -> Result<Vec<(CString, Vec<u8>)>> {
    read_all(
        // SAFETY: the path ends with NUL, and pointer and length describe the buffer, which is exclusively borrowed.
        |out| unsafe { libc::llistxattr(path.as_ptr(), out.as_mut_ptr().cast(), out.len()) },
        // SAFETY: as above; the name ends with NUL.
        |name, out| unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), out.as_mut_ptr().cast(), out.len()) },
    )
}

fn read_all(
    list: impl Fn(&mut [u8]) -> libc::ssize_t,
    get: impl Fn(&CStr, &mut [u8]) -> libc::ssize_t,
) -> Result<Vec<(CString, Vec<u8>)>> {
    // Most files have none, or a label.
    let mut names = vec![0u8; 256];
    let mut n = list(&mut names);
    if n < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE) {
        names.resize(LARGEST, 0);
        n = list(&mut names);
    }
    match usize::try_from(n) {
        Ok(0) => return Ok(Vec::new()),
        Ok(n) => names.truncate(n),
        Err(_) => match Error::last_os("listxattr()") {
            e if e.errno() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
            e => return Err(e),
        },
    }
    let mut buffer = vec![0u8; LARGEST];
    let (mut all, mut bytes) = (Vec::new(), 0);
    for name in names.split_inclusive(|b| *b == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(|_| Error::internal("a list of attributes without end"))?;
        let n = usize::try_from(get(name, &mut buffer)).map_err(|_| Error::last_os(format!("getxattr({name:?})")))?;
        bytes += name.to_bytes().len() + n;
        if bytes > MOST {
            return Err(Error::new(Kind::Unsupported, format!("a file with more than {MOST} bytes of attributes")));
        }
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
