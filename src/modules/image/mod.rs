//! Images: references, registries, the layer store, unpacking.

pub mod assembly;
mod changes;
#[cfg(feature = "registry")]
pub mod credentials;
pub mod embedded;
mod import;
mod init_layer;
mod layer;
pub mod load;
mod manifest;
mod open;
pub mod pack;
pub mod platform;
mod record;
pub mod reference;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "image-tools")]
pub mod save;
pub mod store;
mod tree;
pub mod unpack;
