//! Paths inside a root directory that somebody else has filled: every link and every `..` stays inside.
//!
//! openat2(2) with RESOLVE_IN_ROOT does it in one call; where it is missing (before Linux 5.6, or behind a filter) the
//! walk is done here, one openat(2) per component, with the same meaning. A crate for this (pathrs) checks far more
//! around each call than this use needs: some fifty system calls to make one directory, where one or two do.
//!
//! All results are descriptors: what a name means may change between two looks, what a descriptor means does not.

use super::entry::reopen_regular;
use super::sys::probe::{self, Feature};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// A directory that acts as `/` for paths resolved in it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// Whether symbolic links on the way are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// All, inside the root.
    Follow,
    /// Those before the last component.
    NotLast,
    /// ELOOP for any.
    Refuse,
}

/// As the kernel's own limit (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Deepest directory the walk goes to; each level holds a descriptor meanwhile.
const MAX_DEPTH: usize = 200;
/// openat2(2) gives EAGAIN when something was renamed while it resolved a `..`; an attacker could do that for ever.
const MAX_RETRIES: usize = 128;

impl Root {
    /// The directory `path`.
    ///
    /// # Errors
    /// The failing call.
    pub fn open(path: &Path) -> nix::Result<Root> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Root { fd: openat(AT_FDCWD, path, flags, Mode::empty())? })
    }

    /// The object at `path`, for use as a handle (O_PATH).
    ///
    /// # Errors
    /// The failing call: ENOENT, ENOTDIR, ELOOP.
    pub fn resolve(&self, path: &Path, links: Links) -> nix::Result<OwnedFd> {
        self.open_at(path, OFlag::O_PATH, links)
    }

    /// Opens the file at `path`. Opening a fifo or a device may block or act: see [`Root::open_regular`].
    ///
    /// # Errors
    /// The failing call.
    pub fn open_at(&self, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let flags = flags | OFlag::O_CLOEXEC;
        if !probe::is_missing(Feature::Openat2) {
            match self.open_by_kernel(path, flags, links) {
                Err(Errno::ENOSYS) => probe::set_missing(Feature::Openat2),
                result => return result,
            }
        }
        self.open_by_walk(path, flags, links)
    }

    /// Opens the regular file at `path` for reading; anything else is EINVAL and is never really opened.
    ///
    /// # Errors
    /// The failing call.
    pub fn open_regular(&self, path: &Path) -> nix::Result<std::fs::File> {
        let handle = self.resolve(path, Links::Follow)?;
        reopen_regular(handle.as_fd(), OFlag::O_RDONLY)?.map(Into::into).ok_or(Errno::EINVAL)
    }

    /// The directory at `path`, made with all its parents where missing. A link that points to nothing has its target
    /// made, inside the root.
    ///
    /// # Errors
    /// The failing call; ENOTDIR when something else is there.
    pub fn make_directory(&self, path: &Path, mode: u32) -> nix::Result<OwnedFd> {
        self.make(path, mode, MAX_LINKS, true)
    }

    /// As [`Root::make_directory`] for a path that was found missing.
    ///
    /// # Errors
    /// The failing call.
    pub fn make_missing_directory(&self, path: &Path, mode: u32) -> nix::Result<OwnedFd> {
        self.make_missing(path, mode, MAX_LINKS, true)
    }

    /// The object at `path` whatever it is; a missing one is made as an empty file, with all parent directories.
    ///
    /// # Errors
    /// The failing call.
    pub fn make_file(&self, path: &Path, mode: u32) -> nix::Result<OwnedFd> {
        self.make(path, mode, MAX_LINKS, false)
    }

    /// The directory that holds `path`, made where missing, and the last component. EINVAL for `/` and for a last
    /// component of `..`.
    ///
    /// # Errors
    /// The failing call.
    pub fn make_parent<'p>(&self, path: &'p Path) -> nix::Result<(OwnedFd, &'p OsStr)> {
        let (parent, name) = split(path).ok_or(Errno::EINVAL)?;
        Ok((self.make_directory(parent, 0o755)?, name))
    }

    fn make(&self, path: &Path, mode: u32, links: usize, directory: bool) -> nix::Result<OwnedFd> {
        let flags = if directory { OFlag::O_PATH | OFlag::O_DIRECTORY } else { OFlag::O_PATH };
        match self.open_at(path, flags, Links::Follow) {
            Err(Errno::ENOENT) => self.make_missing(path, mode, links, directory),
            result => result,
        }
    }

    fn make_missing(&self, path: &Path, mode: u32, links: usize, directory: bool) -> nix::Result<OwnedFd> {
        let flags = if directory { OFlag::O_PATH | OFlag::O_DIRECTORY } else { OFlag::O_PATH };
        let Some((parent, name)) = split(path) else {
            // `missing/..`: once the missing part is there, the rest is.
            self.make(path.parent().ok_or(Errno::ENOENT)?, 0o755, links, true)?;
            return self.open_at(path, flags, Links::Follow);
        };
        let holder = self.make(parent, 0o755, links, true)?;
        let made = match directory {
            true => mkdirat(&holder, name, Mode::from_bits_truncate(mode as libc::mode_t)),
            false => mknodat(&holder, name, SFlag::S_IFREG, Mode::from_bits_truncate(mode as libc::mode_t), 0),
        };
        match made {
            Ok(()) => {
                // Just made in a directory that is held: no way out leads through it, but it may be swapped by now.
                let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                openat(&holder, name, flags, Mode::empty())
            }
            Err(Errno::EEXIST) => {
                let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                match readlinkat(&holder, name) {
                    Ok(target) => self.make(&parent.join(target), mode, links, directory),
                    // Somebody else made it since the first look.
                    Err(Errno::EINVAL) => self.open_at(path, flags, Links::Follow),
                    Err(e) => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }

    fn open_by_kernel(&self, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let mut resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let mut flags = flags;
        match links {
            Links::Follow => {}
            Links::NotLast => flags |= OFlag::O_NOFOLLOW,
            Links::Refuse => resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS,
        }
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new().flags(flags).resolve(resolve);
        for _ in 0..MAX_RETRIES {
            match openat2(&self.fd, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Holds every directory on the way in a stack, so that `..` is a step back in the stack and the kernel is never
    /// asked for it: nothing that is renamed meanwhile can make it lead outside.
    fn open_by_walk(&self, path: &Path, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let mut ahead: VecDeque<OsString> = components(path.as_os_str());
        let must_be_directory = path.as_os_str().as_bytes().ends_with(b"/") || flags.contains(OFlag::O_DIRECTORY);
        let mut stack: Vec<OwnedFd> = Vec::new();
        let mut followed = 0;
        let handle = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                stack.pop();
                continue;
            }
            let here = stack.last().map_or(self.fd.as_fd(), AsFd::as_fd);
            let next = openat(here, name.as_os_str(), handle, Mode::empty())?;
            let kind = SFlag::from_bits_truncate(nix::sys::stat::fstat(&next)?.st_mode) & SFlag::S_IFMT;
            let last = ahead.is_empty();
            if kind == SFlag::S_IFLNK && !(last && links == Links::NotLast && !must_be_directory) {
                followed += 1;
                if links == Links::Refuse || followed > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = readlinkat(&next, "")?;
                if target.as_bytes().starts_with(b"/") {
                    stack.clear();
                }
                for component in components(&target).into_iter().rev() {
                    ahead.push_front(component);
                }
                continue;
            }
            if !last && kind != SFlag::S_IFDIR {
                return Err(Errno::ENOTDIR);
            }
            if stack.len() == MAX_DEPTH {
                return Err(Errno::ENAMETOOLONG);
            }
            if last {
                if must_be_directory && kind != SFlag::S_IFDIR {
                    return Err(Errno::ENOTDIR);
                }
                if flags.contains(OFlag::O_PATH) {
                    return Ok(next);
                }
                // O_NOFOLLOW: a link that took the place meanwhile is refused.
                return openat(here, name.as_os_str(), flags | OFlag::O_NOFOLLOW, Mode::empty());
            }
            stack.push(next);
        }
        let here = stack.last().map_or(self.fd.as_fd(), AsFd::as_fd);
        openat(here, ".", flags, Mode::empty())
    }
}

/// A directory that is open already.
impl From<OwnedFd> for Root {
    fn from(fd: OwnedFd) -> Root {
        Root { fd }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".");
    parts.map(|c| OsString::from_vec(c.to_vec())).collect()
}

/// Parent and last component; `None` for `/` and when the last component is `..`.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let name = path.file_name()?;
    Some((path.parent().unwrap_or(Path::new("")), name))
}

/// A path without `.`, `..` and doubled slashes, by its letters alone: what two destinations are compared by.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A root full of ways out, beside a directory that must never be reached.
    fn tree(name: &str) -> (Tree, Root) {
        let top = std::env::temp_dir().join(format!("path-{name}-{}", std::process::id()));
        let root = top.join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(top.join("outside")).unwrap();
        fs::write(top.join("outside/secret"), "no").unwrap();
        fs::write(root.join("etc/passwd"), "yes").unwrap();
        symlink("/", root.join("slash")).unwrap();
        symlink("../../../../..", root.join("up")).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("../outside", root.join("sibling")).unwrap();
        symlink(&top, root.join("host")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
        symlink("/made/by/link", root.join("dangling")).unwrap();
        let handle = Root::open(&root).unwrap();
        (Tree(top), handle)
    }

    fn both(check: impl Fn()) {
        check();
        let _guard = probe::deny(Feature::Openat2);
        check();
    }

    fn read(root: &Root, path: &str) -> nix::Result<String> {
        root.open_regular(Path::new(path)).map(|f| std::io::read_to_string(f).unwrap())
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (_tree, root) = tree("inside");
        both(|| {
            for path in [
                "etc/passwd",
                "/etc/passwd",
                "../../etc/passwd",
                "slash/etc/passwd",
                "up/etc/passwd",
                "absolute",
                "etc/../slash/../../up/absolute",
                "/slash/slash/./etc//passwd",
            ] {
                assert_eq!(read(&root, path).as_deref(), Ok("yes"), "{path}");
            }
            for path in ["sibling/secret", "host/outside/secret", "up/outside/secret", "../outside/secret"] {
                assert_eq!(read(&root, path), Err(Errno::ENOENT), "{path}");
            }
            assert_eq!(read(&root, "loop"), Err(Errno::ELOOP));
            // A socket cannot be opened at all, so this one was not.
            assert_eq!(read(&root, "socket"), Err(Errno::EINVAL));
            assert_eq!(read(&root, "etc"), Err(Errno::EINVAL));
            assert_eq!(read(&root, "etc/passwd/x"), Err(Errno::ENOTDIR));
            assert_eq!(root.resolve(Path::new("slash/etc"), Links::Refuse).unwrap_err(), Errno::ELOOP);
            root.resolve(Path::new("etc/passwd"), Links::Refuse).unwrap();
            root.resolve(Path::new("loop"), Links::NotLast).unwrap();
            for path in ["/", "", "..", "slash", "up/.."] {
                root.resolve(Path::new(path), Links::Follow).unwrap();
            }
        });
    }

    #[test]
    fn what_is_made_is_made_inside() {
        let (tree, root) = tree("make");
        both(|| {
            for path in ["a/b/c", "/sibling/x", "up/d", "dangling", "host/e", "f/../g", "etc"] {
                root.make_directory(Path::new(path), 0o755).unwrap_or_else(|e| panic!("{path}: {e}"));
            }
            for inside in ["a/b/c", "outside/x", "d", "made/by/link", "g"] {
                assert!(tree.0.join("root").join(inside).is_dir(), "{inside}");
            }
            assert_eq!(fs::read_dir(tree.0.join("outside")).unwrap().count(), 1);
            assert_eq!(fs::read_dir(&tree.0).unwrap().count(), 2);
            root.make_file(Path::new("up/h/file"), 0o644).unwrap();
            assert!(tree.0.join("root/h/file").is_file());
            assert_eq!(root.make_directory(Path::new("etc/passwd"), 0o755).unwrap_err(), Errno::ENOTDIR);
            assert_eq!(root.make_directory(Path::new("loop/x"), 0o755).unwrap_err(), Errno::ELOOP);
            let (_, name) = root.make_parent(Path::new("/slash/i/node")).unwrap();
            assert_eq!(name, "node");
            for made in ["a", "outside", "d", "made", "f", "g", "h", "i"] {
                let _ = fs::remove_dir_all(tree.0.join("root").join(made));
            }
        });
    }
}
