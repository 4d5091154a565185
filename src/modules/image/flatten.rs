//! One tree out of an image's layers, as overlayfs would show it, copied: the root of a container where overlayfs
//! cannot be used.
//!
//! Directories are merged as they are met, so that nothing is copied which an upper layer hides. Few descriptors are
//! open, see `super::merged`. Names are kept for the directories on the way to the current one.

use super::budget::{Budget, ENTRY};
use super::driver::Lower;
use super::likeness::{imitate, imitate_at};
use super::merged::{Found, Merged, Source};
use super::tree::{DIRECTORY, type_of};
use crate::error::{Context, Result};
use crate::utils::file_copy::Copier;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Copies what `layers`, topmost first, show together into the empty directory `target`.
///
/// # Errors
/// The failing call with the path. The directory is to be thrown away then.
pub(super) fn flatten(layers: &[Lower], target: &Path) -> Result<()> {
    let root = openat(AT_FDCWD, target, DIRECTORY, Mode::empty()).context(|| format!("open({target:?})"))?;
    let here = root.try_clone().context(|| "dup()".into())?;
    let from = Merged::open(layers)?;
    let budget = Budget::new(root.as_fd(), None)?;
    let (path, links, copier) = (Vec::new(), HashMap::new(), Copier::default());
    let mut copying = Copying { root, here, from, path, links, copier, budget };
    let result = copying.tree();
    result.map_err(|e| e.context(format!("copying {:?}", String::from_utf8_lossy(&copying.path))))
}

/// A directory that is not done.
struct Level {
    /// Names that are left, last first.
    names: Vec<Vec<u8>>,
    /// Layers that have no part in the directory below it that is copied now.
    waiting: Vec<Source>,
    /// Length of its path.
    length: usize,
}

struct Copying<'a> {
    /// The copy.
    root: OwnedFd,
    /// Its current directory.
    here: OwnedFd,
    /// The same directory in the layers.
    from: Merged<'a>,
    /// The current directory's, with a slash behind it unless it is the root.
    path: Vec<u8>,
    /// First names in the copy of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    copier: Copier,
    /// What the file system keeps for others.
    budget: Budget,
}

impl Copying<'_> {
    fn tree(&mut self) -> Result<()> {
        let mut levels = vec![Level { names: self.from.names()?, waiting: Vec::new(), length: 0 }];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.length);
            let Some(name) = level.names.pop() else {
                self.finish_directory(levels.len() == 1)?;
                levels.pop();
                if let Some(parent) = levels.last_mut() {
                    self.leave(std::mem::take(&mut parent.waiting))?;
                }
                continue;
            };
            let length = self.path.len();
            self.path.extend_from_slice(&name);
            match self.from.find(&name)? {
                Found::Nothing => {}
                Found::Entry(at, stat) => self.entry(at, &name, &stat)?,
                Found::Directory(below) => {
                    self.path.push(b'/');
                    level.waiting = self.enter(&name, below)?;
                    levels.push(Level { names: self.from.names()?, waiting: Vec::new(), length: self.path.len() });
                    continue;
                }
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    /// Makes a directory and goes there; gives the sources that have no part in it.
    fn enter(&mut self, name: &[u8], below: Vec<Source>) -> Result<Vec<Source>> {
        self.budget.write(ENTRY)?;
        mkdirat(&self.here, name, Mode::S_IRWXU).context(|| "mkdirat()".into())?;
        self.here = openat(&self.here, name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())?;
        Ok(self.from.enter(below))
    }

    /// Goes back to the directory above, where `waiting` have a part in it too. Nobody moves directories here.
    fn leave(&mut self, waiting: Vec<Source>) -> Result<()> {
        self.here = openat(&self.here, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
        self.from.leave(waiting)
    }

    /// The current directory's own likeness, when nothing changes in it any more.
    fn finish_directory(&self, is_root: bool) -> Result<()> {
        let Some(model) = self.from.model(is_root) else { return Ok(()) };
        let stat = fstat(model).context(|| "fstat()".into())?;
        imitate(&self.here, model, &stat)
    }

    fn entry(&mut self, at: usize, name: &[u8], stat: &FileStat) -> Result<()> {
        if stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&identity) {
                return self.link(first, name);
            }
            self.links.insert(identity, self.path.clone());
        }
        self.budget.write(ENTRY)?;
        let from = self.from.at(at).as_fd();
        let here = self.here.as_fd();
        match type_of(stat) {
            SFlag::S_IFREG => return self.file(at, name, stat),
            SFlag::S_IFLNK => {
                let target = readlinkat(from, name).context(|| "readlinkat()".into())?;
                symlinkat(target.as_os_str(), here, name).context(|| "symlinkat()".into())?;
            }
            kind @ (SFlag::S_IFCHR | SFlag::S_IFBLK | SFlag::S_IFIFO) => {
                let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                mknodat(here, name, kind, mode, stat.st_rdev).context(|| "mknodat()".into())?;
            }
            // A socket is nothing without the process that made it.
            _ => return Ok(()),
        }
        imitate_at(here, from, name, stat)
    }

    fn file(&mut self, at: usize, name: &[u8], stat: &FileStat) -> Result<()> {
        let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let make = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let from = File::from(openat(self.from.at(at), name, read, Mode::empty()).context(|| "openat()".into())?);
        let to = File::from(openat(&self.here, name, make, mode).context(|| "openat(O_CREAT)".into())?);
        self.copier.copy(&from, &to, &mut |bytes| self.budget.write(bytes))?;
        imitate(&to, &from, stat)
    }

    /// A further name of what was copied before.
    fn link(&self, first: &[u8], name: &[u8]) -> Result<()> {
        let short = linkat(&self.root, first, &self.here, name, AtFlags::empty());
        let result = match short {
            Err(Errno::ENAMETOOLONG) => {
                let mut parts = first.split(|b| *b == b'/');
                let last = parts.next_back().unwrap_or_default();
                let mut directory = self.root.try_clone().context(|| "dup()".into())?;
                for part in parts {
                    directory = openat(&directory, part, DIRECTORY, Mode::empty()).context(|| "openat()".into())?;
                }
                linkat(&directory, last, &self.here, name, AtFlags::empty())
            }
            result => result,
        };
        result.context(|| format!("linkat({:?})", String::from_utf8_lossy(first)))
    }
}

#[cfg(test)]
mod tests;
