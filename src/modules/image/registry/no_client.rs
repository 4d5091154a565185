//! Builds without the registry client say so.

use super::{Cancel, Descriptor, Settings};
use crate::error::{Error, Kind, Result};
use crate::modules::image::credentials::Credentials;
use crate::modules::image::platform::Platform;
use crate::modules::image::reference::Reference;
use std::convert::Infallible;
use std::io::Read;

/// What a daemon is configured with; here it refuses everything.
pub struct Registry(());

impl Registry {
    /// Accepts any settings: a daemon with mirrors in its configuration starts.
    ///
    /// # Errors
    /// None.
    pub fn new(_: Settings) -> Result<Registry> {
        Ok(Registry(()))
    }

    /// Refuses.
    ///
    /// # Errors
    /// `Kind::Unsupported`.
    pub fn resolve(&self, _: &Reference, _: &Platform, _: Option<&Credentials>, _: &Cancel) -> Result<Resolved> {
        Err(unsupported())
    }

    /// Refuses.
    ///
    /// # Errors
    /// `Kind::Unsupported`.
    pub fn check(&self, _: &str, _: &Credentials) -> Result<()> {
        Err(unsupported())
    }
}

fn unsupported() -> Error {
    Error::new(Kind::Unsupported, "this build has no registry client: load images from archives")
}

/// Never there.
pub struct Resolved {
    /// As in builds with a client.
    pub digest: String,
    /// As in builds with a client.
    pub manifest: Vec<u8>,
    /// As in builds with a client.
    pub config: Vec<u8>,
    /// As in builds with a client.
    pub layers: Vec<Descriptor>,
    /// As in builds with a client.
    pub platform: Platform,
    never: Infallible,
}

impl Resolved {
    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn blob(&self, _: &Descriptor, _: &Cancel) -> Result<impl Read + Send + '_> {
        match self.never {}
        #[allow(unreachable_code)] // it says the type
        Ok(std::io::empty())
    }
}
