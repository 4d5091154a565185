//! Ways to the daemon: one [`Client`], one method per endpoint of the Docker Engine API.
//!
//! Blocking. Failures keep the daemon's text word by word; their kind comes from the HTTP status, and
//! `Kind::CommandNotFound` and `Kind::CommandNotExecutable` from the exit code that the daemon sends along. A daemon
//! that cannot be reached is `Kind::Remote` with the text of [`UNREACHABLE`].
//!
//! Requests share one connection as long as the daemon keeps it. Waits, logs and sessions take it with them, and the next
//! request makes a new one.

#[cfg(feature = "image-tools")]
mod archive;
mod connection;
mod container;
mod events;
mod exec;
mod image;
mod request;
mod stream;
mod volume;

pub use request::{
    AttachRequest, Filters, ImageListRequest, ImageSearchRequest, ImportRequest, ListRequest, LogsRequest,
    RemoveRequest, WaitCondition,
};
pub use stream::{Attached, Stream, Wait};

use crate::api::system::{API_VERSION, Info, Version};
use crate::error::{Error, Kind, Result};
use crate::utils::http::h1::Method;
use crate::utils::http::host::Host;
use crate::utils::http::query::Target;
use crate::utils::json;
use crate::utils::tls;
use connection::{Ask, Connection, Payload, Response};
use std::sync::{Mutex, PoisonError};

/// What the original prints when its daemon does not answer; scripts match it.
pub const UNREACHABLE: &str = "Can not connect with server.Is the iSulad daemon running on the host?";

/// A way to one daemon.
pub struct Client {
    host: Host,
    tls: Option<tls::Client>,
    /// The connection that the next request takes.
    idle: Mutex<Option<Connection>>,
}

impl Client {
    /// Connects to `unix:///PATH` or `tcp://HOST:PORT`; the latter by TLS if that is given.
    ///
    /// # Errors
    /// `Kind::Invalid` for another form, `Kind::Remote` when nobody answers, `Kind::Denied` without permission.
    pub fn connect(host: &str, tls: Option<tls::Client>) -> Result<Client> {
        let host = Host::parse(host)?;
        let connection = Connection::open(&host, tls.as_ref())?;
        Ok(Client { host, tls, idle: Mutex::new(Some(connection)) })
    }

    /// Whether descriptors can be handed to the daemon ([`Client::attach_handed`], [`Client::exec_start_handed`]).
    pub fn can_hand(&self) -> bool {
        matches!(self.host, Host::Unix(_))
    }

    /// Newest API version the daemon speaks.
    ///
    /// # Errors
    /// `Kind::Remote`; `Kind::Corrupt` when something else answers there.
    pub fn ping(&self) -> Result<String> {
        let response = self.send(Method::Head, &Target::new("/_ping"), Payload::None)?;
        let version = response.head.header("api-version").map(str::to_owned);
        self.keep(response);
        version.ok_or_else(|| Error::corrupt("the daemon does not name its API version"))
    }

    /// Versions.
    ///
    /// # Errors
    /// `Kind::Remote`.
    pub fn version(&self) -> Result<Version> {
        self.exchange(Method::Get, &target("/version"), Payload::None)
    }

    /// Counts, limits, host.
    ///
    /// # Errors
    /// `Kind::Remote`.
    pub fn info(&self) -> Result<Info> {
        self.exchange(Method::Get, &target("/info"), Payload::None)
    }

    /// A request whose answer is a document.
    fn exchange<T: json::Member + Default>(&self, method: Method, target: &Target, payload: Payload<'_>) -> Result<T> {
        let body = self.bytes(method, target, payload)?;
        json::parse(&body).map_err(unreadable)
    }

    /// A request whose answer is taken as it comes.
    fn bytes(&self, method: Method, target: &Target, payload: Payload<'_>) -> Result<Vec<u8>> {
        let mut response = self.send(method, target, payload)?;
        let mut body = response.read_document()?;
        self.keep(response);
        body.truncate(body.trim_ascii_end().len());
        Ok(body)
    }

    /// A request that changes something; `false` when it was so already.
    fn change(&self, target: &Target) -> Result<bool> {
        let mut response = self.send(Method::Post, target, Payload::None)?;
        response.read_document()?;
        let changed = response.head.status != 304;
        self.keep(response);
        Ok(changed)
    }

    fn send(&self, method: Method, target: &Target, payload: Payload<'_>) -> Result<Response> {
        self.send_asking(method, target, payload, Ask::Response)
    }

    /// Takes the idle connection, or a new one; [`Client::keep`] gives it back.
    fn send_asking(&self, method: Method, target: &Target, payload: Payload<'_>, ask: Ask<'_>) -> Result<Response> {
        if let Some(what) = target.nameless() {
            return Err(Error::invalid(format!("Invalid {what} name (): it is empty")));
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let connection = match idle.filter(|c| !c.is_stale()) {
            Some(connection) => connection,
            None => Connection::open(&self.host, self.tls.as_ref())?,
        };
        log::debug!("{} {} {}", self.host, method.as_str(), target.as_str());
        let response = connection.request(method, target, payload, ask)?;
        log::debug!("{} {}", self.host, response.head.status);
        if response.is_success() {
            return Ok(response);
        }
        let (error, response) = response.into_error();
        self.keep(response);
        Err(error)
    }

    fn keep(&self, response: Response) {
        if let Some(connection) = response.into_idle() {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        }
    }
}

/// A target below the version of the API that this client speaks.
fn target(path: &str) -> Target {
    Target::new(&format!("/v{API_VERSION}{path}"))
}

/// The daemon answered something else than was to come.
fn unreadable(e: Error) -> Error {
    e.with_kind(Kind::Corrupt).context("answer of the daemon")
}

#[cfg(test)]
mod tests;
