//! Images: references, the layer store, unpacking.

mod changes;
mod import;
mod init_layer;
mod layer;
mod open;
mod record;
pub mod reference;
pub mod store;
mod tree;
pub mod unpack;
