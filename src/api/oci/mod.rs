//! The Open Container Initiative's formats: runtime specification 1.2 and image specification 1.1.

pub mod image;
mod names;
pub mod runtime;
