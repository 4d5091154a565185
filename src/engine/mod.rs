//! What runs in the container's own process tree. Knows nothing of the daemon.
//!
//! The caller (shim or `lcr`) is single-threaded, blocks the signals it handles, and is a child subreaper.

pub mod cgroup;
pub mod create;
pub mod exec;
pub mod seccomp;
