//! The home of `unsafe`: one call per wrapper, owned types in and out.

#![allow(unsafe_code)]

pub mod net;
pub mod process;
pub mod random;
pub mod socket;
pub mod terminal;
pub mod zone;
