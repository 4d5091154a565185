//! TLS for byte streams: files become settings, a socket becomes a [`Session`], and a session becomes the other end of a
//! plain socket pair, by a relay that runs on a thread of its own.
//!
//! Whoever speaks the protocol above therefore has a plain descriptor, which can be polled and given away; only the relay
//! knows of TLS. In builds without the feature `tls` the same names are there and nothing can be made of them.

#[cfg(feature = "tls")]
mod common_name;
#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod enabled;
#[cfg(any(feature = "tls", feature = "registry"))]
pub mod pem;
#[cfg(feature = "tls")]
mod relay;

#[cfg(not(feature = "tls"))]
pub use disabled::{Client, Server, Session};
#[cfg(feature = "tls")]
pub use enabled::{Client, Server, Session};

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// Whether this build speaks TLS.
pub const AVAILABLE: bool = cfg!(feature = "tls");

/// What is said of flags and settings that ask for TLS in a build without.
pub const UNAVAILABLE: &str = "this build has no TLS";

/// Files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The authorities by which the other side is verified; `None` does not verify it.
    pub authorities: Option<PathBuf>,
    /// Our certificate, with those between it and its authority behind it, and its key; `None` shows none.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// The usual names of authority, certificate and key in a directory.
    pub fn usual(directory: &Path) -> [PathBuf; 3] {
        ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.join(name))
    }
}

/// When a relay ends although both its sides go on.
pub struct Leave<'a> {
    /// Readable from the moment at which `now` is worth asking.
    pub from: BorrowedFd<'a>,
    /// Whether it is time.
    pub now: &'a dyn Fn() -> bool,
}

#[cfg(all(test, feature = "tls"))]
mod tests;
