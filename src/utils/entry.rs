//! Entries of directories that are open: what a name means may change between two looks, what a descriptor means does
//! not.

use crate::error::{Context, Error, Result};
use crate::utils::{order, pseudo_file};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How to open a directory that is not a link.
pub const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What the names of directories that are read together may occupy, in bytes: some 300000 of usual length.
pub const NAMES: usize = 16 << 20;

/// What names occupy, in bytes.
pub fn occupied(names: &[Vec<u8>]) -> usize {
    names.iter().map(|name| name.len() + size_of::<Vec<u8>>()).sum()
}

/// Opens an entry that is a regular file; `None` for anything else, which is never really opened: some devices act when
/// they are.
///
/// # Errors
/// The failing call.
pub fn open_regular(parent: BorrowedFd<'_>, name: &[u8], flags: OFlag) -> nix::Result<Option<OwnedFd>> {
    let handle = openat(parent, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    reopen_regular(handle.as_fd(), flags)
}

/// The same for what an O_PATH descriptor is of.
///
/// # Errors
/// The failing call.
pub fn reopen_regular(handle: BorrowedFd<'_>, flags: OFlag) -> nix::Result<Option<OwnedFd>> {
    if type_of(&fstat(handle)?) != SFlag::S_IFREG {
        return Ok(None);
    }
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    nix::fcntl::open(path.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty()).map(Some)
}

/// lstat(2); `None` when there is nothing.
///
/// # Errors
/// The failing call.
pub fn lstat(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<FileStat>> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(Error::os(format!("fstatat({:?})", String::from_utf8_lossy(name)), e as i32)),
    }
}

/// The file type bits of a mode.
pub fn type_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Device and inode: what two looks at one thing have in common.
pub fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Whether a file system is mounted on an entry. In another mount namespace than its own the kernel would take the mount
/// away with the entry (rmdir and unlink since Linux 3.18).
///
/// # Errors
/// The failing call.
pub fn is_mounted_on(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => Ok(mount_of(fd.as_fd())? != mount_of(parent)?),
        Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(Error::os(format!("openat({:?}, O_PATH)", String::from_utf8_lossy(name)), e as i32)),
    }
}

/// The number of the mount that an open object was reached by (proc(5), `/proc/PID/fdinfo`).
///
/// # Errors
/// The failing call.
pub fn mount_of(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let info = pseudo_file::read(&path).context(|| format!("read({path:?})"))?;
    let number = info.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"));
    number.map(<[u8]>::to_vec).ok_or_else(|| Error::internal(format!("{path} tells no mount")))
}

/// The names in a directory, last first.
///
/// # Errors
/// The failing call; `Kind::Unsupported` beyond `most` bytes of names.
pub fn names(fd: BorrowedFd<'_>, most: usize) -> Result<Vec<Vec<u8>>> {
    let own = openat(fd, ".", DIRECTORY, Mode::empty()).context(|| "openat(\".\")".into())?;
    let mut directory = Dir::from_fd(own).context(|| "fdopendir()".into())?;
    let mut names = Vec::new();
    let mut bytes = 0;
    for entry in directory.iter() {
        let entry = entry.context(|| "readdir()".into())?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
            bytes += name.len() + size_of::<Vec<u8>>();
            if bytes > most {
                let text = format!("a directory with more than {} names", names.len() - 1);
                return Err(Error::new(crate::error::Kind::Unsupported, text));
            }
        }
    }
    order::sort_by(&mut names, |a, b| b.cmp(a));
    Ok(names)
}
