//! Exec sessions.

use super::{Daemon, Handover, Upgrade};
use crate::api::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest, IdResponse};
use crate::error::Result;

/// Makes a session.
pub fn create(daemon: &Daemon, container: &str, request: ExecCreateRequest) -> Result<IdResponse> {
    let _ = (daemon, container, request);
    todo!()
}

/// Starts a session that nobody is attached to.
pub fn start_detached(daemon: &Daemon, id: &str, request: ExecStartRequest) -> Result<()> {
    let _ = (daemon, id, request);
    todo!()
}

/// Starts a session with a client. A program that cannot be run is refused with `Kind::CommandNotFound` or
/// `Kind::CommandNotExecutable`, and the session's exit code is 127 or 126.
pub fn start(daemon: &Daemon, id: &str, request: ExecStartRequest, upgrade: Upgrade) -> Handover {
    let _ = (daemon, id, request, upgrade);
    todo!()
}

/// A session's state.
pub fn inspect(daemon: &Daemon, id: &str) -> Result<ExecInspect> {
    let _ = (daemon, id);
    todo!()
}

/// Sets its terminal's size.
pub fn resize(daemon: &Daemon, id: &str, height: u16, width: u16) -> Result<()> {
    let _ = (daemon, id, height, width);
    todo!()
}
