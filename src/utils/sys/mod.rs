//! The home of `unsafe`: one call per wrapper, owned types in and out.

#![allow(unsafe_code)]

pub mod bpf;
pub mod child;
pub mod clone;
pub mod descriptor;
pub mod eventfd;
pub mod fd;
pub mod held;
pub mod inode_flags;
#[cfg(feature = "embedded")]
pub mod loop_device;
#[cfg(all(target_arch = "x86_64", any(test, target_env = "musl")))]
pub mod memory;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod pages;
pub mod poll;
pub mod prctl;
pub mod probe;
pub mod process;
pub mod project_quota;
pub mod pty;
pub mod random;
pub mod reflink;
pub mod sched;
pub mod sealed_exe;
pub mod seccomp;
pub mod socket;
pub mod terminal;
#[cfg(test)]
pub mod test;
#[cfg(all(target_env = "musl", panic = "abort"))]
mod thread_name;
#[cfg(all(target_env = "musl", panic = "abort"))]
mod unwind;
pub mod xattr;
pub mod zone;
