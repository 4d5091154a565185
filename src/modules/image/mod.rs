//! Images: references, the layer store, unpacking.

pub mod store;
mod tree;
pub mod unpack;
