//! Images: references, the layer store, unpacking.

pub mod store;
