//! Writes of version 2 (kernel documentation, admin-guide/cgroup-v2), with the scales of version 1 converted.

use crate::api::oci::runtime::{BlockIo, Cpu, Memory};
use crate::engine::cgroup::layout::Layout;
use crate::engine::cgroup::plan::{Read, Write, unsupported};
use crate::error::{Error, Result};

const MEMORY: &str = "memory";

/// Memory. Swap is a limit of its own here, where the document has the sum.
pub fn memory(memory: &Memory, read: Read<'_>, out: &mut Vec<Write>) -> Result<()> {
    let set = |value: Option<i64>| value.filter(|&v| v != 0);
    for (limit, there) in [
        ("memory.kernel", set(memory.kernel).is_some_and(|v| v > 0)),
        ("memory.swappiness", memory.swappiness.is_some()),
        ("memory.disableOOMKiller", memory.disable_oom_killer),
    ] {
        if there {
            return Err(unsupported(limit, "cgroup v2 has nothing like it"));
        }
    }
    let max = |v: i64| if v < 0 { "max".to_owned() } else { v.to_string() };
    let limit = set(memory.limit);
    if let Some(v) = limit {
        out.push(Write::new(MEMORY, "memory.max", "memory.limit", max(v)));
    }
    let swap = match set(memory.swap) {
        Some(sum) if sum < 0 => Some("max".to_owned()),
        None if limit == Some(-1) => Some("max".to_owned()),
        None => None,
        Some(sum) => {
            let in_force = || read(MEMORY, "memory.max").and_then(|text| text.trim().parse().ok());
            let memory = limit.or_else(in_force).filter(|&v: &i64| v >= 0);
            let memory = memory.ok_or_else(|| Error::invalid("memory.swap is limited but memory.limit is not"))?;
            if sum < memory {
                return Err(Error::invalid(format!("memory.swap {sum} is below memory.limit {memory}")));
            }
            Some((sum - memory).to_string())
        }
    };
    if let Some(value) = swap {
        let mut write = Write::new(MEMORY, "memory.swap.max", "memory.swap", value);
        if write.value == "max" || write.value == "0" {
            // A kernel without swap, or a boot without its accounting, has no file and no swap to limit.
            write = write.on_failure(super::plan::Failure::Optional);
        }
        out.push(write);
    }
    if let Some(v) = set(memory.reservation) {
        out.push(Write::new(MEMORY, "memory.low", "memory.reservation", max(v)));
    }
    Ok(())
}

/// Processor time.
pub fn cpu(cpu: &Cpu, read: Read<'_>, out: &mut Vec<Write>) -> Result<()> {
    if cpu.realtime_runtime.is_some() || cpu.realtime_period.is_some() {
        return Err(unsupported("cpu.realtimeRuntime", "cgroup v2 has nothing like it"));
    }
    if let Some(shares) = cpu.shares.filter(|&v| v != 0) {
        let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        out.push(Write::new("cpu", "cpu.weight", "cpu.shares", weight));
    }
    let quota = cpu.quota.filter(|&v| v != 0).map(|v| if v < 0 { "max".to_owned() } else { v.to_string() });
    let period = cpu.period.filter(|&v| v != 0);
    let value = match (quota, period) {
        (None, None) => return Ok(()),
        (Some(quota), None) => quota, // the period stays
        (quota, Some(period)) => {
            let in_force = || read("cpu", "cpu.max")?.split_whitespace().next().map(str::to_owned);
            let quota = quota.or_else(in_force).unwrap_or_else(|| "max".into());
            format!("{quota} {period}")
        }
    };
    out.push(Write::new("cpu", "cpu.max", "cpu.quota", value));
    Ok(())
}

/// Block devices.
pub fn block_io(block: &BlockIo, read: Read<'_>, out: &mut Vec<Write>) -> Result<()> {
    // The scheduler bfq has a file of its own, with version 1's scale: all runtimes write it as it is.
    let bfq = read("io", "io.bfq.weight").is_some();
    let file = if bfq { "io.bfq.weight" } else { "io.weight" };
    let convert = |weight: u16| match bfq {
        true => u64::from(weight),
        false => 1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990,
    };
    if let Some(v) = block.weight.filter(|&w| w != 0) {
        out.push(Write::new("io", file, "blockIO.weight", convert(v)));
    }
    for d in &block.weight_device {
        if let Some(v) = d.weight {
            let value = format!("{}:{} {}", d.major, d.minor, convert(v));
            out.push(Write::new("io", file, "blockIO.weightDevice", value));
        }
    }
    for (list, key, limit) in [
        (&block.throttle_read_bps_device, "rbps", "blockIO.throttleReadBpsDevice"),
        (&block.throttle_write_bps_device, "wbps", "blockIO.throttleWriteBpsDevice"),
        (&block.throttle_read_iops_device, "riops", "blockIO.throttleReadIOPSDevice"),
        (&block.throttle_write_iops_device, "wiops", "blockIO.throttleWriteIOPSDevice"),
    ] {
        for d in list {
            // Zero takes the limit away, as in version 1.
            let rate = if d.rate == 0 { "max".to_owned() } else { d.rate.to_string() };
            out.push(Write::new("io", "io.max", limit, format!("{}:{} {key}={rate}", d.major, d.minor)));
        }
    }
    Ok(())
}

/// A file by name. The engine's own ways to move, freeze and kill are not for documents.
pub fn unified(layout: &Layout, file: &str, value: &str) -> Result<Write> {
    let limit = format!("unified {file:?}");
    let (controller, rest) = file.split_once('.').unwrap_or((file, ""));
    let taken = ["procs", "threads", "kill", "freeze", "type", "subtree_control"];
    if controller.is_empty()
        || rest.is_empty()
        || file.contains('/')
        || (controller == "cgroup" && taken.contains(&rest))
    {
        return Err(Error::invalid(format!("{limit} is not the name of a limit")));
    }
    let Some(v2) = layout.v2() else {
        return Err(unsupported(&limit, "the host has no cgroup v2"));
    };
    // The core's own files belong to no controller.
    let controller = if controller == "cgroup" {
        ""
    } else {
        let known = ["cpu", "cpuset", "dmem", "hugetlb", "io", "memory", "misc", "pids", "rdma"];
        let found = known.into_iter().find(|c| *c == controller && v2.has(c));
        found.ok_or_else(|| unsupported(&limit, &format!("cgroup v2 has no controller {controller} on this host")))?
    };
    Ok(Write::new(controller, file.to_owned(), limit, value))
}
