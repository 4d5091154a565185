//! What a container's root is made of.

use crate::api::container::HostConfig;
use crate::api::oci::runtime::Mount;
use crate::api::shim::Overlay;
use crate::api::shim::RootOrder;
use crate::error::Result;
use crate::executor::Daemon;
use crate::modules::container::document::Document;
use crate::modules::container::external::External;
use crate::modules::image::store::Image;
#[cfg(feature = "image-tools")]
use crate::modules::{container::document::OCI, remap::Ids, spec::remap_of};
use std::path::PathBuf;

/// A container's root.
pub struct Root {
    /// Where it is, or is mounted in the container's mount namespace.
    pub path: PathBuf,
    /// Layers that are mounted there.
    pub overlay: Option<Overlay>,
    /// A block device that is mounted there.
    pub device: Option<PathBuf>,
    /// What the image has mounted in it.
    pub mounts: Vec<Mount>,
}

/// What an image has mounted in roots made of it.
fn mounts(image: &Image) -> Vec<Mount> {
    image.embedded.as_ref().map(|embedded| embedded.mounts()).unwrap_or_default()
}

/// How the ids in a container's root become those that the container has.
///
/// # Errors
/// `Kind::Invalid` for a container that cannot have the user namespace it is to have.
#[cfg(feature = "image-tools")]
pub fn ids(daemon: &Daemon, document: &Document, host: &HostConfig) -> Result<Ids> {
    let defaults = &daemon.settings.defaults;
    Ok(match (defaults.remap, remap_of(host, defaults)?) {
        (_, Some(remap)) => Ids::Inside(remap),
        (Some(remap), None) if document.common_config.image_type == OCI => Ids::Shared(remap),
        // Nothing below it was unpacked here.
        (_, None) => Ids::Same,
    })
}

impl Root {
    /// Finds it.
    ///
    /// # Errors
    /// `Kind::NotFound` for an image or a layer that is gone and not copied, `Kind::Corrupt` for an embedded image's,
    /// `Kind::Invalid` for an external root that is.
    pub fn find(daemon: &Daemon, id: &str, document: &Document, host: &HostConfig) -> Result<Root> {
        let path = daemon.images.mount_point(id);
        if host.external_rootfs.is_empty() {
            if let Some(path) = daemon.images.container_copy(id) {
                // It needs the image no more, but for what that has mounted.
                let image = daemon.images.find(document.image_id()).ok().filter(|image| image.embedded.is_some());
                image.as_ref().map_or(Ok(()), |image| image.check())?;
                let mounts = image.as_deref().map(mounts).unwrap_or_default();
                return Ok(Root { path, overlay: None, device: None, mounts });
            }
            let image = daemon.images.find(document.image_id())?;
            let overlay = daemon.images.container_layer(id, &image)?;
            let mounts = mounts(&image);
            return Ok(Root { path, overlay: Some(overlay), device: None, mounts });
        }
        Ok(match External::find(&host.external_rootfs)? {
            External::Directory(path) => Root { path, overlay: None, device: None, mounts: Vec::new() },
            External::Device(device) => Root { path, overlay: None, device: Some(device), mounts: Vec::new() },
        })
    }

    /// Whether the network files are written in it, and nothing is mounted over them.
    pub fn holds_network_files(&self, host: &HostConfig) -> bool {
        host.system_container && self.device.is_none()
    }

    /// Opens it to be read as a whole. A container may run on it.
    ///
    /// # Errors
    /// What mounting or opening it gives.
    pub fn open(self) -> Result<std::os::fd::OwnedFd> {
        use crate::modules::runtime::root;
        if self.overlay.is_none() && self.device.is_none() {
            return root::open_directory(&self.path);
        }
        let overlay = self.overlay.unwrap_or_default();
        root::open(&RootOrder { overlay, device: self.device, target: self.path })
    }
}
