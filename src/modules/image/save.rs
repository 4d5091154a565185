//! Images to an archive in docker's form, which skopeo and our own load read: an OCI image layout with docker's
//! `manifest.json` beside its index, as docker itself writes it since version 25.
//!
//! The store keeps trees, not archives, so a layer is packed anew, and its bytes are not those that it came in. The
//! configuration gets the digests of the new archives, and with them the image another id, except where the layers were
//! packed by us to begin with. The same store always gives the same bytes. A layer is packed twice, once for its size and
//! digest: no copy lies on a disk or in memory.

use super::assembly::Assembly;
use super::pack::{Form, pack};
use super::record;
use super::reference::{Reference, display, repository};
use super::store::{Image, Store};
use super::tree::DIRECTORY;
use crate::api::oci::image::{Descriptor, media_type};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::archive::tar::{Member, Type};
use crate::utils::archive::tar_writer::Writer;
use crate::utils::digest::{self, Sha256};
use crate::utils::json;
use nix::sys::stat::Mode;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::Arc;

/// Images to write, each with the normalised names that it is to have.
pub type Chosen = Vec<(Arc<Image>, Vec<String>)>;

/// A layer that was packed once.
struct Packed {
    /// Which directory it is in.
    chain_id: String,
    opaque: bool,
    /// 64 digits.
    digest: String,
    size: u64,
}

/// One image, ready to be written.
struct Ready<'a> {
    config: Vec<u8>,
    /// `sha256:…` of its layers as they were, bottom first.
    diff_ids: &'a [String],
    names: &'a [String],
}

/// An image's entry in docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

impl Store {
    /// Finds images to save. One that is asked for by id or digest gets no name; by a name without tag, all tags of it.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn choose(&self, references: &[String]) -> Result<Chosen> {
        let mut chosen: Chosen = Vec::new();
        for text in references {
            for (image, names) in self.choose_one(text)? {
                if image.embedded.is_some() {
                    let text = format!("image {text:?} is an embedded one: its layers stay where they are");
                    return Err(Error::new(Kind::Unsupported, text));
                }
                match chosen.iter_mut().find(|(other, _)| other.id == image.id) {
                    Some((_, known)) => known.extend(names),
                    None => chosen.push((image, names)),
                }
            }
        }
        for (_, names) in &mut chosen {
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
        }
        Ok(chosen)
    }

    fn choose_one(&self, text: &str) -> Result<Chosen> {
        let reference = Reference::parse(text).ok();
        if let Some(Reference { name, tag: None, digest: None }) = &reference {
            let tags = |image: &Image| -> Vec<String> {
                image.names.iter().filter(|n| repository(n) == name).cloned().collect()
            };
            let all: Chosen = self.list().into_iter().map(|image| (image.clone(), tags(&image))).collect();
            let tagged: Chosen = all.into_iter().filter(|(_, names)| !names.is_empty()).collect();
            if !tagged.is_empty() {
                return Ok(tagged);
            }
        }
        let image = self.find(text)?;
        let name = reference.map(|r| r.normalised()).filter(|name| image.names.contains(name));
        Ok(vec![(image, name.into_iter().collect())])
    }

    /// Writes images as one archive, with each layer once.
    ///
    /// # Errors
    /// `Kind::NotFound` for an image that has gone meanwhile; what reading the layers or writing gives.
    pub fn save(&self, chosen: Chosen, out: &mut dyn Write) -> Result<()> {
        let (mut held, mut images, mut layers) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (image, names) in &chosen {
            let config = record::config(&self.directories, &image.id)?;
            // While there is an assembly, nobody takes its layers away.
            let assembly: Assembly<'_> = self.assemble(config.clone())?;
            self.find(&image.id)?;
            held.push(assembly);
            self.pack_missing(image, &mut layers)?;
            let config = rewrite(config, image, &layers)?;
            images.push(Ready { config, diff_ids: &image.config.rootfs.diff_ids, names });
        }
        self.write_archive(&images, &layers, out)
    }

    /// Finds out size and digest of the layers that were not met so far, by `sha256:…` of what they were.
    fn pack_missing(&self, image: &Image, layers: &mut BTreeMap<String, Packed>) -> Result<()> {
        for (chain_id, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            if layers.contains_key(diff_id) {
                continue;
            }
            let opaque = self.index().layers.get(chain_id).is_some_and(|layer| layer.opaque);
            let mut packed = Packed { chain_id: chain_id.clone(), opaque, digest: String::new(), size: 0 };
            let mut measured = Measured { hash: Sha256::new(), size: 0 };
            self.pack_layer(&packed, &mut measured)?;
            (packed.digest, packed.size) = (measured.hash.finish(), measured.size);
            layers.insert(diff_id.clone(), packed);
        }
        Ok(())
    }

    fn pack_layer(&self, layer: &Packed, out: &mut dyn Write) -> Result<()> {
        let path = self.directories.diff(&layer.chain_id);
        let root = nix::fcntl::open(&path, DIRECTORY, Mode::empty()).context(|| format!("open({path:?})"))?;
        pack(root, Form::Layer { opaque: layer.opaque }, self.directories.ids(), out).map(drop)
    }

    fn write_archive(
        &self,
        images: &[Ready<'_>],
        layers: &BTreeMap<String, Packed>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let mut archive = Writer::new(out);
        for path in ["blobs/", "blobs/sha256/"] {
            archive.member(&member(Type::Directory, path, 0), &mut std::io::empty())?;
        }
        let mut written = HashSet::new();
        let (mut entries, mut manifests) = (Vec::new(), Vec::new());
        for image in images {
            let own: Vec<&Packed> = image.diff_ids.iter().map(|id| &layers[id]).collect();
            for layer in &own {
                if written.insert(layer.digest.clone()) {
                    archive.made(&member(Type::Regular, &blob(&layer.digest), layer.size), |out| {
                        self.pack_layer(layer, out)
                    })?;
                }
            }
            let config = put(&mut archive, &mut written, media_type::CONFIG, &image.config)?;
            let manifest = Manifest {
                schema_version: 2,
                media_type: media_type::MANIFEST,
                config: config.clone(),
                layers: own.iter().map(|l| descriptor(media_type::LAYER, &l.digest, l.size)).collect(),
            };
            let manifest = put(&mut archive, &mut written, media_type::MANIFEST, &json::to_vec(&manifest))?;
            let tags: Vec<String> = image.names.iter().map(|name| display(name).to_owned()).collect();
            entries.push(Entry {
                config: blob(digest::parse(&config.digest)?),
                repo_tags: Some(tags).filter(|tags| !tags.is_empty()),
                layers: own.iter().map(|layer| blob(&layer.digest)).collect(),
            });
            manifests.extend(image.names.iter().map(|name| named(&manifest, name)));
            if image.names.is_empty() {
                manifests.push(manifest);
            }
        }
        let index = Index { schema_version: 2, media_type: media_type::INDEX, manifests };
        for (path, bytes) in [
            ("index.json", json::to_vec(&index)),
            ("manifest.json", json::to_vec(&entries)),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ] {
            archive.member(&member(Type::Regular, path, bytes.len() as u64), &mut &bytes[..])?;
        }
        archive.finish().map(drop)
    }
}

/// Writes a document unless it is there.
fn put<W: Write>(
    archive: &mut Writer<W>,
    written: &mut HashSet<String>,
    media_type: &str,
    bytes: &[u8],
) -> Result<Descriptor> {
    let (digest, size) = (digest::sha256(bytes), bytes.len() as u64);
    if written.insert(digest.clone()) {
        archive.member(&member(Type::Regular, &blob(&digest), size), &mut &bytes[..])?;
    }
    Ok(descriptor(media_type, &digest, size))
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest: format!("sha256:{digest}"), size, ..Descriptor::default() }
}

/// An image's entry in the index: with the whole name for those that know containerd's annotation, and the tag.
fn named(manifest: &Descriptor, name: &str) -> Descriptor {
    let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
    let annotations = [("io.containerd.image.name", name), ("org.opencontainers.image.ref.name", tag)];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Descriptor { annotations: Some(annotations.into()), ..manifest.clone() }
}

/// Without a time: the same images give the same archive.
fn member(kind: Type, path: &str, size: u64) -> Member {
    Member {
        kind,
        path: path.as_bytes().to_vec(),
        link: Vec::new(),
        mode: if kind == Type::Directory { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        device: (0, 0),
        size,
        xattrs: Vec::new(),
        sparse: None,
    }
}

/// Puts the digests of the new layers in the place of those that an image's configuration has. They are as long, so
/// nothing else of the document changes.
fn rewrite(mut config: Vec<u8>, image: &Image, layers: &BTreeMap<String, Packed>) -> Result<Vec<u8>> {
    const DIGEST: usize = "sha256:".len() + 64;
    let mut at = 0;
    while at + DIGEST <= config.len() {
        let new = std::str::from_utf8(&config[at..at + DIGEST]).ok().and_then(|text| layers.get(text));
        match new {
            Some(layer) => {
                config[at + DIGEST - 64..at + DIGEST].copy_from_slice(layer.digest.as_bytes());
                at += DIGEST;
            }
            None => at += 1,
        }
    }
    let (rewritten, _) = record::parse_config(&config)?;
    let want = image.config.rootfs.diff_ids.iter().map(|id| format!("sha256:{}", layers[id].digest));
    if !rewritten.rootfs.diff_ids.iter().cloned().eq(want) {
        return Err(Error::invalid(format!("the configuration of {} spells its layers in an unusual way", image.id)));
    }
    Ok(config)
}

/// Takes bytes in and keeps their number and hash.
struct Measured {
    hash: Sha256,
    size: u64,
}

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
