//! Walking and removing a cgroup with all below. A container's processes make cgroups of their own, as deep as they
//! like: longer than PATH_MAX, and more than there are descriptors. So each step goes by name from the directory
//! before, and back by `..`, which cannot be redirected (cgroups do not move).

use crate::error::{Error, Result};
use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC).union(OFlag::O_NOFOLLOW);

/// Calls `visit` for the cgroup at `root` and every one below, parents first. Those that vanish meanwhile are passed
/// over.
///
/// # Errors
/// ENOENT when `root` does not exist, and what `visit` returns.
pub fn walk(root: &Path, mut visit: impl FnMut(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
    let mut current = open_root(root)?;
    visit(current.as_fd())?;
    let mut pending = vec![children(&current, usize::MAX)?];
    while let Some(names) = pending.last_mut() {
        if let Some(name) = names.pop() {
            if let Ok(child) = step(&current, &name) {
                current = child;
                visit(current.as_fd())?;
                pending.push(children(&current, usize::MAX)?);
            }
            continue;
        }
        pending.pop();
        if !pending.is_empty() {
            current = step(&current, c"..").map_err(|e| Error::os(format!("openat(.. below {root:?})"), e as i32))?;
        }
    }
    Ok(())
}

/// Removes the cgroup at `root` with all below. One that is gone is no error.
///
/// # Errors
/// EBUSY when a process is in one of them; otherwise the failing call.
pub fn remove(root: &Path) -> Result<()> {
    let removed = |e: std::io::Error| match e.raw_os_error() {
        Some(libc::ENOENT) => Ok(()),
        _ => Err(Error::io(format!("rmdir({root:?})"), e)),
    };
    match std::fs::remove_dir(root) {
        Ok(()) => return Ok(()),
        Err(e) if !matches!(e.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => return removed(e),
        Err(_) => {}
    }
    let mut current = match open_root(root) {
        Err(e) if e.errno() == Some(libc::ENOENT) => return Ok(()),
        other => other?,
    };
    let mut names: Vec<CString> = Vec::new();
    loop {
        if let Some(name) = children(&current, 1)?.pop() {
            match step(&current, &name) {
                Ok(child) => {
                    current = child;
                    names.push(name);
                }
                Err(nix::Error::ENOENT) => {}
                Err(e) => return Err(Error::os(format!("openat({name:?} below {root:?})"), e as i32)),
            }
            continue;
        }
        let Some(name) = names.pop() else { break };
        current = step(&current, c"..").map_err(|e| Error::os(format!("openat(.. below {root:?})"), e as i32))?;
        match unlinkat(&current, name.as_c_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(e) => return Err(Error::os(format!("rmdir({name:?} below {root:?})"), e as i32)),
        }
    }
    std::fs::remove_dir(root).or_else(removed)
}

/// The processes listed in `file` (`cgroup.procs`) of the cgroup at `directory`. Those outside of the reader's pid
/// namespace are listed as 0 and left out.
///
/// # Errors
/// The failing call.
pub fn read_processes(directory: BorrowedFd<'_>, out: &mut Vec<i32>) -> Result<()> {
    let fd = match openat(directory, "cgroup.procs", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(nix::Error::ENOENT | nix::Error::ENODEV) => return Ok(()), // removed meanwhile
        Err(e) => return Err(Error::os("openat(\"cgroup.procs\")", e as i32)),
    };
    let mut text = String::new();
    match File::from(fd).read_to_string(&mut text) {
        Ok(_) => out.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0)),
        // Removed meanwhile; or a threaded cgroup, whose processes are listed in its domain.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) => {}
        Err(e) => return Err(Error::io("read(\"cgroup.procs\")", e)),
    }
    Ok(())
}

fn open_root(root: &Path) -> Result<OwnedFd> {
    nix::fcntl::open(root, DIRECTORY, Mode::empty())
        .map_err(|e| Error::os(format!("open({root:?}, O_DIRECTORY)"), e as i32))
}

fn step(from: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    openat(from, name, DIRECTORY, Mode::empty())
}

/// Names of at most `limit` cgroups directly below.
fn children(directory: &OwnedFd, limit: usize) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    // A descriptor of its own: the position is shared by duplicates.
    let mut dir = match Dir::openat(directory, c".", DIRECTORY, Mode::empty()) {
        Ok(dir) => dir,
        Err(nix::Error::ENOENT) => return Ok(names),
        Err(e) => return Err(Error::os("openat(\".\")", e as i32)),
    };
    for entry in dir.iter() {
        let Ok(entry) = entry else { break };
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && name != c"." && name != c".." {
            names.push(name.to_owned());
            if names.len() == limit {
                break;
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain directories stand in: what the walk does is the same.
    #[test]
    fn deep_and_wide_trees() {
        let root = std::env::temp_dir().join(format!("tree-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("a/c")).unwrap();
        // Deeper than PATH_MAX.
        let mut deep = open_root(&root).unwrap();
        let name = CString::new("d".repeat(200)).unwrap();
        for _ in 0..40 {
            nix::sys::stat::mkdirat(&deep, name.as_c_str(), Mode::S_IRWXU).unwrap();
            deep = step(&deep, &name).unwrap();
        }
        let mut seen = 0;
        walk(&root, |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 1 + 3 + 40);
        remove(&root).unwrap();
        assert!(!root.exists());
        remove(&root).unwrap();
        assert_eq!(walk(&root, |_| Ok(())).unwrap_err().errno(), Some(libc::ENOENT));
    }

    #[test]
    fn what_cannot_be_removed_is_an_error() {
        let root = std::env::temp_dir().join(format!("tree-file-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/file"), "").unwrap();
        assert_eq!(remove(&root).unwrap_err().errno(), Some(libc::ENOTEMPTY));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
