//! Exec sessions.

use super::route::ExecVerb;
use crate::api::exec::{ExecCreateRequest, ExecStartRequest};
use crate::entry::exchange::{Exchange, Framing, Outcome};
use crate::executor::{Daemon, exec};

/// `/exec/{id}/…`
pub fn perform(daemon: &Daemon, id: &str, verb: ExecVerb, exchange: Exchange) -> Outcome {
    match verb {
        ExecVerb::Start => start(daemon, id, exchange),
        ExecVerb::Inspect => match exec::inspect(daemon, id) {
            Ok(session) => exchange.json(200, &session),
            Err(e) => exchange.fail(e),
        },
        ExecVerb::Resize { height, width } => match exec::resize(daemon, id, height, width) {
            Ok(()) => exchange.empty(200),
            Err(e) => exchange.fail(e),
        },
    }
}

/// `POST /containers/{id}/exec`
pub fn create(daemon: &Daemon, container: &str, mut exchange: Exchange) -> Outcome {
    let request: ExecCreateRequest = match exchange.document() {
        Ok(request) => request,
        Err(failure) => return exchange.fail(failure),
    };
    match exec::create(daemon, container, request) {
        Ok(id) => exchange.json(201, &id),
        Err(e) => exchange.fail(e),
    }
}

/// `POST /exec/{id}/start`
fn start(daemon: &Daemon, id: &str, mut exchange: Exchange) -> Outcome {
    let request: ExecStartRequest = match exchange.document() {
        Ok(request) => request,
        Err(failure) => return exchange.fail(failure),
    };
    if request.detach {
        return match exec::start_detached(daemon, id, request) {
            Ok(()) => exchange.empty(200),
            Err(e) => exchange.fail(e),
        };
    }
    let framing = if request.tty { Framing::Raw } else { Framing::Multiplexed };
    exchange.hand_over(framing, |upgrade| exec::start(daemon, id, request, upgrade))
}
