//! Whether a request may be: others are asked, over sockets of theirs, before anything is done. It comes with TLS, an
//! optional part of the build.

#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod enabled;

#[cfg(not(feature = "tls"))]
pub use disabled::Authorizer;
#[cfg(feature = "tls")]
pub use enabled::Authorizer;
