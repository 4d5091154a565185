//! Images on disk: `overlay-images/<id>/images.json`, with the configuration document beside it.

use super::init_layer;
use super::layer::{Directories, Temporary, chain_id};
use super::reference::Reference;
use super::store::Image;
use crate::api::oci::image::ImageConfig;
use crate::error::{Context, Error, Kind, Result};
use crate::modules::remap::Remap;
use crate::utils::atomic_file::{Durability, fill_directory, overwrite, replace, sync_directory};
use crate::utils::json::Object;
use crate::utils::time::Timestamp;
use crate::utils::{digest, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A document larger than this is not one.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// overlayfs stacks 500: these, the init layer, and the writable one of a container that is read as a whole.
const LAYER_LIMIT: usize = 498;
const FILE: &str = "images.json";
const INIT: &str = "init";

/// `images.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "kebab-case")]
struct Record {
    id: String,
    /// Names with tag, and names with digest.
    names: Vec<String>,
    /// Chain id of the topmost layer.
    layer: String,
    /// Files beside this one, by key.
    big_data_names: Vec<String>,
    big_data_sizes: BTreeMap<String, u64>,
    big_data_digests: BTreeMap<String, String>,
    created: String,
    loaded: Timestamp,
    /// Bytes of the files of all layers.
    size: u64,
}

impl Record {
    fn of(image: &Image, config_size: u64) -> Record {
        let key = config_key(&image.id);
        Record {
            id: image.id.clone(),
            names: image.names.iter().chain(&image.digests).cloned().collect(),
            layer: image.layers.last().cloned().unwrap_or_default(),
            big_data_names: vec![key.clone()],
            big_data_sizes: [(key.clone(), config_size)].into(),
            big_data_digests: [(key.clone(), key)].into(),
            created: image.config.created.clone().unwrap_or_default(),
            loaded: image.loaded,
            size: image.size,
        }
    }
}

fn config_key(id: &str) -> String {
    format!("sha256:{id}")
}

/// A key that is not made of dots, digits and lower-case letters is a file name only in base 64.
fn config_file(directory: &Path, id: &str) -> PathBuf {
    directory.join(config_name(id))
}

fn config_name(id: &str) -> String {
    format!("={}", STANDARD.encode(config_key(id)))
}

/// Writes an image that is not on disk yet. `layers` are its layers' directories, topmost first.
pub(super) fn create(directories: &Directories, image: &Image, config: &[u8], layers: &[PathBuf]) -> Result<()> {
    let path = directories.images.join(&image.id);
    let new = Temporary::directory(&path)?;
    let owner = directories.remap.as_ref().map(Remap::root).unwrap_or_default();
    init_layer::make(&new.path().join(INIT), layers, owner)?;
    let record = json::to_vec(&Record::of(image, config.len() as u64));
    let files = [(&config_name(&image.id)[..], config), (FILE, &record)];
    fill_directory(new.path(), &files, 0o640, Durability::Durable)?;
    new.rename(&path)?;
    sync_directory(&directories.images)
}

/// The layer above an image's own (module `init_layer`), when it has one.
pub(super) fn init_layer(directories: &Directories, id: &str) -> Option<PathBuf> {
    Some(directories.images.join(id).join(INIT)).filter(|path| path.is_dir())
}

/// Writes the names of an image. Fewer of them need no room on the disk.
pub(super) fn update(directories: &Directories, image: &Image) -> Result<()> {
    let directory = directories.images.join(&image.id);
    let config = config_file(&directory, &image.id);
    let size = std::fs::metadata(&config).context(|| format!("stat({config:?})"))?.len();
    let (file, record) = (directory.join(FILE), json::to_vec(&Record::of(image, size)));
    match replace(&file, &record, 0o640, Durability::Durable) {
        Err(e) if matches!(e.errno(), Some(libc::ENOSPC | libc::EDQUOT)) => overwrite(&file, &record).map_err(|_| e),
        result => result,
    }
}

/// The configuration document of an image, as it came.
#[cfg(feature = "image-tools")]
pub(super) fn config(directories: &Directories, id: &str) -> Result<Vec<u8>> {
    read(&config_file(&directories.images.join(id), id))
}

/// Reads an image. Its names may be lost and it is still whole; its configuration may not.
///
/// # Errors
/// `Kind::Corrupt` for an image that can never be used; others may pass.
pub(super) fn load(directories: &Directories, id: &str) -> Result<Image> {
    let directory = directories.images.join(id);
    let path = config_file(&directory, id);
    let bytes = read(&path)?;
    if digest::sha256(&bytes) != id {
        return Err(Error::corrupt(format!("{path:?} does not have the digest sha256:{id}")));
    }
    let (config, layers) = parse_config(&bytes).map_err(|e| e.with_kind(Kind::Corrupt))?;
    let record: Record = match read(&directory.join(FILE)).and_then(|bytes| json::parse(&bytes)) {
        Ok(record) => record,
        Err(e) if matches!(e.kind(), Kind::Os(_)) => return Err(e),
        Err(e) => {
            log::error!("image {id}: its names are lost: {e}");
            Record::default()
        }
    };
    let normal = |name: &String| Reference::parse(name).ok().map(|r| r.normalised());
    let (digests, names) = record.names.iter().filter_map(normal).partition(|name: &String| name.contains('@'));
    Ok(Image {
        id: id.to_owned(),
        names,
        digests,
        size: record.size,
        created: created(&config),
        config,
        layers,
        loaded: record.loaded,
        embedded: None,
    })
}

/// The configuration and the chain ids that follow from it.
pub(super) fn parse_config(bytes: &[u8]) -> Result<(ImageConfig, Vec<String>)> {
    let config: ImageConfig = json::parse(bytes)?;
    if config.rootfs.diff_ids.len() > LAYER_LIMIT {
        return Err(Error::invalid(format!("an image of more than {LAYER_LIMIT} layers")));
    }
    let mut layers: Vec<String> = Vec::with_capacity(config.rootfs.diff_ids.len());
    for diff_id in &config.rootfs.diff_ids {
        layers.push(chain_id(layers.last().map(String::as_str), diff_id)?);
    }
    Ok((config, layers))
}

/// When the image was made, as far as it says so.
pub(super) fn created(config: &ImageConfig) -> Timestamp {
    config.created.as_deref().and_then(|text| Timestamp::parse_rfc3339(text).ok()).unwrap_or_default()
}

/// Reads a document; one that is missing or too large is `Kind::Corrupt`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::corrupt(format!("{path:?} is missing")));
        }
        Err(e) => return Err(e).context(|| format!("open({path:?})")),
    };
    file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).context(|| format!("read({path:?})"))?;
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(Error::corrupt(format!("{path:?} is larger than {DOCUMENT_LIMIT} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_file_names_in_base64() {
        // No byte of theirs gives a slash.
        let path = config_file(Path::new("d"), &"0123456789abcdef".repeat(4));
        assert_eq!(path.parent(), Some(Path::new("d")));
        assert!(config_file(Path::new("d"), "f").ends_with("=c2hhMjU2OmY="));
    }

    #[test]
    fn configurations_are_checked() {
        assert!(parse_config(b"{\"rootfs\":{\"diff_ids\":[\"sha256:../../etc\"]}}").is_err());
        let many = format!("{{\"rootfs\":{{\"diff_ids\":[{}]}}}}", vec!["\"x\""; 499].join(","));
        assert!(parse_config(many.as_bytes()).unwrap_err().to_string().contains("more than 498 layers"));
        assert!(parse_config(b"3").is_err());
    }
}
