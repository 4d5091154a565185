//! Reads the json-file log that shims write, also while it grows and rotates.

use crate::error::Result;
use crate::utils::time::Timestamp;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Which lines.
#[derive(Debug, Clone)]
pub struct Query {
    /// Standard output wanted.
    pub stdout: bool,
    /// Standard error wanted.
    pub stderr: bool,
    /// Last lines only; `None` is all.
    pub tail: Option<u64>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Each line is led by its time.
    pub timestamps: bool,
    /// Goes on until the container ends.
    pub follow: bool,
}

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// 1.
    Stdout,
    /// 2.
    Stderr,
}

/// Takes the lines. A writer that gives an error ends the reading with that error.
pub trait Sink {
    /// Some whole or partial lines of one stream, with their end of line characters. Called with blocks, not with
    /// single lines, where that is possible.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()>;
    /// Called before waiting for more.
    fn flush(&mut self) -> Result<()>;
    /// A descriptor that polls readable or hung up when the reader has left, for waiting.
    fn gone(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
}

/// Reads the log at `path` and its rotated predecessors. With `follow`, ends when `ended` polls readable and all is
/// read, or when the sink's reader has left.
///
/// # Errors
/// `Kind::NotFound` without a log; what the sink gives.
pub fn read(path: &Path, query: &Query, ended: Option<&OwnedFd>, sink: &mut dyn Sink) -> Result<()> {
    let _ = (path, query, ended, sink);
    todo!()
}
