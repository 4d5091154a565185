//! The user interface: words in, exit codes out.

pub mod argv;
pub mod init;
pub mod isula;
pub mod isulad;
#[cfg(feature = "lcr")]
pub mod runtime;
pub mod shim;
