//! A build without embedded images. There is no value of [`Embedded`], so what is done with one is no code.

use super::Source;
use crate::api::image::InspectEmbedded;
use crate::api::oci::runtime::Mount;
use crate::error::{Error, Kind, Result};
use crate::modules::image::layer::Directories;
use crate::modules::image::store::{Image, Index, Store};
use std::path::PathBuf;
use std::sync::Arc;

/// What an embedded image has beyond others.
#[derive(Debug)]
pub enum Embedded {}

#[allow(missing_docs, clippy::missing_errors_doc)] // as those of the build that has them
impl Embedded {
    pub fn lower(&self) -> Vec<PathBuf> {
        match *self {}
    }

    pub fn images(&self) -> Vec<PathBuf> {
        match *self {}
    }

    pub fn mounts(&self) -> Vec<Mount> {
        match *self {}
    }

    pub fn check(&self) -> Result<()> {
        match *self {}
    }

    pub fn layer_sizes(&self) -> Vec<u64> {
        match *self {}
    }

    pub fn describe(&self) -> InspectEmbedded {
        match *self {}
    }

    pub(in crate::modules::image) fn update(&self, _: &Directories, _: &Image) -> Result<()> {
        match *self {}
    }

    pub(in crate::modules::image) fn remove(&self, _: &Directories, _: &str) -> Result<()> {
        match *self {}
    }

    pub(in crate::modules::image) fn record(&self, _: &Directories, _: &str) -> PathBuf {
        match *self {}
    }
}

/// Reads none.
pub(in crate::modules::image) fn read_all(_: &Directories, _: &mut Index) -> Result<bool> {
    Ok(true)
}

impl Store {
    /// Says that this build cannot.
    ///
    /// # Errors
    /// Always.
    pub fn load_embedded(&self, _: Source, _: Option<&str>) -> Result<Arc<Image>> {
        Err(Error::new(Kind::Unsupported, "this build has no embedded images"))
    }
}
