//! Options of the container log driver `syslog`, an optional part of the build.

#[cfg(not(feature = "syslog"))]
mod disabled;
#[cfg(feature = "syslog")]
mod enabled;

#[cfg(not(feature = "syslog"))]
pub use disabled::{options, record, set, target};
#[cfg(feature = "syslog")]
pub use enabled::{options, record, set, target};

/// As what a container's output appears in syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What each line begins with.
    pub tag: String,
    /// Number of the facility.
    pub facility: u32,
}

/// What a tag may say of its container.
#[derive(Default)]
pub struct Facts<'a> {
    /// Of the container, 64 digits.
    pub id: &'a str,
    /// Of the container.
    pub name: &'a str,
    /// `sha256:…`; empty without an image.
    pub image_id: &'a str,
    /// As the user named it.
    pub image: &'a str,
}
