//! Embedded images: a manifest, and layers that stay where the firmware has them. An optional part of the build; without
//! it there are none.

use std::path::PathBuf;

#[cfg(feature = "embedded")]
mod enabled;
#[cfg(feature = "embedded")]
mod layer;
#[cfg(feature = "embedded")]
mod manifest;
#[cfg(feature = "embedded")]
mod record;
#[cfg(all(test, feature = "embedded"))]
mod tests;
#[cfg(feature = "embedded")]
pub use enabled::Embedded;
#[cfg(feature = "embedded")]
pub(super) use record::read_all;

#[cfg(not(feature = "embedded"))]
mod disabled;
#[cfg(not(feature = "embedded"))]
pub use disabled::Embedded;
#[cfg(not(feature = "embedded"))]
pub(super) use disabled::read_all;

/// Where a manifest comes from.
#[derive(Debug)]
pub enum Source {
    /// A file of this machine. Paths in it are relative to its directory.
    File(PathBuf),
    /// Its text. Paths in it are absolute.
    Text(Vec<u8>),
}

/// Bytes of a manifest.
pub const MANIFEST_LIMIT: u64 = 1 << 20;
