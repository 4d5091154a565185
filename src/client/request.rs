//! What the methods of [`super::Client`] take: the query parameters of the Docker Engine API.

use std::collections::BTreeMap;

/// Filters by key; several values of one key are alternatives.
pub type Filters = BTreeMap<String, Vec<String>>;

/// Which containers to list.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Also those that do not run.
    pub all: bool,
    /// Newest n, in any state.
    pub limit: Option<u64>,
    /// With what they take on the disk.
    pub size: bool,
    /// Filters.
    pub filters: Filters,
}

/// When a wait ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// At once when it does not run.
    #[default]
    NotRunning,
    /// At the next exit.
    NextExit,
    /// When it is removed.
    Removed,
}

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveRequest {
    /// Also when it runs.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
}

/// Which part of a log.
#[derive(Debug, Clone, Default)]
pub struct LogsRequest {
    /// Standard output wanted.
    pub stdout: bool,
    /// Standard error wanted.
    pub stderr: bool,
    /// Goes on until the container ends.
    pub follow: bool,
    /// Each line is led by its time.
    pub timestamps: bool,
    /// Last lines only; `None` is all.
    pub tail: Option<u64>,
    /// Not before: RFC 3339, Unix seconds or a duration before now, as the user gave it; empty is the beginning.
    pub since: String,
    /// Not after; empty is the end.
    pub until: String,
}

/// Which streams to attach to.
#[derive(Debug, Clone, Default)]
pub struct AttachRequest {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// What is in the log comes first.
    pub logs: bool,
    /// Key sequence such as `ctrl-p,ctrl-q`; empty is the daemon's default.
    pub detach_keys: String,
}

/// Which images to list.
#[derive(Debug, Clone, Default)]
pub struct ImageListRequest {
    /// Filters.
    pub filters: Filters,
}

/// What to search registries for.
#[derive(Debug, Clone, Default)]
pub struct ImageSearchRequest {
    /// `TERM` or `HOST/TERM`.
    pub term: String,
    /// How many at most.
    pub limit: i64,
    /// Filters.
    pub filters: Filters,
}

/// How to import an image from a tar stream.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// Name; an image without one when empty.
    pub repo: String,
    /// Tag; `latest` when empty.
    pub tag: String,
    /// Kept in the history.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
}
