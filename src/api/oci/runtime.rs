//! The runtime configuration document `config.json` (OCI runtime specification 1.3, config.md and config-linux.md).

pub use super::names::Names;
use crate::utils::json::Object;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

macro_rules! document {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident : $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
        #[serde(default, rename_all = "camelCase")]
        pub struct $name { $($(#[$fmeta])* #[serde(skip_serializing_if = "is_default")] pub $field: $type,)* }
    };
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

document! {
    /// The whole document.
    Spec {
        /// Version of the specification.
        oci_version: String,
        /// The container's first process.
        process: Option<Process>,
        /// The root file system.
        root: Option<Root>,
        /// UTS host name.
        hostname: String,
        /// UTS domain name.
        domainname: String,
        /// Mounts in order.
        mounts: Vec<Mount>,
        /// Programs run at points of the life cycle.
        hooks: Option<Hooks>,
        /// Free text.
        annotations: BTreeMap<String, String>,
        /// The Linux part.
        linux: Option<Linux>,
    }
}

document! {
    /// A process to run in a container.
    Process {
        /// Whether it gets a pseudo terminal.
        terminal: bool,
        /// Size of the terminal.
        console_size: Option<ConsoleSize>,
        /// Who it runs as.
        user: User,
        /// Program and arguments.
        args: Vec<String>,
        /// `K=V`.
        env: Vec<String>,
        /// Working directory, absolute.
        cwd: String,
        /// The five capability sets.
        capabilities: Option<Capabilities>,
        /// Resource limits.
        rlimits: Vec<Rlimit>,
        /// prctl(PR_SET_NO_NEW_PRIVS).
        no_new_privileges: bool,
        /// AppArmor profile.
        apparmor_profile: String,
        /// Added to the parent's value when set: `oom_score_adj`.
        oom_score_adj: Option<i32>,
        /// SELinux label.
        selinux_label: String,
        /// Scheduling policy.
        scheduler: Option<Scheduler>,
        /// Priority for input and output.
        io_priority: Option<IoPriority>,
        /// Processors of processes that enter the container later.
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<CpuAffinity>,
    }
}

document! {
    /// Scheduling policy with its parameters (sched_setattr(2)).
    Scheduler {
        /// `SCHED_…`.
        policy: String,
        /// -20 to 19.
        nice: i32,
        /// Of SCHED_FIFO and SCHED_RR.
        priority: i32,
        /// `SCHED_FLAG_…`.
        flags: Vec<String>,
        /// Nanoseconds, of SCHED_DEADLINE.
        runtime: u64,
        /// Nanoseconds, of SCHED_DEADLINE.
        deadline: u64,
        /// Nanoseconds, of SCHED_DEADLINE.
        period: u64,
    }
}

document! {
    /// Priority for input and output (ioprio_set(2)).
    IoPriority {
        /// `IOPRIO_CLASS_…`.
        class: String,
        /// 0 to 7.
        priority: i32,
    }
}

document! {
    /// Lists of processors.
    CpuAffinity {
        /// Before the process is in the container's cgroup.
        initial: String,
        /// After that.
        #[serde(rename = "final")]
        last: String,
    }
}

document! {
    /// Columns and rows.
    ConsoleSize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    }
}

document! {
    /// User of a process. When `username` is set, user and group are looked up in the container's own
    /// `/etc/passwd` and `/etc/group` at start and the numbers here are ignored (our use of a field that the
    /// specification has for other platforms; documents that come from outside have it cleared).
    User {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// File mode creation mask.
        umask: Option<u32>,
        /// Supplementary group ids.
        additional_gids: Vec<u32>,
        /// `name|uid[:group|gid]`, resolved inside the root file system.
        username: String,
        /// Supplementary groups by name or id, resolved inside the root file system. Ours.
        #[serde(rename = "isulaAdditionalGroups")]
        additional_groups: Vec<String>,
    }
}

document! {
    /// Capability names (`CAP_…`) per set.
    Capabilities {
        /// Bounding set.
        bounding: Vec<String>,
        /// Effective set.
        effective: Vec<String>,
        /// Inheritable set.
        inheritable: Vec<String>,
        /// Permitted set.
        permitted: Vec<String>,
        /// Ambient set.
        ambient: Vec<String>,
    }
}

document! {
    /// One resource limit.
    Rlimit {
        /// `RLIMIT_…`.
        #[serde(rename = "type")]
        kind: String,
        /// Ceiling for the soft limit.
        hard: u64,
        /// Enforced value.
        soft: u64,
    }
}

document! {
    /// Root file system.
    Root {
        /// Directory, absolute or relative to the bundle.
        path: PathBuf,
        /// Remounted read-only at the end.
        readonly: bool,
    }
}

document! {
    /// One mount.
    Mount {
        /// Path inside the container.
        destination: String,
        /// File system type, `bind`.
        #[serde(rename = "type")]
        kind: String,
        /// Device, directory or word.
        source: String,
        /// mount(8) options and the specification's own.
        options: Vec<String>,
        /// For idmapped mounts.
        uid_mappings: Vec<IdMapping>,
        /// For idmapped mounts.
        gid_mappings: Vec<IdMapping>,
    }
}

document! {
    /// Hooks by point in the life cycle.
    Hooks {
        /// Deprecated point; runs where createRuntime does.
        prestart: Vec<Hook>,
        /// After namespaces, before pivot_root, in the runtime's namespaces.
        create_runtime: Vec<Hook>,
        /// The same point in the container's namespaces.
        create_container: Vec<Hook>,
        /// Before the user's program, in the container.
        start_container: Vec<Hook>,
        /// After the user's program started.
        poststart: Vec<Hook>,
        /// After deletion.
        poststop: Vec<Hook>,
    }
}

document! {
    /// One hook.
    Hook {
        /// Program, absolute.
        path: PathBuf,
        /// argv.
        args: Vec<String>,
        /// Environment.
        env: Vec<String>,
        /// Seconds.
        timeout: Option<u32>,
    }
}

document! {
    /// The Linux part.
    Linux {
        /// User id mappings for a new user namespace.
        uid_mappings: Vec<IdMapping>,
        /// Group id mappings for a new user namespace.
        gid_mappings: Vec<IdMapping>,
        /// Kernel parameters set inside.
        sysctl: BTreeMap<String, String>,
        /// Limits.
        resources: Option<Resources>,
        /// Cgroup below the mount of each hierarchy, or `slice:prefix:name`.
        cgroups_path: String,
        /// Namespaces to make or join.
        namespaces: Vec<Namespace>,
        /// Device nodes.
        devices: Vec<Device>,
        /// System call filter.
        seccomp: Option<Seccomp>,
        /// `private`, `slave`, `shared` or `unbindable`, with `r` for recursive.
        rootfs_propagation: String,
        /// Hidden paths.
        masked_paths: Vec<String>,
        /// Read-only paths.
        readonly_paths: Vec<String>,
        /// SELinux label of mounts.
        mount_label: String,
        /// Offsets of the clocks `monotonic` and `boottime` in a new time namespace.
        time_offsets: BTreeMap<String, TimeOffset>,
        /// Interfaces of the host that become the container's, by name.
        net_devices: BTreeMap<String, NetDevice>,
        /// Execution domain.
        personality: Option<Personality>,
        /// Memory nodes.
        memory_policy: Option<MemoryPolicy>,
        /// Cache and bandwidth of Intel processors. Read so that it can be refused.
        intel_rdt: Option<IntelRdt>,
    }
}

document! {
    /// An interface of the host.
    NetDevice {
        /// Its name in the container; `%d` in it is the lowest number that makes it unique. Empty: that on the host.
        name: String,
    }
}

document! {
    /// Execution domain (personality(2)).
    Personality {
        /// `LINUX` or `LINUX32`.
        domain: String,
        /// None is defined for now.
        flags: Vec<String>,
    }
}

document! {
    /// Memory policy (set_mempolicy(2)).
    MemoryPolicy {
        /// `MPOL_…`.
        mode: String,
        /// List of nodes.
        nodes: String,
        /// `MPOL_F_…`.
        flags: Vec<String>,
    }
}

document! {
    /// Class of service.
    IntelRdt {
        /// Its name.
        #[serde(rename = "closID")]
        clos_id: String,
    }
}

document! {
    /// Offset of a clock.
    TimeOffset {
        /// Seconds.
        secs: i64,
        /// Nanoseconds.
        nanosecs: u32,
    }
}

document! {
    /// `size` ids from `container_id` inside stand for those from `host_id` outside.
    IdMapping {
        /// First id inside.
        #[serde(rename = "containerID")]
        container_id: u32,
        /// First id outside.
        #[serde(rename = "hostID")]
        host_id: u32,
        /// How many.
        size: u32,
    }
}

document! {
    /// A namespace to make, or to join when `path` is set.
    Namespace {
        /// `pid network mount ipc uts user cgroup time`.
        #[serde(rename = "type")]
        kind: String,
        /// A namespace file such as `/proc/1/ns/net`.
        path: PathBuf,
    }
}

document! {
    /// A device node.
    Device {
        /// `c b u p`.
        #[serde(rename = "type")]
        kind: String,
        /// Path inside.
        path: String,
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
        /// Permission bits.
        file_mode: Option<u32>,
        /// Owner.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    }
}

document! {
    /// Limits.
    Resources {
        /// Device rules, in order; later ones win.
        devices: Vec<DeviceRule>,
        /// Memory.
        memory: Option<Memory>,
        /// Processor.
        cpu: Option<Cpu>,
        /// Processes.
        pids: Option<Pids>,
        /// Block devices.
        #[serde(rename = "blockIO")]
        block_io: Option<BlockIo>,
        /// Huge pages.
        hugepage_limits: Vec<HugepageLimit>,
        /// Adapters for remote direct memory access, by name.
        rdma: BTreeMap<String, Rdma>,
        /// Most open files of all processes together; -1 is unlimited. Ours, for a controller of openEuler's kernel.
        #[serde(rename = "isulaFilesLimit")]
        files_limit: Option<i64>,
        /// cgroup v2 files by name.
        unified: BTreeMap<String, String>,
    }
}

document! {
    /// One device rule.
    DeviceRule {
        /// Whether it allows.
        allow: bool,
        /// `a c b`; empty is `a`.
        #[serde(rename = "type")]
        kind: String,
        /// Major number; absent is any.
        major: Option<i64>,
        /// Minor number; absent is any.
        minor: Option<i64>,
        /// Letters of `rwm`.
        access: String,
    }
}

document! {
    /// Memory limits in bytes; -1 is unlimited.
    Memory {
        /// Limit.
        limit: Option<i64>,
        /// Soft limit.
        reservation: Option<i64>,
        /// Memory plus swap.
        swap: Option<i64>,
        /// Kernel memory (v1).
        kernel: Option<i64>,
        /// 0 to 100 (v1).
        swappiness: Option<u64>,
        /// Whether the OOM killer is off (v1).
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: bool,
    }
}

document! {
    /// Processor limits.
    Cpu {
        /// Relative weight, v1 scale (2 to 262144).
        shares: Option<u64>,
        /// Microseconds per period.
        quota: Option<i64>,
        /// Microseconds.
        period: Option<u64>,
        /// Microseconds (v1).
        realtime_runtime: Option<i64>,
        /// Microseconds (v1).
        realtime_period: Option<u64>,
        /// List of processors.
        cpus: String,
        /// List of memory nodes.
        mems: String,
    }
}

document! {
    /// Process count limit; -1 is unlimited.
    Pids {
        /// Most processes and threads.
        limit: Option<i64>,
    }
}

document! {
    /// Block device limits.
    BlockIo {
        /// 10 to 1000.
        weight: Option<u16>,
        /// Per device weights.
        weight_device: Vec<WeightDevice>,
        /// Bytes per second.
        throttle_read_bps_device: Vec<ThrottleDevice>,
        /// Bytes per second.
        throttle_write_bps_device: Vec<ThrottleDevice>,
        /// Operations per second.
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<ThrottleDevice>,
        /// Operations per second.
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<ThrottleDevice>,
    }
}

document! {
    /// Weight of one block device.
    WeightDevice {
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
        /// 10 to 1000.
        weight: Option<u16>,
    }
}

document! {
    /// Rate of one block device.
    ThrottleDevice {
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
        /// Per second.
        rate: u64,
    }
}

document! {
    /// Limit for one huge page size.
    HugepageLimit {
        /// `2MB` and the like.
        page_size: String,
        /// Bytes.
        limit: u64,
    }
}

document! {
    /// Limits for one adapter.
    Rdma {
        /// Handles.
        hca_handles: Option<u32>,
        /// Objects.
        hca_objects: Option<u32>,
    }
}

document! {
    /// System call filter.
    Seccomp {
        /// `SCMP_ACT_…`.
        default_action: String,
        /// Errno for SCMP_ACT_ERRNO.
        default_errno_ret: Option<u32>,
        /// `SCMP_ARCH_…`.
        architectures: Vec<String>,
        /// `SECCOMP_FILTER_FLAG_…`.
        flags: Vec<String>,
        /// Rules.
        syscalls: Vec<SeccompSyscall>,
        /// Socket for SCMP_ACT_NOTIFY.
        listener_path: PathBuf,
        /// Passed along to the listener.
        listener_metadata: String,
    }
}

document! {
    /// One rule: what happens to some system calls when all `args` hold.
    SeccompSyscall {
        /// Names.
        names: Names,
        /// `SCMP_ACT_…`.
        action: String,
        /// Errno for SCMP_ACT_ERRNO.
        errno_ret: Option<u32>,
        /// Conditions; all must hold.
        args: Vec<SeccompArg>,
    }
}

document! {
    /// One condition on an argument.
    SeccompArg {
        /// 0 to 5.
        index: u32,
        /// Compared value; the mask for SCMP_CMP_MASKED_EQ.
        value: u64,
        /// Second value for SCMP_CMP_MASKED_EQ.
        value_two: u64,
        /// `SCMP_CMP_…`.
        op: String,
    }
}
