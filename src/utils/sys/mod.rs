//! The home of `unsafe`: one call per wrapper, owned types in and out.

#![allow(unsafe_code)]

pub mod clone;
pub mod fd;
pub mod mount;
pub mod prctl;
pub mod probe;
pub mod process;
pub mod pty;
pub mod random;
pub mod socket;
