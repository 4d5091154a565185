//! A build that cannot.

use crate::error::{Error, Kind, Result};
use std::path::Path;

/// Says so.
///
/// # Errors
/// Always.
pub fn mount(source: &Path, _: &Path) -> Result<()> {
    Err(Error::new(Kind::Unsupported, format!("{source:?}: this build cannot mount file systems in files")))
}
