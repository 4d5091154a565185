//! The Docker Engine API: requests become calls of the executor, their results become responses.

pub mod authorize;
mod container;
mod events;
mod exec;
mod image;
mod metrics;
mod registry;
pub mod route;
mod stats;
pub mod status;
mod system;
mod tool;
mod volume;

use super::connection::{Connection, Next, Scope};
use super::exchange::{Exchange, Outcome};
use crate::error::Error;
use crate::executor::Daemon;
use crate::utils::http::h1::{Length, Method, RequestHead};
use crate::utils::http::media;
use crate::utils::time::Timestamp;
use route::{Call, ContainerCall, ExecCall, ImageCall};
use std::sync::Arc;
use std::time::Instant;

/// Performs calls. The tests of the connection loop put something else in the daemon's place.
pub trait Perform: Send + Sync {
    /// Answers one request, or hands its connection over.
    fn perform(&self, call: Call, exchange: Exchange) -> Outcome;
}

impl Perform for Arc<Daemon> {
    fn perform(&self, call: Call, exchange: Exchange) -> Outcome {
        match call {
            Call::Ping => exchange.fail(Error::internal("a ping is answered before")),
            Call::Version => system::version(self, exchange),
            Call::Info => system::info(self, exchange),
            Call::Metrics(kinds) => metrics::perform(self, kinds, exchange),
            Call::Container(ContainerCall { id, verb }) => container::perform(self, &id, verb, exchange),
            Call::ContainerCreate { name } => container::create(self, name.as_deref(), exchange),
            Call::Events(query) => events::perform(self, query, exchange),
            Call::ContainerList(query) => container::list(self, &query, exchange),
            Call::Exec(ExecCall { id, verb }) => exec::perform(self, &id, verb, exchange),
            Call::Image(ImageCall { name, verb }) => image::perform(self, &name, verb, exchange),
            Call::ImageList(filters) => image::list(self, &filters, exchange),
            Call::Tool(call) => tool::perform(self, call, exchange),
            Call::Volume(call) => volume::perform(self, call, exchange),
            Call::Registry(call) => registry::perform(self, &call, exchange),
            Call::ImageImport(import) => image::import(self, &import, exchange),
            Call::ImageLoad { name } => image::load(self, name.as_deref(), exchange),
            Call::EmbeddedLoad { name, path } => image::load_embedded(self, name.as_deref(), path, exchange),
        }
    }
}

/// Serves one connection to its end.
pub fn serve(mut connection: Connection, performer: &dyn Perform) {
    loop {
        let (head, fds) = match connection.next() {
            Next::Request(head, fds) => (head, fds),
            Next::End => return,
            Next::Refused(error) => {
                let exchange = Exchange::new(connection, unreadable(), Vec::new());
                if let Outcome::Answered(connection, _) = exchange.fail(error) {
                    connection.close_gently();
                }
                return;
            }
        };
        let begin = Instant::now();
        let line = Line::of(&head, &connection);
        match answer(Exchange::new(connection, head, fds), performer) {
            Outcome::HandedOver => {
                line.log(101, begin);
                return;
            }
            Outcome::Answered(next, status) => {
                line.log(status, begin);
                if !next.keeps() {
                    next.close_gently();
                    return;
                }
                connection = next;
            }
        }
    }
}

/// Stands for a head that could not be read.
fn unreadable() -> RequestHead {
    RequestHead {
        method: Method::Other("unreadable".into()),
        target: String::new(),
        minor: 1,
        length: Length::Known(0),
        keep_alive: false,
        upgrade: None,
        expect_continue: false,
        content_type: None,
        registry_auth: None,
    }
}

fn answer(mut exchange: Exchange, performer: &dyn Perform) -> Outcome {
    match route::parse(&exchange.head, Timestamp::now()) {
        Ok((version, call)) => {
            exchange.version = version;
            if exchange.connection.scope == Scope::Metrics && !matches!(call, Call::Metrics(_)) {
                return exchange.fail(Error::not_found("page not found"));
            }
            if let Err(failure) = authorize::check(&mut exchange, &call) {
                return exchange.fail(failure);
            }
            match call {
                Call::Ping => ping(exchange),
                call => performer.perform(call, exchange),
            }
        }
        Err(failure) => exchange.fail(failure),
    }
}

fn ping(exchange: Exchange) -> Outcome {
    let fields = [
        ("Builder-Version", "1"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Pragma", "no-cache"),
        ("Swarm", "inactive"),
    ];
    exchange.respond(200, media::TEXT, &fields, b"OK")
}

/// The line in the log for a request that may change something. Neither body nor query is in it: they hold
/// environments and messages.
struct Line(Option<String>);

impl Line {
    fn of(head: &RequestHead, connection: &Connection) -> Line {
        let wanted = head.method.mutates() && log::log_enabled!(log::Level::Info);
        Line(wanted.then(|| {
            let path = head.target.split('?').next().unwrap_or_default();
            format!("{} {} {path}", connection.peer, head.method.as_str())
        }))
    }

    fn log(self, status: u16, begin: Instant) {
        if let Some(text) = self.0 {
            log::info!("{text} {status} {:?}", begin.elapsed());
        }
    }
}

#[cfg(test)]
mod tests;
