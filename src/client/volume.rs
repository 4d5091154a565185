//! Volumes.

use super::connection::Payload;
use super::{Client, Filters, target};
use crate::api::volume::{Volume, VolumeList, VolumeRequest, VolumesPruned};
use crate::error::Result;
use crate::utils::http::h1::Method;
use crate::utils::json;

impl Client {
    /// Lists volumes by name.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown filter.
    pub fn volume_list(&self, filters: &Filters) -> Result<VolumeList> {
        self.exchange(Method::Get, &target("/volumes").filters(filters), Payload::None)
    }

    /// Makes a volume, or finds the one that there is.
    ///
    /// # Errors
    /// `Kind::Invalid` for the name, `Kind::Unsupported` for the driver.
    pub fn volume_create(&self, request: &VolumeRequest) -> Result<Volume> {
        self.exchange(Method::Post, &target("/volumes/create"), Payload::Document(json::to_vec(request)))
    }

    /// Everything about one volume as the daemon wrote it.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn volume_inspect_json(&self, name: &str) -> Result<Vec<u8>> {
        self.bytes(Method::Get, &target("/volumes").segment(name), Payload::None)
    }

    /// Removes it; `force` forgives that there is none.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` while a container has it.
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        self.bytes(Method::Delete, &target("/volumes").segment(name).flag("force", force), Payload::None).map(drop)
    }

    /// Removes those that no container has.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown filter.
    pub fn volume_prune(&self, filters: &Filters) -> Result<VolumesPruned> {
        self.exchange(Method::Post, &target("/volumes/prune").filters(filters), Payload::None)
    }
}
