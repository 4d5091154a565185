//! Volumes: directories that outlive the containers that use them, the original's `<graph>/volumes/<name>/_data`.
//!
//! A volume exists when its directory has its name. What else there is to say about it is in a file beside `_data`, and
//! only when there is something; its time of creation is that of the directory, in which nothing changes afterwards. Who
//! uses a volume is known from the containers alone.
//!
//! Names with a dot in front are the store's own: `.tmp-…` is garbage at start; `.fill-NAME` is whole and on its way
//! into the volume; `.of-ID-NAME` says that the volume has no use without the container.
//!
//! # Locks
//! [`Store::operate`] is held while a volume gets its first user or is looked at for its last; before the index of
//! containers, never over the copying or removing of what is in it. The copying has a lock of its own.

pub mod bound;
pub mod name;
#[cfg(test)]
mod tests;

use crate::api::volume::{ANONYMOUS, DRIVER, Volume};
use crate::error::{Context, Error, Kind, Result};
use crate::modules::image::store::sync_file_system;
use crate::modules::remap::Remap;
use crate::utils::atomic_file::{self, Durability, TEMPORARY_PREFIX, rename_away, sync_directory, temporary_name};
use crate::utils::entry::names;
use crate::utils::id::is_full_id;
use crate::utils::json::Object;
use crate::utils::likeness::{Attributed, imitate};
use crate::utils::remove_tree::remove_tree;
use crate::utils::time::Timestamp;
use crate::utils::tree_copy::copy_tree;
use crate::utils::{json, order};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The directory of a volume's files.
const DATA: &str = "_data";
/// What else there is to say.
const RECORD: &str = "volume.json";
const FILL: &str = ".fill-";
const OWNED: &str = ".of-";
/// Mode of the store's directory, through which nobody else comes to set-id programs in volumes.
const PRIVATE: u32 = 0o700;
const OPEN: u32 = 0o755;
/// Largest record that is read.
const LARGEST: usize = 1 << 20;

/// All volumes.
pub struct Store {
    root: PathBuf,
    /// Root of the containers.
    owner: Option<(u32, u32)>,
    operation: Mutex<()>,
    filling: Mutex<()>,
}

/// What is said about a volume, when there is something to say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Record {
    /// Creation.
    pub created_at: Timestamp,
    /// Free text.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// What start-up found beside the volumes.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Half made or half removed.
    pub garbage: Vec<PathBuf>,
    /// Containers, and the volumes that go with them.
    pub owned: Vec<(String, String)>,
}

impl Store {
    /// Opens the store below `graph`, making it when it is not there.
    ///
    /// # Errors
    /// The failing call.
    pub fn open(graph: &Path, remap: Option<Remap>) -> Result<Store> {
        // Mounts are made by processes with other working directories.
        let root = std::path::absolute(graph).context(|| format!("getcwd() for {graph:?}"))?.join("volumes");
        DirBuilder::new().recursive(true).mode(PRIVATE).create(&root).context(|| format!("mkdir({root:?})"))?;
        let owner = remap.as_ref().map(Remap::root);
        Ok(Store { root, owner, operation: Mutex::default(), filling: Mutex::default() })
    }

    /// Begins to make or remove volumes or to look who uses them.
    pub fn operate(&self) -> MutexGuard<'_, ()> {
        self.operation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A volume's files.
    pub fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join(DATA)
    }

    /// Whether there is such a volume.
    pub fn exists(&self, name: &str) -> bool {
        name::is_valid(name) && self.data(name).is_dir()
    }

    /// Makes a volume; gives whether it was not there. [`Store::operate`] must be held.
    ///
    /// # Errors
    /// `Kind::Invalid` for a name that breaks the rule; the failing call. Nothing is left then.
    pub fn create(&self, name: &str, record: Option<&Record>, durability: Durability) -> Result<bool> {
        name::check(name)?;
        let path = self.root.join(name);
        if self.exists(name) {
            return Ok(false);
        }
        let temporary = temporary_name(&path);
        let made = self.make(&temporary, record, durability).and_then(|()| {
            std::fs::rename(&temporary, &path).context(|| format!("rename({temporary:?}, {path:?})"))?;
            match durability {
                Durability::Durable => sync_directory(&self.root).inspect_err(|_| discard(&path)),
                Durability::Volatile => Ok(()),
            }
        });
        made.map(|()| true).inspect_err(|_| discard(&temporary))
    }

    fn make(&self, path: &Path, record: Option<&Record>, durability: Durability) -> Result<()> {
        make_directory(path)?;
        self.make_data(path)?;
        if let Some(record) = record {
            atomic_file::write_new(&path.join(RECORD), &json::to_vec(record), 0o600, durability)?;
        }
        if durability == Durability::Durable { sync_directory(path) } else { Ok(()) }
    }

    /// The empty directory of a volume's files.
    fn make_data(&self, volume: &Path) -> Result<()> {
        let data = volume.join(DATA);
        make_directory(&data)?;
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        std::os::unix::fs::lchown(&data, Some(uid), Some(gid)).context(|| format!("chown({data:?}, {uid}, {gid})"))
    }

    /// The directories to be synced for volumes that were made to last.
    pub fn directories(&self, names: &[String]) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = names.iter().map(|name| self.root.join(name)).collect();
        if !all.is_empty() {
            all.push(self.root.clone());
        }
        all
    }

    /// What is said about a volume, when something is.
    ///
    /// # Errors
    /// `Kind::Corrupt`, or the failing call.
    pub fn record(&self, name: &str) -> Result<Option<Record>> {
        read(&self.root.join(name).join(RECORD)).map_err(|e| e.context(format!("volume {name}")))
    }

    /// Everything about a volume.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let missing = || Error::not_found(format!("No such volume: {name}"));
        if !self.exists(name) {
            return Err(missing());
        }
        let path = self.root.join(name);
        let metadata = path.metadata().map_err(|_| missing())?;
        let record = self.record(name);
        // What is damaged was there: somebody had something to say.
        let has_record = !matches!(record, Ok(None));
        let mut record = record.unwrap_or_else(|e| {
            log::error!("what is said about it is lost: {e}");
            None
        });
        let mut record = record.take().unwrap_or_default();
        if !record.created_at.is_set() {
            record.created_at =
                Timestamp::from_unix(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0));
        }
        if is_full_id(name) && !has_record {
            record.labels.insert(ANONYMOUS.into(), String::new());
        }
        Ok(Volume {
            created_at: record.created_at,
            driver: DRIVER.into(),
            labels: record.labels,
            mountpoint: self.data(name).to_string_lossy().into_owned(),
            name: name.into(),
            options: record.options,
            scope: DRIVER.into(),
            usage_data: None,
        })
    }

    /// The names of all volumes, in order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = self.entries()?;
        names.retain(|name| self.exists(name));
        order::sort(&mut names);
        Ok(names)
    }

    fn entries(&self) -> Result<Vec<String>> {
        let root = &self.root;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(root).context(|| format!("opendir({root:?})"))? {
            let name = entry.context(|| format!("readdir({root:?})"))?.file_name();
            names.extend(name.into_string());
        }
        Ok(names)
    }

    /// Makes a volume cease to exist; gives what is left of it, for [`discard`]. [`Store::operate`] must be held.
    ///
    /// # Errors
    /// `Kind::NotFound`; the failing call.
    pub fn take(&self, name: &str, durability: Durability) -> Result<PathBuf> {
        let missing = || Error::not_found(format!("No such volume: {name}"));
        let path = self.root.join(name);
        if !name::is_valid(name) {
            return Err(missing());
        }
        let garbage = match rename_away(&path, temporary_name(&path)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(missing()),
            other => other.context(|| format!("rename({path:?})"))?,
        };
        if durability == Durability::Durable {
            sync_directory(&self.root).inspect_err(|_| discard(&garbage))?;
        }
        Ok(garbage)
    }

    /// Notes that a volume has no use without a container, for the start after a crash.
    ///
    /// # Errors
    /// The failing call.
    pub fn mark(&self, container: &str, name: &str) -> Result<()> {
        let path = self.root.join(format!("{OWNED}{container}-{name}"));
        File::create(&path).map(drop).context(|| format!("open({path:?}, O_CREAT)"))
    }

    /// Makes sure that names and notes are on disk.
    ///
    /// # Errors
    /// The failing call.
    pub fn sync(&self) -> Result<()> {
        sync_directory(&self.root)
    }

    /// Takes the note of [`Store::mark`] back.
    pub fn unmark(&self, container: &str, name: &str) {
        let _ = std::fs::remove_file(self.root.join(format!("{OWNED}{container}-{name}"))); // most have none
    }

    /// Whether a volume has no files.
    ///
    /// # Errors
    /// The failing call.
    pub fn is_empty(&self, name: &str) -> Result<bool> {
        let data = self.data(name);
        let mut entries = std::fs::read_dir(&data).context(|| format!("opendir({data:?})"))?;
        Ok(entries.next().is_none())
    }

    /// Copies the content of a directory into a volume that has none, which then has its owner and mode as well. Gives
    /// whether it had none. Others may be using it: everything is copied beside it and then moved in.
    ///
    /// # Errors
    /// The failing call. The volume may be to [`Store::empty`] then.
    pub fn fill(&self, name: &str, from: OwnedFd, durability: Durability) -> Result<bool> {
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_empty(name)? {
            return Ok(false);
        }
        let whole = self.root.join(format!("{FILL}{name}"));
        let temporary = temporary_name(&whole);
        let copied = make_directory(&temporary)
            .and_then(|()| copy_tree(from, open(&temporary)?, Attributed::Fully))
            .and_then(|()| if durability == Durability::Durable { sync_file_system(&temporary) } else { Ok(()) })
            .and_then(|()| remove_tree(&whole))
            .and_then(|()| std::fs::rename(&temporary, &whole).context(|| format!("rename({temporary:?})")));
        if let Err(e) = copied {
            discard(&temporary);
            return Err(e.context(format!("copying into volume {name}")));
        }
        let poured = self.pour(name, &whole).and_then(|()| match durability {
            Durability::Durable => sync_directory(&self.data(name)),
            Durability::Volatile => Ok(()),
        });
        // What could not be moved must not be by a later start, however far its removal gets.
        match rename_away(&whole, temporary_name(&whole)) {
            Ok(garbage) => discard(&garbage),
            Err(e) => log::warn!("{whole:?} is left: {e}"),
        }
        poured.map(|()| true).map_err(|e| e.context(format!("copying into volume {name}")))
    }

    /// Moves what is in `whole` into a volume, where that has nothing of the same name.
    fn pour(&self, name: &str, whole: &Path) -> Result<()> {
        let (from, to) = (open(whole)?, open(&self.data(name))?);
        let stat = fstat(&from).context(|| "fstat()".into())?;
        for entry in names(from.as_fd(), usize::MAX)? {
            if fstatat(&to, entry.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT) {
                renameat(&from, entry.as_slice(), &to, entry.as_slice())
                    .context(|| format!("renameat({:?})", String::from_utf8_lossy(&entry)))?;
            }
        }
        imitate(&to, &from, &stat)
    }

    /// Takes everything out of a volume that nobody uses; gives what that was, for [`discard`]. [`Store::operate`] must be
    /// held.
    ///
    /// # Errors
    /// The failing call.
    pub fn empty(&self, name: &str) -> Result<PathBuf> {
        let data = self.data(name);
        let garbage = temporary_name(&self.root.join(name));
        std::fs::rename(&data, &garbage).context(|| format!("rename({data:?}, {garbage:?})"))?;
        if let Err(e) = self.make_data(&self.root.join(name)) {
            log::error!("volume {name}: has no directory until the next start: {e}");
        }
        Ok(garbage)
    }

    /// Completes what was interrupted, and tells what is left to do. To be called before anything else.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn restore(&self) -> Result<Leftovers> {
        let mut left = Leftovers::default();
        for name in self.entries()? {
            let path = self.root.join(&name);
            if let Some(volume) = name.strip_prefix(FILL) {
                if self.exists(volume)
                    && let Err(e) = self.pour(volume, &path)
                {
                    log::error!("volume {volume}: not all that was copied for it is there: {e}");
                }
                left.garbage.extend(rename_away(&path, temporary_name(&path)));
            } else if let Some((container, volume)) = name.strip_prefix(OWNED).and_then(|rest| rest.split_once('-')) {
                left.owned.push((container.into(), volume.into()));
            } else if name.starts_with(TEMPORARY_PREFIX) {
                left.garbage.push(path);
            } else if name::is_valid(&name) && path.is_dir() {
                if !path.join(DATA).exists()
                    && let Err(e) = self.make_data(&path)
                {
                    log::error!("volume {name}: {e}");
                }
            } else {
                log::warn!("{path:?} is no volume and is left alone");
            }
        }
        Ok(left)
    }
}

/// Removes what has lost its name. What cannot be removed now is at the next start.
pub fn discard(path: &Path) {
    if let Err(e) = remove_tree(path) {
        log::warn!("garbage is left for the next start: {e}");
    }
}

/// Makes a directory of that mode whatever the process's mask is.
fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new().mode(OPEN).create(path).context(|| format!("mkdir({path:?})"))?;
    std::fs::set_permissions(path, Permissions::from_mode(OPEN)).context(|| format!("chmod({path:?})"))
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty()).context(|| format!("open({path:?})"))
}

/// The record, when there is one.
fn read(path: &Path) -> Result<Option<Record>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Ok(bytes) if bytes.len() > LARGEST => Err(Error::corrupt(format!("{path:?} has {} bytes", bytes.len()))),
        other => {
            let bytes = other.context(|| format!("read({path:?})"))?;
            json::parse(&bytes).map(Some).map_err(|e| e.with_kind(Kind::Corrupt).context(format!("{path:?}")))
        }
    }
}
