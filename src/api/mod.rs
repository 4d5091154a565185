//! Wire types only, shared by both ends. One type per message; unknown fields are ignored, required ones checked when
//! parsing. No layer is imported here.

pub mod archive;
pub mod authorization;
pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod image;
pub mod oci;
pub mod resource;
pub mod shim;
pub mod stats;
pub mod system;
pub mod volume;
