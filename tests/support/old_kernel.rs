//! An older kernel than the machine's: system calls that came later fail with ENOSYS, as they do there, for a test's
//! whole process tree. Flags, files and file systems stay those of the machine's kernel.

use super::sys;
use std::sync::OnceLock;

/// Version of Linux, major and minor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl Version {
    /// Of `4.14`.
    pub fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.split_once('.')?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// First and last number of calls, and the version that brought them. From 403 on the numbers are the same on every
/// architecture; those below are in Linux 4.14 already.
const CALLS: [(u32, u32, Version); 16] = [
    (403, 423, Version(5, 1)),  // clock_gettime64 and the other 64-bit times of 32-bit machines
    (424, 427, Version(5, 1)),  // pidfd_send_signal, io_uring_setup, io_uring_enter, io_uring_register
    (428, 433, Version(5, 2)),  // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick
    (434, 435, Version(5, 3)),  // pidfd_open, clone3
    (436, 436, Version(5, 11)), // close_range, whose CLOSE_RANGE_CLOEXEC came after itself
    (437, 438, Version(5, 6)),  // openat2, pidfd_getfd
    (439, 439, Version(5, 8)),  // faccessat2
    (440, 440, Version(5, 10)), // process_madvise
    (441, 441, Version(5, 11)), // epoll_pwait2
    (442, 442, Version(5, 12)), // mount_setattr
    (443, 443, Version(5, 14)), // quotactl_fd
    (444, 446, Version(5, 13)), // landlock_create_ruleset, landlock_add_rule, landlock_restrict_self
    (447, 447, Version(5, 14)), // memfd_secret
    (448, 450, Version(5, 17)), // process_mrelease, futex_waitv, set_mempolicy_home_node
    (451, 456, Version(6, 7)),  // cachestat, fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue
    (457, 511, Version(7, 0)),  // statmount and whatever follows
];

static PRETENDED: OnceLock<Version> = OnceLock::new();

/// Whether the kernel, the machine's or the pretended one, is of that version or newer.
pub fn is_at_least(major: u32, minor: u32) -> bool {
    let version = PRETENDED.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
        let numbers: Vec<u32> = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok()).collect();
        Version(numbers[0], numbers[1])
    });
    *version >= Version(major, minor)
}

/// From here on this process and its descendants have the calls of that version only.
pub fn pretend(version: Version) {
    PRETENDED.set(version).ok().expect("once, before anyone asks");
    let newer = CALLS.iter().filter(|(_, _, since)| *since > version);
    let spans: Vec<(u32, u32)> = newer.map(|(first, last, _)| (*first, *last)).collect();
    sys::deny_calls(&spans);
}

/// How `payload status Seccomp` shows a container without a filter of its own.
pub fn unfiltered() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mode = status.lines().find_map(|l| l.strip_prefix("Seccomp:")).expect("a kernel with seccomp");
    format!("Seccomp={}", mode.trim())
}
