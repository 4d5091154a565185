//! Putting an image together. Its layers come in any order and from wherever; the image exists when all are there.
//!
//! Until then the layers are held: no removal of another image takes them away. An assembly that is given up leaves
//! nothing that no image has.

use super::implied;
use super::import::{self, NewLayer};
use super::layer::Record;
use super::record;
use super::store::{Image, Store, remove_all};
use crate::error::{Error, Result};
use crate::utils::archive::Window;
use crate::utils::digest;
use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// An image that is being put together.
pub struct Assembly<'a> {
    store: &'a Store,
    config: Vec<u8>,
    diff_ids: Vec<String>,
    /// Chain ids.
    layers: Vec<String>,
}

/// Chain ids of the layers that are being unpacked.
#[derive(Default)]
pub(super) struct Making {
    now: Mutex<HashSet<String>>,
    done: Condvar,
}

/// The right to make a layer, given back when dropped.
struct Claim<'a>(&'a Making, &'a str);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).remove(self.1);
        self.0.done.notify_all();
    }
}

impl Store {
    /// Begins an image with this configuration document.
    ///
    /// # Errors
    /// `Kind::Invalid` for a document that is none; `Kind::Conflict` when one of the layers is damaged and cannot be replaced
    /// now.
    pub fn assemble(&self, config: Vec<u8>) -> Result<Assembly<'_>> {
        let (parsed, layers) = record::parse_config(&config).map_err(|e| e.context("image configuration"))?;
        let mut index = self.index();
        if let Some(id) = layers.iter().find(|id| index.damaged.contains(*id)) {
            let text = "is damaged, and containers that run may have it: stop them and start the daemon anew";
            return Err(Error::conflict(format!("layer {id} {text}")));
        }
        for id in &layers {
            *index.held.entry(id.clone()).or_insert(0) += 1;
        }
        drop(index);
        Ok(Assembly { store: self, config, diff_ids: parsed.rootfs.diff_ids, layers })
    }
}

impl Assembly<'_> {
    /// The image's id.
    pub fn id(&self) -> String {
        digest::sha256(&self.config)
    }

    /// How many layers there are; they are counted from the bottom.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// `sha256:…` of a layer's uncompressed archive.
    pub fn diff_id(&self, n: usize) -> &str {
        &self.diff_ids[n]
    }

    /// Whether the store has a layer.
    pub fn has(&self, n: usize) -> bool {
        self.store.index().layers.contains_key(&self.layers[n])
    }

    /// Makes a layer from the archive that `open` gives, unless it is there or somebody else, for whom this waits, makes
    /// it.
    ///
    /// # Errors
    /// What `open` gives; as [`Store::import`]; `Kind::Corrupt` when it is another layer.
    pub fn layer<R: Read>(&self, n: usize, open: impl FnOnce() -> Result<R>) -> Result<()> {
        let Some(_claim) = self.claim(n) else { return Ok(()) };
        let mut source = open()?;
        let made = import::unpack_layer(&self.store.directories, &mut source, Window::Small)?;
        self.put(n, made)
    }

    /// As [`Assembly::layer`] with one that is unpacked already.
    pub(super) fn adopt(&self, n: usize, made: NewLayer) -> Result<()> {
        let Some(_claim) = self.claim(n) else { return Ok(()) };
        self.put(n, made)
    }

    /// Makes a layer from one that has the same content upon other layers, as the empty one of a step without files.
    pub(super) fn duplicate(&self, n: usize) -> Result<()> {
        let Some(_claim) = self.claim(n) else { return Ok(()) };
        let same = self.store.index().layers.values().find(|l| l.diff_digest == self.diff_ids[n]).cloned();
        let same = same.ok_or_else(|| Error::not_found(format!("layer {} is missing", self.diff_ids[n])))?;
        let made = import::copy_layer(&self.store.directories, &same)?;
        self.put(n, made)
    }

    fn claim(&self, n: usize) -> Option<Claim<'_>> {
        let making = &self.store.making;
        let mut now = making.now.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.has(n) {
                return None;
            }
            if now.insert(self.layers[n].clone()) {
                return Some(Claim(making, &self.layers[n]));
            }
            now = making.done.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, n: usize, made: NewLayer) -> Result<()> {
        let want = &self.diff_ids[n];
        if made.record.diff_digest != *want {
            let have = &made.record.diff_digest;
            return Err(Error::corrupt(format!("layer {n} has the digest {have}, its configuration wants {want}")));
        }
        let parent = n.checked_sub(1).map(|below| self.layers[below].clone()).unwrap_or_default();
        let unsettled = n > 0 && implied::any(made.work.path());
        let record = Record { id: self.layers[n].clone(), parent, unsettled, ..made.record };
        let _operation = self.store.operate();
        self.store.directories.commit_layer(made.work, &record)?;
        self.store.index().layers.insert(record.id.clone(), record);
        Ok(())
    }

    /// Makes the directories that layers merely imply like those below them.
    fn settle(&self) -> Result<()> {
        let (store, directories) = (self.store, &self.store.directories);
        let mut steps = implied::STEPS;
        for n in 1..self.len() {
            // Nobody else may settle the same layer, or take one below it away.
            let _operation = store.operate();
            let (mut record, below) = {
                let index = store.index();
                let Some(record) = index.layers.get(&self.layers[n]).filter(|record| record.unsettled) else {
                    continue;
                };
                let opaque = |id: &String| index.layers.get(id).is_none_or(|record| record.opaque);
                let mut below: Vec<PathBuf> = Vec::new();
                for id in self.layers[..n].iter().rev().take_while(|_| !record.opaque) {
                    below.push(directories.diff(id));
                    if opaque(id) {
                        break;
                    }
                }
                (record.clone(), below)
            };
            let sum = std::mem::take(&mut record.tree_sum);
            let settled = implied::settle(&directories.overlay.join(&record.id), &below, &mut steps);
            // Half done, it is done again; but then nobody knows its sum.
            record.unsettled = settled.is_err();
            if let (Ok(sum), Ok(change)) = (u64::from_str_radix(&sum, 16), &settled) {
                record.tree_sum = format!("{:016x}", sum.wrapping_add(*change));
            }
            let changed = record.tree_sum != sum || sum.is_empty();
            store.index().layers.insert(record.id.clone(), record.clone());
            settled?;
            if changed {
                directories.rewrite_record(&record)?;
            }
        }
        Ok(())
    }

    /// Makes the image, or gives further names to the one that is there. `name` is normalised and moves from the image
    /// that has it; `digest` is a normalised name with digest.
    ///
    /// # Errors
    /// `Kind::NotFound` when a layer is missing; the failing call.
    pub fn commit(self, name: Option<&str>, digest: Option<&str>) -> Result<Arc<Image>> {
        if let Some(n) = (0..self.len()).find(|&n| !self.has(n)) {
            return Err(Error::not_found(format!("layer {} of the image is missing", self.diff_ids[n])));
        }
        if !self.store.index().images.contains_key(&self.id()) {
            self.settle()?;
            super::store::sync_file_system(&self.store.directories.overlay)?;
        }
        let _operation = self.store.operate();
        self.store.commit_image(&self.config, name, digest)
    }
}

/// Layers of an image whose configuration is made from them. Given up, nothing is left.
#[cfg(feature = "registry")]
pub struct Loose<'a> {
    store: &'a Store,
    layers: Vec<Mutex<Option<NewLayer>>>,
}

#[cfg(feature = "registry")]
impl Store {
    /// Begins an image of so many layers.
    pub fn collect(&self, layers: usize) -> Loose<'_> {
        Loose { store: self, layers: (0..layers).map(|_| Mutex::default()).collect() }
    }
}

#[cfg(feature = "registry")]
impl<'a> Loose<'a> {
    /// Unpacks a layer; they are counted from the bottom.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn layer(&self, n: usize, source: &mut dyn Read) -> Result<()> {
        let made = import::unpack_layer(&self.store.directories, source, Window::Small)?;
        *self.layers[n].lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(())
    }

    /// Whether a layer is unpacked.
    pub fn has(&self, n: usize) -> bool {
        self.layers[n].lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The image with the configuration that `make` makes from the diff ids.
    ///
    /// # Errors
    /// `Kind::NotFound` when a layer is missing; as [`Store::assemble`].
    pub fn assemble(self, make: impl FnOnce(Vec<String>) -> Vec<u8>) -> Result<Assembly<'a>> {
        let layers = self.layers.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        let layers: Option<Vec<NewLayer>> = layers.collect();
        let layers = layers.ok_or_else(|| Error::not_found("a layer of the image is missing"))?;
        let assembly = self.store.assemble(make(layers.iter().map(|l| l.record.diff_digest.clone()).collect()))?;
        for (n, layer) in layers.into_iter().enumerate() {
            assembly.adopt(n, layer)?;
        }
        Ok(assembly)
    }
}

impl Drop for Assembly<'_> {
    fn drop(&mut self) {
        let operation = self.store.operate();
        let mut index = self.store.index();
        for id in &self.layers {
            match index.held.get_mut(id) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(index.held.remove(id)),
            }
        }
        drop(index);
        let (_, garbage) = self.store.drop_unused(&self.layers);
        drop(operation);
        remove_all(garbage);
    }
}
