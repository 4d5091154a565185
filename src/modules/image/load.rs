//! Images from an archive: what `docker save` writes (both layouts) and OCI image layouts as tar.
//!
//! The archive is read once, as it comes, and may be a pipe: layers are unpacked when they pass by, the documents that
//! say what they are often come last. A layer that none of them names is thrown away.

use super::assembly::Assembly;
use super::import::{NewLayer, unpack_layer};
use super::manifest::{self, Manifest};
use super::reference::{Reference, display};
use super::store::{Image, Store};
use super::tree::components;
use crate::api::oci::image::Descriptor;
use crate::error::{Error, Kind, Result};
use crate::utils::archive::tar::{Member, Reader, Type};
use crate::utils::archive::{Decompressed, Window, read_error};
use crate::utils::digest::{self, Hashing};
use crate::utils::json;
use crate::utils::json::Object;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

/// Bytes read from a source at once.
const CHUNK: usize = 128 << 10;
/// A document larger than this is not one.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// All documents and names of an archive together.
const KEPT_LIMIT: u64 = 32 << 20;
/// What a member takes besides its names.
const ENTRY: u64 = 512;
/// Links from member to member, as docker's older layout has them for shared layers.
const LINKS: usize = 8;
/// Indexes within indexes.
const DEPTH: usize = 4;

/// An image that was loaded.
pub struct Loaded {
    /// It.
    pub image: Arc<Image>,
    /// The names that it got, as users see them.
    pub names: Vec<String>,
}

impl Store {
    /// Loads all images of an archive, which may be compressed. `name`, for an archive of one image, takes the place of
    /// the names in it.
    ///
    /// # Errors
    /// `Kind::Invalid` for an archive of no known kind or a name that breaks a rule, `Kind::Corrupt` for a damaged one.
    /// Images before the one that failed stay.
    pub fn load(&self, source: &mut dyn Read, name: Option<&str>) -> Result<Vec<Loaded>> {
        let name = name.map(Reference::parse_name).transpose()?;
        let stream = Decompressed::detect(source, Window::Large)?;
        let mut contents = Contents::default();
        let mut archive = Reader::new(stream);
        while let Some(member) = archive.next_member()? {
            contents
                .take(self, &member, &mut archive)
                .map_err(|e| e.context(format!("member {:?}", String::from_utf8_lossy(&member.path))))?;
        }
        drain(archive.into_inner())?;
        let plans = contents.plans()?;
        if name.is_some() && plans.len() > 1 {
            return Err(Error::invalid(format!(
                "a name can be given to one image only, the archive holds {}",
                plans.len()
            )));
        }
        plans.into_iter().map(|plan| contents.make(self, plan, name.as_ref())).collect()
    }
}

/// To the end, so that whoever sends is not interrupted.
fn drain(mut stream: impl BufRead) -> Result<()> {
    loop {
        let n = stream.fill_buf().map_err(read_error)?.len();
        if n == 0 {
            return Ok(());
        }
        stream.consume(n);
    }
}

/// One image, by the names of the members that make it.
struct Plan {
    config: String,
    /// Bottom first.
    layers: Vec<String>,
    names: Vec<Reference>,
}

/// What an archive holds, by cleaned path.
#[derive(Default)]
struct Contents {
    documents: BTreeMap<String, Vec<u8>>,
    kept: u64,
    layers: BTreeMap<String, Layer>,
    links: BTreeMap<String, String>,
}

enum Layer {
    /// Unpacked, of no image so far.
    New(Box<NewLayer>),
    /// Used: it was put in place or was there.
    Used,
    /// Something that is no layer.
    Broken(Error),
}

/// `manifest.json` of docker's archives.
#[derive(Default, Object)]
#[serde(default, rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl Contents {
    fn take<R: BufRead>(&mut self, store: &Store, member: &Member, archive: &mut Reader<R>) -> Result<()> {
        let path = clean(&member.path)?;
        if member.kind != Type::Directory {
            self.keep((path.len() + member.link.len()) as u64 + ENTRY)?;
        }
        match member.kind {
            Type::Symlink => {
                let beside = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let target = [beside.as_bytes(), &member.link].join(&b'/');
                let target = if member.link.starts_with(b"/") { clean(&member.link)? } else { clean(&target)? };
                self.links.insert(path, target);
            }
            Type::HardLink => drop(self.links.insert(path, clean(&member.link)?)),
            Type::Regular => self.file(store, path, member.size, archive)?,
            Type::Directory | Type::Char | Type::Block | Type::Fifo => {}
        }
        Ok(())
    }

    /// Counts what is kept in memory until the archive has been read.
    fn keep(&mut self, bytes: u64) -> Result<()> {
        self.kept += bytes;
        match self.kept > KEPT_LIMIT {
            true => Err(Error::invalid(format!("more than {KEPT_LIMIT} bytes of names and documents"))),
            false => Ok(()),
        }
    }

    fn file<R: BufRead>(&mut self, store: &Store, path: String, size: u64, archive: &mut Reader<R>) -> Result<()> {
        let head = archive.data()?;
        let text = head.iter().find(|b| !b.is_ascii_whitespace());
        if path.rsplit('/').next() == Some("VERSION") {
            return Ok(());
        }
        if matches!(text, Some(b'{' | b'[')) && size <= DOCUMENT_LIMIT {
            self.keep(size)?;
            let mut bytes = Vec::with_capacity(size as usize);
            Data(archive).read_to_end(&mut bytes).map_err(read_error)?;
            if let Some(want) = blob_digest(&path)
                && digest::sha256(&bytes) != want
            {
                return Err(Error::corrupt("its content does not have the digest that it is named by"));
            }
            self.documents.insert(path, bytes);
            return Ok(());
        }
        let mut data = Hashing::new(BufReader::with_capacity(CHUNK, Data(archive)));
        let layer = match unpack_layer(&store.directories, &mut data, Window::Large) {
            Ok(layer) => {
                drain(&mut data)?;
                let (have, _) = data.finish();
                if blob_digest(&path).is_some_and(|want| have != want) {
                    return Err(Error::corrupt("its content does not have the digest that it is named by"));
                }
                Layer::New(Box::new(layer))
            }
            // Not everything in an archive need be a layer. Of one that is, the error is told when it is wanted.
            Err(e) if e.errno().is_none() => Layer::Broken(e),
            Err(e) => return Err(e),
        };
        self.layers.insert(path, layer);
        Ok(())
    }

    /// The images that the archive describes.
    fn plans(&self) -> Result<Vec<Plan>> {
        let plans = if self.documents.contains_key("manifest.json") {
            self.docker_plans()?
        } else if let Some(index) = self.documents.get("index.json") {
            let Manifest::Index(images) = manifest::parse(index, None).map_err(|e| e.context("index.json"))? else {
                return Err(Error::invalid("index.json is no index"));
            };
            let mut plans = Vec::new();
            for descriptor in &images {
                let name = descriptor.annotations.as_ref().and_then(|a| {
                    a.get("io.containerd.image.name").or_else(|| a.get("org.opencontainers.image.ref.name"))
                });
                // A tag alone names no repository.
                let name = name.filter(|n| n.contains([':', '/'])).map(|n| Reference::parse_name(n)).transpose()?;
                if let Some(mut plan) = self.oci_plan(descriptor, 0)? {
                    plan.names.extend(name);
                    plans.push(plan);
                }
            }
            plans
        } else {
            return Err(Error::invalid(
                "neither manifest.json (docker save) nor index.json (OCI image layout) is in the archive",
            ));
        };
        match plans.is_empty() {
            true => Err(Error::invalid("the archive holds no image for this machine")),
            false => Ok(plans),
        }
    }

    fn docker_plans(&self) -> Result<Vec<Plan>> {
        let entries: Vec<Entry> =
            json::parse(self.document("manifest.json")?).map_err(|e| e.context("manifest.json"))?;
        let plan = |entry: Entry| -> Result<Plan> {
            let names = entry.repo_tags.unwrap_or_default();
            let paths = entry.layers.unwrap_or_default();
            Ok(Plan {
                config: clean(entry.config.as_bytes())?,
                layers: paths.iter().map(|path| clean(path.as_bytes())).collect::<Result<_>>()?,
                names: names.iter().map(|name| Reference::parse_name(name)).collect::<Result<_>>()?,
            })
        };
        entries.into_iter().map(plan).collect()
    }

    /// The image of a descriptor; of an index the one for this machine. `None` for what is no image.
    fn oci_plan(&self, descriptor: &Descriptor, depth: usize) -> Result<Option<Plan>> {
        let path = blob_path(&descriptor.digest)?;
        match manifest::parse(self.document(&path)?, Some(&descriptor.media_type)) {
            // Signatures and other artifacts stand beside images.
            Err(e) if e.kind() == Kind::Unsupported => Ok(None),
            Err(e) => Err(e.context(path)),
            // No layout has them.
            Ok(Manifest::Schema1) => Ok(None),
            Ok(Manifest::Index(_)) if depth == DEPTH => Err(Error::invalid("indexes nested too deep")),
            Ok(Manifest::Index(list)) => {
                let chosen = super::platform::Platform::here().choose(&list);
                chosen.map_or(Ok(None), |descriptor| self.oci_plan(descriptor, depth + 1))
            }
            Ok(Manifest::Image { config, layers }) => Ok(Some(Plan {
                config: blob_path(&config.digest)?,
                layers: layers.iter().map(|layer| blob_path(&layer.digest)).collect::<Result<_>>()?,
                names: Vec::new(),
            })),
        }
    }

    /// Puts an image together. Layers that the store has need not be in the archive.
    fn make(&mut self, store: &Store, plan: Plan, name: Option<&Reference>) -> Result<Loaded> {
        let assembly = store.assemble(self.document(&plan.config)?.to_vec())?;
        if assembly.len() != plan.layers.len() {
            return Err(Error::corrupt(format!(
                "the image has {} layers in the archive and {} in its configuration",
                plan.layers.len(),
                assembly.len()
            )));
        }
        for (n, path) in plan.layers.iter().enumerate() {
            self.place(&assembly, n, path)?;
        }
        let given: Vec<&Reference> = name.map_or_else(|| plan.names.iter().collect(), |name| vec![name]);
        let given: Vec<String> = given.into_iter().map(Reference::normalised).collect();
        let id = assembly.id();
        let image = assembly.commit(given.first().map(String::as_str), None)?;
        for name in given.iter().skip(1) {
            store.tag(&id, name)?;
        }
        Ok(Loaded { image, names: given.iter().map(|name| display(name).to_owned()).collect() })
    }

    fn place(&mut self, assembly: &Assembly<'_>, n: usize, path: &str) -> Result<()> {
        let path = self.resolve(path).to_owned();
        let Some(layer) = self.layers.get_mut(&path) else {
            if assembly.has(n) {
                return Ok(());
            }
            let diff_id = assembly.diff_id(n);
            return Err(Error::invalid(format!("layer {path:?} ({diff_id}) is neither in the archive nor here")));
        };
        match std::mem::replace(layer, Layer::Used) {
            Layer::New(new) => assembly.adopt(n, *new),
            Layer::Used if assembly.has(n) => Ok(()),
            Layer::Used => assembly.duplicate(n),
            Layer::Broken(e) => Err(e.context(format!("layer {path:?}"))),
        }
    }

    fn document(&self, path: &str) -> Result<&[u8]> {
        let missing = || Error::invalid(format!("{path:?} is not in the archive, or no JSON document"));
        self.documents.get(self.resolve(path)).map(Vec::as_slice).ok_or_else(missing)
    }

    /// Follows links among members.
    fn resolve<'a>(&'a self, mut path: &'a str) -> &'a str {
        for _ in 0..LINKS {
            match self.links.get(path) {
                Some(target) => path = target,
                None => break,
            }
        }
        path
    }
}

/// The data of the current member.
struct Data<'a, R>(&'a mut Reader<R>);

impl<R: BufRead> Read for Data<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let data = self.0.data().map_err(|e| match e.kind() {
            Kind::Corrupt => std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string()),
            _ => std::io::Error::other(e),
        })?;
        let n = data.len().min(out.len());
        out[..n].copy_from_slice(&data[..n]);
        self.0.advance(n);
        Ok(n)
    }
}

/// A member's name without `.`, `..` and doubled slashes: what it is looked up by.
fn clean(path: &[u8]) -> Result<String> {
    let bytes = components(path).join(&b'/');
    String::from_utf8(bytes).map_err(|_| Error::invalid("a name that is not UTF-8"))
}

fn blob_path(digest: &str) -> Result<String> {
    Ok(format!("blobs/sha256/{}", digest::parse(digest)?))
}

/// The digest that a blob's name gives it.
fn blob_digest(path: &str) -> Option<&str> {
    path.strip_prefix("blobs/sha256/").filter(|hex| crate::utils::id::is_full_id(hex))
}

#[cfg(test)]
mod tests;
