//! The domain: state and rules.

pub mod container;
pub mod image;
pub mod remap;
pub mod runtime;
pub mod spec;
pub mod volume;
