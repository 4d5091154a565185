//! Resource use from the interface files. What a layout does not count is zero.

use crate::api::shim::Stats;
use crate::engine::cgroup::file::{keyed, number, read};
use crate::utils::order;
use std::collections::BTreeMap;
use std::path::Path;

/// Processor time of version 1's `cpuacct`.
pub fn cpuacct(directory: &Path, out: &mut Stats) {
    let of = |name| number(&directory.join(name)).unwrap_or(0);
    out.cpu_usage = of("cpuacct.usage");
    out.cpu_user = of("cpuacct.usage_user");
    out.cpu_system = of("cpuacct.usage_sys");
}

/// Throttling of version 1's `cpu`.
pub fn cpu_v1(directory: &Path, out: &mut Stats) {
    if let Some(text) = read(&directory.join("cpu.stat")) {
        out.cpu_throttling = ["nr_periods", "nr_throttled", "throttled_time"].map(|key| keyed(&text, key).unwrap_or(0));
    }
}

/// Processor time of version 2, which its core counts without a controller, and the controller's throttling. In the
/// hybrid layout the controllers of version 1 say the same and more, so there this is not used.
pub fn cpu_v2(directory: &Path, out: &mut Stats) {
    let Some(text) = read(&directory.join("cpu.stat")) else { return };
    let of = |key| keyed(&text, key).unwrap_or(0);
    let nanoseconds = |key| of(key).saturating_mul(1000);
    out.cpu_usage = nanoseconds("usage_usec");
    out.cpu_user = nanoseconds("user_usec");
    out.cpu_system = nanoseconds("system_usec");
    out.cpu_throttling = [of("nr_periods"), of("nr_throttled"), nanoseconds("throttled_usec")];
}

/// Memory of version 1.
pub fn memory_v1(directory: &Path, out: &mut Stats) {
    let of = |name: &str| number(&directory.join(name)).unwrap_or(0);
    out.memory_usage = of("memory.usage_in_bytes");
    out.memory_max_usage = of("memory.max_usage_in_bytes");
    out.memory_failcnt = of("memory.failcnt");
    out.memory_limit = limit(of("memory.limit_in_bytes"));
    out.memory_stat = table(&directory.join("memory.stat"));
    out.swap_usage = out.memory_stat.get("total_swap").copied().unwrap_or(0);
}

/// Memory of version 2.
pub fn memory_v2(directory: &Path, out: &mut Stats) {
    let of = |name: &str| number(&directory.join(name));
    let Some(usage) = of("memory.current") else { return };
    out.memory_usage = usage;
    out.memory_max_usage = of("memory.peak").unwrap_or(0); // Linux 5.19
    out.memory_limit = limit(of("memory.max").unwrap_or(u64::MAX));
    out.memory_stat = table(&directory.join("memory.stat"));
    out.memory_failcnt = read(&directory.join("memory.events")).and_then(|text| keyed(&text, "max")).unwrap_or(0);
    out.swap_usage = of("memory.swap.current").unwrap_or(0);
}

/// Processes; the same in both versions.
pub fn pids(directory: &Path, out: &mut Stats) {
    out.pids = number(&directory.join("pids.current")).unwrap_or(0);
    out.pids_limit = number(&directory.join("pids.max")).filter(|&max| max != u64::MAX).unwrap_or(0);
}

/// Block devices of version 1: the throttling policy counts every request; kernels without it have the scheduler's.
pub fn blkio(directory: &Path, out: &mut Stats) {
    let names = ["throttle.io_service_bytes_recursive", "bfq.io_service_bytes_recursive", "io_service_bytes_recursive"];
    let text = names.iter().find_map(|name| read(&directory.join(format!("blkio.{name}"))));
    (out.block_read, out.block_write) = text.map_or((0, 0), |text| service_bytes(&text));
}

/// Sums lines of `major:minor Read bytes`.
fn service_bytes(text: &str) -> (u64, u64) {
    let sum = |word: &str| {
        let of_word = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            (fields.next() == Some(word)).then(|| fields.next()?.parse::<u64>().ok()).flatten()
        };
        text.lines().filter_map(of_word).fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

/// Block devices of version 2.
pub fn io(directory: &Path, out: &mut Stats) {
    let text = read(&directory.join("io.stat")).unwrap_or_default();
    (out.block_read, out.block_write) = io_stat(&text);
}

/// Sums lines of `major:minor rbytes=n wbytes=n …`.
fn io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let words = text.split_ascii_whitespace();
        words.filter_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse().ok()).fold(0, u64::saturating_add)
    };
    (sum("rbytes"), sum("wbytes"))
}

fn table(path: &Path) -> BTreeMap<String, u64> {
    let text = read(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    order::map(pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))))
}

/// Nobody can use more than the host has.
fn limit(limit: u64) -> u64 {
    let host = read(Path::new("/proc/meminfo")).and_then(|text| meminfo_total(&text));
    host.map_or(limit, |host| limit.min(host))
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_device_sums() {
        let v1 = "8:0 Read 100\n8:0 Write 7\n8:0 Total 107\n8:16 Read 1\nTotal 108\n";
        assert_eq!(service_bytes(v1), (101, 7));
        assert_eq!(io_stat("8:0 rbytes=100 wbytes=7 rios=1\n8:16 rbytes=1 wbytes=0\n"), (101, 7));
        assert_eq!(service_bytes(""), (0, 0));
    }

    #[test]
    fn version_2_files() {
        let dir = std::env::temp_dir().join(format!("stats-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        put("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\nnr_throttled 1\nthrottled_usec 4\n");
        put("memory.current", "4096\n");
        put("memory.max", "8192\n");
        put("memory.stat", "anon 1\nfile 2\nbad x\n");
        put("memory.events", "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n");
        put("pids.current", "3\n");
        put("pids.max", "max\n");
        let mut s = Stats::default();
        cpu_v2(&dir, &mut s);
        memory_v2(&dir, &mut s);
        pids(&dir, &mut s);
        assert_eq!((s.cpu_usage, s.cpu_user, s.cpu_system, s.cpu_throttling), (5000, 3000, 2000, [9, 1, 4000]));
        assert_eq!((s.memory_usage, s.memory_limit, s.memory_failcnt, s.pids, s.pids_limit), (4096, 8192, 6, 3, 0));
        assert_eq!(s.memory_stat.len(), 2);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn host_memory() {
        assert_eq!(meminfo_total("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16384));
        assert!(limit(u64::MAX) < u64::MAX);
        assert_eq!(limit(1), 1);
    }
}
