//! The layers of an image as one tree, as overlayfs would show it (Documentation/filesystems/overlayfs.rst), without a
//! mount.
//!
//! One descriptor for each layer is open: at the directory that is looked at now, or where the layer has to wait for
//! those that go deeper. The layers must not change meanwhile.

use super::driver::Lower;
use super::signs::{self, RECORDS, is_whiteout};
use super::tree::{DIRECTORY, WHITEOUT, lstat, type_of};
use crate::error::{Context, Error, Result};
use crate::utils::entry::{names, occupied};
use crate::utils::order;
use nix::fcntl::{AT_FDCWD, openat};
use nix::sys::stat::{FileStat, Mode, SFlag};
use std::os::fd::{AsFd, OwnedFd};

/// A layer's directory of the path that is copied now.
pub(super) struct Source {
    /// Its number, 0 for the topmost.
    layer: usize,
    pub(super) fd: OwnedFd,
}

/// What a name stands for.
pub(super) enum Found {
    /// Nothing, or it is hidden.
    Nothing,
    /// Something else than a directory, in the layer at this place of the sources.
    Entry(usize, FileStat),
    /// A directory, in one layer or several.
    Directory(Vec<Source>),
}

/// A directory of all layers together.
pub(super) struct Merged<'a> {
    layers: &'a [Lower],
    /// The layers that have a part in it, topmost first.
    from: Vec<Source>,
}

impl<'a> Merged<'a> {
    /// The root of `layers`, topmost first.
    pub(super) fn open(layers: &'a [Lower]) -> Result<Merged<'a>> {
        let mut from = Vec::with_capacity(layers.len());
        for (layer, lower) in layers.iter().enumerate() {
            let path = &lower.path;
            let fd = openat(AT_FDCWD, path, DIRECTORY, Mode::empty()).context(|| format!("open({path:?})"))?;
            from.push(Source { layer, fd });
        }
        Ok(Merged { layers, from })
    }

    /// The names of all layers in the current directory, last first.
    ///
    /// # Errors
    /// The failing call; `Kind::Unsupported` beyond `most` bytes of names.
    pub(super) fn names(&self, most: usize) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        for source in &self.from {
            let mut own = names(source.fd.as_fd(), most.saturating_sub(occupied(&all)))?;
            if self.layers[source.layer].archive_signs {
                own.retain(|name| !name.starts_with(RECORDS) && !name.starts_with(WHITEOUT));
            }
            all.append(&mut own);
        }
        order::sort_by(&mut all, |a, b| b.cmp(a));
        all.dedup();
        Ok(all)
    }

    /// Looks a name up as overlayfs would (Documentation/filesystems/overlayfs.rst).
    pub(super) fn find(&self, name: &[u8]) -> Result<Found> {
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

    /// The directory of the layer at this place of the sources.
    #[cfg(feature = "storage")]
    pub(super) fn at(&self, at: usize) -> &OwnedFd {
        &self.from[at].fd
    }

    /// The directory that gives the merged one its owner and mode.
    #[cfg(feature = "storage")]
    pub(super) fn model(&self, is_root: bool) -> Option<&OwnedFd> {
        let model = self.from.iter().find(|source| !is_root || self.layers[source.layer].has_root);
        model.map(|source| &source.fd)
    }

    /// Goes to a directory that was found; gives the sources that have no part in it.
    pub(super) fn enter(&mut self, below: Vec<Source>) -> Vec<Source> {
        let mut waiting = std::mem::replace(&mut self.from, below);
        waiting.retain(|source| self.from.iter().all(|deeper| deeper.layer != source.layer));
        waiting
    }

    /// Goes back to the directory above, where `waiting` have a part in it too.
    pub(super) fn leave(&mut self, waiting: Vec<Source>) -> Result<()> {
        for source in &mut self.from {
            source.fd = openat(&source.fd, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
        }
        self.from.extend(waiting);
        order::sort_by_key(&mut self.from, |source| source.layer);
        Ok(())
    }
}
