//! Responses that outlast their request: waits, attached sessions, raw streams.

use super::Client;
use super::connection::{Ask, Connection, Payload, Response};
use crate::api::container::WaitResponse;
use crate::api::shim::StreamEnd;
use crate::error::{Error, Kind, Result};
use crate::utils::http::h1::Method;
use crate::utils::http::media;
use crate::utils::http::query::Target;
use crate::utils::json;
use crate::utils::sys::net;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A wait that has begun, with its connection for itself: exits from now on are not missed.
pub struct Wait(Response);

impl Wait {
    pub(super) fn new(response: Response) -> Wait {
        Wait(response)
    }

    /// The connection, for polling: readable when [`Wait::finish`] will not block long.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.connection.fd()
    }

    /// Blocks until the condition holds.
    ///
    /// # Errors
    /// `Kind::Remote` when the daemon went away.
    pub fn finish(mut self) -> Result<WaitResponse> {
        let body = self.0.read_document()?;
        json::parse(&body).map_err(|e| e.with_kind(Kind::Corrupt))
    }
}

/// A session on a terminal or pipes of this process, whose descriptors the daemon has now. Dropping it detaches.
#[derive(Debug)]
pub struct Attached {
    connection: OwnedFd,
    received: Vec<u8>,
}

/// Longest end of a session, in bytes.
const MAX_END: usize = 64 * 1024;

impl Attached {
    fn new(connection: Connection) -> Attached {
        let (connection, received) = connection.into_parts();
        Attached { connection, received }
    }

    /// The connection, for polling: readable when the session has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Blocks until the session ends: with the exit code, or without when the user detached.
    ///
    /// # Errors
    /// `Kind::Remote` when the other end went away without a word.
    pub fn finish(mut self) -> Result<StreamEnd> {
        let mut block = [0; 4096];
        loop {
            let gone = |e| Error::io("read end of session", e).with_kind(Kind::Remote);
            let n = net::receive_by(self.connection.as_fd(), &mut block, &mut Vec::new(), None).map_err(gone)?;
            if n == 0 {
                break;
            }
            self.received.extend_from_slice(&block[..n]);
            if self.received.len() > MAX_END {
                return Err(Error::corrupt("the end of the session is too long"));
            }
        }
        let line = self.received.trim_ascii();
        if line.is_empty() {
            return Err(Error::new(
                Kind::Remote,
                "the session ended without an exit code: its container's shim is gone",
            ));
        }
        json::parse(line).map_err(|e| e.with_kind(Kind::Corrupt))
    }
}

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

impl Client {
    pub(super) fn hand(&self, target: &Target, payload: Payload<'_>, fds: [BorrowedFd<'_>; 3]) -> Result<Attached> {
        if !self.can_hand() {
            return Err(Error::new(Kind::Unsupported, "descriptors cannot be handed over the network"));
        }
        let response = self.send_asking(Method::Post, target, payload, Ask::Stdio(fds))?;
        if response.head.status != 101 || response.head.header("upgrade") != Some(media::UPGRADE_STDIO) {
            return Err(Error::new(Kind::Unsupported, "the daemon does not take descriptors"));
        }
        Ok(Attached::new(response.connection))
    }

    pub(super) fn stream(&self, target: &Target, payload: Payload<'_>) -> Result<Stream> {
        let response = self.send_asking(Method::Post, target, payload, Ask::Stream)?;
        let multiplexed = response.head.header("content-type") == Some(media::MULTIPLEXED_STREAM);
        let (connection, early) = response.connection.into_parts();
        Ok(Stream { connection, early, multiplexed })
    }
}
