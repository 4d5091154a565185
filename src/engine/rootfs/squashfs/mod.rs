//! Squashfs in a file or on a block device: an optional part of the build.

#[cfg(feature = "embedded")]
mod enabled;
#[cfg(feature = "embedded")]
mod loop_device;
#[cfg(feature = "embedded")]
pub use enabled::mount;

#[cfg(not(feature = "embedded"))]
mod disabled;
#[cfg(not(feature = "embedded"))]
pub use disabled::mount;
