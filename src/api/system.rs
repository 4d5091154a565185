//! The daemon itself in the Docker Engine API.

use super::container::ContainerSummary;
use super::image::ImageSummary;
use super::volume::Volume;
use crate::utils::json::Object;
use serde::Serialize;

/// Newest version of the Docker Engine API that is spoken.
pub const API_VERSION: &str = "1.44";
/// Oldest.
pub const MIN_API_VERSION: &str = "1.24";

/// Answer to `GET /system/df`. What was not asked for is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all layers of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_size: Option<i64>,
    /// All images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<ImageSummary>>,
    /// All containers, with their sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<ContainerSummary>>,
    /// All volumes, with their use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<Volume>>,
    /// Nothing is built here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_cache: Option<[(); 0]>,
}

/// Answer to `POST /networks/prune` and `POST /build/prune`: of these there is nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NothingPruned {
    /// None.
    pub networks_deleted: Option<[(); 0]>,
    /// None.
    pub caches_deleted: Option<[(); 0]>,
    /// Bytes: none.
    pub space_reclaimed: u64,
}

/// Answer to `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    /// Product.
    pub platform: Platform,
    /// Release.
    pub version: String,
    /// Newest API version.
    pub api_version: String,
    /// Oldest API version.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// Commit.
    pub git_commit: String,
    /// Compiler, where docker has Go's version.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// GOARCH.
    pub arch: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// RFC 3339.
    pub build_time: String,
    /// Version of the OCI runtime specification.
    #[serde(rename = "OciVersion")]
    pub oci_version: String,
    /// Parts, which docker's client lists.
    pub components: Vec<Component>,
}

/// Product.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Platform {
    /// Name.
    pub name: String,
}

/// A part with its version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Component {
    /// Name.
    pub name: String,
    /// Release.
    pub version: String,
    /// Free text.
    pub details: std::collections::BTreeMap<String, String>,
}

/// Docker's cluster mode, which its client asks about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Swarm {
    /// `inactive`.
    pub local_node_state: String,
}

/// Answer to `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Info {
    /// Identity of the daemon.
    #[serde(rename = "ID")]
    pub id: String,
    /// How many.
    pub containers: i64,
    /// How many.
    pub containers_running: i64,
    /// How many.
    pub containers_paused: i64,
    /// How many.
    pub containers_stopped: i64,
    /// How many.
    pub images: i64,
    /// Storage driver.
    pub driver: String,
    /// Its details.
    pub driver_status: Vec<[String; 2]>,
    /// Whether the limit can be set.
    pub memory_limit: bool,
    /// Whether the limit can be set.
    pub swap_limit: bool,
    /// Whether the limit can be set.
    #[serde(rename = "CpuCfsPeriod")]
    pub cpu_cfs_period: bool,
    /// Whether the limit can be set.
    #[serde(rename = "CpuCfsQuota")]
    pub cpu_cfs_quota: bool,
    /// Whether the limit can be set.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// Whether the limit can be set.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Whether the limit can be set.
    pub pids_limit: bool,
    /// Whether the OOM killer can be turned off.
    pub oom_kill_disable: bool,
    /// Log driver for containers.
    pub logging_driver: String,
    /// `cgroupfs`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// From os-release.
    pub operating_system: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `uname -m`.
    pub architecture: String,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub ncpu: i64,
    /// Bytes.
    pub mem_total: i64,
    /// Graph root.
    pub docker_root_dir: String,
    /// Proxy, credentials masked.
    pub http_proxy: String,
    /// Proxy, credentials masked.
    pub https_proxy: String,
    /// Hosts reached directly.
    pub no_proxy: String,
    /// Host name.
    pub name: String,
    /// Release.
    pub server_version: String,
    /// OCI runtimes.
    pub runtimes: std::collections::BTreeMap<String, serde_json::Value>,
    /// Name.
    pub default_runtime: String,
    /// Whether containers outlive the daemon.
    pub live_restore_enabled: bool,
    /// Docker's cluster mode.
    pub swarm: Swarm,
    /// seccomp and the like.
    pub security_options: Vec<String>,
    /// Things an operator should know.
    pub warnings: Vec<String>,
    /// `2MB`. The original's.
    pub hugetlb_pagesize: String,
    /// Local time.
    pub system_time: String,
}
