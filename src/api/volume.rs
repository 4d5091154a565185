//! Volumes in the Docker Engine API (1.44), and mounts in the form in which the original stores them.

use crate::utils::json::Object;
use crate::utils::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The only driver there is.
pub const DRIVER: &str = "local";
/// Docker's label of volumes without a name of their own.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// One volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Volume {
    /// Creation.
    pub created_at: Timestamp,
    /// [`DRIVER`].
    pub driver: String,
    /// Free text.
    pub labels: BTreeMap<String, String>,
    /// Its directory on the host.
    pub mountpoint: String,
    /// Its name.
    pub name: String,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// `local`: of this machine.
    pub scope: String,
    /// In the answer to `GET /system/df` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<UsageData>,
}

/// What a volume takes, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct UsageData {
    /// Bytes.
    pub size: i64,
    /// Containers that have it.
    pub ref_count: i64,
}

/// Answer to `GET /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeList {
    /// By name.
    pub volumes: Vec<Volume>,
    /// What could not be found out.
    pub warnings: Vec<String>,
}

/// Body of `POST /volumes/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeRequest {
    /// Made up when empty.
    pub name: String,
    /// [`DRIVER`] when empty.
    pub driver: String,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Free text.
    pub labels: BTreeMap<String, String>,
}

/// Answer to `POST /volumes/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumesPruned {
    /// Names.
    pub volumes_deleted: Vec<String>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// A mount of a container as `config.v2.json` has it under `MountPoints`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct MountRecord {
    /// `bind`, `volume`, `tmpfs`, `squashfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Path inside.
    pub destination: String,
    /// [`DRIVER`] of a volume.
    pub driver: String,
    /// The original's, and empty.
    pub key: String,
    /// Of the volume.
    pub name: String,
    /// Whether the user named the volume.
    pub named: bool,
    /// `[r]private`, `[r]shared`, `[r]slave`.
    pub propagation: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// `z`, `Z` or empty.
    pub relabel: String,
    /// Path on the host.
    pub source: String,
    /// Options as given. Docker's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

impl MountRecord {
    /// Whether it is of a volume.
    pub fn is_volume(&self) -> bool {
        self.kind == "volume"
    }
}
