//! Removes a tree however deep, without following links and without entering other file systems.
//!
//! Directories are moved up beside the root of the removal before they are emptied, so that neither memory nor
//! descriptors grow with the depth. Flags of chattr(1) are taken off where they are in the way.

use super::entry::is_mounted_on;
use super::sys::inode_flags;
use crate::error::{Context, Error, Result};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Removes `path` and everything below it. Nothing to remove is no error.
///
/// # Errors
/// The first failing call after everything was tried; EBUSY for a directory with another file system mounted on it.
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::invalid(format!("path {path:?} cannot be removed")));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let directory = match open(parent, DIRECTORY.difference(OFlag::O_NOFOLLOW), Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(Error::os(format!("open({parent:?})"), e as i32)),
    };
    remove_at(directory.as_fd(), name.as_bytes()).context(|| format!("remove {path:?}"))
}

/// As [`remove_tree`] for an entry of an open directory.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    remove(parent, name, false)
}

/// As [`remove_at`] where mounts are another namespace's. There the kernel does not refuse to remove what they are on: it
/// takes the mounts away (since Linux 3.18). And one of the same file system is not known by its device. What chattr(1)
/// protects there is protected.
///
/// # Errors
/// As [`remove_tree`]; EBUSY for everything that is mounted on, EPERM for what has flags of chattr(1).
pub fn remove_unmounted(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    if is_mounted_on(parent, name)? {
        return Err(busy(name));
    }
    remove(parent, name, true)
}

fn busy(name: &[u8]) -> Error {
    Error::os(format!("{:?} is mounted on", lossy(name)), libc::EBUSY)
}

fn remove(parent: BorrowedFd<'_>, name: &[u8], foreign: bool) -> Result<()> {
    let stat = match lstat(parent, name) {
        Ok(stat) => stat,
        Err(e) if e.errno() == Some(libc::ENOENT) => return Ok(()),
        Err(e) => return Err(e),
    };
    if !is_directory(&stat) {
        return remove_entry(parent, name, UnlinkatFlags::NoRemoveDir, foreign);
    }
    let top = open_directory(parent, name)?;
    let mut removal = Removal { device: stat.st_dev, foreign, next: 0, first: None };
    while removal.sweep(top.as_fd()) {}
    drop(top);
    // What failed in one sweep may have gone in the next.
    remove_entry(parent, name, UnlinkatFlags::RemoveDir, foreign).map_err(|e| removal.first.unwrap_or(e))
}

struct Removal {
    device: libc::dev_t,
    /// Whether the tree is not this program's own: mounts are another namespace's, flags are somebody's will.
    foreign: bool,
    /// Number of the next directory that is moved up.
    next: u64,
    first: Option<Error>,
}

impl Removal {
    /// Runs `each` on the entries of a directory; gives whether any of them made progress.
    fn list(
        &mut self,
        directory: BorrowedFd<'_>,
        mut each: impl FnMut(&mut Self, &[u8], Option<Type>) -> Result<()>,
    ) -> bool {
        let mut progress = false;
        let failed = |removal: &mut Self, e| {
            removal.first.get_or_insert(e);
        };
        let mut listing = match openat(directory, ".", DIRECTORY, Mode::empty()).and_then(Dir::from_fd) {
            Ok(listing) => listing,
            Err(e) => {
                failed(self, Error::os("openat(\".\", O_DIRECTORY)", e as i32));
                return false;
            }
        };
        for entry in listing.iter() {
            let result = match &entry {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => continue,
                Ok(entry) => each(self, entry.file_name().to_bytes(), entry.file_type()),
                Err(e) => Err(Error::os("getdents()", *e as i32)),
            };
            match result {
                Ok(()) => progress = true,
                Err(e) => failed(self, e),
            }
            if entry.is_err() {
                break;
            }
        }
        progress
    }

    /// Removes what is in the root of the removal now; subdirectories come up for the next sweep.
    fn sweep(&mut self, top: BorrowedFd<'_>) -> bool {
        self.list(top, |removal, name, kind| {
            if !removal.enterable(top, name, kind)? {
                return remove_entry(top, name, UnlinkatFlags::NoRemoveDir, removal.foreign);
            }
            let directory = open_directory(top, name)?;
            removal.list(directory.as_fd(), |removal, name, kind| {
                if removal.enterable(directory.as_fd(), name, kind)? {
                    removal.move_up(directory.as_fd(), name, top)
                } else {
                    remove_entry(directory.as_fd(), name, UnlinkatFlags::NoRemoveDir, removal.foreign)
                }
            });
            remove_entry(top, name, UnlinkatFlags::RemoveDir, removal.foreign)
        })
    }

    /// Whether an entry is a directory; one of another file system is an error. Asked of every entry before it is removed.
    fn enterable(&self, parent: BorrowedFd<'_>, name: &[u8], kind: Option<Type>) -> Result<bool> {
        if self.foreign && is_mounted_on(parent, name)? {
            return Err(busy(name));
        }
        if kind.is_some_and(|kind| kind != Type::Directory) {
            return Ok(false);
        }
        let stat = lstat(parent, name)?;
        if is_directory(&stat) && stat.st_dev != self.device {
            return Err(Error::os(format!("directory {:?} has a file system mounted", lossy(name)), libc::EBUSY));
        }
        Ok(is_directory(&stat))
    }

    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &[u8], top: BorrowedFd<'_>) -> Result<()> {
        let moved = loop {
            let moved = format!("\u{1}{}", self.next).into_bytes();
            self.next += 1;
            // Whoever filled the tree may have chosen the same name.
            if lstat(top, &moved).is_err() {
                break moved;
            }
        };
        let rename = || renameat(directory, name, top, moved.as_slice());
        unfettered(self.foreign, rename, || {
            [make_mutable(directory, b"."), make_mutable(directory, name), make_mutable(top, b".")]
        })
        .map_err(|e| Error::os(format!("renameat({:?})", lossy(name)), e as i32))
    }
}

/// Runs a call, and once more when flags of chattr(1) that stood in the way are gone: not in a `foreign` tree.
fn unfettered<const N: usize>(
    foreign: bool,
    call: impl Fn() -> nix::Result<()>,
    free: impl Fn() -> [bool; N],
) -> nix::Result<()> {
    match call() {
        Err(Errno::EPERM | Errno::EACCES) if !foreign && free().contains(&true) => call(),
        result => result,
    }
}

fn remove_entry(parent: BorrowedFd<'_>, name: &[u8], flag: UnlinkatFlags, foreign: bool) -> Result<()> {
    let unlink = || match unlinkat(parent, name, flag) {
        Err(Errno::ENOENT) => Ok(()),
        result => result,
    };
    unfettered(foreign, unlink, || [make_mutable(parent, b"."), make_mutable(parent, name)])
        .map_err(|e| Error::os(format!("unlinkat({:?})", lossy(name)), e as i32))
}

/// Only files and directories have such flags; a device must not even be opened.
fn make_mutable(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    let plain = lstat(parent, name)
        .is_ok_and(|s| is_directory(&s) || s.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits());
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    plain
        && openat(parent, name, flags, Mode::empty())
            .is_ok_and(|fd| inode_flags::make_mutable(fd.as_fd()).unwrap_or(false))
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    openat(parent, name, DIRECTORY, Mode::empty())
        .map_err(|e| Error::os(format!("openat({:?})", lossy(name)), e as i32))
}

fn lstat(parent: BorrowedFd<'_>, name: &[u8]) -> Result<FileStat> {
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|e| Error::os(format!("fstatat({:?})", lossy(name)), e as i32))
}

fn is_directory(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn base(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tree-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A chain of directories deeper than PATH_MAX allows in one path.
    fn deep(base: &Path, depth: usize) {
        let mut fd = open(base, DIRECTORY, Mode::empty()).unwrap();
        for n in 0..depth {
            nix::sys::stat::mkdirat(&fd, "directory", Mode::S_IRWXU).unwrap();
            openat(&fd, "file", OFlag::O_CREAT | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
            if n % 500 == 0 {
                nix::sys::stat::mkdirat(&fd, "\u{1}1", Mode::S_IRWXU).unwrap();
            }
            fd = openat(&fd, "directory", DIRECTORY, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn deep_trees_and_links() {
        let base = base("deep");
        std::fs::create_dir(base.join("victim")).unwrap();
        std::fs::write(base.join("victim/kept"), "").unwrap();
        std::fs::create_dir(base.join("tree")).unwrap();
        std::os::unix::fs::symlink("../victim", base.join("tree/link")).unwrap();
        std::fs::set_permissions(base.join("tree"), PermissionsExt::from_mode(0o000)).unwrap();
        deep(&base.join("tree"), 2_500);
        remove_tree(&base.join("tree")).unwrap();
        assert!(!base.join("tree").exists() && base.join("victim/kept").exists());
        remove_tree(&base.join("tree")).unwrap();
        remove_tree(&base.join("nosuch/tree")).unwrap();
        remove_tree(&base).unwrap();
    }

    #[test]
    fn immutable_files_and_directories_go() {
        let base = base("immutable");
        std::fs::create_dir_all(base.join("t/d/e")).unwrap();
        std::fs::write(base.join("t/d/f"), "").unwrap();
        for path in ["t/d/f", "t/d/e", "t/d", "t"] {
            let fd = std::fs::File::open(base.join(path)).unwrap();
            if inode_flags::make_immutable(fd.as_fd()).is_err() {
                eprintln!("skipped: no inode flags here");
                return remove_tree(&base).unwrap();
            }
        }
        // In a tree that is somebody's.
        let parent = std::fs::File::open(&base).unwrap();
        assert_eq!(remove_unmounted(parent.as_fd(), b"t").unwrap_err().errno(), Some(libc::EPERM));
        assert!(base.join("t/d/f").exists() && base.join("t/d/e").exists());
        remove_tree(&base.join("t")).unwrap();
        assert!(!base.join("t").exists());
        remove_tree(&base).unwrap();
    }
}
