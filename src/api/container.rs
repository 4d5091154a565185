//! Containers in the Docker Engine API (1.44), with the original's extra fields.

use super::oci::image::{Empty, Healthcheck};
pub use super::resource::{HostChannel, Hugetlb, ThrottleDevice, WeightDevice};
use crate::error::Result;
use crate::utils::json;
use crate::utils::json::object::{Member, Object, Place};
use crate::utils::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Body of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateRequest {
    /// What runs.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// How it runs on this host.
    pub host_config: HostConfig,
}

impl CreateRequest {
    /// Reads the document twice, once for each part. Reading `flatten` would make a tree of it first, and link a second
    /// reader of every type inside.
    ///
    /// # Errors
    /// `Kind::Invalid`.
    pub fn parse(bytes: &[u8]) -> Result<CreateRequest> {
        #[derive(Default, Object)]
        #[serde(default, rename_all = "PascalCase")]
        struct Beside {
            host_config: HostConfig,
        }
        let (config, beside) = (json::parse(bytes)?, json::parse::<Beside>(bytes)?);
        Ok(CreateRequest { config, host_config: beside.host_config })
    }
}

/// Answer to a creation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateResponse {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Things that were left out.
    pub warnings: Vec<String>,
}

/// What runs: independent of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// UTS host name.
    pub hostname: String,
    /// UTS domain name.
    pub domainname: String,
    /// `user[:group]`.
    pub user: String,
    /// Whether clients may attach standard input.
    pub attach_stdin: bool,
    /// Whether `run` attached standard output.
    pub attach_stdout: bool,
    /// Whether `run` attached standard error.
    pub attach_stderr: bool,
    /// Ports the image exposes.
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Pseudo terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub open_stdin: bool,
    /// Standard input ends with the first client that leaves.
    pub stdin_once: bool,
    /// `K=V`.
    pub env: Vec<String>,
    /// Arguments; one string is the shell form of old clients.
    #[serde(deserialize_with = "Place::Words")]
    pub cmd: Option<Vec<String>>,
    /// Health check.
    pub healthcheck: Option<Healthcheck>,
    /// Image as the user named it.
    pub image: String,
    /// `name@digest` of the image. The original's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_ref: String,
    /// Anonymous volumes.
    pub volumes: BTreeMap<String, Empty>,
    /// Working directory.
    pub working_dir: String,
    /// Program; an empty list resets the image's.
    #[serde(deserialize_with = "Place::Words")]
    pub entrypoint: Option<Vec<String>>,
    /// Free text.
    pub labels: BTreeMap<String, String>,
    /// OCI annotations. The original's place for them.
    pub annotations: BTreeMap<String, String>,
    /// Signal that stops it.
    pub stop_signal: String,
    /// Seconds until it is killed.
    pub stop_timeout: Option<i64>,
    /// No network at all.
    pub network_disabled: bool,
}

/// How it runs on this host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// `SRC:DST[:OPTS]`.
    pub binds: Vec<String>,
    /// `--mount`.
    pub mounts: Vec<MountPoint>,
    /// `none`, `host`, `container:ID`, `default`, `bridge` or a network's name.
    pub network_mode: String,
    /// Supplementary groups.
    pub group_add: Vec<String>,
    /// ``, `private`, `shareable`, `host`, `none`, `container:ID`.
    pub ipc_mode: String,
    /// ``, `host`, `container:ID`.
    pub pid_mode: String,
    /// ``, `host`, `container:ID`.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// ``, `host`.
    pub userns_mode: String,
    /// ``, `host`, `private`, `container:ID`.
    pub cgroupns_mode: String,
    /// Everything allowed.
    pub privileged: bool,
    /// Bytes of /dev/shm; 0 is the default of 64 MiB.
    pub shm_size: i64,
    /// Removed after its exit.
    pub auto_remove: bool,
    /// Root file system mounted read-only.
    pub readonly_rootfs: bool,
    /// Rows and columns of the terminal at the start; zeros or absent when there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u16; 2]>,
    /// Destination to mount options.
    pub tmpfs: BTreeMap<String, String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Name of the OCI runtime; the default when empty.
    pub runtime: String,
    /// When it is started again.
    pub restart_policy: RestartPolicy,
    /// Added capabilities.
    pub cap_add: Vec<String>,
    /// Dropped capabilities.
    pub cap_drop: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// Relative weight.
    #[serde(rename = "CpuShares", alias = "CPUShares")]
    pub cpu_shares: i64,
    /// Bytes.
    pub memory: i64,
    /// cgroup v2 files. The original's.
    pub unified: BTreeMap<String, String>,
    /// Adjustment of the OOM score.
    pub oom_score_adj: i32,
    /// 10 to 1000.
    pub blkio_weight: u16,
    /// Billionths of a processor.
    #[serde(alias = "NanoCPUs")]
    pub nano_cpus: i64,
    /// Microseconds.
    #[serde(rename = "CpuPeriod", alias = "CPUPeriod")]
    pub cpu_period: i64,
    /// Microseconds.
    #[serde(rename = "CpuQuota", alias = "CPUQuota")]
    pub cpu_quota: i64,
    /// List of processors.
    pub cpuset_cpus: String,
    /// List of memory nodes.
    pub cpuset_mems: String,
    /// Devices.
    pub devices: Vec<DeviceMapping>,
    /// Device rules.
    pub device_cgroup_rules: Vec<String>,
    /// Security options.
    pub security_opt: Vec<String>,
    /// Storage driver options.
    pub storage_opt: BTreeMap<String, String>,
    /// Bytes.
    pub memory_reservation: i64,
    /// Bytes of memory plus swap; -1 is unlimited.
    pub memory_swap: i64,
    /// 0 to 100; -1 or absent is the kernel's.
    pub memory_swappiness: Option<i64>,
    /// OOM killer off.
    pub oom_kill_disable: Option<bool>,
    /// Most processes; 0 and -1 are unlimited.
    pub pids_limit: Option<i64>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Cgroup under which the container's is made.
    pub cgroup_parent: String,
    /// Replaces the default list when present.
    pub masked_paths: Option<Vec<String>>,
    /// Replaces the default list when present.
    pub readonly_paths: Option<Vec<String>>,
    /// Logging.
    pub log_config: LogConfig,
    /// Whether an init of ours is process 1, which passes signals on and reaps processes.
    pub init: Option<bool>,
    /// Port bindings. Read so that they can be refused.
    pub port_bindings: BTreeMap<String, serde_json::Value>,
    /// All exposed ports. Read so that it can be refused.
    pub publish_all_ports: bool,
    /// Containers whose mounts it has too: `CONTAINER[:ro|rw|z]`.
    pub volumes_from: Vec<String>,
    /// Driver of the volumes; read so that others than `local` can be refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_driver: String,
    /// Annotations, docker's place for them.
    pub annotations: BTreeMap<String, String>,
    /// Bytes of memory that the kernel may use for it; cgroup v1 of kernels before 5.16.
    pub kernel_memory: i64,
    /// Relative weights of block devices.
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Bytes per second.
    pub blkio_device_read_bps: Vec<ThrottleDevice>,
    /// Bytes per second.
    pub blkio_device_write_bps: Vec<ThrottleDevice>,
    /// Operations per second.
    #[serde(rename = "BlkioDeviceReadIOps", alias = "BlkioDeviceReadIops")]
    pub blkio_device_read_iops: Vec<ThrottleDevice>,
    /// Operations per second.
    #[serde(rename = "BlkioDeviceWriteIOps", alias = "BlkioDeviceWriteIops")]
    pub blkio_device_write_iops: Vec<ThrottleDevice>,
    /// Microseconds; cgroup v1.
    #[serde(alias = "CPURealtimePeriod")]
    pub cpu_realtime_period: i64,
    /// Microseconds in each period; cgroup v1.
    #[serde(alias = "CPURealtimeRuntime")]
    pub cpu_realtime_runtime: i64,
    /// Read so that it can be refused.
    #[serde(skip_serializing)]
    pub device_requests: Vec<serde_json::Value>,
    /// Read so that it can be refused.
    #[serde(skip_serializing)]
    pub links: Vec<String>,
    /// Limits of huge pages. The original's.
    pub hugetlbs: Vec<Hugetlb>,
    /// Most open files of all its processes together; 0 and -1 are unlimited. The original's, for its kernel.
    pub files_limit: i64,
    /// Absolute path of a file with hooks, which is read when the container is made. The original's.
    pub hook_spec: String,
    /// User namespace of a system container, `UID:GID:LENGTH`. The original's.
    pub user_remap: String,
    /// Whether an init boots in it, as on a machine. The original's.
    pub system_container: bool,
    /// Absolute path of a directory or block device that is the root, in place of an image. The original's.
    pub external_rootfs: String,
    /// File in the root of a system container that gets its environment. The original's.
    pub env_target_file: String,
    /// Files of /proc/sys that a system container may write to. The original's.
    pub ns_change_files: Vec<String>,
    /// A tmpfs that host and container share. The original's.
    #[serde(skip_serializing_if = "HostChannel::is_none")]
    pub host_channel: HostChannel,
    /// MS_MOVE and chroot in place of pivot_root, for a host on a ram disk. The original's.
    pub no_pivot_root: bool,
}

/// One `--mount`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`, `squashfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Host path or volume.
    pub source: String,
    /// Path inside.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// For bind mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// For tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
    /// For volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
}

/// Bind mount options.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct BindOptions {
    /// `[r]private`, `[r]shared`, `[r]slave`.
    pub propagation: String,
    /// SELinux relabelling, `z` or `Z`. The original's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selinux_opts: String,
    /// What is mounted below the source stays away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub non_recursive: bool,
    /// What is mounted below a read-only one stays as writable as it was; it does so anyway.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_non_recursive: bool,
    /// What is mounted below a read-only one is read-only too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_force_recursive: bool,
}

/// tmpfs options.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct TmpfsOptions {
    /// Bytes; 0 is unlimited.
    pub size_bytes: i64,
    /// Permission bits; 0 is 01777.
    pub mode: u32,
}

/// Volume options.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeOptions {
    /// Whether the image's content is not copied.
    pub no_copy: bool,
    /// Of a volume that is made.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who makes it. Read so that others can be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<VolumeDriver>,
    /// Read so that it can be refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
}

/// The driver of a volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeDriver {
    /// `local` when empty.
    pub name: String,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// When a container is started again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// ``, `no`, `always`, `unless-stopped`, `on-failure`, `on-reboot`.
    pub name: String,
    /// For on-failure.
    pub maximum_retry_count: i64,
}

/// A device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceMapping {
    /// Path outside.
    pub path_on_host: String,
    /// Path inside.
    pub path_in_container: String,
    /// Letters of `rwm`.
    pub cgroup_permissions: String,
}

/// A resource limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ulimit {
    /// `nofile` and the like.
    pub name: String,
    /// Ceiling; -1 is unlimited.
    pub hard: i64,
    /// Enforced; -1 is unlimited.
    pub soft: i64,
}

impl Ulimit {
    /// The names there are: resource limits (getrlimit(2)) without their prefix, lower case.
    pub const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
}

/// Logging.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct LogConfig {
    /// `json-file`, `syslog`, `none`; the daemon's default when empty.
    #[serde(rename = "Type")]
    pub driver: String,
    /// Driver options.
    pub config: BTreeMap<String, String>,
}

/// One row of `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// 64 digits.
    pub id: String,
    /// Each with a leading slash.
    pub names: Vec<String>,
    /// As the user named it.
    pub image: String,
    /// `sha256:…`.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Program and arguments.
    pub command: String,
    /// Unix seconds.
    pub created: i64,
    /// Published ports.
    pub ports: Vec<serde_json::Value>,
    /// Free text.
    pub labels: BTreeMap<String, String>,
    /// `created running paused restarting removing exited dead`.
    pub state: String,
    /// `Up 3 minutes` and the like.
    pub status: String,
    /// Bytes in the writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes of these and of the image, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Host configuration in brief.
    pub host_config: SummaryHostConfig,
    /// Networks.
    pub network_settings: SummaryNetworks,
    /// Mounts.
    pub mounts: Vec<InspectMount>,
    /// The original's extra columns.
    #[serde(rename = "isula")]
    pub extra: SummaryExtra,
}

/// Answer to `POST /containers/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainersPruned {
    /// Ids; `None`, as docker has it, for nothing.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

fn is_unset(time: &Timestamp) -> bool {
    !time.is_set()
}

/// Networks in brief: the one of docker's that a container is in, if any. Written only, for other clients.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryNetworks(pub Option<&'static str>);

impl Serialize for SummaryNetworks {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        struct Endpoints(Option<&'static str>);
        impl Serialize for Endpoints {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.map(|name| (name, Endpoint)))
            }
        }
        struct Endpoint;
        impl Serialize for Endpoint {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_map(["NetworkID", "EndpointID", "IPAddress"].map(|field| (field, "")))
            }
        }
        serializer.collect_map([("Networks", Endpoints(self.0))])
    }
}

impl Member for SummaryNetworks {
    fn place(&mut self) -> Place<'_> {
        Place::Ignored
    }
}

/// What the original's `ps --format` can show beyond docker's fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryExtra {
    /// First process.
    pub pid: i32,
    /// Exit code.
    pub exit_code: i32,
    /// Restarts by policy.
    pub restart_count: u64,
    /// Last start.
    #[serde(skip_serializing_if = "is_unset")]
    pub started_at: Timestamp,
    /// Last end.
    #[serde(skip_serializing_if = "is_unset")]
    pub finished_at: Timestamp,
    /// Runtime.
    pub runtime: String,
    /// Creation, with nanoseconds for sorting.
    #[serde(skip_serializing_if = "is_unset")]
    pub created_at: Timestamp,
    /// `healthy` and the like, or empty.
    pub health: String,
}

/// Host configuration in brief.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// Network mode.
    pub network_mode: String,
}

/// Answer to `GET /containers/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerInspect {
    /// 64 digits.
    pub id: String,
    /// Creation.
    pub created: Timestamp,
    /// Program.
    pub path: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Run state.
    pub state: ContainerState,
    /// The original's summary of limits.
    pub resources: serde_json::Value,
    /// `sha256:…`.
    pub image: String,
    /// File on the host.
    pub resolv_conf_path: String,
    /// File on the host.
    pub hostname_path: String,
    /// File on the host.
    pub hosts_path: String,
    /// File on the host.
    pub log_path: String,
    /// Name, with a leading slash as docker gives it.
    pub name: String,
    /// Restarts by policy.
    pub restart_count: u64,
    /// Storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// SELinux.
    pub mount_label: String,
    /// SELinux.
    pub process_label: String,
    /// AppArmor.
    #[serde(rename = "AppArmorProfile")]
    pub apparmor_profile: String,
    /// Profile file or `unconfined`. The original's.
    pub seccomp_profile: String,
    /// The original's.
    pub no_new_privileges: bool,
    /// Exec sessions that run.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// Host configuration.
    pub host_config: HostConfig,
    /// Storage driver data.
    pub graph_driver: GraphDriver,
    /// Bytes in the writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Mounts.
    pub mounts: Vec<InspectMount>,
    /// Configuration.
    pub config: ContainerConfig,
    /// Networks.
    pub network_settings: serde_json::Value,
}

/// Run state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created running paused restarting removing exited dead`.
    pub status: String,
    /// Also true when paused, as docker has it.
    pub running: bool,
    /// Frozen.
    pub paused: bool,
    /// Waiting for its next start.
    pub restarting: bool,
    /// The kernel killed for memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Half removed.
    pub dead: bool,
    /// First process, 0 when none.
    pub pid: i32,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// Why the last start failed.
    pub error: String,
    /// Last start.
    pub started_at: Timestamp,
    /// Last end.
    pub finished_at: Timestamp,
    /// What its health check says, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<Health>>,
}

/// What became of an update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateResponse {
    /// Limits that this kernel cannot keep.
    pub warnings: Vec<String>,
}

/// What a health check says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u64,
    /// The last probes.
    pub log: Vec<HealthLog>,
}

/// One probe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthLog {
    /// Its begin.
    pub start: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// 0 is success.
    pub exit_code: i32,
    /// The beginning of what it printed, or why it could not be made.
    pub output: String,
}

/// Storage driver data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct GraphDriver {
    /// `overlay2`.
    pub name: String,
    /// `LowerDir UpperDir WorkDir MergedDir`.
    pub data: BTreeMap<String, String>,
}

/// A mount as inspect shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectMount {
    /// `bind`, `volume`, `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Volume name.
    pub name: String,
    /// Host path.
    pub source: String,
    /// Path inside.
    pub destination: String,
    /// `local`.
    pub driver: String,
    /// Options as given.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Propagation.
    pub propagation: String,
}

/// Answer to `POST /containers/{id}/wait`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitResponse {
    /// Exit code.
    pub status_code: i64,
    /// Set when waiting itself failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why waiting failed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitError {
    /// Text.
    pub message: String,
}

/// Answer to `GET /containers/{id}/top`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct TopResponse {
    /// Column heads.
    pub titles: Vec<String>,
    /// Rows of cells.
    pub processes: Vec<Vec<String>>,
}

/// Answer to `POST /containers/{id}/update` and others that only warn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Warnings {
    /// Things that were left out.
    pub warnings: Vec<String>,
}
