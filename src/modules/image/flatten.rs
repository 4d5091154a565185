//! One tree out of an image's layers, as overlayfs would show it, copied: the root of a container where overlayfs
//! cannot be used.
//!
//! Directories are merged as they are met, so that nothing is copied which an upper layer hides. Few descriptors are
//! open: one of the copy, and one of each layer, at the directory where it is looked at now or has to wait for those
//! that go deeper. Names are kept for the directories on the way to the current one.

use super::copying::Copy;
use super::driver::Lower;
use super::likeness::imitate;
use super::signs::{self, RECORDS, is_whiteout};
use super::tree::{DIRECTORY, WHITEOUT, lstat, type_of};
use crate::error::{Context, Error, Result};
use crate::utils::order;
use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Copies what `layers`, topmost first, show together into the empty directory `target`.
///
/// # Errors
/// The failing call with the path. The directory is to be thrown away then.
pub(super) fn flatten(layers: &[Lower], target: &Path) -> Result<()> {
    let open = |path: &Path| openat(AT_FDCWD, path, DIRECTORY, Mode::empty()).context(|| format!("open({path:?})"));
    let copy = Copy::new(open(target)?)?;
    let mut from = Vec::with_capacity(layers.len());
    for (layer, lower) in layers.iter().enumerate() {
        from.push(Source { layer, fd: open(&lower.path)? });
    }
    let mut copying = Copying { layers, copy, from };
    let result = copying.tree();
    result.map_err(|e| e.context(format!("copying {:?}", String::from_utf8_lossy(&copying.copy.path))))
}

/// A layer's directory of the path that is copied now.
struct Source {
    /// Its number, 0 for the topmost.
    layer: usize,
    fd: OwnedFd,
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

/// What a name stands for.
enum Found {
    /// Nothing, or it is hidden.
    Nothing,
    /// Something else than a directory, in the layer at this place of the sources.
    Entry(usize, FileStat),
    /// A directory, in one layer or several.
    Directory(Vec<Source>),
}

struct Copying<'a> {
    layers: &'a [Lower],
    copy: Copy,
    /// The copy's current directory in the layers that have a part in it, topmost first.
    from: Vec<Source>,
}

impl Copying<'_> {
    fn tree(&mut self) -> Result<()> {
        let mut levels = vec![Level { names: self.names()?, waiting: Vec::new(), length: 0 }];
        while let Some(level) = levels.last_mut() {
            self.copy.path.truncate(level.length);
            let Some(name) = level.names.pop() else {
                self.finish_directory(levels.len() == 1)?;
                levels.pop();
                if let Some(parent) = levels.last_mut() {
                    self.leave(std::mem::take(&mut parent.waiting))?;
                }
                continue;
            };
            let length = self.copy.path.len();
            self.copy.path.extend_from_slice(&name);
            match self.find(&name)? {
                Found::Nothing => {}
                Found::Entry(at, stat) => self.copy.entry(self.from[at].fd.as_fd(), &name, &stat)?,
                Found::Directory(below) => {
                    self.copy.path.push(b'/');
                    level.waiting = self.enter(&name, below)?;
                    levels.push(Level { names: self.names()?, waiting: Vec::new(), length: self.copy.path.len() });
                    continue;
                }
            }
            self.copy.path.truncate(length);
        }
        Ok(())
    }

    /// The names of all layers in the current directory, last first.
    fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for source in &self.from {
            let own = openat(&source.fd, ".", DIRECTORY, Mode::empty()).context(|| "openat(\".\")".into())?;
            let mut directory = Dir::from_fd(own).context(|| "fdopendir()".into())?;
            for entry in directory.iter() {
                let entry = entry.context(|| "readdir()".into())?;
                let name = entry.file_name().to_bytes();
                let sign = self.layers[source.layer].archive_signs
                    && (name.starts_with(RECORDS) || name.starts_with(WHITEOUT));
                if !matches!(name, b"." | b"..") && !sign {
                    names.insert(name.to_vec());
                }
            }
        }
        Ok(names.into_iter().rev().collect())
    }

    /// Looks a name up as overlayfs would (Documentation/filesystems/overlayfs.rst).
    fn find(&self, name: &[u8]) -> Result<Found> {
        let mut directories = Vec::new();
        for (at, source) in self.from.iter().enumerate() {
            let signs = self.layers[source.layer].archive_signs;
            let hidden = || Ok::<bool, Error>(signs && signs::hides(source.fd.as_fd(), name)?);
            let Some(stat) = lstat(source.fd.as_fd(), name)? else {
                if hidden()? {
                    break;
                }
                continue;
            };
            if type_of(&stat) != SFlag::S_IFDIR {
                if directories.is_empty() && !is_whiteout(&stat) {
                    return Ok(Found::Entry(at, stat));
                }
                break;
            }
            let fd = openat(&source.fd, name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())?;
            let opaque = signs::is_opaque(fd.as_fd(), signs)? || hidden()?;
            directories.push(Source { layer: source.layer, fd });
            if opaque {
                break;
            }
        }
        Ok(if directories.is_empty() { Found::Nothing } else { Found::Directory(directories) })
    }

    /// Makes a directory and goes there; gives the sources that have no part in it.
    fn enter(&mut self, name: &[u8], below: Vec<Source>) -> Result<Vec<Source>> {
        self.copy.enter(name)?;
        let mut waiting = std::mem::replace(&mut self.from, below);
        waiting.retain(|source| self.from.iter().all(|deeper| deeper.layer != source.layer));
        Ok(waiting)
    }

    /// Goes back to the directory above, where `waiting` have a part in it too. Nobody moves directories here.
    fn leave(&mut self, waiting: Vec<Source>) -> Result<()> {
        self.copy.leave()?;
        for source in &mut self.from {
            source.fd = openat(&source.fd, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
        }
        self.from.extend(waiting);
        order::sort_by_key(&mut self.from, |source| source.layer);
        Ok(())
    }

    /// The current directory's own likeness, when nothing changes in it any more.
    fn finish_directory(&self, is_root: bool) -> Result<()> {
        let model = self.from.iter().find(|source| !is_root || self.layers[source.layer].has_root);
        let Some(model) = model else { return Ok(()) };
        let stat = fstat(&model.fd).context(|| "fstat()".into())?;
        imitate(&self.copy.here, &model.fd, &stat)
    }
}

#[cfg(test)]
mod tests;
