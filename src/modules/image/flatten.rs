//! One tree out of an image's layers, as overlayfs would show it, copied: the root of a container where overlayfs
//! cannot be used.
//!
//! Directories are merged as they are met, so that nothing is copied which an upper layer hides. Few descriptors are
//! open, see `super::merged`. Names are kept for the directories on the way to the current one.

use super::driver::Lower;
use super::merged::{Found, Merged, Source};
use super::tree::DIRECTORY;
use crate::error::{Context, Result};
use crate::utils::likeness::{Attributed, imitate};
use crate::utils::tree_copy::Copy;
use nix::fcntl::{AT_FDCWD, openat};
use nix::sys::stat::{Mode, fstat};
use std::os::fd::AsFd;
use std::path::Path;

/// Copies what `layers`, topmost first, show together into the empty directory `target`.
///
/// # Errors
/// The failing call with the path. The directory is to be thrown away then.
pub(super) fn flatten(layers: &[Lower], target: &Path) -> Result<()> {
    let root = openat(AT_FDCWD, target, DIRECTORY, Mode::empty()).context(|| format!("open({target:?})"))?;
    let mut copying = Copying { copy: Copy::new(root, Attributed::Fully)?, from: Merged::open(layers)? };
    let result = copying.tree();
    result.map_err(|e| e.context(format!("copying {:?}", String::from_utf8_lossy(&copying.copy.path))))
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
    copy: Copy,
    /// The copy's current directory in the layers.
    from: Merged<'a>,
}

impl Copying<'_> {
    fn tree(&mut self) -> Result<()> {
        let mut levels = vec![Level { names: self.from.names(usize::MAX)?, waiting: Vec::new(), length: 0 }];
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
            match self.from.find(&name)? {
                Found::Nothing => {}
                Found::Entry(at, stat) => self.copy.entry(self.from.at(at).as_fd(), &name, &stat)?,
                Found::Directory(below) => {
                    self.copy.path.push(b'/');
                    level.waiting = self.enter(&name, below)?;
                    levels.push(Level {
                        names: self.from.names(usize::MAX)?,
                        waiting: Vec::new(),
                        length: self.copy.path.len(),
                    });
                    continue;
                }
            }
            self.copy.path.truncate(length);
        }
        Ok(())
    }

    /// Makes a directory and goes there; gives the sources that have no part in it.
    fn enter(&mut self, name: &[u8], below: Vec<Source>) -> Result<Vec<Source>> {
        self.copy.enter(name)?;
        Ok(self.from.enter(below))
    }

    /// Goes back to the directory above, where `waiting` have a part in it too. Nobody moves directories here.
    fn leave(&mut self, waiting: Vec<Source>) -> Result<()> {
        self.copy.leave()?;
        self.from.leave(waiting)
    }

    /// The current directory's own likeness, when nothing changes in it any more.
    fn finish_directory(&self, is_root: bool) -> Result<()> {
        let Some(model) = self.from.model(is_root) else { return Ok(()) };
        let stat = fstat(model).context(|| "fstat()".into())?;
        imitate(&self.copy.here, model, &stat)
    }
}

#[cfg(test)]
mod tests;
