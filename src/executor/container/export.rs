//! The root file system of a container as an archive.

use super::list::documents;
use super::root::{self, Root};
use crate::error::{Error, Result};
use crate::executor::Daemon;
use crate::modules::image::pack::{Form, pack};
use std::io::Write;

/// Writes what a container sees as its root, without what is mounted in it, in any state of the container. What it
/// changes meanwhile may or may not be in the archive.
///
/// # Errors
/// `Kind::NotFound`; `Kind::Conflict` when it is removed meanwhile; what reading the tree or writing gives.
pub fn export(daemon: &Daemon, reference: &str, out: &mut dyn Write) -> Result<()> {
    let container = daemon.find(reference)?;
    daemon.tell(&container, "export", &[]);
    let (document, host) = documents(daemon, &container, reference)?;
    let root = Root::find(daemon, &container.id, &document, &host)?;
    let ids = root::ids(daemon, &document, &host)?;
    let tree = root.open()?;
    // Its end is told only when everything was there to its end.
    pack(tree, Form::Root, ids, out)?;
    if container.state().removed {
        return Err(Error::conflict(format!("container {} was removed while it was read", container.id)));
    }
    Ok(())
}
