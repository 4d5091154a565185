//! Containers.

use super::route::ContainerVerb;
use super::{exec, stats};
use crate::api::container::{CreateRequest, HostConfig, WaitError, WaitResponse};
use crate::entry::exchange::{BodyWriter, Exchange, Framing, Leaving, Outcome};
use crate::error::Result;
use crate::executor::container::{self, AttachQuery, ListQuery, WaitCondition};
use crate::executor::{Caller, Change, Daemon};
use crate::modules::runtime::log::{Query, Sink, Stream};
use crate::utils::http::{media, multiplex};
use crate::utils::json;
use std::os::fd::BorrowedFd;

/// `/containers/{id}/…`
pub fn perform(daemon: &Daemon, id: &str, verb: ContainerVerb, exchange: Exchange) -> Outcome {
    match verb {
        ContainerVerb::Inspect { size } => match container::inspect(daemon, id, size) {
            Ok(all) => exchange.json(200, &all),
            Err(e) => exchange.fail(e),
        },
        ContainerVerb::Start => changed(exchange, container::start(daemon, id)),
        ContainerVerb::Stop { timeout, signal } => {
            changed(exchange, container::stop(daemon, id, timeout, signal.as_deref()))
        }
        ContainerVerb::Restart { timeout, signal } => {
            done(exchange, container::restart(daemon, id, timeout, signal.as_deref()))
        }
        ContainerVerb::Kill { signal } => done(exchange, container::kill(daemon, id, signal.as_deref())),
        ContainerVerb::Delete { force, volumes } => done(exchange, container::delete(daemon, id, force, volumes)),
        ContainerVerb::Rename { name } => done(exchange, container::rename(daemon, id, &name)),
        ContainerVerb::Update => update(daemon, id, exchange),
        ContainerVerb::Pause => done(exchange, container::pause(daemon, id)),
        ContainerVerb::Unpause => done(exchange, container::unpause(daemon, id)),
        ContainerVerb::Wait(condition) => wait(daemon, id, condition, exchange),
        ContainerVerb::Logs(query) => logs(daemon, id, &query, exchange),
        ContainerVerb::Attach(query) => attach(daemon, id, &query, exchange),
        ContainerVerb::Resize { height, width } => match container::resize(daemon, id, height, width) {
            Ok(()) => exchange.empty(200),
            Err(e) => exchange.fail(e),
        },
        ContainerVerb::Top { arguments } => match container::top(daemon, id, &arguments) {
            Ok(table) => exchange.json(200, &table),
            Err(e) => exchange.fail(e),
        },
        ContainerVerb::Stats(mode) => stats::perform(daemon, id, mode, exchange),
        ContainerVerb::ExecCreate => exec::create(daemon, id, exchange),
    }
}

/// `POST /containers/create`
pub fn create(daemon: &Daemon, name: Option<&str>, mut exchange: Exchange) -> Outcome {
    let request = match exchange.document_by(CreateRequest::parse) {
        Ok(request) => request,
        Err(failure) => return exchange.fail(failure),
    };
    match container::create(daemon, name, request) {
        Ok(response) => exchange.json(201, &response),
        Err(e) => exchange.fail(e),
    }
}

fn update(daemon: &Daemon, id: &str, mut exchange: Exchange) -> Outcome {
    let changes: HostConfig = match exchange.document() {
        Ok(changes) => changes,
        Err(failure) => return exchange.fail(failure),
    };
    match container::update(daemon, id, &changes) {
        Ok(response) => exchange.json(200, &response),
        Err(e) => exchange.fail(e),
    }
}

/// `GET /containers/json`
pub fn list(daemon: &Daemon, query: &ListQuery, exchange: Exchange) -> Outcome {
    match container::list(daemon, query) {
        Ok(rows) => exchange.list(rows),
        Err(e) => exchange.fail(e),
    }
}

fn done(exchange: Exchange, result: Result<()>) -> Outcome {
    changed(exchange, result.map(|()| Change::Changed))
}

fn changed(exchange: Exchange, result: Result<Change>) -> Outcome {
    match result {
        Ok(Change::Changed) => exchange.empty(204),
        Ok(Change::Unchanged) => exchange.empty(304),
        Err(e) => exchange.fail(e),
    }
}

/// The head tells the client that exits are not missed any more, so it must not wait for the body.
fn wait(daemon: &Daemon, id: &str, condition: WaitCondition, mut exchange: Exchange) -> Outcome {
    let waiter = match container::wait(daemon, id, condition) {
        Ok(waiter) => waiter,
        Err(e) => return exchange.fail(e),
    };
    let leaving = Leaving::watch(&exchange.connection);
    let mut body = exchange.stream(media::JSON);
    if body.flush().is_ok() {
        let response = match waiter.block(&leaving) {
            Ok(Some(response)) => Some(response),
            Ok(None) => None,
            Err(e) => Some(WaitResponse { status_code: -1, error: Some(WaitError { message: e.to_string() }) }),
        };
        match response {
            Some(response) => finish(body, &json::to_vec(&response)),
            None => exchange.connection.close_after(),
        }
    }
    Outcome::Answered(exchange.connection, 200)
}

/// Writes the rest of a body. A client that has left by now is noticed by the connection's next read.
fn finish(mut body: BodyWriter<'_>, bytes: &[u8]) {
    let _ = body.write([bytes, b"\n"]).and_then(|()| body.finish());
}

fn logs(daemon: &Daemon, id: &str, query: &Query, mut exchange: Exchange) -> Outcome {
    let (framing, media_type) = match container::has_terminal(daemon, id) {
        Ok(true) => (Framing::Raw, media::RAW_STREAM),
        Ok(false) if exchange.version >= (1, 42) => (Framing::Multiplexed, media::MULTIPLEXED_STREAM),
        Ok(false) => (Framing::Multiplexed, media::RAW_STREAM),
        Err(e) => return exchange.fail(e),
    };
    let leaving = query.follow.then(|| Leaving::watch(&exchange.connection));
    let shared = exchange.connection.shared.clone();
    let mut sink = LogSink { body: exchange.stream(media_type), framing, leaving };
    match container::logs(daemon, id, query, &mut sink) {
        // A log that is followed ends with the container, or because this daemon ends: that is no end for the client.
        Ok(()) if query.follow && shared.is_stopping() => exchange.connection.close_after(),
        Ok(()) => {
            let _ = sink.body.finish(); // the client left; the connection's next read notices
        }
        Err(e) if !sink.body.has_begun() => return exchange.fail(e),
        Err(e) => {
            // Without the last chunk the client knows that something is missing.
            log::debug!("logs of {id:?}: {e}");
            exchange.connection.close_after();
        }
    }
    Outcome::Answered(exchange.connection, 200)
}

struct LogSink<'e> {
    body: BodyWriter<'e>,
    framing: Framing,
    leaving: Option<Leaving>,
}

/// Longest frame: clients hold one as a whole.
const FRAME: usize = 256 << 10;

impl Sink for LogSink<'_> {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let number = match stream {
            Stream::Stdout => multiplex::STDOUT,
            Stream::Stderr => multiplex::STDERR,
        };
        bytes.chunks(FRAME).try_for_each(|part| match self.framing {
            Framing::Raw => self.body.write([part, b""]),
            Framing::Multiplexed => self.body.write([&multiplex::head(number, part.len() as u32), part]),
        })
    }

    fn flush(&mut self) -> Result<()> {
        self.body.flush()
    }

    fn gone(&self) -> Option<BorrowedFd<'_>> {
        self.leaving.as_ref().and_then(Leaving::gone)
    }
}

fn attach(daemon: &Daemon, id: &str, query: &AttachQuery, exchange: Exchange) -> Outcome {
    // Descriptors that were handed along carry no framing, so only others need the look.
    let framing = if exchange.offers_stdio() {
        Framing::Raw
    } else {
        match container::inspect(daemon, id, false) {
            Ok(all) if all.config.tty => Framing::Raw,
            Ok(_) => Framing::Multiplexed,
            Err(e) => return exchange.fail(e),
        }
    };
    exchange.hand_over(framing, |upgrade| container::attach(daemon, id, query, upgrade))
}
