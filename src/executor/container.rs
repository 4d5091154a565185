//! Containers.

use super::{Caller, Change, Daemon, Handover, Upgrade};
use crate::api::container::{
    ContainerInspect, ContainerSummary, CreateRequest, CreateResponse, TopResponse, WaitResponse,
};
use crate::error::Result;
use crate::modules::runtime::log::{Query, Sink};
use std::collections::BTreeMap;

/// Filters by key; several values of one key are alternatives.
pub type Filters = BTreeMap<String, Vec<String>>;

/// Which containers a listing shows.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Also those that do not run.
    pub all: bool,
    /// Newest n, in any state.
    pub limit: Option<u64>,
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

/// A wait that has begun: exits from now on are not missed.
pub struct Waiter<'a> {
    _daemon: &'a Daemon,
}

impl Waiter<'_> {
    /// Blocks until the condition holds; `None` when the caller left.
    ///
    /// # Errors
    /// When waiting is impossible.
    pub fn block(self, caller: &dyn Caller) -> Result<Option<WaitResponse>> {
        let _ = caller;
        todo!()
    }
}

macro_rules! todo_functions {
    ($($(#[$m:meta])* fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $($(#[$m])* pub fn $name($($arg: $ty),*) -> $ret { $(let _ = &$arg;)* todo!() })*
    };
}

todo_functions! {
    /// Makes a container.
    fn create(daemon: &Daemon, name: Option<&str>, request: CreateRequest) -> Result<CreateResponse>;
    /// Lists containers, newest first.
    fn list(daemon: &Daemon, query: &ListQuery) -> Result<Vec<ContainerSummary>>;
    /// Everything about one container.
    fn inspect(daemon: &Daemon, reference: &str, size: bool) -> Result<ContainerInspect>;
    /// Starts it.
    fn start(daemon: &Daemon, reference: &str) -> Result<Change>;
    /// Stops it: its stop signal, then SIGKILL after `timeout` seconds (negative waits for ever).
    fn stop(daemon: &Daemon, reference: &str, timeout: Option<i64>, signal: Option<&str>) -> Result<Change>;
    /// Stops and starts it.
    fn restart(daemon: &Daemon, reference: &str, timeout: Option<i64>) -> Result<()>;
    /// Sends a signal, by default SIGKILL.
    fn kill(daemon: &Daemon, reference: &str, signal: Option<&str>) -> Result<()>;
    /// Removes it.
    fn delete(daemon: &Daemon, reference: &str, force: bool, volumes: bool) -> Result<()>;
    /// Freezes it.
    fn pause(daemon: &Daemon, reference: &str) -> Result<()>;
    /// Thaws it.
    fn unpause(daemon: &Daemon, reference: &str) -> Result<()>;
    /// Whether it has a terminal, and so how its log is framed; checks that it has a log.
    fn has_terminal(daemon: &Daemon, reference: &str) -> Result<bool>;
    /// Writes its log.
    fn logs(daemon: &Daemon, reference: &str, query: &Query, sink: &mut dyn Sink) -> Result<()>;
    /// Connects a client, also before the start.
    fn attach(daemon: &Daemon, reference: &str, query: &AttachQuery, upgrade: Upgrade) -> Handover;
    /// Sets its terminal's size.
    fn resize(daemon: &Daemon, reference: &str, height: u16, width: u16) -> Result<()>;
    /// Its processes, as ps(1) with these arguments shows them.
    fn top(daemon: &Daemon, reference: &str, arguments: &str) -> Result<TopResponse>;
    /// Resource use, one sample.
    fn stats(daemon: &Daemon, reference: &str) -> Result<crate::api::shim::Stats>;
}

/// Begins a wait.
///
/// # Errors
/// `Kind::NotFound`.
pub fn wait<'a>(daemon: &'a Daemon, reference: &str, condition: WaitCondition) -> Result<Waiter<'a>> {
    let _ = (daemon, reference, condition);
    todo!()
}
