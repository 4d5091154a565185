//! The image store on disk. Content-addressed layers; nothing exists before its final name does.
//!
//! Who uses a layer is never written down: it follows from the images that are there. A change on disk goes through
//! the operation lock, so that a commit and a removal cannot cross; the index lock is held for moments only.

#[cfg(doc)]
use super::assembly::Assembly;
use super::assembly::Making;
use super::driver::{Driver, Quota, Storage};
use super::embedded::Embedded;
use super::layer::{Directories, Record, unname};
use super::reference::{Reference, display, is_none, repository};
use super::{changes, import, open, record};
use crate::api::image::DeleteEntry;
use crate::api::oci::image::{ExecutionConfig, ImageConfig};
use crate::error::{Context, Error, Kind, Result};
use crate::modules::remap::Remap;
use crate::utils::archive::Window;
use crate::utils::atomic_file::sync_directory;
use crate::utils::digest;
use crate::utils::host;
use crate::utils::order;
use crate::utils::remove_tree::remove_tree;
use crate::utils::time::Timestamp;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// The store below `<graph>/storage`.
pub struct Store {
    pub(super) directories: Directories,
    /// How roots are made of layers.
    pub(super) storage: Storage,
    /// What was chosen where the operator chose nothing.
    pub(super) driver: Mutex<Option<Driver>>,
    pub(super) quota: Quota,
    /// A sync of one file takes along what was made before.
    pub(super) one_journal: bool,
    /// Held while images and layers change on disk.
    operation: Mutex<()>,
    index: Mutex<Index>,
    pub(super) making: Making,
}

/// What is on disk.
#[derive(Default)]
pub(super) struct Index {
    pub images: HashMap<String, Arc<Image>>,
    pub layers: HashMap<String, Record>,
    /// Every record could be read.
    pub certain: bool,
    /// Layers that were found damaged and left where they are, below running containers.
    pub damaged: HashSet<String>,
    /// Layers that are wanted for images which are not there yet, and by how many.
    pub held: HashMap<String, usize>,
}

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// 64 digits: SHA-256 of the configuration.
    pub id: String,
    /// Normalised names with tag, `docker.io/library/busybox:latest`.
    pub names: Vec<String>,
    /// Normalised names with digest.
    pub digests: Vec<String>,
    /// Bytes, unpacked.
    pub size: u64,
    /// The configuration document.
    pub config: ImageConfig,
    /// Chain ids of the layers, bottom first.
    pub layers: Vec<String>,
    /// When it came here.
    pub loaded: Timestamp,
    /// When it was made, as its configuration says.
    pub created: Timestamp,
    /// Set for an image whose layers are not the store's.
    pub embedded: Option<Arc<Embedded>>,
}

impl Image {
    /// Names as users see them: default registry and `library/` left out.
    pub fn display_names(&self) -> Vec<String> {
        self.names.iter().map(|name| display(name).to_owned()).collect()
    }

    /// Names with digest as users see them.
    pub fn display_digests(&self) -> Vec<String> {
        self.digests.iter().map(|name| display(name).to_owned()).collect()
    }

    /// Looks whether layers that are not the store's are still what they were.
    ///
    /// # Errors
    /// `Kind::Corrupt` when they are not.
    pub fn check(&self) -> Result<()> {
        let result = self.embedded.as_ref().map_or(Ok(()), |embedded| embedded.check());
        result.map_err(|e| {
            let name = self.names.first().map_or(self.id.as_str(), |name| display(name));
            e.context(format!("image {name} is damaged"))
        })
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().chain(&self.digests).any(|n| n == name)
    }
}

/// What [`Store::import`] makes.
pub struct Import<'a> {
    /// The tar stream, plain or compressed ([`crate::utils::archive::Decompressed`]).
    pub source: &'a mut dyn Read,
    /// `REPO[:TAG]`; an image without a name when empty.
    pub reference: &'a str,
    /// Kept in the history.
    pub message: &'a str,
    /// Dockerfile instructions (`CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`, `LABEL`, `USER`, `VOLUME`, `WORKDIR`,
    /// `STOPSIGNAL`).
    pub changes: &'a [String],
}

impl Store {
    /// Opens the store, making it when it is not there; all that it unpacks is for containers with the user namespace
    /// `remap`. Removes what is not whole; damaged images are reported in the
    /// log and left out. What takes time to remove goes on in the background.
    ///
    /// # Errors
    /// When the directories cannot be made or read; `Kind::Unsupported` when containers cannot be limited to the size
    /// that `storage` has.
    pub fn open(graph: &Path, remap: Option<Remap>, storage: Storage) -> Result<Store> {
        Store::open_beside(graph, remap, storage, false)
    }

    /// The same; `in_use` says that containers run. A layer that is found damaged may be below their roots and is left
    /// where it is then, until a start at which none do.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_beside(graph: &Path, remap: Option<Remap>, storage: Storage, in_use: bool) -> Result<Store> {
        let directories = Directories::open(graph, remap)?;
        if storage.size.is_some() {
            Quota::supported(&directories.overlay)?;
        }
        #[cfg(feature = "storage")]
        let unclean = super::check::begin(&directories, storage.check_layers);
        #[cfg(not(feature = "storage"))]
        let unclean = false;
        let index = open::read(&directories, unclean && storage.check_layers, in_use)?;
        Ok(Store {
            one_journal: host::has_one_journal(&directories.overlay),
            directories,
            driver: Mutex::new(storage.driver),
            storage,
            quota: Quota::default(),
            operation: Mutex::new(()),
            index: Mutex::new(index),
            making: Making::default(),
        })
    }

    /// Says that nothing changes here any more, so that the next start need not look for damage.
    pub fn close(&self) {
        #[cfg(feature = "storage")]
        if self.index().damaged.is_empty() {
            super::check::end(&self.directories);
        }
    }

    /// The same with a limit for what a layer may unpack to, in bytes; see [`super::unpack::unpack`].
    pub fn with_layer_limit(mut self, limit: Option<u64>) -> Store {
        self.directories.layer_limit = limit;
        self
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("a panic ends the process, so no lock is poisoned")
    }

    pub(super) fn operate(&self) -> MutexGuard<'_, ()> {
        self.operation.lock().expect("a panic ends the process, so no lock is poisoned")
    }

    /// All images, newest first.
    pub fn list(&self) -> Vec<Arc<Image>> {
        let mut images: Vec<Arc<Image>> = self.index().images.values().cloned().collect();
        order::sort_by(&mut images, |a, b| (b.created, b.loaded, &b.id).cmp(&(a.created, a.loaded, &a.id)));
        images
    }

    /// Finds by name, name and digest, id or unique prefix of the id.
    ///
    /// # Errors
    /// `Kind::NotFound` (`No such image:NAME`), `Kind::Invalid` for a malformed or ambiguous reference.
    pub fn find(&self, reference: &str) -> Result<Arc<Image>> {
        self.search(reference).map(|(image, _)| image)
    }

    /// Finds an image; with the name when it was found by that and not by its id.
    fn search(&self, text: &str) -> Result<(Arc<Image>, Option<String>)> {
        let missing = || Error::not_found(format!("No such image:{text}"));
        let index = self.index();
        if is_none(text) {
            return Err(missing());
        }
        if let Some(image) = index.images.get(text.strip_prefix("sha256:").unwrap_or(text)) {
            return Ok((image.clone(), None));
        }
        let parsed = Reference::parse(text);
        if let Ok(reference) = &parsed {
            let name = reference.normalised();
            if let Some(image) = index.images.values().find(|image| image.has(&name)) {
                return Ok((image.clone(), Some(name)));
            }
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let digits = (1..=64).contains(&prefix.len()) && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits {
            return parsed.and(Err(missing()));
        }
        let mut matching = index.images.values().filter(|image| image.id.starts_with(prefix));
        match (matching.next(), matching.next()) {
            (Some(image), None) => Ok((image.clone(), None)),
            (Some(_), Some(_)) => Err(Error::invalid(format!("image id prefix {text:?} is ambiguous"))),
            (None, _) => Err(missing()),
        }
    }

    /// Makes an image of one layer from a tar stream.
    ///
    /// # Errors
    /// `Kind::Invalid` for a stream that is not a tar archive or holds nothing, for a malformed reference or change;
    /// `Kind::Corrupt` for a damaged or truncated stream. Nothing is left then.
    pub fn import(&self, import: Import<'_>) -> Result<Arc<Image>> {
        let name = match import.reference {
            "" => None,
            text => Some(Reference::parse_name(text)?.normalised()),
        };
        let mut config = ExecutionConfig::default();
        for change in import.changes {
            changes::apply(&mut config, change)?;
        }
        let layer = import::unpack_layer(&self.directories, import.source, Window::Large)?;
        if layer.members == 0 {
            return Err(Error::invalid("the archive holds nothing"));
        }
        // Of an image from elsewhere the digest tells; of this one nothing else does.
        if !layer.whole {
            return Err(Error::corrupt("tar archive ends early: it has no end marker"));
        }
        let config = import::configuration(&layer.record.diff_digest, config, import.message);
        let assembly = self.assemble(crate::utils::json::to_vec(&config))?;
        assembly.adopt(0, layer)?;
        assembly.commit(name.as_deref(), None)
    }

    /// Writes an image whose layers are there and last, or gives it further names. The operation lock is held.
    pub(super) fn commit_image(&self, bytes: &[u8], name: Option<&str>, digest: Option<&str>) -> Result<Arc<Image>> {
        let id = digest::sha256(bytes);
        let known = self.index().images.get(&id).cloned();
        let image = match &known {
            Some(known) => {
                let mut image = Image::clone(known);
                add(&mut image.names, name);
                add(&mut image.digests, digest);
                if image.names.len() + image.digests.len() > known.names.len() + known.digests.len() {
                    self.write_names(&image)?;
                }
                Arc::new(image)
            }
            None => {
                let (config, layers) = record::parse_config(bytes)?;
                let size = {
                    let index = self.index();
                    let sizes = layers.iter().filter_map(|id| index.layers.get(id)).map(|layer| layer.unpacked_size);
                    sizes.fold(0, u64::saturating_add)
                };
                let (names, digests) = (name.map(str::to_owned), digest.map(str::to_owned));
                let (names, digests) = (names.into_iter().collect(), digests.into_iter().collect());
                let (loaded, created) = (Timestamp::now(), record::created(&config));
                let (id, embedded) = (id.clone(), None);
                let image = Arc::new(Image { id, names, digests, size, config, layers, loaded, created, embedded });
                record::create(&self.directories, &image, bytes, &self.lower_directories(&image))?;
                image
            }
        };
        self.index().images.insert(id.clone(), image.clone());
        if let Some(name) = name
            && let Err(e) = self.take_name(name, &id)
        {
            match &known {
                Some(known) => self.give_back(known),
                None => {
                    self.index().images.remove(&id);
                    remove_all(unname(&self.directories.images.join(&id))?);
                }
            }
            return Err(e);
        }
        Ok(image)
    }

    /// Takes a name from the images that have it, but for one. The operation lock is held.
    pub(super) fn take_name(&self, name: &str, except: &str) -> Result<()> {
        let losers: Vec<Arc<Image>> =
            self.index().images.values().filter(|i| i.id != except && i.has(name)).cloned().collect();
        for loser in losers {
            let mut image = Image::clone(&loser);
            image.names.retain(|n| n != name);
            self.replace(image)?;
        }
        Ok(())
    }

    /// Undoes a change of names after a failure: no name may have two owners.
    pub(super) fn give_back(&self, before: &Image) {
        if let Err(e) = self.replace(before.clone()) {
            log::warn!("image {}: its names are not as before: {e}", before.id);
        }
    }

    /// Writes an image's names.
    pub(super) fn write_names(&self, image: &Image) -> Result<()> {
        match &image.embedded {
            Some(embedded) => embedded.update(&self.directories, image),
            None => record::update(&self.directories, image),
        }
    }

    /// Writes an image's new names.
    fn replace(&self, image: Image) -> Result<()> {
        self.write_names(&image)?;
        self.index().images.insert(image.id.clone(), Arc::new(image));
        Ok(())
    }

    /// Gives an image a further name, which moves from the image that had it.
    ///
    /// # Errors
    /// As [`Store::find`]; `Kind::Invalid` for a target with a digest or a reserved name.
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let name = Reference::parse_name(target)?.normalised();
        let _operation = self.operate();
        let found = self.find(source)?;
        let new = !found.has(&name);
        if new {
            // First the new owner: a crash in between leaves two, of which the next start keeps the newer.
            let mut image = Image::clone(&found);
            image.names.push(name.clone());
            self.replace(image)?;
        }
        self.take_name(&name, &found.id).inspect_err(|_| {
            if new {
                self.give_back(&found);
            }
        })
    }

    /// Removes a name, and the image with its unshared layers when that was the last one or an id was given.
    /// `user_of` gives the id of a container that uses an image id.
    ///
    /// # Errors
    /// `Kind::Conflict`: `Image used by ID`, or several names and an id without `force`.
    pub fn delete(
        &self,
        reference: &str,
        force: bool,
        user_of: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<DeleteEntry>> {
        let operation = self.operate();
        let (found, name) = self.search(reference)?;
        if let Some(name) = &name
            && found.names.len() + found.digests.len() > 1
        {
            let mut image = Image::clone(&found);
            image.names.retain(|n| n != name);
            image.digests.retain(|n| n != name);
            // A digest goes with the last tag of its repository; the image stays while any tag of another is left.
            let tagged = image.names.iter().any(|n| repository(n) == repository(name));
            if !tagged && !name.contains('@') {
                image.digests.retain(|n| repository(n) != repository(name));
            }
            if !(image.names.is_empty() && image.digests.is_empty()) {
                let gone = removed_names(&found, &image);
                self.replace(image)?;
                return Ok(gone);
            }
        }
        if name.is_none() && found.names.len() > 1 && !force {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                crate::utils::id::short(&found.id)
            )));
        }
        if let Some(user) = user_of(&found.id) {
            return Err(Error::conflict(format!("Image used by {user}")));
        }
        let mut garbage: Vec<PathBuf> = match &found.embedded {
            Some(embedded) => embedded.remove(&self.directories, &found.id).map(|()| Vec::new())?,
            None => unname(&self.directories.images.join(&found.id))?.into_iter().collect(),
        };
        self.index().images.remove(&found.id);
        let mut gone = removed_names(&found, &Image { names: Vec::new(), digests: Vec::new(), ..Image::clone(&found) });
        let deleted = |id: &String| DeleteEntry { untagged: None, deleted: Some(format!("sha256:{id}")) };
        gone.push(deleted(&found.id));
        let (layers, more) = self.drop_unused(&found.layers);
        gone.extend(layers.iter().map(deleted));
        garbage.extend(more);
        // The names are gone; nobody needs to wait for the files.
        drop(operation);
        // A power cut must not bring the image back, least of all without its files.
        let synced = sync_directory(&self.directories.images);
        remove_all(garbage);
        synced.map(|()| gone)
    }

    /// Takes those of `layers` that no image and no [`Assembly`] has out of the store, topmost first; gives their ids and what is left to
    /// be removed. The operation lock is held.
    pub(super) fn drop_unused(&self, layers: &[String]) -> (Vec<String>, Vec<PathBuf>) {
        let (mut gone, mut garbage) = (Vec::new(), Vec::new());
        for id in layers.iter().rev() {
            let mut index = self.index();
            let used = index.held.contains_key(id) || index.images.values().any(|image| image.layers.contains(id));
            if used || index.layers.remove(id).is_none() {
                continue;
            }
            drop(index);
            match self.directories.unname_layer(id) {
                Ok(paths) => garbage.extend(paths),
                Err(e) => log::warn!("layer {id} is left for the next start: {e}"),
            }
            gone.push(id.clone());
        }
        (gone, garbage)
    }

    /// Bytes of the files of each layer, bottom first.
    pub fn layer_sizes(&self, image: &Image) -> Vec<u64> {
        if let Some(embedded) = &image.embedded {
            return embedded.layer_sizes();
        }
        let index = self.index();
        image.layers.iter().map(|id| index.layers.get(id).map_or(0, |layer| layer.unpacked_size)).collect()
    }

    /// Bytes of the files of every layer, by chain id.
    pub fn all_layer_sizes(&self) -> HashMap<String, u64> {
        self.index().layers.values().map(|layer| (layer.id.clone(), layer.unpacked_size)).collect()
    }

    /// Where the files of a layer are.
    pub fn layer_directory(&self, layer: &str) -> PathBuf {
        self.directories.diff(layer)
    }
}

fn add(names: &mut Vec<String>, name: Option<&str>) {
    if let Some(name) = name.filter(|name| names.iter().all(|n| n != name)) {
        names.push(name.to_owned());
    }
}

/// Removes what has lost its name. What cannot be removed now is at the next start.
pub(super) fn remove_all(garbage: impl IntoIterator<Item = PathBuf>) {
    for path in garbage {
        if let Err(e) = remove_tree(&path) {
            log::warn!("garbage is left for the next start: {e}");
        }
    }
}

/// Names of `before` that `after` lacks.
fn removed_names(before: &Image, after: &Image) -> Vec<DeleteEntry> {
    let names = before.names.iter().chain(&before.digests);
    names
        .filter(|name| !after.has(name))
        .map(|name| DeleteEntry { untagged: Some(display(name).to_owned()), deleted: None })
        .collect()
}

/// Everything that was unpacked reaches the disk before it gets its name. One syncfs(2) for thousands of files: an
/// fsync(2) each would commit the journal each time; and the kernel writes in the order it likes best.
pub fn sync_file_system(directory: &Path) -> Result<()> {
    let fd = std::fs::File::open(directory).context(|| format!("open({directory:?})"))?;
    nix::unistd::syncfs(&fd).map_err(|e| Error::new(Kind::Os(e as i32), format!("syncfs({directory:?})")))
}

#[cfg(test)]
pub(crate) mod tests;
