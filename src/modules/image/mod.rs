//! Images: references, the layer store, unpacking.

pub mod assembly;
mod changes;
mod import;
mod init_layer;
mod layer;
pub mod load;
mod open;
pub mod pack;
pub mod platform;
mod record;
pub mod reference;
pub mod store;
mod tree;
pub mod unpack;
