//! Writing images to an archive.

use crate::error::Result;
use crate::executor::Daemon;
use std::io::Write;

/// Writes these images, each with the names that it was asked by. See [`crate::modules::image::save`].
///
/// # Errors
/// `Kind::NotFound`, before anything is written; what reading the layers or writing gives.
pub fn save(daemon: &Daemon, references: &[String], out: &mut dyn Write) -> Result<()> {
    let chosen = daemon.images.choose(references)?;
    daemon.images.save(chosen, out)
}
