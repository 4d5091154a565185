//! Parts of a request for a container that name things of the host: devices, page sizes, a channel.

use crate::utils::json::Object;
use serde::Serialize;

/// Weight of one block device among those that wait for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct WeightDevice {
    /// Its node on the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// How much may go to or come from one block device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ThrottleDevice {
    /// Its node on the host.
    pub path: String,
    /// Bytes or operations per second; 0 is no limit.
    pub rate: u64,
}

/// How much of huge pages of one size may be used. The original's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Hugetlb {
    /// `2MB` and the like; the host's default size when empty.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// A tmpfs that host and container share. The original's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostChannel {
    /// Where the host sees it; made for it, and empty when there is none.
    pub path_on_host: String,
    /// Where the container sees it.
    pub path_in_container: String,
    /// `rw` or `ro` for the container; `rw` when empty.
    pub permissions: String,
    /// Bytes; 0 is the default of 64 MiB.
    pub size: u64,
}

impl HostChannel {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == HostChannel::default()
    }
}

/// Kernel parameters that belong to namespaces which a container can have of its own: the namespace, and the file or
/// directory (namespaces(7), proc_sys_net(5), proc_sys_kernel(5)).
pub const NAMESPACED_PARAMETERS: [(&str, &str); 10] = [
    ("net", "/proc/sys/net"),
    ("ipc", "/proc/sys/fs/mqueue"),
    ("ipc", "/proc/sys/kernel/msgmax"),
    ("ipc", "/proc/sys/kernel/msgmnb"),
    ("ipc", "/proc/sys/kernel/msgmni"),
    ("ipc", "/proc/sys/kernel/sem"),
    ("ipc", "/proc/sys/kernel/shm_rmid_forced"),
    ("ipc", "/proc/sys/kernel/shmall"),
    ("ipc", "/proc/sys/kernel/shmmax"),
    ("ipc", "/proc/sys/kernel/shmmni"),
];
