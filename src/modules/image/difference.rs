//! What a container has changed of its image: docker's `diff`.
//!
//! A writable layer has what was changed and signs of what was deleted; a copy of the image is compared with it entry by
//! entry. Either way one directory is open at a time, and nothing is kept of what was told.

use super::driver::Lower;
use super::merged::{Found, Merged, Source};
use super::signs::{self, is_whiteout};
use super::store::{Image, Store};
use super::tree::{DIRECTORY, lstat, type_of};
use crate::api::shim::{Overlay, RootOrder};
use crate::error::{Context, Error, Result};
use crate::modules::runtime::root;
use crate::utils::entry::{NAMES, identity, names, occupied};
use crate::utils::order;
use crate::utils::sys::fd::path_of;
use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// How a path is not as the image has it, by the numbers of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Other content, another kind, other metadata, or a directory in which something was added or deleted.
    Changed = 0,
    /// Not in the image.
    Added = 1,
    /// In the image only.
    Deleted = 2,
}

/// Takes the changes one by one.
pub type Tell<'a> = &'a mut dyn FnMut(Change, &[u8]) -> Result<()>;

impl Store {
    /// Tells each change of a container of this image, a directory before what is in it.
    ///
    /// # Errors
    /// `Kind::NotFound` when its layer is gone; `Kind::Conflict` for a directory that the container moves meanwhile; the
    /// failing call; what `tell` gives.
    pub fn container_changes(&self, container: &str, image: &Image, tell: Tell<'_>) -> Result<()> {
        image.check()?;
        let copy = self.container_copy(container);
        let is_copy = copy.is_some();
        let top = copy.map_or_else(|| self.container_path(container).map(|path| path.join("diff")), Ok)?;
        let mut layers = self.lower_layers(image);
        let images = image.embedded.as_ref().map(|embedded| embedded.images()).unwrap_or_default();
        let mounted = match images.is_empty() {
            true => None,
            // They can be looked into as a mount only.
            false => Some(mount(&layers, images, self.mount_point(container))?),
        };
        if let Some(fd) = &mounted {
            let path = PathBuf::from(format!("{}/.", path_of(fd)));
            layers = vec![Lower { path, archive_signs: false, has_root: true }];
        }
        let here = root::open_directory(&top)?;
        let merged = Merged::open(&layers)?;
        Comparison { here, merged, is_copy, path: Vec::new(), held: 0, tell }.run()
    }
}

fn mount(layers: &[Lower], images: Vec<PathBuf>, target: PathBuf) -> Result<OwnedFd> {
    let mut lower: Vec<PathBuf> = layers.iter().map(|layer| layer.path.clone()).collect();
    // It stands above the others and is not written to.
    let upper = lower.remove(0);
    let overlay = Overlay { lower, upper, images, ..Overlay::default() };
    root::open(&RootOrder { overlay, device: None, target })
}

struct Comparison<'a> {
    /// The current directory of the container.
    here: OwnedFd,
    /// The same in the image, or the last one above that the image has.
    merged: Merged<'a>,
    is_copy: bool,
    /// The current directory's, with a slash behind it unless it is the root.
    path: Vec<u8>,
    /// What the names of the directories on the way occupy.
    held: usize,
    tell: Tell<'a>,
}

/// A directory that is not done.
struct Level {
    /// Names that are left, last first.
    names: Vec<Vec<u8>>,
    /// What all of them occupied.
    bytes: usize,
    identity: (u64, u64),
    /// Length of its path.
    length: usize,
    /// The image has it too; with the layers that have no part in it.
    waiting: Option<Vec<Source>>,
    /// It was told of.
    told: bool,
}

impl Comparison<'_> {
    fn run(&mut self) -> Result<()> {
        let mut levels = vec![self.level(Some(Vec::new()), true)?];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.length);
            if let Some(name) = level.names.pop() {
                let below = self.entry(level, &name)?;
                levels.extend(below);
                continue;
            }
            let waiting = level.waiting.take();
            self.held -= level.bytes;
            levels.pop();
            let Some(above) = levels.last() else { break };
            if let Some(waiting) = waiting {
                self.merged.leave(waiting)?;
            }
            let up = openat(&self.here, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
            if identity(&fstat(&up).context(|| "fstat(\"..\")".into())?) != above.identity {
                let path = String::from_utf8_lossy(&self.path).into_owned();
                return Err(Error::conflict(format!("directory {path:?} was moved while it was read")));
            }
            self.here = up;
        }
        Ok(())
    }

    /// The current directory as one that is not done.
    fn level(&mut self, waiting: Option<Vec<Source>>, told: bool) -> Result<Level> {
        let most = NAMES.saturating_sub(self.held);
        let mut all = names(self.here.as_fd(), most)?;
        // Of a directory that hides what is below it, as of a copy, what is gone is found by looking there.
        let hides = self.is_copy || signs::is_opaque(self.here.as_fd(), false)?;
        if waiting.is_some() && hides {
            all.extend(self.merged.names(most.saturating_sub(occupied(&all)))?);
            order::sort_by(&mut all, |a, b| b.cmp(a));
            all.dedup();
        }
        let stat = fstat(&self.here).context(|| "fstat()".into())?;
        let bytes = occupied(&all);
        self.held += bytes;
        Ok(Level { names: all, bytes, identity: identity(&stat), length: self.path.len(), waiting, told })
    }

    /// Tells what is to be told of an entry; a directory is entered.
    fn entry(&mut self, level: &mut Level, name: &[u8]) -> Result<Option<Level>> {
        let stat = lstat(self.here.as_fd(), name)?.filter(|stat| self.is_copy || !is_whiteout(stat));
        let below = match level.waiting {
            Some(_) => self.merged.find(name)?,
            None => Found::Nothing,
        };
        let change = match (&stat, &below) {
            (None, Found::Nothing) => None,
            (None, _) => Some(Change::Deleted),
            (Some(_), Found::Nothing) => Some(Change::Added),
            (Some(stat), Found::Directory(sources)) => {
                let old = sources.first().map(|source| fstat(&source.fd)).transpose();
                let old = old.context(|| "fstat()".into())?;
                old.is_none_or(|old| differs(stat, &old)).then_some(Change::Changed)
            }
            // What a writable layer has was written.
            (Some(stat), Found::Entry(_, old)) => (!self.is_copy || differs(stat, old)).then_some(Change::Changed),
        };
        if let Some(change) = change {
            if matches!(change, Change::Added | Change::Deleted) && !std::mem::replace(&mut level.told, true) {
                let path = self.path.strip_suffix(b"/").unwrap_or(&self.path);
                (self.tell)(Change::Changed, &[b"/", path].concat())?;
            }
            (self.tell)(change, &[b"/", &self.path[..], name].concat())?;
        }
        if stat.is_none_or(|stat| type_of(&stat) != SFlag::S_IFDIR) {
            return Ok(None);
        }
        self.here = match openat(&self.here, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            // The container is faster.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(e) => return Err(Error::os(format!("openat({:?})", String::from_utf8_lossy(name)), e as i32)),
        };
        self.path.extend_from_slice(name);
        self.path.push(b'/');
        let waiting = match below {
            Found::Directory(sources) => Some(self.merged.enter(sources)),
            _ => None,
        };
        self.level(waiting, change.is_some()).map(Some)
    }
}

/// Whether one is not as the other was: its kind, mode, owner, device or time, or a file's size.
fn differs(new: &FileStat, old: &FileStat) -> bool {
    let of = |stat: &FileStat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    let device = |stat: &FileStat| match type_of(stat) {
        SFlag::S_IFCHR | SFlag::S_IFBLK => stat.st_rdev,
        _ => 0,
    };
    let size = |stat: &FileStat| if type_of(stat) == SFlag::S_IFDIR { 0 } else { stat.st_size };
    of(new) != of(old) || device(new) != device(old) || size(new) != size(old)
}
