//! The way to a directory below a layer's root, as a process sees it whose root that is.
//!
//! Nothing that a layer says leads outside: components are opened one by one and never through a link; a link's target
//! is walked from the layer's own root, and `..` stops there. Nobody else changes the tree meanwhile, so that no more
//! than this is needed, on any kernel.
//!
//! Directories get their time of modification from the archive, and each entry made in one would change it. So the
//! time is kept while a directory is open here and set again when it is left: no list of directories is needed.

use super::implied::Implied;
use crate::error::{Context, Error, Result};
pub(super) use crate::utils::entry::{DIRECTORY, lstat, type_of};
use nix::errno::Errno;
use nix::fcntl::{openat, readlinkat};
use nix::sys::stat::{Mode, fchmod, fstat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// What the name of a whiteout begins with.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// Links in one path, as many as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;
/// Directories kept open on the way to the current one. Deeper ones are walked to each time.
const LEVELS: usize = 32;
/// Components that a chain of links may unfold to.
const COMPONENTS: usize = 16_384;

/// What to do about a directory on the way that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make it, 0755 and root's, which is root of the containers.
    Create,
    /// There is no way then.
    Stop,
}

/// An open directory.
struct Level {
    name: Vec<u8>,
    fd: OwnedFd,
    modified: TimeSpec,
    changed: bool,
    group: u32,
}

impl Level {
    fn new(name: &[u8], fd: OwnedFd) -> Result<Level> {
        let stat = fstat(&fd).context(|| "fstat(directory of a layer)".into())?;
        Ok(Level {
            name: name.to_vec(),
            fd,
            modified: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec as _),
            changed: false,
            group: stat.st_gid,
        })
    }

    fn leave(self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        futimens(&self.fd, &TimeSpec::UTIME_OMIT, &self.modified).context(|| "futimens(directory of a layer)".into())
    }
}

/// A layer's tree and where in it we are.
pub(super) struct Tree {
    /// From the root to the current directory.
    levels: Vec<Level>,
    /// The current directory when the way to it went through a link or deeper than the levels.
    aside: Option<Aside>,
    way: Way,
    /// Of directories that no member describes.
    owner: (u32, u32),
    /// Directories that were made on the way.
    made: u64,
    /// Those that no member describes.
    implied: Implied,
}

struct Aside {
    level: Level,
    /// Where it is, without links.
    path: Vec<Vec<u8>>,
}

/// What the last way to a directory was like.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// Components of the last directory that had been there before. Those below it were made.
    pub there: Option<usize>,
    /// It went through a link, or made directories that are not as usual, or so deep that this does not tell them.
    pub strayed: bool,
}

impl Tree {
    pub(super) fn new(root: OwnedFd, owner: (u32, u32)) -> Result<Tree> {
        let (levels, implied) = (vec![Level::new(b"", root)?], Implied::new());
        Ok(Tree { levels, aside: None, way: Way::default(), owner, made: 0, implied })
    }

    /// Goes to the directory with these components; false when a missing one stopped it.
    pub(super) fn enter(&mut self, components: &[&[u8]], missing: Missing) -> Result<bool> {
        self.way = Way::default();
        self.leave_aside()?;
        let known = self.levels[1..].iter().zip(components).take_while(|(l, c)| l.name == **c).count();
        self.leave_to(known + 1)?;
        for (n, name) in components.iter().enumerate().skip(known) {
            if self.levels.len() >= LEVELS {
                return self.walk(components, missing);
            }
            let parent = self.current();
            let fd = match openat(parent, *name, DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) if missing == Missing::Stop => return Ok(false),
                Err(Errno::ENOENT) => {
                    let fd = make_directory(parent, name, self.owner)?;
                    self.changed();
                    self.way.there.get_or_insert(n);
                    self.made += 1;
                    self.implied.add(&components[..=n]);
                    fd
                }
                // Whatever else it may be, the walk finds out.
                Err(Errno::ENOTDIR | Errno::ELOOP) => return self.walk(components, missing),
                Err(e) => return Err(Error::os(format!("openat({:?})", path_text(&components[..=n])), e as i32)),
            };
            let level = Level::new(name, fd)?;
            // Made in a directory that hands its group down.
            self.way.strayed |= self.way.there.is_some() && level.group != self.owner.1;
            self.levels.push(level);
        }
        Ok(true)
    }

    /// The way to the current directory.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// How many directories [`Missing::Create`] made since this was asked.
    pub(super) fn take_made(&mut self) -> u64 {
        std::mem::take(&mut self.made)
    }

    /// Says that a member describes the directory with these components, which lies in the current one; or the root.
    pub(super) fn described(&mut self, components: &[&[u8]]) {
        self.implied.described(|| match (&self.aside, components.last()) {
            (Some(aside), Some(name)) => [&aside.path[..], &[name.to_vec()]].concat().join(&b'/'),
            _ => components.join(&b'/'),
        });
    }

    /// The current directory.
    pub(super) fn current(&self) -> BorrowedFd<'_> {
        self.here().fd.as_fd()
    }

    /// Says that an entry of the current directory was made or removed.
    pub(super) fn changed(&mut self) {
        match &mut self.aside {
            Some(aside) => aside.level.changed = true,
            None => self.levels.last_mut().expect("the root is never left").changed = true,
        }
    }

    /// The root's own time of modification.
    pub(super) fn set_root_time(&mut self, modified: TimeSpec) {
        let root = &mut self.levels[0];
        (root.modified, root.changed) = (modified, true);
    }

    /// The root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.levels[0].fd.as_fd()
    }

    /// Leaves every directory; gives the paths of those that no member describes.
    pub(super) fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        self.leave_aside()?;
        self.leave_to(0)?;
        Ok(self.implied.into_paths())
    }

    fn here(&self) -> &Level {
        match &self.aside {
            Some(aside) => &aside.level,
            None => self.levels.last().expect("the root is never left"),
        }
    }

    fn leave_aside(&mut self) -> Result<()> {
        self.aside.take().map_or(Ok(()), |aside| aside.level.leave())
    }

    fn leave_to(&mut self, length: usize) -> Result<()> {
        while self.levels.len() > length {
            self.levels.pop().map_or(Ok(()), Level::leave)?;
        }
        Ok(())
    }

    /// From the root, following links within it (path_resolution(7) with the layer as root).
    fn walk(&mut self, components: &[&[u8]], missing: Missing) -> Result<bool> {
        // A link may lead to a directory that is open as a level: its time must be right before it is read again.
        self.leave_to(1)?;
        let root = fstat(self.root()).context(|| "fstat(root of a layer)".into())?;
        let top = self.levels[0].fd.as_fd();
        let reopen = || openat(top, ".", DIRECTORY, Mode::empty()).context(|| "openat(root of a layer)".into());
        let mut here = reopen()?;
        let mut pending: Vec<Vec<u8>> = components.iter().rev().map(|c| c.to_vec()).collect();
        let (mut links, mut steps) = (0, 0);
        // Where we are.
        let mut path: Vec<Vec<u8>> = Vec::new();
        while let Some(name) = pending.pop() {
            steps += 1;
            if steps > COMPONENTS {
                return Err(Error::os(format!("path {:?}", path_text(components)), libc::ELOOP));
            }
            if name == b".." {
                let stat = fstat(&here).context(|| "fstat(directory of a layer)".into())?;
                if (stat.st_dev, stat.st_ino) != (root.st_dev, root.st_ino) {
                    here = openat(&here, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
                }
                path.pop();
                continue;
            }
            match openat(&here, name.as_slice(), DIRECTORY, Mode::empty()) {
                Ok(fd) => {
                    here = fd;
                    path.push(name);
                }
                Err(Errno::ENOENT) if missing == Missing::Stop => return Ok(false),
                Err(Errno::ENOENT) => {
                    let mut parent = Level::new(b"", here)?;
                    here = make_directory(parent.fd.as_fd(), &name, self.owner)?;
                    self.way.strayed = true;
                    parent.changed = true;
                    path.push(name);
                    self.made += 1;
                    self.implied.add(&path);
                    // The root's time is kept by its own level.
                    parent.leave()?;
                }
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let target = readlinkat(&here, name.as_slice()).map_err(|e| match e {
                        Errno::EINVAL => Error::os(format!("a parent of {:?}", path_text(components)), libc::ENOTDIR),
                        e => Error::os(format!("readlinkat({:?})", String::from_utf8_lossy(&name)), e as i32),
                    })?;
                    self.way.strayed = true;
                    links += 1;
                    if links > LINKS {
                        return Err(Error::os(format!("path {:?}", path_text(components)), libc::ELOOP));
                    }
                    let target = target.into_vec();
                    if target.starts_with(b"/") {
                        here = reopen()?;
                        path.clear();
                    }
                    let parts = target.split(|b| *b == b'/').filter(|c| !matches!(*c, b"" | b"."));
                    pending.extend(parts.rev().map(<[u8]>::to_vec));
                }
                Err(e) => return Err(Error::os(format!("openat({:?})", path_text(components)), e as i32)),
            }
        }
        self.aside = Some(Aside { level: Level::new(b"", here)?, path });
        Ok(true)
    }
}

/// Makes and opens a directory that no member of the archive describes so far.
fn make_directory(parent: BorrowedFd<'_>, name: &[u8], (uid, gid): (u32, u32)) -> Result<OwnedFd> {
    let text = || String::from_utf8_lossy(name).into_owned();
    // OCI image specification, layer.md, "Whiteouts": no file system of an image has such names.
    if name.starts_with(WHITEOUT) {
        return Err(Error::invalid(format!("a directory named {:?}: the prefix is for whiteouts", text())));
    }
    mkdirat(parent, name, Mode::S_IRWXU).context(|| format!("mkdirat({:?})", text()))?;
    let fd = openat(parent, name, DIRECTORY, Mode::empty()).context(|| format!("openat({:?})", text()))?;
    if (uid, gid) != (0, 0) {
        fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).context(|| format!("fchown({:?})", text()))?;
    }
    // The mode of mkdirat is subject to the process's mask.
    fchmod(&fd, Mode::from_bits_truncate(0o755)).context(|| format!("fchmod({:?})", text()))?;
    Ok(fd)
}

/// The components of a path as the words say it: `..` goes up and stops at the root.
pub(super) fn components(path: &[u8]) -> Vec<&[u8]> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

/// For messages.
pub(super) fn path_text(components: &[&[u8]]) -> String {
    String::from_utf8_lossy(&components.join(&b'/')).into_owned()
}
