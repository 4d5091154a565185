//! Limits of single devices and page sizes, as requests name them.

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
