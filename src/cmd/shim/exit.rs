//! The end of a container, told to whoever comes later.

use crate::api::shim::{EXIT_FILE, Exit, Launch};
use crate::utils::atomic_file::{self, Durability};
use crate::utils::json;
use std::path::PathBuf;

/// Where the exit file goes.
pub struct ExitFile {
    directory: PathBuf,
    fallback: PathBuf,
    durability: Durability,
}

impl ExitFile {
    /// As the daemon asks.
    pub fn new(launch: &Launch) -> ExitFile {
        ExitFile {
            directory: launch.exit_directory.clone(),
            fallback: launch.state_directory.clone(),
            durability: if launch.exit_durable { Durability::Durable } else { Durability::Volatile },
        }
    }

    /// Writes it. When the disk is full, the state directory takes it: that is memory.
    pub fn write(&self, exit: &Exit) {
        let content = json::to_vec(exit);
        if atomic_file::replace(&self.directory.join(EXIT_FILE), &content, 0o600, self.durability).is_err() {
            // Should this fail too, the watch connection still carries the exit.
            let _ = atomic_file::replace(&self.fallback.join(EXIT_FILE), &content, 0o600, Durability::Volatile);
        }
    }
}
