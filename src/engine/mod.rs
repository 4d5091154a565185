//! What runs in the container's own process tree. Knows nothing of the daemon.
//!
//! The caller (shim or `lcr`) is single-threaded, blocks the signals it handles, and is a child subreaper.

pub mod capability;
pub mod cgroup;
pub mod create;
pub mod exec;
pub mod hook;
pub mod idmap;
pub mod label;
pub mod namespace;
pub mod net_device;
pub mod process;
pub mod rights;
pub mod rlimit;
pub mod rootfs;
pub mod scheduling;
pub mod seccomp;
pub mod sysctl;
pub mod terminal;
pub mod user;

#[cfg(test)]
mod tests;
