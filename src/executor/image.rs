//! Images.

use super::Daemon;
use super::container::Filters;
use crate::api::image::{DeleteEntry, ImageInspect, ImageSummary};
use crate::error::Result;
use crate::modules::image::store::Import;

/// Lists images, newest first. Filters: `reference`, `dangling`, `label`, `before`, `since`.
pub fn list(daemon: &Daemon, filters: &Filters) -> Result<Vec<ImageSummary>> {
    let _ = (daemon, filters);
    todo!()
}

/// Everything about one image.
pub fn inspect(daemon: &Daemon, reference: &str) -> Result<ImageInspect> {
    let _ = (daemon, reference);
    todo!()
}

/// Makes an image from a tar stream; gives its id (`sha256:…`).
pub fn import(daemon: &Daemon, import: Import<'_>) -> Result<String> {
    let _ = (daemon, import);
    todo!()
}

/// Gives a further name.
pub fn tag(daemon: &Daemon, source: &str, target: &str) -> Result<()> {
    let _ = (daemon, source, target);
    todo!()
}

/// Removes a name or image.
pub fn delete(daemon: &Daemon, reference: &str, force: bool) -> Result<Vec<DeleteEntry>> {
    let _ = (daemon, reference, force);
    todo!()
}
