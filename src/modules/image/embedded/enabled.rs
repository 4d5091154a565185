//! A build with embedded images.
//!
//! An image's id is the digest of its manifest. Its layers are the machine's: they are found and verified when the
//! manifest is loaded, and looked at before each use. One that has changed makes the image a damaged one, which cannot be
//! used until its layers are back or its manifest is loaded again.

use super::layer::Found;
use super::manifest::{Form, Manifest, fault};
use super::{MANIFEST_LIMIT, Source, record};
use crate::api::image::{InspectEmbedded, InspectEmbeddedLayer};
use crate::api::oci::runtime::Mount;
use crate::error::{Context, Error, Result};
use crate::modules::image::layer::Directories;
use crate::modules::image::reference::{Reference, display};
use crate::modules::image::store::{Image, Store};
use crate::utils::time::Timestamp;
use crate::utils::{digest, id};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What an embedded image has beyond others.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// The manifest's file; empty when it came as text.
    pub(super) path: PathBuf,
    /// The manifest as it came.
    pub(super) text: String,
    pub(super) manifest: Manifest,
    /// Its layers, in the same order.
    pub(super) found: Vec<Found>,
}

impl Embedded {
    /// What the root is made of, topmost first.
    pub fn lower(&self) -> Vec<PathBuf> {
        self.layers(false).rev().map(|(_, found)| found.path.clone()).collect()
    }

    /// Those of [`Embedded::lower`] that are to be mounted first.
    pub fn images(&self) -> Vec<PathBuf> {
        self.layers(false).filter(|(_, found)| found.is_image()).map(|(_, found)| found.path.clone()).collect()
    }

    /// What is mounted in the root.
    pub fn mounts(&self) -> Vec<Mount> {
        let mount = |(layer, found): (&super::manifest::Layer, &Found)| {
            let (kind, options) = match layer.form() {
                Some(Form::Directory) => ("bind", ["bind", "rprivate", "ro"]),
                _ => ("squashfs", ["loop", "nodev", "ro"]),
            };
            Mount {
                destination: layer.place().unwrap_or_default(),
                kind: kind.into(),
                source: found.path.display().to_string(),
                options: options.map(str::to_owned).to_vec(),
                ..Mount::default()
            }
        };
        self.layers(true).map(mount).collect()
    }

    /// Layers that have a place of their own, or the others.
    fn layers(&self, placed: bool) -> impl DoubleEndedIterator<Item = (&super::manifest::Layer, &Found)> {
        let all = self.manifest.layers.iter().zip(&self.found);
        all.filter(move |(layer, _)| layer.place().is_some() == placed)
    }

    /// Looks whether the layers are still what was loaded.
    ///
    /// # Errors
    /// `Kind::Corrupt` naming the first that is not.
    pub fn check(&self) -> Result<()> {
        self.found.iter().try_for_each(Found::check)
    }

    /// Bytes of each layer, bottom first.
    pub fn layer_sizes(&self) -> Vec<u64> {
        self.found.iter().map(|found| found.size).collect()
    }

    /// What inspect shows.
    pub fn describe(&self) -> InspectEmbedded {
        let layers = self.manifest.layers.iter().zip(&self.found).map(|(layer, found)| InspectEmbeddedLayer {
            media_type: layer.media_type.clone(),
            size: i64::try_from(found.size).unwrap_or(i64::MAX),
            digest: layer.digest.clone(),
            path_in_host: found.path.display().to_string(),
            path_in_container: layer.place().unwrap_or_default(),
        });
        InspectEmbedded {
            manifest: self.path.display().to_string(),
            layers: layers.collect(),
            damage: self.check().err().map(|e| e.to_string()).unwrap_or_default(),
        }
    }

    /// Writes the names of an image that has this.
    pub(in crate::modules::image) fn update(&self, directories: &Directories, image: &Image) -> Result<()> {
        record::write(directories, image, self)
    }

    /// Takes an image away; its layers stay.
    pub(in crate::modules::image) fn remove(&self, directories: &Directories, id: &str) -> Result<()> {
        record::remove(directories, id)
    }

    /// What is written last when an image changes.
    pub(in crate::modules::image) fn record(&self, directories: &Directories, id: &str) -> PathBuf {
        record::file(directories, id)
    }

    fn same_places(&self, other: &Embedded) -> bool {
        self.found.iter().map(|found| &found.path).eq(other.found.iter().map(|found| &found.path))
    }
}

impl Store {
    /// Makes an image of a manifest, or verifies the layers of the one that is there. `name` is for it in place of the
    /// manifest's.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the rule that the manifest or a layer breaks; `Kind::Conflict` when the name is another
    /// image's that is not damaged. Nothing has changed then.
    pub fn load_embedded(&self, source: Source, name: Option<&str>) -> Result<Arc<Image>> {
        let embedded = self.read_manifest(source)?;
        let name = match name {
            Some(name) => Reference::parse_name(name)?.normalised(),
            None => embedded.manifest.name()?,
        };
        let id = digest::sha256(embedded.text.as_bytes());
        let _operation = self.operate();
        let images: Vec<Arc<Image>> = self.index().images.values().cloned().collect();
        for other in images.iter().filter(|image| image.id != id && image.names.contains(&name)) {
            if !is_damaged(other) {
                let text = "Image name is conflicted in the database";
                let other = id::short(&other.id);
                return Err(Error::conflict(format!("{text}: {:?} is the name of image {other}", display(&name))));
            }
        }
        let known = images.iter().find(|image| image.id == id);
        let mut names = vec![name.clone()];
        if let Some(known) = known {
            let here = known.embedded.as_ref().is_some_and(|old| old.same_places(&embedded));
            if !here && !is_damaged(known) {
                let text = "Image name is conflicted in the database";
                return Err(Error::conflict(format!("{text}: the same manifest was loaded with layers elsewhere")));
            }
            names.extend(known.names.iter().filter(|n| **n != name).cloned());
        }
        let image = Arc::new(record::image(id.clone(), names, embedded, Timestamp::now()));
        self.write_names(&image)?;
        self.index().images.insert(id.clone(), image.clone());
        if let Err(e) = self.take_name(&name, &id) {
            match known {
                Some(known) => self.give_back(known),
                None => {
                    self.index().images.remove(&id);
                    if let Err(e) = image.embedded.as_ref().map_or(Ok(()), |own| own.remove(&self.directories, &id)) {
                        log::warn!("image {id}: {e}");
                    }
                }
            }
            return Err(e);
        }
        Ok(image)
    }

    fn read_manifest(&self, source: Source) -> Result<Embedded> {
        let (path, bytes) = match source {
            Source::File(path) => read_file(&path)?,
            Source::Text(bytes) => (PathBuf::new(), bytes),
        };
        let manifest = Manifest::parse(&bytes)?;
        manifest.check()?;
        let text = String::from_utf8(bytes).map_err(|_| fault("it is not UTF-8"))?;
        let mut found: Vec<Found> = Vec::with_capacity(manifest.layers.len());
        for (n, layer) in manifest.layers.iter().enumerate() {
            let new = Found::look(layer, path.parent()).map_err(|e| e.context(format!("layer {n}")))?;
            let stacked = |(n, old): (usize, &Found)| manifest.layers[n].place().is_none() && old.path == new.path;
            if layer.place().is_none() && found.iter().enumerate().any(stacked) {
                return Err(fault(format!("{:?} is two layers of the root", new.path)));
            }
            if layer.place().is_none() && !new.is_image() && holds(&new.path, &self.directories.images) {
                return Err(fault(format!("the directory {:?} holds the daemon's own storage", new.path)));
            }
            found.push(new);
        }
        Ok(Embedded { path, text, manifest, found })
    }
}

/// Whether `inner` lies in the directory `outer` and on the same file system: such layers overlayfs does not take.
fn holds(outer: &Path, inner: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    inner.canonicalize().is_ok_and(|inner| inner.starts_with(outer)) && device(outer) == device(inner)
}

/// Whether it is an embedded image that cannot be used.
fn is_damaged(image: &Image) -> bool {
    image.embedded.as_ref().is_some_and(|embedded| embedded.check().is_err())
}

/// A manifest, by its path without links. Where a file of its name with the ending `sgn` lies beside it, that holds its
/// digest.
fn read_file(path: &Path) -> Result<(PathBuf, Vec<u8>)> {
    if !path.is_absolute() {
        return Err(Error::invalid(format!("the path of a manifest must be absolute: {path:?}")));
    }
    let missing = |e: std::io::Error| Error::invalid(format!("Invalid manifest: manifest not found: {path:?}: {e}"));
    let path = path.canonicalize().map_err(missing)?;
    let bytes = read(&path)?;
    let signature = path.with_extension("sgn");
    match read(&signature) {
        Ok(want) if want == format!("sha256:{}", digest::sha256(&bytes)).as_bytes() => {}
        Ok(_) => {
            let text = format!("Invalid manifest: invalid digest: {signature:?} does not hold that of {path:?} alone");
            return Err(Error::invalid(text));
        }
        Err(e) if e.errno() == Some(libc::ENOENT) => {}
        Err(e) => return Err(e),
    }
    Ok((path, bytes))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let metadata = path.metadata().context(|| format!("stat({path:?})"))?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!("Invalid manifest: manifest is not a regular file: {path:?}")));
    }
    let file = File::open(path).context(|| format!("open({path:?})"))?;
    let mut bytes = Vec::new();
    file.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes).context(|| format!("read({path:?})"))?;
    if bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(Error::invalid(format!("Invalid manifest: {path:?} is larger than {MANIFEST_LIMIT} bytes")));
    }
    Ok(bytes)
}
