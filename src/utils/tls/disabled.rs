//! The names of [`super`] in builds without TLS: their types have no values.

use super::{Files, Leave};
use crate::error::{Error, Kind, Result};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A server's settings.
#[derive(Debug, Clone)]
pub enum Server {}

/// A client's settings.
#[derive(Debug, Clone)]
pub enum Client {}

/// A connection.
#[derive(Debug)]
pub enum Session {}

impl Server {
    /// Refuses.
    ///
    /// # Errors
    /// `Kind::Unsupported`.
    pub fn load(_: &Files) -> Result<Server> {
        Err(Error::new(Kind::Unsupported, super::UNAVAILABLE))
    }

    /// Whether clients are verified.
    pub fn verifies(&self) -> bool {
        match *self {}
    }

    /// Greets a client.
    ///
    /// # Errors
    /// Never.
    pub fn accept(&self, _: OwnedFd, _: Instant) -> Result<Session> {
        match *self {}
    }
}

impl Client {
    /// Refuses.
    ///
    /// # Errors
    /// `Kind::Unsupported`.
    pub fn load(_: &Files) -> Result<Client> {
        Err(Error::new(Kind::Unsupported, super::UNAVAILABLE))
    }

    /// Greets a server.
    ///
    /// # Errors
    /// Never.
    pub fn connect(&self, _: OwnedFd, _: &str, _: Instant) -> Result<Session> {
        match *self {}
    }
}

impl Session {
    /// Who the other side is.
    pub fn user(&self) -> Option<String> {
        match *self {}
    }

    /// Moves bytes.
    ///
    /// # Errors
    /// Never.
    pub fn relay(self, _: OwnedFd, _: Option<&Leave<'_>>) -> Result<()> {
        match self {}
    }
}
