//! What the store keeps for a container: its writable layer, its own copy of the image, or a place to mount something on.
//!
//! `overlay/<id>` has `diff` and `work` for a writable layer and `merged` for the place, or `rootfs` for a copy.

use super::driver::{self, Driver, Lower, Quota};
use super::layer::{PRIVATE, Temporary, discard, unname};
use super::open;
use super::record;
use super::store::{Image, Store, sync_file_system};
use crate::api::shim::Overlay;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::Durability;
use crate::utils::host;
use crate::utils::id::is_full_id;
use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// A container's copy of its image.
const COPY: &str = "rootfs";

impl Store {
    /// How the roots of new containers are made. Where the operator chose nothing, the first that asks finds it out.
    ///
    /// # Errors
    /// When it cannot be tried.
    pub fn driver(&self) -> Result<Driver> {
        let mut chosen = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = *chosen {
            return Ok(driver);
        }
        let place = Temporary::directory(&self.directories.overlay.join("try"))?;
        let works = driver::overlay_works(place.path()).map_err(|e| e.context("trying overlayfs"))?;
        Ok(*chosen.insert(if works { Driver::Overlay } else { Driver::Vfs }))
    }

    /// The bytes that a container may have which asks for `wanted`.
    ///
    /// # Errors
    /// `Kind::Unsupported` when no container can be limited here.
    pub fn container_size(&self, wanted: Option<u64>) -> Result<Option<u64>> {
        if wanted.is_some_and(|size| size > 0) {
            Quota::supported(&self.directories.overlay)?;
        }
        Ok(wanted.or(self.storage.size).filter(|size| *size > 0))
    }

    /// Makes the writable layer of a container, or its copy of the image, which may fill `size` bytes. A copy is durable
    /// when that is asked for; a layer is part of the container's creation.
    ///
    /// # Errors
    /// `Kind::NotFound` when the image is gone, `Kind::Corrupt` when layers of an embedded one are, `Kind::Unsupported` when
    /// these cannot be copied; the failing call. Nothing is left then.
    pub fn create_container_layer(
        &self,
        container: &str,
        image: &Image,
        size: Option<u64>,
        durability: Durability,
    ) -> Result<()> {
        let path = self.container_path(container)?;
        let driver = self.driver()?;
        // An image must not go between this look and the layer. One that has a container reserved does not go later.
        let operation = self.operate();
        let layers = self.lower_layers(image);
        if !self.index().images.contains_key(&image.id) {
            return Err(Error::not_found(format!("No such image:{}", image.id)));
        }
        image.check()?;
        let new = Temporary::directory(&path)?;
        let make = |name: &str, mode: u32| {
            let path = new.path().join(name);
            DirBuilder::new().mode(mode).create(&path).context(|| format!("mkdir({path:?})"))?;
            Ok::<PathBuf, Error>(path)
        };
        // What overlayfs cannot read is copied whatever the driver is.
        let unlike = layers.iter().all(|layer| !layer.has_root);
        // What a root is when no layer says what it is like.
        let usual = |path: &Path| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).context(|| format!("chmod({path:?})"))?;
            self.directories.give(path)
        };
        if driver == Driver::Vfs || layers.iter().any(|layer| layer.archive_signs) {
            drop(operation);
            if image.embedded.as_ref().is_some_and(|embedded| !embedded.images().is_empty()) {
                let text = "layers that are file systems are stacked, not copied: the storage driver must be overlay2";
                return Err(Error::new(Kind::Unsupported, text));
            }
            let copy = make(COPY, PRIVATE)?;
            if let Some(size) = size {
                self.quota.limit(&[&copy], size)?;
            }
            if unlike {
                usual(&copy)?;
            }
            driver::make_copy(&layers, &copy)?;
            if size.is_some() {
                self.quota.check(&copy)?;
            }
            new.rename(&path)?;
            if durability == Durability::Durable
                && let Err(e) = sync_file_system(&path)
            {
                // What it was made for does not come.
                unname(&path)?.as_deref().map_or(Ok(()), discard)?;
                return Err(e);
            }
            return Ok(());
        }
        let diff = make("diff", PRIVATE)?;
        let work = make("work", PRIVATE)?;
        make("merged", PRIVATE)?;
        if let Some(size) = size {
            self.quota.limit(&[&diff, &work], size)?;
        }
        match layers.iter().find(|layer| layer.has_root) {
            // What it is in there shows when it is mounted only.
            Some(Lower { path: top, .. }) if !top.is_dir() => usual(&diff)?,
            // The merged root shows the owner and mode of the uppermost layer, which is this one.
            Some(Lower { path: top, .. }) => {
                let metadata = top.metadata().context(|| format!("stat({top:?})"))?;
                std::os::unix::fs::chown(&diff, Some(metadata.uid()), Some(metadata.gid()))
                    .and_then(|()| std::fs::set_permissions(&diff, PermissionsExt::from_mode(metadata.mode() & 0o7777)))
                    .context(|| format!("chown, chmod({diff:?})"))?;
            }
            // overlayfs wants at least one layer below.
            None => {
                let empty = make("empty", 0o755)?;
                [&empty, &diff].into_iter().try_for_each(|path| usual(path))?;
            }
        }
        new.rename(&path)
    }

    /// The layers of a container of this image, topmost first.
    pub(super) fn lower_layers(&self, image: &Image) -> Vec<Lower> {
        let own = record::init_layer(&self.directories, &image.id);
        let own = own.into_iter().map(|path| Lower { path, archive_signs: false, has_root: false });
        own.chain(self.image_layers(image)).collect()
    }

    /// The read-only layers of an image as overlayfs wants them: topmost first. Those of an embedded one need not be
    /// directories.
    pub fn lower_directories(&self, image: &Image) -> Vec<PathBuf> {
        self.image_layers(image).into_iter().map(|layer| layer.path).collect()
    }

    fn image_layers(&self, image: &Image) -> Vec<Lower> {
        let mut layers = Vec::with_capacity(image.layers.len());
        if let Some(embedded) = &image.embedded {
            let lower = embedded.lower().into_iter();
            layers.extend(lower.map(|path| Lower { path, archive_signs: false, has_root: true }));
            return layers;
        }
        let index = self.index();
        for id in image.layers.iter().rev() {
            let record = index.layers.get(id);
            let archive_signs = record.is_some_and(|record| record.archive_signs);
            layers.push(Lower { path: self.directories.diff(id), archive_signs, has_root: true });
            if record.is_some_and(|record| record.opaque) {
                break;
            }
        }
        layers
    }

    /// Makes the directory on which something else than the layers of an image is mounted for a container.
    ///
    /// # Errors
    /// The failing call. Nothing is left then.
    pub fn create_mount_point(&self, container: &str) -> Result<()> {
        let path = self.container_path(container)?;
        let new = Temporary::directory(&path)?;
        let place = new.path().join("merged");
        DirBuilder::new().mode(PRIVATE).create(&place).context(|| format!("mkdir({place:?})"))?;
        new.rename(&path)
    }

    /// Where a container's copy of its image is, when it has one.
    pub fn container_copy(&self, container: &str) -> Option<PathBuf> {
        Some(self.directories.overlay.join(container).join(COPY)).filter(|path| path.is_dir())
    }

    /// The overlay of an existing container.
    ///
    /// # Errors
    /// `Kind::NotFound` when there is none; `Kind::Corrupt` when layers of an embedded image are gone or others.
    pub fn container_layer(&self, container: &str, image: &Image) -> Result<Overlay> {
        let path = self.container_path(container)?;
        let overlay = self.overlay(&path, image);
        image.check()?;
        let directories = overlay.lower.iter().filter(|path| !overlay.images.contains(path));
        if let Some(missing) = directories.chain([&overlay.upper, &overlay.work]).find(|p| !p.is_dir()) {
            return Err(Error::not_found(format!("container {container}: {missing:?} is missing")));
        }
        Ok(overlay)
    }

    fn overlay(&self, path: &Path, image: &Image) -> Overlay {
        let mut lower: Vec<PathBuf> = self.lower_layers(image).into_iter().map(|layer| layer.path).collect();
        if lower.is_empty() {
            lower.push(path.join("empty"));
        }
        let mut options = host::overlay_options();
        options.extend(self.storage.mount_options.iter().cloned());
        let images = image.embedded.as_ref().map(|embedded| embedded.images()).unwrap_or_default();
        Overlay { lower, images, upper: path.join("diff"), work: path.join("work"), options }
    }

    /// A container's directory; never one of a layer.
    pub(super) fn container_path(&self, container: &str) -> Result<PathBuf> {
        if !is_full_id(container) || self.index().layers.contains_key(container) {
            return Err(Error::invalid(format!("{container:?} is not the id of a container")));
        }
        Ok(self.directories.overlay.join(container))
    }

    /// Removes what a container has here, however deep.
    ///
    /// # Errors
    /// The first failing call after everything was tried; no error when there is none.
    pub fn remove_container_layer(&self, container: &str) -> Result<()> {
        unname(&self.container_path(container)?)?.map_or(Ok(()), |garbage| discard(&garbage))
    }

    /// Removes layer directories that belong to nobody when these are all containers that there are: writable layers of
    /// others, and image layers whose commit was interrupted before their record. To be called before anything is
    /// created; what takes time goes on in the background.
    ///
    /// # Errors
    /// The failing call.
    pub fn remove_strays(&self, containers: &BTreeSet<String>) -> Result<()> {
        let mut garbage = open::Garbage::default();
        let index = self.index();
        for id in open::names(&self.directories.overlay)? {
            if !is_full_id(&id) || containers.contains(&id) || index.layers.contains_key(&id) {
                continue;
            }
            let path = self.directories.overlay.join(&id);
            // Where a record could not be read, its layer is not to be lost: only containers have these.
            if index.certain || path.join("work").is_dir() || path.join(COPY).is_dir() {
                log::info!("layer {id} belongs to no container and no image and is removed");
                garbage.take(&path);
            }
        }
        garbage.remove();
        Ok(())
    }

    /// The directories to be synced for what a container has here, or its mount point, to last: the innermost first. None
    /// where the journal that has a later file has them too, and another sync would only flush the device again.
    pub fn container_directories(&self, container: &str) -> Vec<PathBuf> {
        if self.one_journal {
            return Vec::new();
        }
        let path = self.directories.overlay.join(container);
        let diff = path.join("diff");
        let inner = diff.is_dir().then_some(diff);
        inner.into_iter().chain([path, self.directories.overlay.clone()]).collect()
    }

    /// The directory on which a container's overlay is mounted inside its mount namespace.
    pub fn mount_point(&self, container: &str) -> PathBuf {
        self.directories.overlay.join(container).join("merged")
    }
}
