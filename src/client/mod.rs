//! Ways to the daemon: one [`Client`], one method per endpoint of the Docker Engine API.
//!
//! Blocking, and for one thread at a time per connection. Failures keep the daemon's text word by word; their kind
//! comes from the HTTP status, and `Kind::CommandNotFound` and `Kind::CommandNotExecutable` from the exit code that
//! the daemon sends along. A daemon that cannot be reached is `Kind::Remote` with the text of [`UNREACHABLE`].

mod request;

pub use request::{
    AttachRequest, Filters, ImageListRequest, ImportRequest, ListRequest, LogsRequest, RemoveRequest, WaitCondition,
};

use crate::api::container::{
    ContainerInspect, ContainerSummary, CreateRequest, CreateResponse, TopResponse, WaitResponse,
};
use crate::api::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest, IdResponse};
use crate::api::image::{DeleteEntry, ImageInspect, ImageSummary};
use crate::api::shim::StreamEnd;
use crate::api::stats::ContainerStats;
use crate::api::system::{Info, Version};
use crate::error::Result;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What the original prints when its daemon does not answer; scripts match it.
pub const UNREACHABLE: &str = "Can not connect with server.Is the iSulad daemon running on the host?";

/// A way to one daemon.
pub struct Client {}

/// A wait that has begun, on a connection of its own: exits from now on are not missed.
pub struct Wait {}

/// A session on a terminal or pipes of this process, whose descriptors the daemon has now.
pub struct Attached {}

/// A session whose bytes travel on a connection.
#[derive(Debug)]
pub struct Stream {
    /// The connection; closing its sending side ends standard input.
    pub connection: OwnedFd,
    /// What came right behind the response head: the first bytes of the stream.
    pub early: Vec<u8>,
    /// Whether output comes in frames of [`crate::utils::http::multiplex`]; otherwise as it is.
    pub multiplexed: bool,
}

macro_rules! todo_methods {
    ($($(#[$m:meta])* fn $name:ident(&self $(, $arg:ident: $ty:ty)*) -> $ret:ty;)*) => {
        impl Client { $($(#[$m])* #[allow(clippy::unused_self)] pub fn $name(&self $(, $arg: $ty)*) -> $ret { $(let _ = &$arg;)* todo!() })* }
    };
}

impl Client {
    /// Connects to `unix:///PATH` or `tcp://HOST:PORT`.
    ///
    /// # Errors
    /// `Kind::Invalid` for another form, `Kind::Remote` when nobody answers, `Kind::Denied` without permission.
    pub fn connect(host: &str) -> Result<Client> {
        let _ = host;
        todo!()
    }

    /// Whether descriptors can be handed to the daemon ([`Client::attach_handed`], [`Client::exec_start_handed`]).
    pub fn can_hand(&self) -> bool {
        todo!()
    }
}

todo_methods! {
    /// Newest API version the daemon speaks.
    fn ping(&self) -> Result<String>;
    /// Versions.
    fn version(&self) -> Result<Version>;
    /// Counts, limits, host.
    fn info(&self) -> Result<Info>;
    /// Makes a container.
    fn container_create(&self, name: Option<&str>, request: &CreateRequest) -> Result<CreateResponse>;
    /// Lists containers, newest first.
    fn container_list(&self, request: &ListRequest) -> Result<Vec<ContainerSummary>>;
    /// Everything about one container.
    fn container_inspect(&self, id: &str) -> Result<ContainerInspect>;
    /// The same as the daemon wrote it: compact JSON, with the fields this client does not know.
    fn container_inspect_json(&self, id: &str) -> Result<Vec<u8>>;
    /// Starts it; `false` when it ran already.
    fn container_start(&self, id: &str) -> Result<bool>;
    /// Stops it: its stop signal, then SIGKILL after `timeout` seconds (negative waits for ever); `false` when it did not run.
    fn container_stop(&self, id: &str, timeout: Option<i64>, signal: Option<&str>) -> Result<bool>;
    /// Stops and starts it.
    fn container_restart(&self, id: &str, timeout: Option<i64>) -> Result<()>;
    /// Sends a signal, by default SIGKILL.
    fn container_kill(&self, id: &str, signal: Option<&str>) -> Result<()>;
    /// Begins a wait; when this returns, exits are not missed any more.
    fn container_wait(&self, id: &str, condition: WaitCondition) -> Result<Wait>;
    /// Removes it.
    fn container_remove(&self, id: &str, request: RemoveRequest) -> Result<()>;
    /// Freezes it.
    fn container_pause(&self, id: &str) -> Result<()>;
    /// Thaws it.
    fn container_unpause(&self, id: &str) -> Result<()>;
    /// Writes its log; that of a terminal goes all to `stdout`. Both are flushed before each wait for more.
    fn container_logs(&self, id: &str, request: &LogsRequest, stdout: &mut dyn Write, stderr: &mut dyn Write) -> Result<()>;
    /// Attaches this process's descriptors (input, output, error) to it, also before its start. Unix sockets only.
    fn attach_handed(&self, id: &str, request: &AttachRequest, fds: [BorrowedFd<'_>; 3]) -> Result<Attached>;
    /// Attaches by a connection.
    fn attach_stream(&self, id: &str, request: &AttachRequest) -> Result<Stream>;
    /// Sets its terminal's size.
    fn container_resize(&self, id: &str, height: u16, width: u16) -> Result<()>;
    /// Its processes as ps(1) shows them with these arguments; empty is `-ef`.
    fn container_top(&self, id: &str, ps_args: &str) -> Result<TopResponse>;
    /// Resource use, one sample at once, without that of the moment before.
    fn container_stats(&self, id: &str) -> Result<ContainerStats>;
    /// Makes an exec session.
    fn exec_create(&self, container: &str, request: &ExecCreateRequest) -> Result<IdResponse>;
    /// Starts it on this process's descriptors (input, output, error). Unix sockets only.
    fn exec_start_handed(&self, id: &str, request: &ExecStartRequest, fds: [BorrowedFd<'_>; 3]) -> Result<Attached>;
    /// Starts it on a connection.
    fn exec_start_stream(&self, id: &str, request: &ExecStartRequest) -> Result<Stream>;
    /// Starts it with nobody attached; `request.detach` is set by this.
    fn exec_start_detached(&self, id: &str, request: &ExecStartRequest) -> Result<()>;
    /// Its state.
    fn exec_inspect(&self, id: &str) -> Result<ExecInspect>;
    /// Sets its terminal's size.
    fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()>;
    /// Lists images, newest first.
    fn image_list(&self, request: &ImageListRequest) -> Result<Vec<ImageSummary>>;
    /// Everything about one image.
    fn image_inspect(&self, name: &str) -> Result<ImageInspect>;
    /// The same as the daemon wrote it.
    fn image_inspect_json(&self, name: &str) -> Result<Vec<u8>>;
    /// Makes an image from a tar stream; gives its id (`sha256:…`).
    fn image_import(&self, request: &ImportRequest, source: &mut dyn Read) -> Result<String>;
    /// Gives a further name.
    fn image_tag(&self, name: &str, repo: &str, tag: &str) -> Result<()>;
    /// Removes a name or image.
    fn image_remove(&self, name: &str, force: bool) -> Result<Vec<DeleteEntry>>;
}

impl Wait {
    /// The connection, for polling: readable when [`Wait::finish`] will not block long.
    pub fn fd(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// Blocks until the condition holds.
    ///
    /// # Errors
    /// `Kind::Remote` when the daemon went away.
    pub fn finish(self) -> Result<WaitResponse> {
        todo!()
    }
}

impl Attached {
    /// The connection, for polling: readable when the session has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// Blocks until the session ends: with the exit code, or without when the user detached.
    ///
    /// # Errors
    /// `Kind::Remote` when the other end went away without a word.
    pub fn finish(self) -> Result<StreamEnd> {
        todo!()
    }
}
