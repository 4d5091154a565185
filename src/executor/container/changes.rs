//! What a container has changed of its image.

use super::list::documents;
use crate::api::archive::PathChange;
use crate::error::{Error, Result};
use crate::executor::Daemon;
use crate::modules::container::run::{Verb, permit};

/// Tells each change, a directory before what is in it.
///
/// # Errors
/// `Kind::NotFound`; `Kind::Invalid` for a container whose root is no image's; what reading or `tell` gives.
pub fn changes(daemon: &Daemon, reference: &str, tell: &mut dyn FnMut(&PathChange) -> Result<()>) -> Result<()> {
    let container = daemon.find(reference)?;
    permit(Verb::Copy, container.run().phase(), &container.id)?;
    let (document, host) = documents(daemon, &container, reference)?;
    if !host.external_rootfs.is_empty() {
        let text = format!("container {reference} has a root of its own: there is no image to compare it with");
        return Err(Error::invalid(text));
    }
    let image = daemon.images.find(document.image_id())?;
    daemon.images.container_changes(&container.id, &image, &mut |change, path| {
        tell(&PathChange { path: String::from_utf8_lossy(path).into_owned(), kind: change as u8 })
    })
}
