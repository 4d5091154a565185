//! Which OCI runtime a container gets.

#[cfg(not(feature = "other-runtimes"))]
mod disabled;
#[cfg(feature = "other-runtimes")]
mod enabled;

#[cfg(not(feature = "other-runtimes"))]
pub use disabled::Choice;
#[cfg(feature = "other-runtimes")]
pub use enabled::Choice;

/// Name of the built-in one.
pub const BUILT_IN: &str = "lcr";
