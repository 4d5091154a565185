//! mount(2), pivot_root(2) and the descriptor-based mount calls of Linux 5.2 and 5.12.

use super::probe::{self, Feature};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// One number each on every architecture.
const SYS_OPEN_TREE: libc::c_long = 428;
const SYS_MOVE_MOUNT: libc::c_long = 429;
const SYS_MOUNT_SETATTR: libc::c_long = 442;

/// MOUNT_ATTR_* of mount_setattr(2).
pub mod attribute {
    /// Read-only.
    pub const RDONLY: u64 = 1;
    /// No set-user-id.
    pub const NOSUID: u64 = 2;
    /// No devices.
    pub const NODEV: u64 = 4;
    /// No programs.
    pub const NOEXEC: u64 = 8;
    /// The field of access time modes; 0 is relatime.
    pub const ATIME: u64 = 0x70;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// All access times.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids of another user namespace.
    pub const IDMAP: u64 = 0x10_0000;
    /// No symbolic links followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// MS_NOSYMFOLLOW, Linux 5.10.
pub const MS_NOSYMFOLLOW: libc::c_ulong = 256;
/// MS_LAZYTIME.
pub const MS_LAZYTIME: libc::c_ulong = 1 << 25;

/// mount(2).
///
/// # Errors
/// The failing call.
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> nix::Result<()> {
    let pointer = |s: Option<&CStr>| s.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all strings are terminated and live through the call.
    Errno::result(unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(data).cast()) })
        .map(drop)
}

/// Stacks the root of this mount namespace on the current directory, which must be a mount point, and the current
/// directory becomes the root: pivot_root(".", "."), pivot_root(2) NOTES. The old root lies on top until
/// [`detach`] of ".".
///
/// # Errors
/// The failing call.
pub fn pivot_to_current_directory() -> nix::Result<()> {
    // SAFETY: both strings are terminated.
    Errno::result(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// umount2(2) with MNT_DETACH.
///
/// # Errors
/// The failing call.
pub fn detach(target: &CStr) -> nix::Result<()> {
    // SAFETY: the string is terminated.
    Errno::result(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// A detached copy of the mount at `path` relative to `directory` (open_tree(2), OPEN_TREE_CLONE); an empty path
/// means `directory` itself, which may be any file.
///
/// # Errors
/// ENOSYS before Linux 5.2.
pub fn open_tree(directory: BorrowedFd<'_>, path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let flags = 1 | libc::O_CLOEXEC | if recursive { libc::AT_RECURSIVE } else { 0 } | libc::AT_EMPTY_PATH;
    learn(Feature::MountApi, || {
        // SAFETY: the string is terminated and lives through the call.
        unsafe { libc::syscall(SYS_OPEN_TREE, directory.as_raw_fd(), path.as_ptr(), flags) }
    })
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a detached mount on the object behind `target`.
///
/// # Errors
/// ENOSYS before Linux 5.2.
pub fn move_mount(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> nix::Result<()> {
    const EMPTY_PATHS: libc::c_uint = 0x4 | 0x40; // MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
    let empty = c"".as_ptr();
    // SAFETY: the strings are terminated.
    let result =
        unsafe { libc::syscall(SYS_MOVE_MOUNT, tree.as_raw_fd(), empty, target.as_raw_fd(), empty, EMPTY_PATHS) };
    Errno::result(result).map(drop)
}

/// What mount_setattr(2) changes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Set these.
    pub set: u64,
    /// Clear these before.
    pub clear: u64,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE; 0 leaves it.
    pub propagation: u64,
    /// User namespace for id-mapped mounts.
    pub userns_fd: u64,
}

/// mount_setattr(2) on a mount by descriptor.
///
/// # Errors
/// ENOSYS before Linux 5.12.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: &Attributes, recursive: bool) -> nix::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    learn(Feature::MountSetattr, || {
        // SAFETY: the structure and its size belong together; the string is terminated.
        unsafe {
            libc::syscall(
                SYS_MOUNT_SETATTR,
                mount.as_raw_fd(),
                c"".as_ptr(),
                flags,
                attributes as *const Attributes,
                size_of::<Attributes>(),
            )
        }
    })
    .map(drop)
}

/// Makes the call unless it is known to be missing, and notes when it is.
fn learn(feature: Feature, call: impl FnOnce() -> libc::c_long) -> nix::Result<libc::c_long> {
    if probe::is_missing(feature) {
        return Err(Errno::ENOSYS);
    }
    let result = Errno::result(call());
    if result == Err(Errno::ENOSYS) {
        probe::set_missing(feature);
    }
    result
}
