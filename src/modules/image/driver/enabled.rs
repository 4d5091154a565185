//! The parts beyond overlays: the copying driver, and project quotas.
//!
//! A limited container has a project of its own. Which one is written nowhere but in its directories, and which are in
//! use the file system knows; so nothing can come to disagree with it. A project ceases to be when no file is in it and
//! it has no limit: the limit goes first, so that a power cut at any moment leaves none behind.

use super::super::flatten::flatten;
use super::Lower;
use crate::error::{Context, Error, Kind, Result};
use crate::modules::runtime::shim;
use crate::utils::remove_tree::remove_tree;
use crate::utils::sys::project_quota::{self, FileSystem};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Says that sizes cannot be limited, in the original's words.
const UNSUPPORTED: &str = "--storage-opt is supported only for overlay over xfs or ext4 with 'pquota' mount option";
/// Projects of containers, above those that people number by hand (projid(5)).
const FIRST: u32 = 1 << 20;
/// The block device of the file system, for kernels that ask for it; the original's name.
const DEVICE: &str = "backingFsBlockDev";
/// What of a container's directory is its own to fill.
const LIMITED: [&str; 3] = ["diff", "work", "rootfs"];

/// Sizes of containers.
#[derive(Default)]
pub struct Quota {
    /// Held from the choice of a project to its first use.
    choice: Mutex<()>,
}

impl Quota {
    /// Whether the file system of the containers' parent directory can limit sizes.
    ///
    /// # Errors
    /// `Kind::Unsupported` when it cannot.
    pub fn supported(directory: &Path) -> Result<()> {
        match file_system(directory)?.is_enforced() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(Kind::Unsupported, UNSUPPORTED)),
            Err(e) => {
                log::info!("{directory:?} has no project quotas: {e}");
                Err(Error::new(Kind::Unsupported, UNSUPPORTED))
            }
        }
    }

    /// Gives empty `directories` of one container a project together, which may fill `bytes`. They are below a
    /// container's, which is below the containers' parent directory.
    ///
    /// # Errors
    /// The failing call.
    pub fn limit(&self, directories: &[&Path], bytes: u64) -> Result<()> {
        let parent = directories.first().and_then(|path| path.parent()?.parent());
        let system = file_system(parent.ok_or_else(|| Error::internal("a limit of nothing"))?)?;
        let _choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        let mut project = FIRST;
        while system.next(project)? == Some(project) {
            project += 1;
        }
        for path in directories {
            let directory = File::open(path).context(|| format!("open({path:?})"))?;
            project_quota::set_project(directory.as_fd(), project).context(|| format!("{path:?}"))?;
        }
        system.set_limit(project, bytes)
    }

    /// Looks whether a container's directory has been filled beyond its limit, which privileged processes can.
    ///
    /// # Errors
    /// `Kind::Invalid` when it has.
    pub fn check(&self, directory: &Path) -> Result<()> {
        let Some(project) = own_project(directory)? else { return Ok(()) };
        let parent = directory.parent().and_then(Path::parent).unwrap_or(directory);
        let (used, most) = file_system(parent)?.usage(project)?;
        if most > 0 && used > most {
            return Err(Error::invalid(format!(
                "the image takes {used} bytes, more than the size of {most} that the container may have"
            )));
        }
        Ok(())
    }
}

fn file_system(directory: &Path) -> Result<FileSystem> {
    FileSystem::open(directory, &directory.join(DEVICE))
}

/// The project of a container's directory, when it is one that was chosen for it.
fn own_project(directory: &Path) -> Result<Option<u32>> {
    let project = |path: &Path| -> Result<u32> {
        let directory = File::open(path).context(|| format!("open({path:?})"))?;
        project_quota::project(directory.as_fd())
    };
    let own = project(directory)?;
    if own < FIRST {
        return Ok(None);
    }
    // An operator may have given the whole graph one.
    let parent = directory.parent().and_then(Path::parent).unwrap_or(directory);
    Ok(Some(own).filter(|own| project(parent).is_ok_and(|parent| parent != *own)))
}

/// Takes the limit off what is left of a container, and removes what it was of.
pub fn release(path: &Path) {
    for name in LIMITED {
        let directory = path.join(name);
        let Ok(Some(project)) = own_project(&directory) else { continue };
        let parent = path.parent().unwrap_or(path);
        if let Err(e) = file_system(parent).and_then(|system| system.set_limit(project, 0)) {
            log::warn!("{directory:?}: its limit stays: {e}");
        }
        // On its own: files cannot be moved out of a project, not even to be removed.
        if let Err(e) = remove_tree(&directory) {
            log::warn!("{directory:?} is left: {e}");
        }
    }
}

/// Whether overlayfs works on the file system of `directory`, which is empty. A process of its own tries it.
///
/// # Errors
/// When it cannot be tried.
pub fn overlay_works(directory: &Path) -> Result<bool> {
    match shim::try_overlay(directory)? {
        None => Ok(true),
        Some(why) => {
            log::warn!("overlayfs cannot be used, so that each container gets a copy of its image: {why}");
            Ok(false)
        }
    }
}

/// Copies layers, topmost first, into the empty directory `target`.
///
/// # Errors
/// The failing call.
pub fn make_copy(layers: &[Lower], target: &Path) -> Result<()> {
    flatten(layers, target)
}
