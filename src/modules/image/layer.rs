//! Layers on disk: `overlay-layers/<chain id>/layer.json` and `overlay/<chain id>/diff`, the original's names.
//!
//! A layer exists when both are there under their final names; the record is renamed into place last.

use super::unpack::Rules;
use crate::error::{Context, Result};
use crate::modules::remap::{Ids, Remap};
use crate::utils::atomic_file::{Durability, rename_away, replace, temporary_name, write_new};
use crate::utils::json::Object;
use crate::utils::remove_tree::remove_tree;
use crate::utils::time::Timestamp;
use crate::utils::{digest, json};
use serde::Serialize;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Modes of everything that leads to file systems with set-id programs in them.
pub(super) const PRIVATE: u32 = 0o700;

/// `layer.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Record {
    /// Chain id, 64 digits.
    pub id: String,
    /// Chain id of the layer below.
    pub parent: String,
    /// RFC 3339.
    pub created: String,
    /// `sha256:…` of the uncompressed archive.
    pub diff_digest: String,
    /// Bytes of the uncompressed archive.
    pub diff_size: u64,
    /// Bytes of the files.
    pub unpacked_size: u64,
    /// Whether it hides everything below it.
    pub opaque: bool,
    /// Whether some of its deletions are in a form that overlayfs does not know.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub archive_signs: bool,
    /// What its tree amounts to (module `tally`), 16 hexadecimal digits; empty for a layer that was made without.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tree_sum: String,
    /// Whether the directories that it merely implies are still to be made like those below (module `implied`). Not kept:
    /// it is so until an image has the layer.
    #[serde(skip)]
    pub unsettled: bool,
}

/// The chain id of a layer upon another (OCI image specification, config.md, "Layer ChainID"), without prefix.
pub(super) fn chain_id(parent: Option<&str>, diff_id: &str) -> Result<String> {
    let diff = digest::parse(diff_id)?;
    Ok(match parent {
        None => diff.to_owned(),
        Some(parent) => digest::sha256(format!("sha256:{parent} sha256:{diff}").as_bytes()),
    })
}

/// The directories of a store.
pub(super) struct Directories {
    pub images: PathBuf,
    pub layers: PathBuf,
    pub overlay: PathBuf,
    /// Whose ids what is unpacked gets.
    pub remap: Option<Remap>,
    /// Most bytes that a layer may unpack to.
    pub layer_limit: Option<u64>,
}

impl Directories {
    pub(super) fn open(graph: &Path, remap: Option<Remap>) -> Result<Directories> {
        // Mounts are made by processes with other working directories.
        let storage = std::path::absolute(graph).context(|| format!("getcwd() for {graph:?}"))?.join("storage");
        let directories = Directories {
            images: storage.join("overlay-images"),
            layers: storage.join("overlay-layers"),
            overlay: storage.join("overlay"),
            remap,
            layer_limit: None,
        };
        for path in [&directories.images, &directories.layers, &directories.overlay] {
            DirBuilder::new().recursive(true).mode(PRIVATE).create(path).context(|| format!("mkdir({path:?})"))?;
        }
        Ok(directories)
    }

    /// What holds for every layer that is unpacked here.
    pub(super) fn rules(&self) -> Rules<'_> {
        Rules { remap: self.remap.as_ref(), limit: self.layer_limit }
    }

    /// How ids in what is packed follow from those on the disk.
    pub(super) fn ids(&self) -> Ids {
        self.remap.map_or(Ids::Same, Ids::Inside)
    }

    /// Gives what was made just now to root of the containers.
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.remap.as_ref().map(Remap::root) else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).context(|| format!("chown({path:?}, {uid}, {gid})"))
    }

    /// Changes the record of a layer that no image has yet.
    pub(super) fn rewrite_record(&self, record: &Record) -> Result<()> {
        let path = self.layers.join(&record.id).join("layer.json");
        replace(&path, &json::to_vec(record), 0o640, Durability::Volatile)
    }

    pub(super) fn diff(&self, layer: &str) -> PathBuf {
        self.overlay.join(layer).join("diff")
    }

    /// Puts an unpacked `work` directory in place as the layer of `record`. It lasts when the file system has been synced:
    /// before an image that has it is written. Until then it is a layer of no image, which the next start removes.
    pub(super) fn commit_layer(&self, work: Temporary, record: &Record) -> Result<()> {
        let (data, entry) = (self.overlay.join(&record.id), self.layers.join(&record.id));
        // Without its record it is what an interrupted commit left.
        remove_tree(&data)?;
        remove_tree(&entry)?;
        let json = json::to_vec(record);
        let new_entry = Temporary::directory(&entry)?;
        write_new(&new_entry.path().join("layer.json"), &json, 0o640, Durability::Volatile)?;
        work.rename(&data)?;
        new_entry.rename(&entry)
    }

    /// Takes a layer's names away, the record's first, so that it is either whole or not there. Gives what is left to
    /// be removed.
    pub(super) fn unname_layer(&self, id: &str) -> Result<Vec<PathBuf>> {
        let record = unname(&self.layers.join(id))?;
        Ok(record.into_iter().chain(unname(&self.overlay.join(id))?).collect())
    }
}

/// Gives a directory a temporary name, so that nobody sees it half removed. `None` when there is none.
pub(super) fn unname(path: &Path) -> Result<Option<PathBuf>> {
    match rename_away(path, temporary_name(path)) {
        Ok(garbage) => Ok(Some(garbage)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(|| format!("rename({path:?})")),
    }
}

/// Removes a directory of this store that has lost its name, and the limit of what was a container's.
pub(super) fn discard(path: &Path) -> Result<()> {
    super::driver::release(path);
    remove_tree(path)
}

/// A directory under a temporary name, removed when it is dropped before it got its own.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// Makes one beside `path`.
    pub(super) fn directory(path: &Path) -> Result<Temporary> {
        let temporary = temporary_name(path);
        DirBuilder::new().mode(PRIVATE).create(&temporary).context(|| format!("mkdir({temporary:?})"))?;
        Ok(Temporary(temporary))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name.
    pub(super) fn rename(mut self, path: &Path) -> Result<()> {
        std::fs::rename(&self.0, path).context(|| format!("rename({:?}, {path:?})", self.0))?;
        self.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty()
            && let Err(e) = discard(&self.0)
        {
            // The next start removes it.
            log::warn!("{e}");
        }
    }
}

/// A record for a layer that was made now.
pub(super) fn record(id: String, diff_id: String, diff_size: u64, unpacked: super::unpack::Unpacked) -> Record {
    Record {
        id,
        created: Timestamp::now().rfc3339(),
        diff_digest: diff_id,
        diff_size,
        unpacked_size: unpacked.size,
        opaque: unpacked.opaque,
        archive_signs: unpacked.archive_signs,
        tree_sum: unpacked.sum.map(|sum| format!("{sum:016x}")).unwrap_or_default(),
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids() {
        let (a, b) = ("1".repeat(64), "2".repeat(64));
        assert_eq!(chain_id(None, &format!("sha256:{a}")).unwrap(), a);
        // printf 'sha256:1…1 sha256:2…2' | sha256sum
        let want = digest::sha256(format!("sha256:{a} sha256:{b}").as_bytes());
        assert_eq!(chain_id(Some(&a), &format!("sha256:{b}")).unwrap(), want);
        assert!(chain_id(None, "sha256:../../x").is_err());
    }
}
