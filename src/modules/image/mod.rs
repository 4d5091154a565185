//! Images: references, registries, the layer store, unpacking.

pub mod assembly;
mod changes;
#[cfg(feature = "storage")]
mod check;
mod container_layer;
#[cfg(feature = "registry")]
pub mod credentials;
#[cfg(feature = "image-tools")]
mod difference;
pub mod driver;
pub mod embedded;
#[cfg(feature = "storage")]
mod flatten;
mod implied;
mod import;
mod init_layer;
mod layer;
pub mod load;
mod manifest;
#[cfg(any(feature = "storage", feature = "image-tools"))]
mod merged;
mod open;
pub mod pack;
pub mod platform;
mod record;
pub mod reference;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "image-tools")]
pub mod save;
#[cfg(feature = "registry")]
mod schema_1;
mod signs;
pub mod store;
mod tally;
mod tree;
pub mod unpack;
