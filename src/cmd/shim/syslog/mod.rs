//! The container log driver `syslog`, an optional part of the build.

#[cfg(not(feature = "syslog"))]
mod disabled;
#[cfg(feature = "syslog")]
mod enabled;
#[cfg(feature = "syslog")]
mod queue;

#[cfg(not(feature = "syslog"))]
pub use disabled::Syslog;
#[cfg(feature = "syslog")]
pub use enabled::Syslog;
