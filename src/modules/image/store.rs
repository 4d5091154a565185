//! The image store on disk. Content-addressed layers; nothing exists before its final name does.

use crate::api::image::DeleteEntry;
use crate::api::oci::image::ImageConfig;
use crate::api::shim::Overlay;
use crate::error::Result;
use crate::utils::time::Timestamp;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The store below `<graph>/storage`.
pub struct Store {
    // private: root, index behind a short lock
}

/// An image.
#[derive(Debug)]
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
}

impl Image {
    /// Names as users see them: default registry and `library/` left out.
    pub fn display_names(&self) -> Vec<String> {
        todo!()
    }
}

/// What [`Store::import`] makes.
pub struct Import<'a> {
    /// The tar stream; gzip is recognised.
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
    /// Opens the store, making it when it is not there. Removes what is not whole; damaged images are reported in the
    /// log and left out.
    ///
    /// # Errors
    /// When the directories cannot be made or read.
    pub fn open(graph: &Path) -> Result<Store> {
        let _ = graph;
        todo!()
    }

    /// All images, newest first.
    pub fn list(&self) -> Vec<Arc<Image>> {
        todo!()
    }

    /// Finds by name, name and digest, id or unique prefix of the id.
    ///
    /// # Errors
    /// `Kind::NotFound` (`No such image:NAME`), `Kind::Invalid` for a malformed or ambiguous reference.
    pub fn find(&self, reference: &str) -> Result<Arc<Image>> {
        let _ = reference;
        todo!()
    }

    /// Makes an image of one layer from a tar stream.
    ///
    /// # Errors
    /// `Kind::Invalid` for a stream that is not a tar archive or holds nothing, for a malformed reference or change.
    pub fn import(&self, import: Import<'_>) -> Result<Arc<Image>> {
        let _ = import;
        todo!()
    }

    /// Gives an image a further name, which moves from the image that had it.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let _ = (source, target);
        todo!()
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
        let _ = (reference, force, user_of);
        todo!()
    }

    /// The read-only layers of an image as overlayfs wants them: topmost first.
    pub fn lower_directories(&self, image: &Image) -> Vec<PathBuf> {
        let _ = image;
        todo!()
    }

    /// Makes the writable layer of a container. Not durable by itself: it is part of the container's creation.
    ///
    /// # Errors
    /// The failing call; nothing is left then.
    pub fn create_container_layer(&self, container: &str, image: &Image) -> Result<Overlay> {
        let _ = (container, image);
        todo!()
    }

    /// The overlay of an existing container.
    ///
    /// # Errors
    /// `Kind::NotFound` when there is none.
    pub fn container_layer(&self, container: &str, image: &Image) -> Result<Overlay> {
        let _ = (container, image);
        todo!()
    }

    /// Removes the writable layer of a container, however deep.
    ///
    /// # Errors
    /// The first failing call after everything was tried; no error when there is none.
    pub fn remove_container_layer(&self, container: &str) -> Result<()> {
        let _ = container;
        todo!()
    }

    /// Containers that have a writable layer, for finding what belongs to nobody.
    ///
    /// # Errors
    /// The failing call.
    pub fn container_layers(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// The directory on which a container's overlay is mounted inside its mount namespace.
    pub fn mount_point(&self, container: &str) -> PathBuf {
        let _ = container;
        todo!()
    }
}
