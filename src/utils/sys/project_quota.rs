//! Project quotas: a number that files inherit from their directory, and a limit for all files that have it (quotactl(2),
//! ioctl_xfs_fsgetxattr(2)). The same calls serve ext4, XFS and f2fs.

use super::probe::{self, Feature};
use crate::error::{Context, Error, Result};
use nix::sys::stat::{Mode, SFlag, mknod, stat};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    reserved: [u8; 8],
}

/// `struct if_nextdqblk` of linux/quota.h; all but its last field is `struct if_dqblk`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Quota {
    /// Blocks of 1024 bytes.
    hard_limit: u64,
    soft_limit: u64,
    /// Bytes.
    space: u64,
    inode_hard_limit: u64,
    inode_soft_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
    id: u32,
}

/// Room for `struct fs_quota_stat` of linux/dqblk_xfs.h, whose second field is at byte 2.
#[repr(C, align(8))]
struct State([u16; 64]);

const GET: libc::Ioctl = nix::request_code_read!(b'X', 31, size_of::<Attributes>());
const SET: libc::Ioctl = nix::request_code_write!(b'X', 32, size_of::<Attributes>());
/// New files and directories get the project of their directory.
const INHERIT: u32 = 0x200;
const PROJECTS: u32 = 2;
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
const GET_NEXT: u32 = 0x80_0009;
const GET_STATE: u32 = 0x5805;
const BLOCK_LIMITS: u32 = 1;
/// Limits of projects are enforced.
const ENFORCED: u16 = 1 << 5;
/// Since Linux 5.14, the same number everywhere.
const SYS_QUOTACTL_FD: libc::c_long = 443;

/// The project of a file or directory; 0 for none.
///
/// # Errors
/// The failing call; ENOTTY and EOPNOTSUPP where the file system has no projects.
pub fn project(fd: BorrowedFd<'_>) -> Result<u32> {
    attributes(fd).map(|a| a.project)
}

fn attributes(fd: BorrowedFd<'_>) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: FS_IOC_FSGETXATTR writes one such structure, which outlives the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), GET, &raw mut attributes) } {
        0 => Ok(attributes),
        _ => Err(Error::last_os("ioctl(FS_IOC_FSGETXATTR)")),
    }
}

/// Puts a directory, and what will be made in it, into a project.
///
/// # Errors
/// The failing call.
pub fn set_project(fd: BorrowedFd<'_>, project: u32) -> Result<()> {
    let mut wanted = attributes(fd)?;
    wanted.project = project;
    wanted.flags |= INHERIT;
    // SAFETY: FS_IOC_FSSETXATTR reads one such structure, which outlives the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), SET, &raw const wanted) } {
        0 => Ok(()),
        _ => Err(Error::last_os(format!("ioctl(FS_IOC_FSSETXATTR, project {project})"))),
    }
}

/// A file system whose quotas are read and set.
#[derive(Debug)]
pub struct FileSystem {
    /// Anything on it.
    directory: File,
    /// Where its device may have a node.
    device: PathBuf,
}

impl FileSystem {
    /// The one of a directory. `device` is where a node of its block device is, or may be made.
    ///
    /// # Errors
    /// The failing call.
    pub fn open(directory: &Path, device: &Path) -> Result<FileSystem> {
        let opened = File::open(directory).context(|| format!("open({directory:?})"))?;
        Ok(FileSystem { directory: opened, device: device.to_owned() })
    }

    /// Whether limits of projects are enforced.
    ///
    /// # Errors
    /// The failing call: ESRCH, ENOSYS and the like where there are no quotas.
    pub fn is_enforced(&self) -> Result<bool> {
        let mut state = State([0; 64]);
        self.call(GET_STATE, 0, (&raw mut state).cast())?;
        Ok(state.0[1] & ENFORCED != 0)
    }

    /// The lowest project from `project` on that has files or a limit.
    ///
    /// # Errors
    /// The failing call.
    pub fn next(&self, project: u32) -> Result<Option<u32>> {
        let mut quota = Quota::default();
        match self.call(GET_NEXT, project, (&raw mut quota).cast()) {
            Ok(()) => Ok(Some(quota.id)),
            Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Bytes that a project has and may have; 0 is unlimited.
    ///
    /// # Errors
    /// The failing call.
    pub fn usage(&self, project: u32) -> Result<(u64, u64)> {
        let mut quota = Quota::default();
        self.call(GET_QUOTA, project, (&raw mut quota).cast())?;
        Ok((quota.space, quota.hard_limit.saturating_mul(1024)))
    }

    /// Limits a project to that many bytes; 0 is unlimited.
    ///
    /// # Errors
    /// The failing call.
    pub fn set_limit(&self, project: u32, bytes: u64) -> Result<()> {
        let blocks = bytes.div_ceil(1024);
        let mut quota = Quota { hard_limit: blocks, soft_limit: blocks, valid: BLOCK_LIMITS, ..Quota::default() };
        self.call(SET_QUOTA, project, (&raw mut quota).cast())
    }

    /// `argument` points to what the command reads or writes.
    fn call(&self, command: u32, id: u32, argument: *mut libc::c_void) -> Result<()> {
        let name = || format!("quotactl({command:#x}, project {id})");
        let command = (command << 8 | PROJECTS) as libc::c_long;
        if !probe::is_missing(Feature::QuotactlFd) {
            let fd = self.directory.as_raw_fd();
            // SAFETY: all callers pass a structure of the command's type that outlives the call.
            match unsafe { libc::syscall(SYS_QUOTACTL_FD, fd, command, id, argument) } {
                0 => return Ok(()),
                _ => match Error::last_os(name()) {
                    e if e.errno() == Some(libc::ENOSYS) => probe::set_missing(Feature::QuotactlFd),
                    e => return Err(e),
                },
            }
        }
        let device = self.device()?;
        // SAFETY: as above; the path ends with NUL.
        match unsafe { libc::syscall(libc::SYS_quotactl, command, device.as_ptr(), id, argument) } {
            0 => Ok(()),
            _ => Err(Error::last_os(name())),
        }
    }

    /// A node of the file system's device.
    fn device(&self) -> Result<CString> {
        let number = nix::sys::stat::fstat(self.directory.as_fd()).context(|| "fstat()".into())?.st_dev;
        let path = &self.device;
        if stat(path).map_or(true, |stat| stat.st_rdev != number) {
            let _ = std::fs::remove_file(path); // of another disk, from which the directory was copied
            mknod(path, SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, number)
                .context(|| format!("mknod({path:?})"))?;
        }
        CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid("a path with a NUL byte"))
    }
}
