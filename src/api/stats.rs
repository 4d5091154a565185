//! Resource use in the Docker Engine API, and how it is made of what shims report.

use super::shim;
use crate::utils::json::Object;
use crate::utils::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Counters by name, of interfaces by name.
pub type Interfaces = BTreeMap<String, BTreeMap<String, u64>>;

/// One sample: the answer to `GET /containers/{id}/stats`, or one line of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct ContainerStats {
    /// When it was taken.
    pub read: Timestamp,
    /// When the sample before was taken; unset in a first one.
    pub preread: Timestamp,
    /// Processes.
    pub pids_stats: PidsStats,
    /// Block devices.
    pub blkio_stats: BlkioStats,
    /// Windows only; 0.
    pub num_procs: u32,
    /// Processor.
    pub cpu_stats: CpuStats,
    /// Processor as of the sample before, from which clients compute the percentage.
    pub precpu_stats: CpuStats,
    /// Memory.
    pub memory_stats: MemoryStats,
    /// Name, with a leading slash as docker gives it.
    pub name: String,
    /// 64 digits.
    pub id: String,
    /// [Counters](INTERFACE_COUNTERS) of network interfaces by name, but for loopback; absent in a container that has the
    /// host's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: Interfaces,
}

/// Counters of a network interface in the order in which the kernel counts them for each direction (proc_pid_net(5)),
/// but for those that docker does not show.
pub const INTERFACE_COUNTERS: [&str; 8] =
    ["rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped"];

/// Processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct PidsStats {
    /// Processes and threads.
    pub current: u64,
    /// Absent when unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes, by operation, summed over the devices.
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
}

/// Bytes moved by one kind of operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct BlkioEntry {
    /// 0: all devices.
    pub major: u64,
    /// 0: all devices.
    pub minor: u64,
    /// `read` or `write`; docker's old daemons spell them with a capital.
    pub op: String,
    /// Bytes.
    pub value: u64,
}

/// Processor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct CpuStats {
    /// The container's time.
    pub cpu_usage: CpuUsage,
    /// The host's time over all processors, idle time included, in nanoseconds.
    pub system_cpu_usage: u64,
    /// Processors.
    pub online_cpus: u32,
    /// Periods in which a quota held it back.
    pub throttling_data: ThrottlingData,
}

/// The container's processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct CpuUsage {
    /// All.
    pub total_usage: u64,
    /// In the kernel.
    pub usage_in_kernelmode: u64,
    /// In programs.
    pub usage_in_usermode: u64,
}

/// Periods in which a quota held a container back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct ThrottlingData {
    /// All periods.
    pub periods: u64,
    /// Those held back.
    pub throttled_periods: u64,
    /// Nanoseconds held back.
    pub throttled_time: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// Most ever; absent where the kernel does not tell.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_usage: u64,
    /// Counters of the kernel's `memory.stat`.
    pub stats: BTreeMap<String, u64>,
    /// Times the limit was hit.
    #[serde(skip_serializing_if = "is_zero")]
    pub failcnt: u64,
    /// The host's memory when unlimited.
    pub limit: u64,
    /// Swap in use. Ours.
    pub swap_usage: u64,
}

/// The host's side of a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCpu {
    /// Time over all processors, idle time included, in nanoseconds.
    pub usage: u64,
    /// Processors.
    pub online: u32,
}

impl ContainerStats {
    /// A sample without a predecessor, of a container whose id and name the caller sets.
    pub fn new(read: Timestamp, sample: shim::Stats, host: HostCpu) -> ContainerStats {
        let entry = |op: &str, value| BlkioEntry { op: op.into(), value, ..BlkioEntry::default() };
        let [periods, throttled_periods, throttled_time] = sample.cpu_throttling;
        ContainerStats {
            read,
            pids_stats: PidsStats { current: sample.pids, limit: sample.pids_limit },
            blkio_stats: BlkioStats {
                io_service_bytes_recursive: vec![entry("read", sample.block_read), entry("write", sample.block_write)],
            },
            cpu_stats: CpuStats {
                cpu_usage: CpuUsage {
                    total_usage: sample.cpu_usage,
                    usage_in_kernelmode: sample.cpu_system,
                    usage_in_usermode: sample.cpu_user,
                },
                system_cpu_usage: host.usage,
                online_cpus: host.online,
                throttling_data: ThrottlingData { periods, throttled_periods, throttled_time },
            },
            memory_stats: MemoryStats {
                usage: sample.memory_usage,
                max_usage: sample.memory_max_usage,
                stats: sample.memory_stat,
                failcnt: sample.memory_failcnt,
                limit: sample.memory_limit,
                swap_usage: sample.swap_usage,
            },
            ..ContainerStats::default()
        }
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::json;

    #[test]
    fn has_the_names_of_docker() {
        let sample = shim::Stats { cpu_usage: 7, pids: 2, block_read: 5, memory_limit: 9, ..shim::Stats::default() };
        let stats = ContainerStats::new(Timestamp::UNSET, sample, HostCpu { usage: 70, online: 4 });
        let v = json::to_value(&stats);
        assert_eq!(v["cpu_stats"]["cpu_usage"]["total_usage"], 7);
        assert_eq!(v["cpu_stats"]["system_cpu_usage"], 70);
        assert_eq!(v["blkio_stats"]["io_service_bytes_recursive"][0]["op"], "read");
        assert_eq!(v["memory_stats"]["limit"], 9);
        assert_eq!(v["pids_stats"]["current"], 2);
        assert_eq!(v["preread"], "0001-01-01T00:00:00Z");
        assert_eq!(json::parse::<ContainerStats>(&json::to_vec(&stats)).unwrap(), stats);
    }
}
