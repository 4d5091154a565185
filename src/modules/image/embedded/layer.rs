//! Layers as they are on this machine: found and verified when an image is loaded, looked at before each use.

use super::manifest::{self, Form, fault};
use crate::error::{Context, Error, Result};
use crate::utils::digest::Sha256;
use crate::utils::json::object::{Free, Member, Object, Place, Wrong};
use serde::Serialize;
use serde::de::Unexpected;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where a squashfs begins (kernel, fs/squashfs/squashfs_fs.h), and what it says about itself.
const MAGIC: &[u8] = b"hsqs";
const BYTES_USED: usize = 40;
const HEAD: usize = 96;
/// What a loop device shows is a multiple of this.
const SECTOR: u64 = 512;
/// Bytes read at once.
const CHUNK: usize = 128 << 10;

/// A layer that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "kebab-case")]
pub struct Found {
    /// Without links.
    pub path: PathBuf,
    /// What it is.
    kind: Kind,
    /// Bytes: of a file the file's, otherwise what the manifest says.
    pub size: u64,
    /// When a file was last written to: seconds and nanoseconds.
    modified: [i64; 2],
}

/// What a layer is on this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    File,
    Device,
    Directory,
}

impl Member for Kind {
    fn place(&mut self) -> Place<'_> {
        Place::Free(self)
    }
}

impl Free for Kind {
    fn expected(&self) -> &'static str {
        "`file`, `device` or `directory`"
    }

    fn single(&mut self, value: Unexpected<'_>) -> std::result::Result<(), Wrong> {
        *self = match value {
            Unexpected::Str("file") => Kind::File,
            Unexpected::Str("device") => Kind::Device,
            Unexpected::Str("directory") => Kind::Directory,
            _ => return Err(Wrong::Value),
        };
        Ok(())
    }
}

impl Found {
    /// Finds a layer and verifies it. Relative paths are so to `base`, the manifest's directory.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the rule; the failing call.
    pub fn look(layer: &manifest::Layer, base: Option<&Path>) -> Result<Found> {
        let path = Path::new(&layer.path_in_host);
        let path = match (path.is_absolute(), base) {
            (true, _) => path.to_owned(),
            (false, Some(base)) => base.join(path),
            (false, None) => return Err(fault(format!("{path:?} is relative, and the manifest is in no directory"))),
        };
        let missing = |e: std::io::Error| fault(format!("layer not exists: {path:?}: {e}"));
        let path = path.canonicalize().map_err(missing)?;
        if path.to_str().is_none() {
            return Err(fault(format!("{path:?} is not UTF-8")));
        }
        let metadata = path.metadata().context(|| format!("stat({path:?})"))?;
        let kind = kind_of(&metadata);
        match (layer.form(), kind) {
            (Some(Form::Squashfs), Some(Kind::File | Kind::Device)) => {}
            (Some(Form::Directory), Some(Kind::Directory)) => {}
            (Some(Form::Directory), _) => return Err(fault(format!("layer is not a directory: {path:?}"))),
            _ => return Err(fault(format!("layer is not a regular file, nor a block device: {path:?}"))),
        }
        let kind = kind.unwrap_or_default();
        let size = match kind {
            Kind::File => metadata.len(),
            Kind::Device | Kind::Directory => u64::try_from(layer.size).unwrap_or_default(),
        };
        if kind != Kind::Directory {
            verify(&path, layer, kind)?;
        }
        Ok(Found { path, kind, size, modified: modified(&metadata) })
    }

    /// Whether it is one to be mounted.
    pub fn is_image(&self) -> bool {
        self.kind != Kind::Directory
    }

    /// Looks whether it is still what was found. The content of a file is not read again.
    ///
    /// # Errors
    /// `Kind::Corrupt` when it is not; the failing call.
    pub fn check(&self) -> Result<()> {
        let path = &self.path;
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                return Err(Error::corrupt(format!("layer {path:?} is missing")));
            }
            Err(e) => return Err(e).context(|| format!("stat({path:?})")),
        };
        let same = kind_of(&metadata) == Some(self.kind)
            && (self.kind != Kind::File || (metadata.len(), modified(&metadata)) == (self.size, self.modified));
        match same {
            true => Ok(()),
            false => Err(Error::corrupt(format!("layer {path:?} has changed since its manifest was loaded"))),
        }
    }
}

fn kind_of(metadata: &Metadata) -> Option<Kind> {
    let kind = metadata.file_type();
    match (kind.is_file(), kind.is_dir(), kind.is_block_device()) {
        (true, ..) => Some(Kind::File),
        (_, true, _) => Some(Kind::Directory),
        (.., true) => Some(Kind::Device),
        _ => None,
    }
}

fn modified(metadata: &Metadata) -> [i64; 2] {
    [metadata.mtime(), metadata.mtime_nsec()]
}

/// Whether it is a whole squashfs, and the one that the manifest means.
fn verify(path: &Path, layer: &manifest::Layer, kind: Kind) -> Result<()> {
    if kind == Kind::Device && !layer.digest.is_empty() {
        return Err(fault(format!("the digest of a block device must be empty: {path:?}")));
    }
    let mut file = File::open(path).context(|| format!("open({path:?})"))?;
    let size = file.seek(SeekFrom::End(0)).context(|| format!("lseek({path:?})"))?;
    file.rewind().context(|| format!("lseek({path:?})"))?;
    let read = |e: std::io::Error| Error::io(format!("read({path:?})"), e);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut head = Vec::with_capacity(HEAD);
    loop {
        let n = match file.read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(read(e)),
        };
        if head.len() < HEAD {
            head.extend_from_slice(&buffer[..n.min(HEAD - head.len())]);
        }
        let more = n > 0 && (head.len() < HEAD || !layer.digest.is_empty());
        hash.update(&buffer[..n]);
        if !more {
            break;
        }
    }
    if head.len() < HEAD || !head.starts_with(MAGIC) {
        return Err(fault(format!("layer is no squashfs: {path:?}")));
    }
    let used = head[BYTES_USED..].first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    if used > size / SECTOR * SECTOR {
        return Err(fault(format!(
            "layer is cut short: {path:?} has {size} bytes, its squashfs {used}, in sectors of {SECTOR}"
        )));
    }
    if !layer.digest.is_empty() {
        let have = format!("sha256:{}", hash.finish());
        if have != layer.digest {
            return Err(fault(format!("layer has invalid digest: {path:?} has {have}, not {}", layer.digest)));
        }
    }
    Ok(())
}
