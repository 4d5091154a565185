//! Seccomp profiles in docker's JSON format, and the built-in default profile, which allows and denies what docker's
//! does (moby/profiles, seccomp, 2026).
//!
//! A profile differs from the runtime document's filter in that its rules carry conditions on the container's
//! capabilities, the architecture and the kernel, which are decided here.

use crate::api::oci::runtime::{Names, Seccomp, SeccompArg, SeccompSyscall};
use crate::error::{Context, Error, Result};
use crate::utils::json::Object;
use crate::utils::{json, kernel};
use std::path::PathBuf;

/// Where a filter is going to work.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    architecture: &'a Architecture,
    kernel: (u32, u32),
}

/// An architecture of this build by its names.
#[derive(Debug)]
struct Architecture {
    /// The profile's word in `arches` (Go's name).
    word: &'static str,
    /// The native one, then those whose programs it runs too.
    filters: &'static [&'static str],
}

const X86_64: Architecture =
    Architecture { word: "amd64", filters: &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] };
const AARCH64: Architecture = Architecture { word: "arm64", filters: &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"] };
const ARM: Architecture = Architecture { word: "arm", filters: &["SCMP_ARCH_ARM"] };
const RISCV64: Architecture = Architecture { word: "riscv64", filters: &["SCMP_ARCH_RISCV64"] };

/// That of this build.
fn native() -> &'static Architecture {
    if cfg!(target_arch = "x86_64") {
        &X86_64
    } else if cfg!(target_arch = "aarch64") {
        &AARCH64
    } else if cfg!(target_arch = "arm") {
        &ARM
    } else {
        &RISCV64
    }
}

/// The default profile for a container with the capabilities `caps` (`CAP_…`, those of the bounding set).
pub fn default_profile(caps: &[impl AsRef<str>]) -> Seccomp {
    built_in(caps, native())
}

/// The filter that a profile in docker's format (`--security-opt seccomp=FILE`, daemon's `seccomp-profile`) means for
/// a container with the capabilities `caps` on this machine. Fields that are not known are ignored, as docker does.
///
/// # Errors
/// `Kind::Invalid` naming what breaks the format. Words for actions and the like are checked where the filter is
/// compiled.
pub fn from_docker_json(bytes: &[u8], caps: &[impl AsRef<str>]) -> Result<Seccomp> {
    let profile: Profile = json::parse(bytes).context(|| "decoding seccomp profile failed".into())?;
    evaluate(profile, caps, Target { architecture: native(), kernel: kernel::version() })
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    listener_path: PathBuf,
    listener_metadata: String,
    syscalls: Option<Vec<Rule>>,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    name: String,
    names: Option<Names>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Option<SeccompArg>>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Filter {
    fn kernel(&self) -> Result<Option<(u32, u32)>> {
        let Some(text) = self.min_kernel.as_deref().filter(|t| !t.is_empty()) else { return Ok(None) };
        let version = kernel::parse(text).filter(|_| text.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        version.map(Some).ok_or_else(|| Error::invalid(format!("minKernel {text:?} is not of the form 4.8")))
    }
}

impl Rule {
    /// Whether the rule is for this container: every condition of `includes` and none of `excludes` holds.
    fn applies(&self, caps: &[impl AsRef<str>], target: Target<'_>) -> Result<bool> {
        let has = |cap: &String| caps.iter().any(|c| c.as_ref() == cap);
        let here = |arch: &String| arch == target.architecture.word;
        if let Some(f) = &self.excludes {
            let excluded = f.arches.iter().flatten().any(here)
                || f.caps.iter().flatten().any(has)
                || f.kernel()?.is_some_and(|min| target.kernel >= min);
            if excluded {
                return Ok(false);
            }
        }
        let Some(f) = &self.includes else { return Ok(true) };
        let arches = f.arches.as_deref().unwrap_or_default();
        Ok((arches.is_empty() || arches.iter().any(here))
            && f.caps.iter().flatten().all(has)
            && f.kernel()?.is_none_or(|min| target.kernel >= min))
    }
}

fn evaluate(profile: Profile, caps: &[impl AsRef<str>], target: Target<'_>) -> Result<Seccomp> {
    let maps = profile.arch_map.unwrap_or_default();
    let mut architectures = profile.architectures.unwrap_or_default();
    if !maps.is_empty() && !architectures.is_empty() {
        return Err(Error::invalid(
            "both 'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ));
    }
    if let Some(map) = maps.into_iter().find(|map| map.architecture == target.architecture.filters[0]) {
        architectures.push(map.architecture);
        architectures.extend(map.sub_architectures.unwrap_or_default());
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        let mut names = rule.names.clone().unwrap_or_default();
        if !names.is_empty() && !rule.name.is_empty() {
            return Err(Error::invalid(
                "both 'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
            ));
        }
        if rule.name.contains('\0') {
            return Err(Error::invalid("a name with a NUL in the seccomp profile"));
        }
        if !rule.name.is_empty() {
            names.push(&rule.name);
        }
        if rule.applies(caps, target)? {
            let args = rule.args.into_iter().flatten().flatten().collect();
            syscalls.push(SeccompSyscall { names, action: rule.action, errno_ret: rule.errno_ret, args });
        }
    }
    let notifies = syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY");
    if notifies && profile.listener_path.as_os_str().is_empty() {
        return Err(Error::invalid("SCMP_ACT_NOTIFY needs a 'listenerPath' in the seccomp profile"));
    }
    Ok(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags.unwrap_or_default(),
        syscalls,
        listener_path: profile.listener_path,
        listener_metadata: profile.listener_metadata,
    })
}

fn built_in(caps: &[impl AsRef<str>], architecture: &Architecture) -> Seccomp {
    let has = |cap: &str| caps.iter().any(|c| c.as_ref() == cap);
    let mut names: Names = ALLOWED.split_ascii_whitespace().collect();
    let by_architecture = BY_ARCHITECTURE.iter().filter(|(word, _)| *word == architecture.word);
    let by_capability = BY_CAPABILITY.iter().filter(|(cap, _)| has(cap));
    for (_, more) in by_architecture.chain(by_capability) {
        names.extend(more.split_ascii_whitespace());
    }
    let mut syscalls = vec![SeccompSyscall { names, action: ALLOW.into(), ..SeccompSyscall::default() }];
    let mut allow_if = |name: &str, op: &str, value: u64| {
        let args = vec![SeccompArg { index: 0, value, value_two: 0, op: op.into() }];
        syscalls.push(SeccompSyscall { names: Names::from_iter([name]), action: ALLOW.into(), errno_ret: None, args });
    };
    allow_if("socket", "SCMP_CMP_LT", FAMILIES_BELOW);
    for family in FAMILIES {
        allow_if("socket", "SCMP_CMP_EQ", u64::from(*family));
    }
    for persona in PERSONALITIES {
        allow_if("personality", "SCMP_CMP_EQ", u64::from(*persona));
    }
    if !has("CAP_SYS_ADMIN") {
        allow_if("clone", "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES);
        // Its flags are in memory. C libraries fall back to clone(2) when it does not exist.
        syscalls.push(SeccompSyscall {
            names: Names::from_iter(["clone3"]),
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: Some(libc::ENOSYS as u32),
            args: Vec::new(),
        });
    }
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(libc::EPERM as u32),
        architectures: architecture.filters.iter().map(|a| (*a).to_owned()).collect(),
        syscalls,
        ..Seccomp::default()
    }
}

const ALLOW: &str = "SCMP_ACT_ALLOW";

/// Bits of CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (`linux/sched.h`).
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// PER_LINUX, PER_LINUX32, UNAME26, both, and the query (personality(2)).
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Address families below this are allowed: AF_UNIX to AF_ROSE.
const FAMILIES_BELOW: u64 = 12;
/// Further address families: all of `linux/socket.h` but those that kernels have dropped, AF_ALG (the kernel's
/// cryptography, an attack surface no container needs) and AF_VSOCK (reaches host and virtual machines across network
/// namespaces).
const FAMILIES: &[u8] =
    &[13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45];

/// By the profile's word for the architecture.
const BY_ARCHITECTURE: &[(&str, &str)] =
    &[("amd64", "arch_prctl modify_ldt"), ("arm64", ARM_CALLS), ("arm", ARM_CALLS), ("riscv64", "riscv_flush_icache")];
const ARM_CALLS: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";

/// What a capability adds.
const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Allowed to everybody. The last row are those that kernels before 4.8 could not filter reliably: ours are newer.
const ALLOWED: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
    clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
    epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
    futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid
    getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
    getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt
    get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64
    ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr
    _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget
    msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat
    openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64
    prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr
    removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64
    send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address
    setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime
    utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
    process_vm_readv process_vm_writev ptrace";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const NO_CAPS: [&str; 0] = [];

    fn allowed(seccomp: &Seccomp, name: &str) -> bool {
        seccomp.syscalls.iter().any(|r| r.args.is_empty() && r.action == ALLOW && r.names.iter().any(|n| n == name))
    }

    #[test]
    fn capabilities_open_the_default_profile() {
        let small = built_in(&["CAP_CHOWN"], &X86_64);
        let large = built_in(&["CAP_SYS_ADMIN", "CAP_SYS_TIME"], &X86_64);
        for name in ["mount", "unshare", "clone", "clone3", "clock_settime"] {
            assert!(!allowed(&small, name) && allowed(&large, name), "{name}");
        }
        for name in ["read", "openat2", "ptrace", "arch_prctl"] {
            assert!(allowed(&small, name), "{name}");
        }
        for name in ["io_uring_setup", "keyctl", "userfaultfd", "kexec_load", "swapon", "socket", "personality"] {
            assert!(!allowed(&large, name), "{name}");
        }
        let clone3 = small.syscalls.iter().find(|r| r.names.iter().eq(["clone3"])).unwrap();
        assert_eq!((clone3.action.as_str(), clone3.errno_ret), ("SCMP_ACT_ERRNO", Some(38)));
        assert!(!large.syscalls.iter().any(|r| r.names.iter().eq(["clone3"])));
    }

    #[test]
    fn architectures_differ() {
        let arm = built_in(&NO_CAPS, &ARM);
        assert!(allowed(&arm, "set_tls") && !allowed(&arm, "arch_prctl"));
        assert_eq!(arm.architectures, ["SCMP_ARCH_ARM"]);
        assert!(allowed(&built_in(&NO_CAPS, &AARCH64), "set_tls"), "for its 32-bit programs");
        assert!(allowed(&built_in(&NO_CAPS, &RISCV64), "riscv_flush_icache"));
        assert_eq!(default_profile(&NO_CAPS).architectures, native().filters);
    }

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "unknown": {},
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": {}, "comment": ""},
            {"name": "b", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_A", "CAP_B"]}},
            {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_A", "CAP_B"]}},
            {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["e"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
            {"names": ["f"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["g"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.10"}},
            {"names": ["h"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
             "args": [{"index": 1, "value": 5, "valueTwo": 6, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#;

    fn names(caps: &[&str], architecture: &Architecture, kernel: (u32, u32)) -> (String, Vec<String>) {
        let profile = json::parse(PROFILE.as_bytes()).unwrap();
        let seccomp = evaluate(profile, caps, Target { architecture, kernel }).unwrap();
        (seccomp.syscalls.iter().flat_map(|r| r.names.iter()).collect(), seccomp.architectures)
    }

    #[test]
    fn conditions_of_a_profile() {
        let x86 = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"].map(str::to_owned).to_vec();
        assert_eq!(names(&[], &X86_64, (6, 9)), ("acdfh".into(), x86));
        assert_eq!(names(&["CAP_A"], &X86_64, (6, 10)).0, "adfgh");
        assert_eq!(names(&["CAP_B", "CAP_A"], &ARM, (4, 7)), ("abeh".into(), Vec::new()));
        assert_eq!(names(&[], &RISCV64, (4, 8)), ("acefh".into(), vec!["SCMP_ARCH_RISCV64".into()]));
        let seccomp = from_docker_json(PROFILE.as_bytes(), &NO_CAPS).unwrap();
        let h = seccomp.syscalls.last().unwrap();
        assert_eq!((h.errno_ret, h.args[0].index, h.args[0].value, h.args[0].value_two), (Some(38), 1, 5, 6));
    }

    #[test]
    fn bad_profiles() {
        for (text, part) in [
            ("{", "decoding seccomp profile failed"),
            (r#"{"architectures": ["a"], "archMap": [{}]}"#, "'archMap'"),
            (r#"{"syscalls": [{"name": "a", "names": ["b"]}]}"#, "'names'"),
            (r#"{"syscalls": [{"name": "a", "includes": {"minKernel": "4.x"}}]}"#, "\"4.x\""),
            (r#"{"syscalls": [{"name": 1}]}"#, "decoding"),
            (r#"{"syscalls": [{"name": "a", "action": "SCMP_ACT_NOTIFY"}]}"#, "'listenerPath'"),
        ] {
            let e = from_docker_json(text.as_bytes(), &NO_CAPS).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains(part), "{text}: {e}");
        }
    }
}
