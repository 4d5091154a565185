//! From limits to writes: which file of which controller gets which value, in which order. Touches nothing, so that
//! the plans for both versions can be compared in tests on any host.

use crate::api::oci::runtime::{Rdma, Resources};
use crate::engine::cgroup::layout::{Layout, Version};
use crate::engine::cgroup::{v1, v2};
use crate::error::{Error, Kind, Result};
use std::borrow::Cow;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Whose directory.
    pub controller: &'static str,
    /// Name in the directory.
    pub file: Cow<'static, str>,
    /// What to write.
    pub value: String,
    /// The limit's name in the runtime document, for errors.
    pub limit: Cow<'static, str>,
    /// What a failure means.
    pub failure: Failure,
}

/// What a failed write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The plan fails.
    Fatal,
    /// It is tried again after the write that follows: two values that must fit each other at any time.
    AfterNext,
    /// A kernel without the file does without it.
    Optional,
    /// EINVAL is tried again for a moment: what a removed cgroup had, the kernel takes back in its own time.
    Late,
}

impl Write {
    /// A write whose failure is fatal.
    pub fn new(
        controller: &'static str,
        file: impl Into<Cow<'static, str>>,
        limit: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Write {
        Write { controller, file: file.into(), value: value.to_string(), limit: limit.into(), failure: Failure::Fatal }
    }

    /// The same with another meaning of its failure.
    pub fn on_failure(self, failure: Failure) -> Write {
        Write { failure, ..self }
    }
}

/// Current content of a controller's file; `None` where it does not exist.
pub type Read<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// Error for a limit that a layout lacks.
pub fn unsupported(limit: &str, why: &str) -> Error {
    Error::new(Kind::Unsupported, format!("limit {limit} is not supported: {why}"))
}

/// All writes for `resources` but those for devices.
///
/// # Errors
/// `Kind::Unsupported` for a limit that the layout lacks, `Kind::Invalid` for one that breaks a rule.
pub fn plan(resources: &Resources, layout: &Layout, read: Read<'_>) -> Result<Vec<Write>> {
    let mut out = Vec::new();
    let version = |controller: &str, limit: &str| match layout.with(controller) {
        Some(hierarchy) => Ok(hierarchy.version),
        None => Err(unsupported(limit, &format!("the host has no cgroup controller {controller}"))),
    };
    if let Some(memory) = resources.memory.as_ref().filter(|m| **m != Default::default()) {
        match version("memory", "memory")? {
            Version::V1 => v1::memory(memory, read, &mut out)?,
            Version::V2 => v2::memory(memory, read, &mut out)?,
        }
    }
    if let Some(cpu) = &resources.cpu {
        let time = cpu.shares.is_some()
            || cpu.quota.is_some()
            || cpu.period.is_some()
            || cpu.realtime_runtime.is_some()
            || cpu.realtime_period.is_some();
        if time {
            match version("cpu", "cpu")? {
                Version::V1 => v1::cpu(cpu, &mut out),
                Version::V2 => v2::cpu(cpu, read, &mut out)?,
            }
        }
        // The same files in both versions.
        for (file, limit, value) in [("cpuset.cpus", "cpu.cpus", &cpu.cpus), ("cpuset.mems", "cpu.mems", &cpu.mems)] {
            if !value.is_empty() {
                version("cpuset", limit)?;
                out.push(Write::new("cpuset", file, limit, list(limit, value)?));
            }
        }
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit) {
        version("pids", "pids.limit")?;
        let value = if limit > 0 { limit.to_string() } else { "max".into() };
        out.push(Write::new("pids", "pids.max", "pids.limit", value));
    }
    if let Some(block) = resources.block_io.as_ref().filter(|b| **b != Default::default()) {
        match (layout.with("blkio"), layout.with("io")) {
            (Some(_), _) => v1::block_io(block, read, &mut out)?,
            (None, Some(_)) => v2::block_io(block, read, &mut out)?,
            (None, None) => return Err(unsupported("blockIO", "the host has no cgroup controller blkio or io")),
        }
    }
    for huge in &resources.hugepage_limits {
        let version = version("hugetlb", "hugepageLimits")?;
        let size = page_size(&huge.page_size)?;
        let suffix = if version == Version::V1 { "limit_in_bytes" } else { "max" };
        let limit = format!("hugepageLimits {size}");
        out.push(Write::new("hugetlb", format!("hugetlb.{size}.{suffix}"), limit.clone(), huge.limit));
        // What is reserved counts too, since Linux 5.7.
        let reserved = Write::new("hugetlb", format!("hugetlb.{size}.rsvd.{suffix}"), limit, huge.limit);
        out.push(reserved.on_failure(Failure::Optional));
    }
    for (adapter, limits) in &resources.rdma {
        version("rdma", "rdma")?;
        out.push(Write::new("rdma", "rdma.max", format!("rdma {adapter:?}"), rdma(adapter, limits)?));
    }
    if let Some(limit) = resources.files_limit {
        version("files", "files limit")?;
        let value = if limit > 0 { limit.to_string() } else { "max".into() };
        out.push(Write::new("files", "files.limit", "files limit", value));
    }
    for (file, value) in &resources.unified {
        out.push(v2::unified(layout, file, value)?);
    }
    Ok(out)
}

/// Name of an adapter and limits; the same in both versions.
fn rdma(adapter: &str, limits: &Rdma) -> Result<String> {
    if adapter.is_empty() || adapter.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(format!("rdma {adapter:?} is not the name of an adapter")));
    }
    let mut value = adapter.to_owned();
    for (key, limit) in [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)] {
        if let Some(limit) = limit {
            value.push_str(&format!(" {key}={limit}"));
        }
    }
    match value.len() > adapter.len() {
        true => Ok(value),
        false => Err(Error::invalid(format!("rdma {adapter:?}: want hcaHandles or hcaObjects"))),
    }
}

/// A list of numbers and ranges. The kernel checks it; here only that it is one word of it.
fn list<'a>(limit: &str, value: &'a str) -> Result<&'a str> {
    if value.len() <= 4096 && value.bytes().all(|b| b.is_ascii_digit() || b"-,:/ ".contains(&b)) {
        Ok(value)
    } else {
        Err(Error::invalid(format!("{limit} {value:?} is not a list of numbers")))
    }
}

/// The size becomes part of a file name.
fn page_size(size: &str) -> Result<&str> {
    let digits = size.trim_end_matches("B").trim_end_matches(['K', 'M', 'G']);
    let unit = &size[digits.len()..];
    let known = matches!(unit, "KB" | "MB" | "GB");
    if known && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(size)
    } else {
        Err(Error::invalid(format!("huge page size {size:?} is not of the form 2MB")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oci::runtime::{BlockIo, Cpu, HugepageLimit, Memory, Pids, ThrottleDevice, WeightDevice};
    use crate::engine::cgroup::layout::Hierarchy;

    fn layout(list: &[(Version, &str)]) -> Layout {
        let hierarchy = |(version, controllers): &(Version, &str)| Hierarchy {
            version: *version,
            mount: "/x".into(),
            controllers: controllers.split_whitespace().map(str::to_owned).collect(),
            name: None,
            root: "/".into(),
        };
        Layout { hierarchies: list.iter().map(hierarchy).collect() }
    }

    fn v1_layout() -> Layout {
        layout(&[(Version::V1, "cpu cpuset memory pids blkio hugetlb")])
    }

    fn v2_layout() -> Layout {
        layout(&[(Version::V2, "cpu cpuset memory pids io hugetlb")])
    }

    fn lines(resources: &Resources, layout: &Layout, files: &[(&str, &str)]) -> Vec<String> {
        let read = |_: &str, file: &str| files.iter().find(|(f, _)| *f == file).map(|(_, v)| (*v).to_owned());
        let plan = plan(resources, layout, &read).unwrap();
        plan.into_iter().map(|w| format!("{}/{} {}", w.controller, w.file, w.value)).collect()
    }

    fn refused(resources: &Resources, layout: &Layout) -> Error {
        plan(resources, layout, &|_, _| None).unwrap_err()
    }

    fn all() -> Resources {
        let device = ThrottleDevice { major: 8, minor: 16, rate: 1000 };
        Resources {
            memory: Some(Memory {
                limit: Some(64 << 20),
                swap: Some(96 << 20),
                reservation: Some(32 << 20),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: Some(1024),
                quota: Some(50_000),
                period: Some(100_000),
                cpus: "0-1".into(),
                mems: "0".into(),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: Some(100) }),
            block_io: Some(BlockIo {
                weight: Some(500),
                weight_device: vec![WeightDevice { major: 8, minor: 0, weight: Some(1000) }],
                throttle_read_bps_device: vec![device.clone()],
                throttle_write_iops_device: vec![device],
                ..BlockIo::default()
            }),
            hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 }],
            ..Resources::default()
        }
    }

    #[test]
    fn everything_on_version_1() {
        let files = [("blkio.weight", "500"), ("memory.memsw.limit_in_bytes", "9223372036854771712")];
        let want = [
            "memory/memory.limit_in_bytes 67108864",
            "memory/memory.memsw.limit_in_bytes 100663296",
            "memory/memory.soft_limit_in_bytes 33554432",
            "cpu/cpu.shares 1024",
            "cpu/cpu.cfs_period_us 100000",
            "cpu/cpu.cfs_quota_us 50000",
            "cpuset/cpuset.cpus 0-1",
            "cpuset/cpuset.mems 0",
            "pids/pids.max 100",
            "blkio/blkio.weight 500",
            "blkio/blkio.weight_device 8:0 1000",
            "blkio/blkio.throttle.read_bps_device 8:16 1000",
            "blkio/blkio.throttle.write_iops_device 8:16 1000",
            "hugetlb/hugetlb.2MB.limit_in_bytes 4194304",
            "hugetlb/hugetlb.2MB.rsvd.limit_in_bytes 4194304",
        ];
        assert_eq!(lines(&all(), &v1_layout(), &files), want);
    }

    #[test]
    fn everything_on_version_2() {
        let want = [
            "memory/memory.max 67108864",
            "memory/memory.swap.max 33554432",
            "memory/memory.low 33554432",
            "cpu/cpu.weight 39",
            "cpu/cpu.max 50000 100000",
            "cpuset/cpuset.cpus 0-1",
            "cpuset/cpuset.mems 0",
            "pids/pids.max 100",
            "io/io.weight 4950",
            "io/io.weight 8:0 10000",
            "io/io.max 8:16 rbps=1000",
            "io/io.max 8:16 wiops=1000",
            "hugetlb/hugetlb.2MB.max 4194304",
            "hugetlb/hugetlb.2MB.rsvd.max 4194304",
        ];
        assert_eq!(lines(&all(), &v2_layout(), &[]), want);
        let bfq = lines(&all(), &v2_layout(), &[("io.bfq.weight", "default 100")]);
        assert_eq!(bfq[8..10], ["io/io.bfq.weight 500", "io/io.bfq.weight 8:0 1000"]);
    }

    fn memory(limit: Option<i64>, swap: Option<i64>) -> Resources {
        Resources { memory: Some(Memory { limit, swap, ..Memory::default() }), ..Resources::default() }
    }

    #[test]
    fn open_files() {
        let files = |limit| Resources { files_limit: Some(limit), ..Resources::default() };
        let layout = layout(&[(Version::V1, "files")]);
        assert_eq!(lines(&files(5), &layout, &[]), ["files/files.limit 5"]);
        assert_eq!(lines(&files(-1), &layout, &[]), ["files/files.limit max"]);
        assert_eq!(refused(&files(5), &v1_layout()).kind(), Kind::Unsupported);
    }

    #[test]
    fn memory_and_swap_never_cross() {
        let files = [("memory.memsw.limit_in_bytes", "1000")];
        let v1 = |limit, swap| lines(&memory(limit, swap), &v1_layout(), &files);
        let (m, s) = ("memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes");
        assert_eq!(v1(Some(500), Some(900)), [format!("{m} 500"), format!("{s} 900")]);
        assert_eq!(v1(Some(1500), Some(2000)), [format!("{s} 2000"), format!("{m} 1500")]);
        assert_eq!(v1(Some(1500), Some(-1)), [format!("{s} -1"), format!("{m} 1500")]);
        assert_eq!(v1(Some(-1), None), [format!("{s} -1"), format!("{m} -1")]);
        assert_eq!(v1(Some(0), None), [""; 0]);
        let without = lines(&memory(Some(-1), None), &v1_layout(), &[]);
        assert_eq!(without, [format!("{m} -1")], "no swap accounting");
        let v2 = |limit, swap| lines(&memory(limit, swap), &v2_layout(), &[("memory.max", "1000")]);
        assert_eq!(v2(Some(-1), Some(-1)), ["memory/memory.max max", "memory/memory.swap.max max"]);
        assert_eq!(v2(Some(-1), None), ["memory/memory.max max", "memory/memory.swap.max max"]);
        assert_eq!(v2(Some(500), Some(500)), ["memory/memory.max 500", "memory/memory.swap.max 0"]);
        assert_eq!(v2(None, Some(1500)), ["memory/memory.swap.max 500"], "the limit in force counts");
        assert_eq!(refused(&memory(None, Some(1500)), &v2_layout()).kind(), Kind::Invalid);
        assert_eq!(refused(&memory(Some(2000), Some(1500)), &v2_layout()).kind(), Kind::Invalid);
    }

    #[test]
    fn processor_time() {
        let cpu = |cpu: Cpu, layout: &Layout| {
            lines(&Resources { cpu: Some(cpu), ..Resources::default() }, layout, &[("cpu.max", "5000 20000\n")])
        };
        let only = |shares, quota, period| Cpu { shares, quota, period, ..Cpu::default() };
        assert_eq!(cpu(only(Some(2), None, None), &v2_layout()), ["cpu/cpu.weight 1"]);
        assert_eq!(cpu(only(Some(262_144), None, None), &v2_layout()), ["cpu/cpu.weight 10000"]);
        assert_eq!(cpu(only(Some(0), Some(0), Some(0)), &v2_layout()), [""; 0]);
        assert_eq!(cpu(only(None, Some(-1), None), &v2_layout()), ["cpu/cpu.max max"]);
        assert_eq!(cpu(only(None, None, Some(50_000)), &v2_layout()), ["cpu/cpu.max 5000 50000"]);
        assert_eq!(cpu(only(Some(0), Some(-1), None), &v1_layout()), ["cpu/cpu.cfs_quota_us -1"]);
        let rt = Cpu { realtime_runtime: Some(1), realtime_period: Some(2), ..Cpu::default() };
        assert_eq!(cpu(rt.clone(), &v1_layout()), ["cpu/cpu.rt_period_us 2", "cpu/cpu.rt_runtime_us 1"]);
        let resources = Resources { cpu: Some(rt), ..Resources::default() };
        assert_eq!(refused(&resources, &v2_layout()).kind(), Kind::Unsupported);
    }

    #[test]
    fn what_a_layout_lacks_is_named() {
        let e = refused(&all(), &layout(&[(Version::V1, "cpu")]));
        assert_eq!((e.kind(), e.to_string().contains("limit memory")), (Kind::Unsupported, true), "{e}");
        for memory in [
            Memory { swappiness: Some(10), ..Memory::default() },
            Memory { kernel: Some(1 << 20), ..Memory::default() },
            Memory { disable_oom_killer: true, ..Memory::default() },
        ] {
            let resources = Resources { memory: Some(memory), ..Resources::default() };
            assert_eq!(refused(&resources, &v2_layout()).kind(), Kind::Unsupported);
            assert!(plan(&resources, &v1_layout(), &|_, _| None).is_ok());
        }
        // Nothing asked of memory: no controller needed.
        assert!(plan(&memory(None, None), &layout(&[]), &|_, _| None).unwrap().is_empty());
    }

    #[test]
    fn adapters_have_limits() {
        let rdma = |name: &str, hca_handles, hca_objects| Resources {
            rdma: [(name.to_owned(), Rdma { hca_handles, hca_objects })].into(),
            ..Resources::default()
        };
        for version in [Version::V1, Version::V2] {
            let layout = layout(&[(version, "rdma")]);
            let of = |resources: &Resources| lines(resources, &layout, &[]);
            assert_eq!(of(&rdma("mlx4_0", Some(3), None)), ["rdma/rdma.max mlx4_0 hca_handle=3"]);
            assert_eq!(of(&rdma("x", Some(0), Some(9))), ["rdma/rdma.max x hca_handle=0 hca_object=9"]);
            for bad in [rdma("x", None, None), rdma("", Some(1), None), rdma("x y", Some(1), None)] {
                assert_eq!(refused(&bad, &layout).kind(), Kind::Invalid);
            }
        }
        assert_eq!(refused(&rdma("x", Some(1), None), &v1_layout()).kind(), Kind::Unsupported);
    }

    #[test]
    fn names_of_files_cannot_lead_elsewhere() {
        let huge = |size: &str| Resources {
            hugepage_limits: vec![HugepageLimit { page_size: size.into(), limit: 1 }],
            ..Resources::default()
        };
        for size in ["", "2", "MB", "../2MB", "2MB/x", "2 MB", "2TB"] {
            assert_eq!(refused(&huge(size), &v1_layout()).kind(), Kind::Invalid, "{size}");
        }
        let unified =
            |file: &str| Resources { unified: [(file.to_owned(), "1".to_owned())].into(), ..Resources::default() };
        for file in ["../x", "memory/max", "memory", "cgroup.procs", "cgroup.kill", "", ".x"] {
            assert_eq!(refused(&unified(file), &v2_layout()).kind(), Kind::Invalid, "{file}");
        }
        assert_eq!(lines(&unified("memory.high"), &v2_layout(), &[]), ["memory/memory.high 1"]);
        assert_eq!(lines(&unified("cgroup.max.depth"), &v2_layout(), &[]), ["/cgroup.max.depth 1"]);
        assert_eq!(refused(&unified("memory.high"), &v1_layout()).kind(), Kind::Unsupported);
        assert_eq!(refused(&unified("rdma.max"), &v2_layout()).kind(), Kind::Unsupported);
        let cpus = Resources { cpu: Some(Cpu { cpus: "0\n1".into(), ..Cpu::default() }), ..Resources::default() };
        assert_eq!(refused(&cpus, &v1_layout()).kind(), Kind::Invalid);
    }
}
