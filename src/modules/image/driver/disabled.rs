//! A build with overlays and nothing else.

use super::Lower;
use crate::error::{Error, Kind, Result};
use std::path::Path;

/// Sizes of containers.
#[derive(Default)]
pub struct Quota {}

impl Quota {
    /// Refuses.
    pub fn supported(_directory: &Path) -> Result<()> {
        Err(no("sizes of containers"))
    }

    /// Refuses.
    pub fn limit(&self, _parents: &[&Path], _bytes: u64) -> Result<()> {
        Err(no("sizes of containers"))
    }

    /// Nothing has a limit.
    pub fn check(&self, _directory: &Path) -> Result<()> {
        Ok(())
    }
}

/// Nothing has a limit.
pub fn release(_path: &Path) {}

/// Taken for granted.
pub fn overlay_works(_directory: &Path) -> Result<bool> {
    Ok(true)
}

/// Refuses.
pub fn make_copy(_layers: &[Lower], _target: &Path) -> Result<()> {
    Err(no("storage driver vfs"))
}

fn no(what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("this build has no {what}"))
}
