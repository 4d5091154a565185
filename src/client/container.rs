//! Containers.

use super::connection::{Ask, Payload};
use super::request::{AttachRequest, ListRequest, LogsRequest, RemoveRequest, WaitCondition};
use super::stream::{Attached, Stream, Wait};
use super::{Client, target, unreadable};
use crate::api::container::{
    ContainerInspect, ContainerSummary, CreateRequest, CreateResponse, HostConfig, TopResponse, UpdateResponse,
};
use crate::api::stats::ContainerStats;
use crate::error::{Error, Result};
use crate::utils::http::h1::Method;
use crate::utils::http::query::Target;
use crate::utils::http::{media, multiplex};
use crate::utils::json;
use std::io::Write;
use std::os::fd::BorrowedFd;

fn of(id: &str, verb: &str) -> Target {
    target("/containers").segment(id).segment(verb)
}

/// # Errors of all methods
/// The daemon's, as the module says; `Kind::Remote` when it goes away, `Kind::Corrupt` when it answers nonsense.
impl Client {
    /// Makes a container; of an image for another platform than this machine's only where `platform` names it.
    ///
    /// # Errors
    /// `Kind::Conflict` for a name in use, `Kind::NotFound` for an image that is not here.
    pub fn container_create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: &CreateRequest,
    ) -> Result<CreateResponse> {
        let target = target("/containers/create").optional("name", name).optional("platform", platform);
        self.exchange(Method::Post, &target, Payload::Document(json::to_vec(request)))
    }

    /// Hands over the containers one by one, newest first.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown filter.
    pub fn container_list(&self, request: &ListRequest, each: impl FnMut(ContainerSummary)) -> Result<()> {
        let limit = request.limit.map(|n| n.to_string());
        let target = target("/containers/json")
            .flag("all", request.all)
            .flag("size", request.size)
            .optional("limit", limit.as_deref())
            .filters(&request.filters);
        let mut response = self.send(Method::Get, &target, Payload::None)?;
        let mut lines = json::Lines::new(each);
        response.read_list(&mut |piece| lines.take(piece).map_err(unreadable))?;
        self.keep(response);
        lines.finish().map_err(unreadable)
    }

    /// Removes those that do not run.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown filter.
    #[cfg(feature = "image-tools")]
    pub fn container_prune(&self, filters: &super::Filters) -> Result<crate::api::container::ContainersPruned> {
        self.exchange(Method::Post, &target("/containers/prune").filters(filters), Payload::None)
    }

    /// What takes room on the daemon's disk.
    ///
    /// # Errors
    /// The daemon's.
    #[cfg(feature = "image-tools")]
    pub fn disk_usage(&self) -> Result<crate::api::system::DiskUsage> {
        self.exchange(Method::Get, &target("/system/df"), Payload::None)
    }

    /// Everything about one container.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn container_inspect(&self, id: &str) -> Result<ContainerInspect> {
        self.exchange(Method::Get, &of(id, "json"), Payload::None)
    }

    /// The same as the daemon wrote it: compact JSON, with the fields this client does not know, and with what it takes
    /// on the disk where `size` asks for that.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn container_inspect_json(&self, id: &str, size: bool) -> Result<Vec<u8>> {
        self.bytes(Method::Get, &of(id, "json").flag("size", size), Payload::None)
    }

    /// Starts it; `false` when it ran already.
    ///
    /// # Errors
    /// `Kind::CommandNotFound` and `Kind::CommandNotExecutable` for its program, `Kind::Conflict`, `Kind::NotFound`.
    pub fn container_start(&self, id: &str) -> Result<bool> {
        self.change(&of(id, "start"))
    }

    /// Stops it: its stop signal, then SIGKILL after `timeout` seconds (negative waits for ever); `false` when it did
    /// not run.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn container_stop(&self, id: &str, timeout: Option<i64>, signal: Option<&str>) -> Result<bool> {
        let timeout = timeout.map(|t| t.to_string());
        self.change(&of(id, "stop").optional("t", timeout.as_deref()).optional("signal", signal))
    }

    /// Stops and starts it.
    ///
    /// # Errors
    /// `Kind::NotFound`; those of [`Client::container_start`].
    pub fn container_restart(&self, id: &str, timeout: Option<i64>, signal: Option<&str>) -> Result<()> {
        let timeout = timeout.map(|t| t.to_string());
        self.change(&of(id, "restart").optional("t", timeout.as_deref()).optional("signal", signal)).map(drop)
    }

    /// Sends a signal, by default SIGKILL.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when it does not run, `Kind::Invalid` for an unknown signal.
    pub fn container_kill(&self, id: &str, signal: Option<&str>) -> Result<()> {
        self.change(&of(id, "kill").optional("signal", signal)).map(drop)
    }

    /// Begins a wait, which has its connection for itself; when this returns, exits are not missed any more.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn container_wait(&self, id: &str, condition: WaitCondition) -> Result<Wait> {
        let word = match condition {
            WaitCondition::NotRunning => "not-running",
            WaitCondition::NextExit => "next-exit",
            WaitCondition::Removed => "removed",
        };
        let target = of(id, "wait").parameter("condition", word);
        self.send_asking(Method::Post, &target, Payload::None, Ask::Response).map(Wait::new)
    }

    /// Removes it.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when it runs and removal is not forced.
    pub fn container_remove(&self, id: &str, request: RemoveRequest) -> Result<()> {
        let target = target("/containers").segment(id).flag("force", request.force).flag("v", request.volumes);
        self.bytes(Method::Delete, &target, Payload::None).map(drop)
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Invalid` for the name, `Kind::Conflict` when it is in use.
    pub fn container_rename(&self, id: &str, name: &str) -> Result<()> {
        self.change(&of(id, "rename").parameter("name", name)).map(drop)
    }

    /// Changes limits and restart policy; what is empty stays.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Invalid` for a value.
    pub fn container_update(&self, id: &str, changes: &HostConfig) -> Result<UpdateResponse> {
        self.exchange(Method::Post, &of(id, "update"), Payload::Document(json::to_vec(changes)))
    }

    /// Freezes it.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when it does not run.
    pub fn container_pause(&self, id: &str) -> Result<()> {
        self.change(&of(id, "pause")).map(drop)
    }

    /// Thaws it.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when it is not paused.
    pub fn container_unpause(&self, id: &str) -> Result<()> {
        self.change(&of(id, "unpause")).map(drop)
    }

    /// Writes its log; that of a terminal goes all to `stdout`. Both are flushed before each wait for more.
    ///
    /// # Errors
    /// `Kind::NotFound`; what the writers give; `Kind::Remote` when the log ends before its end.
    pub fn container_logs(
        &self,
        id: &str,
        request: &LogsRequest,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<()> {
        let tail = request.tail.map(|n| n.to_string());
        let target = of(id, "logs")
            .flag("stdout", request.stdout)
            .flag("stderr", request.stderr)
            .flag("follow", request.follow)
            .flag("timestamps", request.timestamps)
            .optional("tail", tail.as_deref())
            .optional("since", Some(request.since.as_str()).filter(|t| !t.is_empty()))
            .optional("until", Some(request.until.as_str()).filter(|t| !t.is_empty()));
        let mut response = self.send_asking(Method::Get, &target, Payload::None, Ask::Response)?;
        let multiplexed = response.head.header("content-type") == Some(media::MULTIPLEXED_STREAM);
        let mut decoder = multiplex::Decoder::default();
        let mut write = |piece: Option<&[u8]>| {
            let Some(mut piece) = piece else {
                return stdout.flush().and_then(|()| stderr.flush()).map_err(Failed::Write);
            };
            if !multiplexed {
                return stdout.write_all(piece).map_err(Failed::Write);
            }
            while !piece.is_empty() {
                let step = decoder.step(piece).map_err(Failed::Frame)?;
                let to: &mut dyn Write = if step.stream == multiplex::STDOUT { &mut *stdout } else { &mut *stderr };
                to.write_all(step.data).map_err(Failed::Write)?;
                piece = &piece[step.consumed..];
            }
            Ok(())
        };
        response.read_stream(|piece| write(piece).map_err(Error::from))?;
        write(None)?;
        self.keep(response);
        Ok(())
    }

    /// Attaches this process's descriptors (input, output, error) to it, also before its start. Unix sockets only.
    ///
    /// # Errors
    /// `Kind::NotFound`; `Kind::Unsupported` over the network.
    pub fn attach_handed(&self, id: &str, request: &AttachRequest, fds: [BorrowedFd<'_>; 3]) -> Result<Attached> {
        self.hand(&attach_target(id, request), Payload::None, fds)
    }

    /// Attaches by a connection.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn attach_stream(&self, id: &str, request: &AttachRequest) -> Result<Stream> {
        self.stream(&attach_target(id, request), Payload::None)
    }

    /// Sets its terminal's size.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when it does not run.
    pub fn container_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let target = of(id, "resize").parameter("h", &height.to_string()).parameter("w", &width.to_string());
        self.change(&target).map(drop)
    }

    /// Its processes as ps(1) shows them with these arguments; empty is `-ef`.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when it does not run, `Kind::Invalid` for arguments that are not understood.
    pub fn container_top(&self, id: &str, ps_args: &str) -> Result<TopResponse> {
        let ps_args = if ps_args.is_empty() { None } else { Some(ps_args) };
        self.exchange(Method::Get, &of(id, "top").optional("ps_args", ps_args), Payload::None)
    }

    /// Resource use, one sample at once, without that of the moment before; an unset time when it does not run.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        let target = of(id, "stats").parameter("stream", "0").parameter("one-shot", "1");
        self.exchange(Method::Get, &target, Payload::None)
    }
}

/// Why a piece of a log could not be passed on.
enum Failed {
    Frame(Error),
    Write(std::io::Error),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match failed {
            Failed::Frame(e) => e,
            Failed::Write(e) => Error::io("write log", e),
        }
    }
}

fn attach_target(id: &str, request: &AttachRequest) -> Target {
    let keys = Some(request.detach_keys.as_str()).filter(|k| !k.is_empty());
    of(id, "attach")
        .parameter("stream", "1")
        .flag("stdin", request.stdin)
        .flag("stdout", request.stdout)
        .flag("stderr", request.stderr)
        .flag("logs", request.logs)
        .optional("detachKeys", keys)
}
