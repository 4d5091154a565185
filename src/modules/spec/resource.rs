//! Limits of the control group: rules for what is asked, and how it is written in the document.

use super::kernel::{self, Controllers};
use super::{Defaults, Input, block_io, hugetlb, paths};
use crate::api::container::HostConfig;
use crate::api::oci::runtime::{Cpu, DeviceRule, Memory, Pids, Resources};
use crate::error::{Error, Kind, Result};
use crate::utils::id_list;
use std::collections::{BTreeMap, BTreeSet};

const MEMORY_MINIMUM: i64 = 4 << 20;
/// cgroup of the containers' unless an operator names another.
pub const CGROUP_PARENT: &str = "/isulad";
/// Period in microseconds that a number of processors is expressed with.
const NANO_PERIOD: i64 = 100_000;
/// The kernel's period of real-time processes in microseconds where none is set.
const REALTIME_PERIOD: i64 = 1_000_000;

/// Checks the numbers against each other and the machine.
pub(super) fn validate(host: &HostConfig, warnings: &mut Vec<String>) -> Result<()> {
    validate_memory(host)?;
    validate_cpu(host)?;
    check_realtime(host, kernel::controllers())?;
    validate_cpusets(host)?;
    block_io::validate(host)?;
    validate_hugetlbs(host, kernel::controllers())?;
    validate_files(host.files_limit, kernel::controllers())?;
    if let Some(limit) = host.pids_limit
        && limit < -1
    {
        return Err(Error::invalid(format!("invalid pids limit {limit}: want a number, or -1 for none")));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    validate_unified(host, kernel::controllers())?;
    validate_cgroup_parent(&host.cgroup_parent)?;
    warnings.extend(discarded(host, kernel::controllers()));
    Ok(())
}

fn validate_memory(host: &HostConfig) -> Result<()> {
    let text = if host.memory != 0 && host.memory < MEMORY_MINIMUM {
        "Minimum memory limit allowed is 4MB".to_owned()
    } else if host.memory_reservation != 0 && host.memory_reservation < MEMORY_MINIMUM {
        "Minimum memory reservation allowed is 4MB".to_owned()
    } else if host.kernel_memory != 0 && host.kernel_memory < MEMORY_MINIMUM {
        "Minimum kernel memory limit allowed is 4MB".to_owned()
    } else if host.memory > 0 && host.memory_reservation > host.memory {
        "Minimum memory limit should be larger than memory reservation limit, see usage.".to_owned()
    } else if host.memory_swap < -1 {
        format!("invalid memory swap limit {}: want bytes, or -1 for no limit", host.memory_swap)
    } else if host.memory_swap > 0 && host.memory == 0 {
        "You should always set the Memory limit when using Memoryswap limit, see usage.".to_owned()
    } else if host.memory_swap > 0 && host.memory_swap < host.memory {
        "Minimum memoryswap limit should be larger than memory limit, see usage.".to_owned()
    } else {
        match host.memory_swappiness {
            Some(n) if !(-1..=100).contains(&n) => {
                format!("Invalid value: {n}, valid memory swappiness range is 0-100")
            }
            _ => return Ok(()),
        }
    };
    Err(Error::invalid(text))
}

fn validate_cpu(host: &HostConfig) -> Result<()> {
    let text = if host.nano_cpus != 0 && host.cpu_period != 0 {
        "Nano CPUs and CPU Period cannot both be set".to_owned()
    } else if host.nano_cpus != 0 && host.cpu_quota != 0 {
        "Nano CPUs and CPU Quota cannot both be set".to_owned()
    } else if host.cpu_shares < 0 {
        format!("invalid CPU shares {}: want at least 0", host.cpu_shares)
    } else if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned()
    } else if host.cpu_quota != 0 && host.cpu_quota != -1 && host.cpu_quota < 1_000 {
        "CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned()
    } else if host.nano_cpus != 0 {
        let online = online("/sys/devices/system/cpu/online").len();
        let most = i64::try_from(online).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        // A hundredth of a processor is the kernel's least quota in our period.
        if (10_000_000..=most).contains(&host.nano_cpus) {
            return Ok(());
        }
        format!("Range of CPUs is from 0.01 to {online}.00, as there are only {online} CPUs available")
    } else {
        return Ok(());
    };
    Err(Error::invalid(text))
}

/// Refused and not left out where the kernel has none: who asks for it relies on its promptness.
fn check_realtime(host: &HostConfig, have: &Controllers) -> Result<()> {
    let (period, runtime) = (host.cpu_realtime_period, host.cpu_realtime_runtime);
    validate_realtime(period, runtime)?;
    if (period != 0 || runtime != 0) && !have.cpu_realtime {
        let text = "Your kernel does not support cgroup rt period and rt runtime: they need cgroup v1 and \
                    CONFIG_RT_GROUP_SCHED";
        return Err(Error::new(Kind::Unsupported, text));
    }
    Ok(())
}

/// Whether the kernel can give cgroups a share of real-time scheduling.
pub fn has_realtime() -> bool {
    kernel::controllers().cpu_realtime
}

/// Checks a share of real-time scheduling in microseconds; 0 stands for the kernel's default.
///
/// # Errors
/// `Kind::Invalid`.
pub fn validate_realtime(period: i64, runtime: i64) -> Result<()> {
    if period < 0 || runtime < 0 {
        return Err(Error::invalid(format!("invalid real-time period {period} or runtime {runtime}: want at least 0")));
    }
    if runtime > if period == 0 { REALTIME_PERIOD } else { period } {
        return Err(Error::invalid("Invalid --cpu-rt-runtime: rt runtime cannot be higher than rt period"));
    }
    Ok(())
}

/// Refused where there is no such limit: huge pages are few, and others count on theirs.
fn validate_hugetlbs(host: &HostConfig, have: &Controllers) -> Result<()> {
    if host.hugetlbs.is_empty() {
        return Ok(());
    }
    if !have.hugetlb {
        let text = "Your kernel does not support hugetlb limit or the cgroup is not mounted (--hugetlb-limit)";
        return Err(Error::new(Kind::Unsupported, text));
    }
    hugetlb::of_container(&host.hugetlbs).map(drop)
}

fn validate_files(limit: i64, have: &Controllers) -> Result<()> {
    if limit < -1 {
        return Err(Error::invalid(format!("invalid files limit {limit}: want a number, or -1 for none")));
    }
    if limit > 0 && !have.files {
        let text = "Your kernel does not support files limit (--files-limit): it has no cgroup controller \"files\"";
        return Err(Error::new(Kind::Unsupported, text));
    }
    Ok(())
}

fn validate_cpusets(host: &HostConfig) -> Result<()> {
    for (list, file, what, word) in [
        (&host.cpuset_cpus, "/sys/devices/system/cpu/online", "CPUs", "cpus"),
        (&host.cpuset_mems, "/sys/devices/system/node/online", "memory nodes", "mems"),
    ] {
        if list.is_empty() {
            continue;
        }
        let wanted =
            id_list::parse(list).ok_or_else(|| Error::invalid(format!("Invalid value {list} for cpuset {word}.")))?;
        let online = online(file);
        if !wanted.is_subset(&online) {
            return Err(Error::invalid(format!(
                "Requested {what} are not available - requested {list}, available: {}.",
                list_text(&online)
            )));
        }
    }
    Ok(())
}

fn validate_unified(host: &HostConfig, have: &Controllers) -> Result<()> {
    if host.unified.is_empty() {
        return Ok(());
    }
    if !have.unified {
        return Err(Error::new(Kind::Unsupported, "unified resources need a host with cgroup v2 alone"));
    }
    match host.unified.keys().find(|k| k.is_empty() || k.contains(['/', '\0']) || !k.contains('.')) {
        Some(key) => Err(Error::invalid(format!("unified resource {key:?} is not the name of a cgroup file"))),
        None => Ok(()),
    }
}

/// Checks a cgroup that is to be the containers' parent.
///
/// # Errors
/// `Kind::Invalid` for one that leads upwards.
pub fn validate_cgroup_parent(parent: &str) -> Result<()> {
    if parent.contains('\0') || parent.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("cgroup parent {parent:?} climbs")));
    }
    Ok(())
}

/// One line for each limit that this kernel cannot keep. [`of_container`] leaves the same ones out.
fn discarded(host: &HostConfig, have: &Controllers) -> Vec<String> {
    const UNMOUNTED: &str = "capabilities or the cgroup is not mounted.";
    let mut lines = Vec::new();
    let mut check = |lost: bool, text: String| {
        if lost {
            lines.push(format!("Your kernel does not support {text}"));
        }
    };
    let any_memory = host.memory != 0 || host.memory_reservation != 0;
    check(any_memory && !have.memory, format!("memory limit {UNMOUNTED} Limitation discarded."));
    check(
        host.memory != 0 && have.memory && !have.swap,
        format!("swap limit {UNMOUNTED} Memory limited without swap."),
    );
    check(
        host.memory_swappiness.is_some_and(|n| n >= 0) && !have.swappiness,
        format!("memory swappiness {UNMOUNTED} Memory swappiness discarded."),
    );
    check(
        host.kernel_memory != 0 && !have.kernel_memory,
        format!("kernel memory limit {UNMOUNTED} Limitation discarded."),
    );
    check(host.oom_kill_disable == Some(true) && !have.oom_control, "OomKillDisable. OomKillDisable discarded.".into());
    check(
        host.pids_limit.is_some_and(|n| n > 0) && !have.pids,
        format!("PIDs limit {UNMOUNTED} PIDs limit discarded."),
    );
    check(
        host.cpu_shares != 0 && !have.cpu_shares,
        "CPU shares or the cgroup is not mounted. Shares discarded.".into(),
    );
    check(
        (host.cpu_period != 0 || host.cpu_quota != 0 || host.nano_cpus != 0) && !have.cpu_quota,
        "CPU CFS scheduler or the cgroup is not mounted. CPU period/quota discarded.".into(),
    );
    let any_cpuset = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
    check(any_cpuset && !have.cpuset, "cpuset or the cgroup is not mounted. Cpuset discarded.".into());
    check(
        host.blkio_weight != 0 && !have.blkio_weight,
        "Block I/O weight or the cgroup is not mounted. Weight discarded.".into(),
    );
    check(
        !host.blkio_weight_device.is_empty() && !have.blkio_weight_device,
        "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.".into(),
    );
    for (list, what) in [
        (&host.blkio_device_read_bps, "BPS Block I/O read"),
        (&host.blkio_device_write_bps, "BPS Block I/O write"),
        (&host.blkio_device_read_iops, "IOPS Block read"),
        (&host.blkio_device_write_iops, "IOPS Block write"),
    ] {
        let text = format!("{what} limit or the cgroup is not mounted. {what} limit discarded.");
        check(!list.is_empty() && !have.blkio_throttle, text);
    }
    lines
}

/// The limits of a container, without those that this kernel cannot keep.
pub(super) fn of_container(host: &HostConfig, devices: Vec<DeviceRule>) -> Result<Resources> {
    convert(host, devices, kernel::controllers())
}

/// Limits for a running container: those that `host` has, and nothing of the others.
///
/// # Errors
/// As creation has them.
pub fn limits(host: &HostConfig) -> Result<Resources> {
    let mut resources = of_container(host, Vec::new())?;
    if host.pids_limit.is_some_and(|n| n <= 0) && kernel::controllers().pids {
        resources.pids = Some(Pids { limit: Some(-1) });
    }
    if host.files_limit == -1 && kernel::controllers().files {
        resources.files_limit = Some(-1);
    }
    Ok(resources)
}

/// What a container asks for, and of the template what it does not ask for. Devices are merged already.
pub(super) fn over(template: Resources, own: Resources) -> Resources {
    let mut unified = template.unified;
    unified.extend(own.unified);
    let pages = if own.hugepage_limits.is_empty() { template.hugepage_limits } else { own.hugepage_limits };
    Resources {
        devices: own.devices,
        memory: own.memory.or(template.memory),
        cpu: own.cpu.or(template.cpu),
        pids: own.pids.or(template.pids),
        block_io: own.block_io.or(template.block_io),
        hugepage_limits: pages,
        rdma: template.rdma,
        files_limit: own.files_limit.or(template.files_limit),
        unified,
    }
}

fn convert(host: &HostConfig, devices: Vec<DeviceRule>, have: &Controllers) -> Result<Resources> {
    let some = |n: i64, have: bool| (n != 0 && have).then_some(n);
    let swap = match (host.memory_swap, host.memory) {
        (0, memory) if memory > 0 => memory.saturating_mul(2),
        (swap, _) => swap,
    };
    let memory = Memory {
        limit: some(host.memory, have.memory),
        reservation: some(host.memory_reservation, have.memory),
        swap: some(swap, host.memory > 0 && have.memory && have.swap),
        kernel: some(host.kernel_memory, have.kernel_memory),
        swappiness: host.memory_swappiness.and_then(|n| u64::try_from(n).ok()).filter(|_| have.swappiness),
        disable_oom_killer: host.oom_kill_disable == Some(true) && have.oom_control,
    };
    let (quota, period) = match host.nano_cpus {
        0 => (host.cpu_quota, host.cpu_period),
        nano => (nano / (1_000_000_000 / NANO_PERIOD), NANO_PERIOD),
    };
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    let set = |list: &String| if have.cpuset { list.clone() } else { String::new() };
    let cpu = Cpu {
        shares: some(host.cpu_shares, have.cpu_shares).map(unsigned),
        quota: some(quota, have.cpu_quota),
        period: some(period, have.cpu_quota).map(unsigned),
        cpus: set(&host.cpuset_cpus),
        mems: set(&host.cpuset_mems),
        realtime_period: some(host.cpu_realtime_period, have.cpu_realtime).map(unsigned),
        realtime_runtime: some(host.cpu_realtime_runtime, have.cpu_realtime),
    };
    Ok(Resources {
        devices,
        memory: Some(memory).filter(|m| *m != Memory::default()),
        cpu: Some(cpu).filter(|c| *c != Cpu::default()),
        pids: host.pids_limit.filter(|n| *n > 0 && have.pids).map(|n| Pids { limit: Some(n) }),
        block_io: block_io::of_container(host, have)?,
        hugepage_limits: hugetlb::of_container(&host.hugetlbs)?,
        rdma: BTreeMap::new(),
        files_limit: Some(host.files_limit).filter(|n| *n > 0 && have.files),
        unified: host.unified.clone(),
    })
}

/// The container's cgroup: its own parent, else the daemon's, else `/isulad`; absolute.
pub(super) fn cgroups_path(input: &Input<'_>) -> Result<String> {
    let parent = cgroup_parent(input.host, input.defaults);
    validate_cgroup_parent(parent)?;
    Ok(paths::clean(&format!("/{parent}/{}", input.id)))
}

pub(super) fn cgroup_parent<'a>(host: &'a HostConfig, defaults: &'a Defaults) -> &'a str {
    let given = [&host.cgroup_parent, &defaults.cgroup_parent].into_iter().find(|parent| !parent.is_empty());
    given.map_or(CGROUP_PARENT, String::as_str)
}

/// What is online; `0` where the kernel does not say (a machine without NUMA has no such file).
fn online(file: &str) -> BTreeSet<u32> {
    std::fs::read_to_string(file).ok().and_then(|text| id_list::parse(&text)).unwrap_or_else(|| [0].into())
}

fn list_text(set: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &n in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => ranges.push((n, n)),
        }
    }
    let texts: Vec<String> =
        ranges.iter().map(|&(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::container::ThrottleDevice;

    const ALL: Controllers = Controllers {
        unified: false,
        memory: true,
        swap: true,
        swappiness: true,
        oom_control: true,
        cpu_shares: true,
        cpu_quota: true,
        cpuset: true,
        pids: true,
        blkio_weight: true,
        cpu_realtime: true,
        blkio_weight_device: true,
        blkio_throttle: true,
        kernel_memory: true,
        hugetlb: true,
        files: true,
    };

    #[test]
    fn lists() {
        for (text, want) in [("0", "0"), ("0-2,4", "0-2,4"), ("3,1,2\n", "1-3")] {
            assert_eq!(list_text(&id_list::parse(text).unwrap()), want);
        }
        for text in ["", "a", "1-", "-1", "2-1", "1,,2", "0-4000000000", "+1"] {
            assert!(id_list::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn rules() {
        let host = HostConfig::default;
        let m = 1 << 20;
        for (host, want) in vec![
            (HostConfig { memory: m, ..host() }, "Minimum memory limit allowed is 4MB"),
            (HostConfig { memory_reservation: m, ..host() }, "Minimum memory reservation allowed is 4MB"),
            (HostConfig { memory: 8 * m, memory_reservation: 9 * m, ..host() }, "larger than memory reservation"),
            (HostConfig { memory_swap: 8 * m, ..host() }, "You should always set the Memory limit"),
            (HostConfig { memory_swap: 8 * m, memory: 9 * m, ..host() }, "Minimum memoryswap limit"),
            (HostConfig { memory_swappiness: Some(101), ..host() }, "swappiness range is 0-100"),
            (HostConfig { nano_cpus: 1, cpu_period: 1, ..host() }, "Nano CPUs and CPU Period cannot both be set"),
            (HostConfig { nano_cpus: 1, cpu_quota: 1, ..host() }, "Nano CPUs and CPU Quota cannot both be set"),
            (HostConfig { nano_cpus: 1 << 60, ..host() }, "Range of CPUs is from 0.01 to"),
            (HostConfig { cpu_period: 999, ..host() }, "CPU cfs period can not be less"),
            (HostConfig { cpu_quota: 999, ..host() }, "CPU cfs quota can not be less"),
            (HostConfig { cpuset_cpus: "x".into(), ..host() }, "Invalid value x for cpuset cpus."),
            (HostConfig { cpuset_cpus: "60000".into(), ..host() }, "Requested CPUs are not available"),
            (HostConfig { cpuset_mems: "600".into(), ..host() }, "Requested memory nodes are not available"),
            (HostConfig { blkio_weight: 9, ..host() }, "Range of blkio weight is from 10 to 1000"),
            (HostConfig { kernel_memory: m, ..host() }, "Minimum kernel memory limit allowed is 4MB"),
            (HostConfig { cpu_realtime_period: -1, ..host() }, "invalid real-time period -1"),
            (HostConfig { files_limit: -2, ..host() }, "invalid files limit -2"),
            (HostConfig { pids_limit: Some(-2), ..host() }, "invalid pids limit"),
            (HostConfig { oom_score_adj: 1001, ..host() }, "range for oom score adj"),
            (HostConfig { cgroup_parent: "/a/../..".into(), ..host() }, "climbs"),
        ] {
            let text = validate(&host, &mut Vec::new()).unwrap_err().to_string();
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn conversion() {
        let host = HostConfig {
            memory: 64 << 20,
            kernel_memory: 8 << 20,
            files_limit: 100,
            cpu_realtime_period: 20_000,
            cpu_realtime_runtime: 10_000,
            nano_cpus: 1_500_000_000,
            cpu_shares: 512,
            pids_limit: Some(-1),
            memory_swappiness: Some(-1),
            ..HostConfig::default()
        };
        let r = convert(&host, Vec::new(), &ALL).unwrap();
        let memory =
            Memory { limit: Some(64 << 20), swap: Some(128 << 20), kernel: Some(8 << 20), ..Memory::default() };
        assert_eq!((r.memory, r.files_limit), (Some(memory), Some(100)));
        let cpu = Cpu {
            shares: Some(512),
            quota: Some(150_000),
            period: Some(100_000),
            realtime_period: Some(20_000),
            realtime_runtime: Some(10_000),
            ..Cpu::default()
        };
        assert_eq!((r.cpu, r.pids, r.block_io), (Some(cpu), None, None));
        let unlimited = HostConfig { memory_swap: -1, ..host };
        assert_eq!(convert(&unlimited, Vec::new(), &ALL).unwrap().memory.unwrap().swap, Some(-1));
        assert_eq!(convert(&HostConfig::default(), Vec::new(), &ALL).unwrap(), Resources::default());
    }

    #[test]
    fn limits_that_cannot_be_left_out_are_refused() {
        let host = HostConfig::default;
        let lacking = Controllers { cpu_realtime: false, hugetlb: false, files: false, ..ALL };
        let realtime =
            |period, runtime| HostConfig { cpu_realtime_period: period, cpu_realtime_runtime: runtime, ..host() };
        for (period, runtime) in [(1000, 1001), (0, 1_000_001)] {
            let e = check_realtime(&realtime(period, runtime), &ALL).unwrap_err();
            assert_eq!(e.to_string(), "Invalid --cpu-rt-runtime: rt runtime cannot be higher than rt period");
        }
        check_realtime(&realtime(0, 1_000_000), &ALL).unwrap();
        check_realtime(&host(), &lacking).unwrap();
        assert_eq!(check_realtime(&realtime(1000, 0), &lacking).unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(validate_files(5, &lacking).unwrap_err().kind(), Kind::Unsupported);
        validate_files(-1, &lacking).unwrap();
        validate_files(5, &ALL).unwrap();
        let huge = HostConfig { hugetlbs: vec![Default::default()], ..host() };
        assert_eq!(validate_hugetlbs(&huge, &lacking).unwrap_err().kind(), Kind::Unsupported);
        validate_hugetlbs(&host(), &lacking).unwrap();
    }

    #[test]
    fn what_the_kernel_lacks_is_left_out_with_a_warning() {
        let device = ThrottleDevice { path: "/dev/nosuch".into(), rate: 5 };
        let host = HostConfig {
            memory: 64 << 20,
            pids_limit: Some(5),
            kernel_memory: 8 << 20,
            blkio_device_read_bps: vec![device.clone()],
            blkio_device_write_iops: vec![device],
            ..HostConfig::default()
        };
        let have = Controllers { swap: false, pids: false, kernel_memory: false, blkio_throttle: false, ..ALL };
        let lines = discarded(&host, &have);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(
            lines[3],
            "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. BPS Block I/O read \
             limit discarded."
        );
        let r = convert(&host, Vec::new(), &have).unwrap();
        let memory = r.memory.unwrap();
        assert_eq!((memory.swap, memory.kernel, r.pids, r.block_io), (None, None, None, None));
        assert!(discarded(&host, &ALL).is_empty());
    }
}
