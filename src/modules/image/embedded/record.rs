//! Embedded images on disk: `embedded-images/<id>.json`, one document each with all that is known.

use super::enabled::Embedded;
use super::layer::Found;
use super::manifest::Manifest;
use crate::api::oci::image::{History, ImageConfig, RootFs};
use crate::error::{Context, Error, Kind, Result};
use crate::modules::image::layer::{Directories, PRIVATE};
use crate::modules::image::platform::Platform;
use crate::modules::image::reference::Reference;
use crate::modules::image::store::{Image, Index};
use crate::modules::image::{open, record};
use crate::utils::atomic_file::{Durability, TEMPORARY_PREFIX, replace, sync_directory};
use crate::utils::id::is_full_id;
use crate::utils::json::Object;
use crate::utils::time::Timestamp;
use crate::utils::{digest, json};
use serde::Serialize;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SUFFIX: &str = ".json";

/// What is written.
#[derive(Default, Serialize, Object)]
#[serde(default, rename_all = "kebab-case")]
struct Record {
    id: String,
    /// With tag; those with digest are none of such an image's.
    names: Vec<String>,
    /// The manifest's file; empty when it came as text.
    path: PathBuf,
    /// The manifest as it came.
    manifest: String,
    layers: Vec<Found>,
    loaded: Timestamp,
}

fn directory(directories: &Directories) -> PathBuf {
    directories.images.with_file_name("embedded-images")
}

/// The document of an image.
pub fn file(directories: &Directories, id: &str) -> PathBuf {
    directory(directories).join(format!("{id}{SUFFIX}"))
}

/// Writes an image, new or with other names.
///
/// # Errors
/// The failing call; what was there before is unchanged then.
pub fn write(directories: &Directories, image: &Image, embedded: &Embedded) -> Result<()> {
    let parent = directory(directories);
    match DirBuilder::new().mode(PRIVATE).create(&parent) {
        Ok(()) => sync_directory(parent.parent().unwrap_or(Path::new(".")))?,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).context(|| format!("mkdir({parent:?})")),
    }
    let record = Record {
        id: image.id.clone(),
        names: image.names.clone(),
        path: embedded.path.clone(),
        manifest: embedded.text.clone(),
        layers: embedded.found.clone(),
        loaded: image.loaded,
    };
    replace(&file(directories, &image.id), &json::to_vec(&record), 0o640, Durability::Durable)
}

/// Takes an image's document away.
///
/// # Errors
/// The failing call.
pub fn remove(directories: &Directories, id: &str) -> Result<()> {
    let path = file(directories, id);
    std::fs::remove_file(&path).context(|| format!("unlink({path:?})"))?;
    sync_directory(&directory(directories))
}

/// Reads all into the index; gives whether each could be read. Those with missing or changed layers are told of in the
/// log, and are there: their layers may come back, as those on a file system that is mounted later.
///
/// # Errors
/// When the directory cannot be read.
pub fn read_all(directories: &Directories, index: &mut Index) -> Result<bool> {
    let directory = directory(directories);
    let names = match open::names(&directory) {
        Err(e) if e.errno() == Some(libc::ENOENT) => return Ok(true),
        result => result?,
    };
    let mut certain = true;
    for name in names {
        let path = directory.join(&name);
        if name.starts_with(TEMPORARY_PREFIX) {
            let _ = std::fs::remove_file(&path); // it has cost nothing but its place so far
            continue;
        }
        let Some(id) = name.strip_suffix(SUFFIX).filter(|id| is_full_id(id)) else { continue };
        match read(&path, id) {
            Ok(image) => {
                if let Some(Err(e)) = image.embedded.as_ref().map(|embedded| embedded.check()) {
                    log::error!("image {id} ({}) is damaged: {e}", image.display_names().join(", "));
                }
                index.images.insert(id.to_owned(), Arc::new(image));
            }
            Err(e) if matches!(e.kind(), Kind::Corrupt | Kind::Invalid) => {
                log::error!("image {id} is damaged and removed: {e}");
                if let Err(e) = std::fs::remove_file(&path) {
                    log::warn!("garbage is left: unlink({path:?}): {e}");
                }
            }
            Err(e) => {
                log::error!("image {id} cannot be read and is left out: {e}");
                certain = false;
            }
        }
    }
    Ok(certain)
}

fn read(path: &Path, id: &str) -> Result<Image> {
    let record: Record = json::parse(&record::read(path)?).context(|| format!("{path:?}"))?;
    if record.id != id || digest::sha256(record.manifest.as_bytes()) != id {
        return Err(Error::corrupt(format!("{path:?} does not have the manifest sha256:{id}")));
    }
    let manifest = Manifest::parse(record.manifest.as_bytes())?;
    if manifest.layers.len() != record.layers.len() {
        return Err(Error::corrupt(format!("{path:?} has not the layers of its manifest")));
    }
    let normal = |name: &String| Reference::parse(name).ok().map(|r| r.normalised());
    let names = record.names.iter().filter_map(normal).collect();
    let embedded = Embedded { path: record.path, text: record.manifest, manifest, found: record.layers };
    Ok(image(id.to_owned(), names, embedded, record.loaded))
}

/// The image of a manifest.
pub fn image(id: String, names: Vec<String>, embedded: Embedded, loaded: Timestamp) -> Image {
    let here = Platform::here();
    let manifest = &embedded.manifest;
    let digests = manifest.layers.iter().map(|layer| layer.digest.clone()).filter(|digest| !digest.is_empty());
    let steps = manifest.layers.iter().zip(&embedded.found).map(|(layer, found)| History {
        created: Some(manifest.created.clone()),
        created_by: match layer.place() {
            None => format!("layer {}", found.path.display()),
            Some(place) => format!("mount {} on {place}", found.path.display()),
        },
        ..History::default()
    });
    let config = ImageConfig {
        created: Some(manifest.created.clone()),
        architecture: here.architecture,
        variant: here.variant,
        os: here.os,
        config: Some(manifest.execution_config()),
        rootfs: RootFs { kind: "layers".into(), diff_ids: digests.collect() },
        history: steps.collect(),
        ..ImageConfig::default()
    };
    Image {
        id,
        names,
        digests: Vec::new(),
        size: embedded.found.iter().fold(0, |sum, layer| sum.saturating_add(layer.size)),
        created: record::created(&config),
        config,
        layers: Vec::new(),
        loaded,
        embedded: Some(Arc::new(embedded)),
    }
}
