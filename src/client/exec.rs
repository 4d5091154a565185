//! Exec sessions.

use super::connection::Payload;
use super::stream::{Attached, Stream};
use super::{Client, target};
use crate::api::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest, IdResponse};
use crate::error::Result;
use crate::utils::http::h1::Method;
use crate::utils::http::query::Target;
use crate::utils::json;
use std::os::fd::BorrowedFd;

fn of(id: &str, verb: &str) -> Target {
    target("/exec").segment(id).segment(verb)
}

impl Client {
    /// Makes an exec session.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when the container does not run.
    pub fn exec_create(&self, container: &str, request: &ExecCreateRequest) -> Result<IdResponse> {
        let target = target("/containers").segment(container).segment("exec");
        self.exchange(Method::Post, &target, Payload::Document(json::to_vec(request)))
    }

    /// Starts it on this process's descriptors (input, output, error). Unix sockets only.
    ///
    /// # Errors
    /// `Kind::CommandNotFound` and `Kind::CommandNotExecutable` for its program, `Kind::Conflict`, `Kind::NotFound`;
    /// `Kind::Unsupported` over the network.
    pub fn exec_start_handed(
        &self,
        id: &str,
        request: &ExecStartRequest,
        fds: [BorrowedFd<'_>; 3],
    ) -> Result<Attached> {
        self.hand(&of(id, "start"), document(request, false), fds)
    }

    /// Starts it on a connection.
    ///
    /// # Errors
    /// As [`Client::exec_start_handed`].
    pub fn exec_start_stream(&self, id: &str, request: &ExecStartRequest) -> Result<Stream> {
        self.stream(&of(id, "start"), document(request, false))
    }

    /// Starts it with nobody attached, whatever `request.detach` says.
    ///
    /// # Errors
    /// As [`Client::exec_start_handed`].
    pub fn exec_start_detached(&self, id: &str, request: &ExecStartRequest) -> Result<()> {
        self.bytes(Method::Post, &of(id, "start"), document(request, true)).map(drop)
    }

    /// Its state.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        self.exchange(Method::Get, &of(id, "json"), Payload::None)
    }

    /// Sets its terminal's size.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when it does not run.
    pub fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let target = of(id, "resize").parameter("h", &height.to_string()).parameter("w", &width.to_string());
        self.change(&target).map(drop)
    }
}

fn document(request: &ExecStartRequest, detach: bool) -> Payload<'static> {
    Payload::Document(json::to_vec(&ExecStartRequest { detach, ..request.clone() }))
}
