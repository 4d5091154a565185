//! The daemon itself.

use super::Daemon;
use crate::api::system::{Info, Version};

/// Versions.
pub fn version(daemon: &Daemon) -> Version {
    let _ = daemon;
    todo!()
}

/// Counts, limits, host.
pub fn info(daemon: &Daemon) -> Info {
    let _ = daemon;
    todo!()
}
