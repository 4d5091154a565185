//! The domain: state and rules.

pub mod authorization;
pub mod container;
#[cfg(feature = "image-tools")]
pub mod copy;
pub mod events;
pub mod image;
pub mod remap;
pub mod runtime;
pub mod spec;
pub mod volume;
