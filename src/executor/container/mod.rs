//! Containers.

use std::collections::BTreeMap;

pub(super) mod attach;
#[cfg(feature = "image-tools")]
mod changes;
#[cfg(feature = "image-tools")]
mod copy;
mod create;
mod edit;
#[cfg(feature = "image-tools")]
mod export;
mod interfaces;
mod list;
mod logs;
mod network_files;
#[cfg(feature = "image-tools")]
mod prune;
pub(super) mod remains;
mod root;
pub(super) mod settle;
pub(super) mod signal;
pub(super) mod start;
mod stop;
mod top;
mod volumes;
pub(super) mod wait;

pub use attach::attach;
#[cfg(feature = "image-tools")]
pub use changes::changes;
#[cfg(feature = "image-tools")]
pub use copy::{Outgoing, copy_in, copy_out, path_stat};
pub use create::create;
pub use edit::{rename, update};
#[cfg(feature = "image-tools")]
pub use export::export;
pub use interfaces::interfaces;
pub use list::{inspect, list};
pub use logs::{has_terminal, logs};
#[cfg(feature = "image-tools")]
pub use prune::prune;
pub use signal::{kill, pause, resize, stats, unpause};
pub use start::start;
pub use stop::{delete, restart, stop};
pub use top::top;
pub use wait::{Waiter, wait};

/// Filters by key; several values of one key are alternatives.
pub type Filters = BTreeMap<String, Vec<String>>;

/// Which containers a listing shows.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Also those that do not run.
    pub all: bool,
    /// Newest n, in any state.
    pub limit: Option<u64>,
    /// With what they take on the disk.
    pub size: bool,
    /// Filters.
    pub filters: Filters,
}

/// Which streams an attached client wants.
#[derive(Debug, Clone, Default)]
pub struct AttachQuery {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// What is in the log comes first.
    pub logs: bool,
    /// What comes from now on.
    pub stream: bool,
    /// `ctrl-p,ctrl-q` and the like; empty is the default.
    pub detach_keys: String,
}

/// An archive to extract in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyIn {
    /// The directory.
    pub path: String,
    /// A directory stays one, and anything else none.
    pub keep_kind: bool,
    /// All belongs to the container's user.
    pub own: bool,
}

/// When a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// At once when it does not run.
    NotRunning,
    /// At the next exit.
    NextExit,
    /// When it is removed.
    Removed,
}
