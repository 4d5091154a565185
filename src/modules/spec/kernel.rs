//! What this kernel and its mounted control groups offer. Probed once: none of it changes while a daemon runs.

use crate::utils::{kernel, pseudo_file};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Controller files that decide whether a limit can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Controllers {
    pub unified: bool,
    pub memory: bool,
    pub swap: bool,
    pub swappiness: bool,
    pub oom_control: bool,
    pub cpu_shares: bool,
    pub cpu_quota: bool,
    pub cpu_realtime: bool,
    pub cpuset: bool,
    pub pids: bool,
    pub blkio_weight: bool,
    pub blkio_weight_device: bool,
    pub blkio_throttle: bool,
    pub kernel_memory: bool,
    pub hugetlb: bool,
    /// Of the original's own kernel.
    pub files: bool,
}

pub(super) fn controllers() -> &'static Controllers {
    static PROBED: OnceLock<Controllers> = OnceLock::new();
    PROBED.get_or_init(|| {
        let mountinfo = pseudo_file::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        probe(&hierarchies(&mountinfo))
    })
}

/// A mounted hierarchy: its mount point and its controllers; `None` for the unified one.
struct Hierarchy {
    at: PathBuf,
    controllers: Option<Vec<String>>,
}

/// Reads `/proc/self/mountinfo` (proc(5)): the mount point is the fifth word, type, source and super block options
/// follow a lone dash.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, super_block)) = line.split_once(" - ") else { continue };
        let Some(at) = mount.split(' ').nth(4) else { continue };
        let mut words = super_block.split(' ');
        match words.next() {
            Some("cgroup") => {
                let options = words.nth(1).unwrap_or_default();
                let controllers = options.split(',').map(str::to_owned).collect();
                found.push(Hierarchy { at: at.into(), controllers: Some(controllers) });
            }
            Some("cgroup2") => found.push(Hierarchy { at: at.into(), controllers: None }),
            _ => {}
        }
    }
    found
}

fn probe(hierarchies: &[Hierarchy]) -> Controllers {
    let v1 = |controller: &str, file: &str| {
        hierarchies.iter().any(|h| {
            h.controllers.as_ref().is_some_and(|c| c.iter().any(|c| c == controller)) && h.at.join(file).exists()
        })
    };
    // The root of the unified hierarchy has no limit files; any child that has the controller does.
    let v2 = |controller: &str, file: &str| {
        hierarchies.iter().filter(|h| h.controllers.is_none()).any(|h| {
            let offered = std::fs::read_to_string(h.at.join("cgroup.controllers")).unwrap_or_default();
            offered.split_whitespace().any(|c| c == controller) && child_lacks_not(&h.at, controller, file)
        })
    };
    // The scheduler bfq has its weights in each cgroup but the root, where only its counters are (block/bfq-cgroup.c).
    let bfq = v1("blkio", "blkio.bfq.io_service_bytes");
    Controllers {
        unified: !hierarchies.iter().any(|h| {
            h.controllers.as_ref().is_some_and(|c| c.iter().any(|c| matches!(c.as_str(), "memory" | "cpu" | "pids")))
        }) && hierarchies.iter().any(|h| h.controllers.is_none()),
        memory: v1("memory", "memory.limit_in_bytes") || v2("memory", "memory.max"),
        swap: v1("memory", "memory.memsw.limit_in_bytes") || v2("memory", "memory.swap.max"),
        swappiness: v1("memory", "memory.swappiness"),
        oom_control: v1("memory", "memory.oom_control"),
        cpu_shares: v1("cpu", "cpu.shares") || v2("cpu", "cpu.weight"),
        cpu_quota: v1("cpu", "cpu.cfs_quota_us") || v2("cpu", "cpu.max"),
        cpu_realtime: v1("cpu", "cpu.rt_runtime_us"),
        cpuset: v1("cpuset", "cpuset.cpus") || v2("cpuset", "cpuset.cpus"),
        pids: hierarchies.iter().any(|h| h.controllers.as_ref().is_some_and(|c| c.iter().any(|c| c == "pids")))
            || v2("pids", "pids.max"),
        blkio_weight: v1("blkio", "blkio.weight") || bfq || v2("io", "io.weight") || v2("io", "io.bfq.weight"),
        blkio_weight_device: v1("blkio", "blkio.weight_device")
            || bfq && kernel::version() >= (5, 4)
            || v2("io", "io.weight")
            || v2("io", "io.bfq.weight"),
        blkio_throttle: v1("blkio", "blkio.throttle.read_bps_device") || v2("io", "io.max"),
        // Linux 5.16 took the limit away; the file came back later, and what is written to it has no effect.
        kernel_memory: v1("memory", "memory.kmem.limit_in_bytes") && kernel::version() < (5, 16),
        hugetlb: hierarchies.iter().any(|h| h.controllers.as_ref().is_some_and(|c| c.iter().any(|c| c == "hugetlb")))
            || v2("hugetlb", ""),
        files: hierarchies.iter().any(|h| h.controllers.as_ref().is_some_and(|c| c.iter().any(|c| c == "files"))),
    }
}

/// Whether a child cgroup has `file`; true as well when no child has the controller yet and so nobody can tell.
fn child_lacks_not(root: &Path, controller: &str, file: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(root) else { return true };
    let mut seen = false;
    for child in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        let controllers = std::fs::read_to_string(child.path().join("cgroup.controllers")).unwrap_or_default();
        if controllers.split_whitespace().any(|c| c == controller) {
            seen = true;
            if child.path().join(file).exists() {
                return true;
            }
        }
    }
    !seen
}

/// Whether the kernel was built with this kind of namespace.
pub(super) fn has_namespace(kind: &str) -> bool {
    Path::new("/proc/self/ns").join(kind).symlink_metadata().is_ok()
}

/// Whether the kernel has this file system built in or loaded.
pub(super) fn has_file_system(name: &str) -> bool {
    pseudo_file::read_to_string("/proc/filesystems")
        .map_or(true, |list| list.lines().any(|line| line.split_whitespace().last() == Some(name)))
}

/// Whether system call filters exist: the directory appears with CONFIG_SECCOMP_FILTER since Linux 4.14.
pub(super) fn has_seccomp() -> bool {
    Path::new("/proc/sys/kernel/seccomp").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchy_are_found() {
        let text = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    33 24 8:1 / / rw - ext4 /dev/vda rw\n";
        let found = hierarchies(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].at, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(found[1].controllers.as_ref().unwrap().iter().any(|c| c == "cpu"));
        assert!(found[2].controllers.is_none());
    }

    #[test]
    fn this_kernel_has_the_basics() {
        assert!(has_namespace("mnt") && !has_namespace("nosuch") && has_file_system("proc"));
    }
}
