//! Writes of version 1 (kernel documentation, admin-guide/cgroup-v1).

use crate::api::oci::runtime::{BlockIo, Cpu, Memory};
use crate::engine::cgroup::plan::{Failure, Read, Write, unsupported};
use crate::error::{Error, Result};

const MEMORY: &str = "memory";
/// Period of the real-time scheduler in microseconds.
pub const RT_PERIOD: &str = "cpu.rt_period_us";
/// What real-time processes may use of it.
pub const RT_RUNTIME: &str = "cpu.rt_runtime_us";

/// Memory. The limit for memory and swap together may never be below that for memory, not even between two writes.
pub fn memory(memory: &Memory, read: Read<'_>, out: &mut Vec<Write>) -> Result<()> {
    // Zero is docker's word for "not set".
    let set = |value: Option<i64>| value.filter(|&v| v != 0);
    let (limit, mut swap) = (set(memory.limit), set(memory.swap));
    let now: Option<u64> = read(MEMORY, "memory.memsw.limit_in_bytes").and_then(|text| text.trim().parse().ok());
    if limit == Some(-1) && swap.is_none() && now.is_some() {
        swap = Some(-1);
    }
    let limit = limit.map(|v| Write::new(MEMORY, "memory.limit_in_bytes", "memory.limit", v));
    let raise = swap.is_some_and(|new| new < 0 || now.is_some_and(|now| new as u64 > now));
    let swap = swap.map(|v| Write::new(MEMORY, "memory.memsw.limit_in_bytes", "memory.swap", v));
    if raise {
        out.extend(swap.into_iter().chain(limit));
    } else {
        out.extend(limit.into_iter().chain(swap));
    }
    if let Some(v) = set(memory.reservation) {
        out.push(Write::new(MEMORY, "memory.soft_limit_in_bytes", "memory.reservation", v));
    }
    if let Some(v) = set(memory.kernel) {
        out.push(Write::new(MEMORY, "memory.kmem.limit_in_bytes", "memory.kernel", v));
    }
    if let Some(v) = memory.swappiness {
        if v > 100 {
            return Err(Error::invalid(format!("memory.swappiness {v} is above 100")));
        }
        out.push(Write::new(MEMORY, "memory.swappiness", "memory.swappiness", v));
    }
    if memory.disable_oom_killer {
        out.push(Write::new(MEMORY, "memory.oom_control", "memory.disableOOMKiller", 1));
    }
    Ok(())
}

/// Processor time.
pub fn cpu(cpu: &Cpu, out: &mut Vec<Write>) {
    if let Some(v) = cpu.shares.filter(|&v| v != 0) {
        out.push(Write::new("cpu", "cpu.shares", "cpu.shares", v));
    }
    let quota = cpu.quota.filter(|&v| v != 0);
    if let Some(v) = cpu.period.filter(|&v| v != 0) {
        // With a parent's limit between old and new share, one order works and the other does not.
        let failure = if quota.is_some() { Failure::AfterNext } else { Failure::Fatal };
        out.push(Write::new("cpu", "cpu.cfs_period_us", "cpu.period", v).on_failure(failure));
    }
    if let Some(v) = quota {
        out.push(Write::new("cpu", "cpu.cfs_quota_us", "cpu.quota", v));
    }
    let runtime = cpu.realtime_runtime;
    if let Some(v) = cpu.realtime_period {
        let failure = if runtime.is_some() { Failure::AfterNext } else { Failure::Fatal };
        out.push(Write::new("cpu", RT_PERIOD, "cpu.realtimePeriod", v).on_failure(failure));
    }
    if let Some(v) = runtime {
        out.push(Write::new("cpu", RT_RUNTIME, "cpu.realtimeRuntime", v).on_failure(Failure::Late));
    }
}

/// Block devices.
pub fn block_io(block: &BlockIo, read: Read<'_>, out: &mut Vec<Write>) -> Result<()> {
    // The proportional scheduler brings its own name for the file.
    let prefix = ["blkio.", "blkio.bfq."].into_iter().find(|p| read("blkio", &format!("{p}weight")).is_some());
    let weights = block.weight.filter(|&w| w != 0).is_some() || !block.weight_device.is_empty();
    if weights {
        let Some(prefix) = prefix else {
            return Err(unsupported("blockIO.weight", "no I/O scheduler of this kernel has weights"));
        };
        if let Some(v) = block.weight.filter(|&w| w != 0) {
            out.push(Write::new("blkio", format!("{prefix}weight"), "blockIO.weight", v));
        }
        for d in &block.weight_device {
            if let Some(v) = d.weight {
                let value = format!("{}:{} {v}", d.major, d.minor);
                out.push(Write::new("blkio", format!("{prefix}weight_device"), "blockIO.weightDevice", value));
            }
        }
    }
    for (list, file, limit) in [
        (&block.throttle_read_bps_device, "blkio.throttle.read_bps_device", "blockIO.throttleReadBpsDevice"),
        (&block.throttle_write_bps_device, "blkio.throttle.write_bps_device", "blockIO.throttleWriteBpsDevice"),
        (&block.throttle_read_iops_device, "blkio.throttle.read_iops_device", "blockIO.throttleReadIOPSDevice"),
        (&block.throttle_write_iops_device, "blkio.throttle.write_iops_device", "blockIO.throttleWriteIOPSDevice"),
    ] {
        for d in list {
            out.push(Write::new("blkio", file, limit, format!("{}:{} {}", d.major, d.minor, d.rate)));
        }
    }
    Ok(())
}
