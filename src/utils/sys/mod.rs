//! The home of `unsafe`: one call per wrapper, owned types in and out.

#![allow(unsafe_code)]

pub mod child;
pub mod descriptor;
pub mod pages;
pub mod poll;
pub mod process;
pub mod random;
pub mod sealed_exe;
pub mod socket;
pub mod tty;
