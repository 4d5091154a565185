//! The flags of `run` and `create`, and the table of those that a later release has.
//!
//! A flat table: longer than other files on purpose. Both commands parse into one type; `create` sees it without the
//! last flags, which only make sense for something that runs.

use argh::{ArgsInfo, CommandInfo, CommandInfoWithArgs, EarlyExit, FromArgs, SubCommand};
use std::path::PathBuf;

/// How many flags at the end of [`ContainerFlags`] are for `run` alone.
const RUN_ONLY: usize = 3;

/// create a container
#[derive(FromArgs, ArgsInfo, Debug, Clone, PartialEq)]
pub struct ContainerFlags {
    // Identity, process, lifecycle.
    /// name of the container
    #[argh(option, short = 'n', arg_name = "string")]
    pub name: Option<String>,
    /// host name
    #[argh(option, short = 'h', arg_name = "string")]
    pub hostname: Option<String>,
    /// domain name
    #[argh(option, arg_name = "string")]
    pub domainname: Option<String>,
    /// write the id of the container to a new file
    #[argh(option, arg_name = "file")]
    pub cidfile: Option<PathBuf>,
    /// print nothing of a pull
    #[argh(switch, short = 'q')]
    pub quiet: bool,
    /// OS/ARCHITECTURE[/VARIANT] of the image, in place of this machine's
    #[argh(option, arg_name = "string")]
    pub platform: Option<String>,
    /// streams to attach to: stdin, stdout, stderr; repeatable
    #[argh(option, short = 'a', arg_name = "stream")]
    pub attach: Vec<String>,
    /// kept for scripts: no signatures are looked for, so that only true is possible
    #[argh(option, arg_name = "bool", default = "true")]
    pub disable_content_trust: bool,
    /// set an environment variable, K=V or K
    #[argh(option, short = 'e', arg_name = "list")]
    pub env: Vec<String>,
    /// read environment variables from a file
    #[argh(option, arg_name = "list")]
    pub env_file: Vec<String>,
    /// set a label, K=V
    #[argh(option, short = 'l', arg_name = "list")]
    pub label: Vec<String>,
    /// read labels from a file
    #[argh(option, arg_name = "list")]
    pub label_file: Vec<String>,
    /// set an OCI annotation, K[=V]
    #[argh(option, arg_name = "list")]
    pub annotation: Vec<String>,
    /// program in place of the image's; empty resets it
    #[argh(option, arg_name = "string")]
    pub entrypoint: Option<String>,
    /// user name or number, [:group]
    #[argh(option, short = 'u', arg_name = "string")]
    pub user: Option<String>,
    /// add a supplementary group
    #[argh(option, arg_name = "list")]
    pub group_add: Vec<String>,
    /// working directory, an absolute path
    #[argh(option, short = 'w', arg_name = "string")]
    pub workdir: Option<String>,
    /// allocate a pseudo terminal
    #[argh(switch, short = 't')]
    pub tty: bool,
    /// keep standard input open
    #[argh(switch, short = 'i')]
    pub interactive: bool,
    /// remove the container when it has ended
    #[argh(switch)]
    pub rm: bool,
    /// when it is started again: no, always, unless-stopped, on-reboot or on-failure[:N]
    #[argh(option, arg_name = "string")]
    pub restart: Option<String>,
    /// relative weight for block devices, 10 to 1000
    #[argh(option, arg_name = "int")]
    pub blkio_weight: Option<i64>,
    /// how readily memory is swapped out, 0 to 100; -1 is the host's
    #[argh(option, arg_name = "int")]
    pub memory_swappiness: Option<i64>,
    /// processes wait for memory instead of being killed (cgroup v1)
    #[argh(switch)]
    pub oom_kill_disable: bool,
    /// shell line whose exit code tells whether the container is healthy
    #[argh(option, arg_name = "string")]
    pub health_cmd: Option<String>,
    /// time between its runs, 30s by default
    #[argh(option, arg_name = "duration")]
    pub health_interval: Option<String>,
    /// time that it may take, 30s by default
    #[argh(option, arg_name = "duration")]
    pub health_timeout: Option<String>,
    /// time after the start in which failures do not count
    #[argh(option, arg_name = "duration")]
    pub health_start_period: Option<String>,
    /// time between runs in that time, until one succeeds; as --health-interval by default
    #[argh(option, arg_name = "duration")]
    pub health_start_interval: Option<String>,
    /// failures in a row that make the container unhealthy, 3 by default
    #[argh(option, arg_name = "int")]
    pub health_retries: Option<i64>,
    /// kill the container when it becomes unhealthy
    #[argh(switch)]
    pub health_exit_on_unhealthy: bool,
    /// no health check, whatever the image says
    #[argh(switch)]
    pub no_healthcheck: bool,
    /// signal that stops the container
    #[argh(option, arg_name = "string")]
    pub stop_signal: Option<String>,
    /// seconds until a stopping container is killed
    #[argh(option, arg_name = "int")]
    pub stop_timeout: Option<i64>,
    /// OCI runtime
    #[argh(option, short = 'R', arg_name = "string")]
    pub runtime: Option<String>,
    /// directory or block device that is the root, in place of the image's (IMAGE: none)
    #[argh(option, arg_name = "string")]
    pub external_rootfs: Option<String>,
    /// boot an init, as on a machine; with --external-rootfs
    #[argh(switch)]
    pub system_container: bool,
    /// file in a system container's root that gets the environment
    #[argh(option, arg_name = "path")]
    pub env_target_file: Option<String>,
    /// kernel parameters that a system container may change: net, ipc or net,ipc
    #[argh(option, arg_name = "string")]
    pub ns_change_opt: Option<String>,
    /// user namespace of a system container, UID:GID:LENGTH
    #[argh(option, arg_name = "string")]
    pub user_remap: Option<String>,
    /// tmpfs shared with the host, HOST:CONTAINER[:ro|rw[:SIZE]]
    #[argh(option, arg_name = "string")]
    pub host_channel: Option<String>,
    /// size=SIZE: bytes that the container may fill; repeatable
    #[argh(option, arg_name = "option")]
    pub storage_opt: Vec<String>,
    /// file of hooks, an absolute path on the daemon's host
    #[argh(option, arg_name = "file")]
    pub hook_spec: Option<String>,
    /// pull the image: always, missing, never
    #[argh(option, arg_name = "string")]
    pub pull: Option<String>,

    // Isolation and security.
    /// give all capabilities and devices
    #[argh(switch)]
    pub privileged: bool,
    /// add a capability
    #[argh(option, arg_name = "list")]
    pub cap_add: Vec<String>,
    /// drop a capability
    #[argh(option, arg_name = "list")]
    pub cap_drop: Vec<String>,
    /// security option: no-new-privileges, seccomp=FILE
    #[argh(option, arg_name = "list")]
    pub security_opt: Vec<String>,
    /// mount the root file system read-only
    #[argh(switch)]
    pub read_only: bool,
    /// run an init inside that passes signals on and reaps processes
    #[argh(switch)]
    pub init: bool,
    /// move the root instead of pivoting to it: for hosts whose own is a ram disk
    #[argh(switch)]
    pub no_pivot: bool,
    /// IPC namespace
    #[argh(option, arg_name = "string")]
    pub ipc: Option<String>,
    /// PID namespace
    #[argh(option, arg_name = "string")]
    pub pid: Option<String>,
    /// UTS namespace
    #[argh(option, arg_name = "string")]
    pub uts: Option<String>,
    /// cgroup namespace
    #[argh(option, arg_name = "string")]
    pub cgroupns: Option<String>,
    /// user namespace
    #[argh(option, arg_name = "string")]
    pub userns: Option<String>,
    /// set a kernel parameter, K=V
    #[argh(option, arg_name = "list")]
    pub sysctl: Vec<String>,

    // Storage.
    /// bind mount a volume, [SRC:]DST[:OPTS]
    #[argh(option, short = 'v', arg_name = "list")]
    pub volume: Vec<String>,
    /// mount what another container has mounted, CONTAINER[:ro|rw|z]
    #[argh(option, arg_name = "list")]
    pub volumes_from: Vec<String>,
    /// driver of the volumes that are made; local is the only one
    #[argh(option, arg_name = "string")]
    pub volume_driver: Option<String>,
    /// attach a file system, type=TYPE,…
    #[argh(option, arg_name = "list")]
    pub mount: Vec<String>,
    /// mount a tmpfs, DST[:OPTS]
    #[argh(option, arg_name = "list")]
    pub tmpfs: Vec<String>,
    /// size of /dev/shm
    #[argh(option, arg_name = "bytes")]
    pub shm_size: Option<String>,
    /// add a device, HOST[:CONTAINER][:rwm]
    #[argh(option, arg_name = "list")]
    pub device: Vec<String>,
    /// add a rule to the allowed devices
    #[argh(option, arg_name = "list")]
    pub device_cgroup_rule: Vec<String>,

    // Resources.
    /// relative weight of processor time
    #[argh(option, short = 'c', arg_name = "int")]
    pub cpu_shares: Option<i64>,
    /// period of the processor quota, microseconds
    #[argh(option, arg_name = "int")]
    pub cpu_period: Option<i64>,
    /// processor quota in a period, microseconds
    #[argh(option, arg_name = "int")]
    pub cpu_quota: Option<i64>,
    /// number of processors
    #[argh(option, arg_name = "decimal")]
    pub cpus: Option<String>,
    /// processors to run on, as 0-2 or 0,1
    #[argh(option, arg_name = "string")]
    pub cpuset_cpus: Option<String>,
    /// memory nodes to use
    #[argh(option, arg_name = "string")]
    pub cpuset_mems: Option<String>,
    /// memory limit
    #[argh(option, short = 'm', arg_name = "bytes")]
    pub memory: Option<String>,
    /// soft memory limit
    #[argh(option, arg_name = "bytes")]
    pub memory_reservation: Option<String>,
    /// limit of memory plus swap; -1 is unlimited
    #[argh(option, arg_name = "bytes")]
    pub memory_swap: Option<String>,
    /// adjust the OOM score, -1000 to 1000
    #[argh(option, arg_name = "int")]
    pub oom_score_adj: Option<i64>,
    /// most processes; -1 is unlimited
    #[argh(option, arg_name = "int")]
    pub pids_limit: Option<i64>,
    /// set a resource limit, TYPE=SOFT[:HARD]
    #[argh(option, arg_name = "list")]
    pub ulimit: Vec<String>,
    /// period of the real-time scheduler, microseconds (cgroup v1)
    #[argh(option, arg_name = "int")]
    pub cpu_rt_period: Option<i64>,
    /// real-time processor time in a period, microseconds (cgroup v1)
    #[argh(option, arg_name = "int")]
    pub cpu_rt_runtime: Option<i64>,
    /// limit of the kernel's memory (cgroup v1 before Linux 5.16)
    #[argh(option, arg_name = "bytes")]
    pub kernel_memory: Option<String>,
    /// most open files; -1 is unlimited (kernels of openEuler)
    #[argh(option, arg_name = "int")]
    pub files_limit: Option<i64>,
    /// relative weight of a block device, DEVICE:WEIGHT, 10 to 1000
    #[argh(option, arg_name = "list")]
    pub blkio_weight_device: Vec<String>,
    /// bytes per second that are read from a device, DEVICE:RATE[UNIT]
    #[argh(option, arg_name = "list")]
    pub device_read_bps: Vec<String>,
    /// bytes per second that are written to a device, DEVICE:RATE[UNIT]
    #[argh(option, arg_name = "list")]
    pub device_write_bps: Vec<String>,
    /// reads per second from a device, DEVICE:NUMBER
    #[argh(option, arg_name = "list")]
    pub device_read_iops: Vec<String>,
    /// writes per second to a device, DEVICE:NUMBER
    #[argh(option, arg_name = "list")]
    pub device_write_iops: Vec<String>,
    /// limit of huge pages, [PAGESIZE:]LIMIT
    #[argh(option, arg_name = "list")]
    pub hugetlb_limit: Vec<String>,
    /// cgroup above the container's
    #[argh(option, arg_name = "string")]
    pub cgroup_parent: Option<String>,

    // Network and logs.
    /// network: none, host, container:NAME
    #[argh(option, arg_name = "string")]
    pub net: Option<String>,
    /// network: none, host, container:NAME
    #[argh(option, arg_name = "string")]
    pub network: Option<String>,
    /// add a line to /etc/hosts, NAME:ADDRESS
    #[argh(option, arg_name = "list")]
    pub add_host: Vec<String>,
    /// set a name server
    #[argh(option, arg_name = "list")]
    pub dns: Vec<String>,
    /// set a resolver option
    #[argh(option, arg_name = "list")]
    pub dns_opt: Vec<String>,
    /// the same as --dns-opt
    #[argh(option, arg_name = "list")]
    pub dns_option: Vec<String>,
    /// set a search domain
    #[argh(option, arg_name = "list")]
    pub dns_search: Vec<String>,
    /// log driver: json-file, syslog or none
    #[argh(option, arg_name = "string")]
    pub log_driver: Option<String>,
    /// log option, K=V
    #[argh(option, arg_name = "list")]
    pub log_opt: Vec<String>,

    // The last RUN_ONLY ones are not for create.
    /// run in the background and print the id
    #[argh(switch, short = 'd')]
    pub detach: bool,
    /// keys that detach
    #[argh(option, arg_name = "string")]
    pub detach_keys: Option<String>,
    /// pass signals on to the process
    #[argh(option, arg_name = "bool", default = "true")]
    pub sig_proxy: bool,

    /// image
    #[argh(positional, arg_name = "IMAGE")]
    pub image: String,
    /// command
    #[argh(positional, greedy, arg_name = "[COMMAND] [ARG...]")]
    pub command: Vec<String>,
}

/// `isula run`.
#[derive(Debug)]
pub struct Run(pub ContainerFlags);

/// `isula create`.
#[derive(Debug)]
pub struct Create(pub ContainerFlags);

impl FromArgs for Run {
    fn from_args(name: &[&str], args: &[&str]) -> Result<Self, EarlyExit> {
        ContainerFlags::from_args(name, args).map(Run)
    }
}

impl FromArgs for Create {
    fn from_args(name: &[&str], args: &[&str]) -> Result<Self, EarlyExit> {
        ContainerFlags::from_args(name, args).map(Create)
    }
}

impl SubCommand for Run {
    const COMMAND: &'static CommandInfo = &CommandInfo { name: "run", short: &'\0', description: RUN };
}

impl SubCommand for Create {
    const COMMAND: &'static CommandInfo = &CommandInfo { name: "create", short: &'\0', description: CREATE };
}

const RUN: &str = "run a command in a new container";
const CREATE: &str = "create a new container";

impl ArgsInfo for Run {
    fn get_args_info() -> CommandInfoWithArgs {
        CommandInfoWithArgs { name: "run", description: RUN, ..ContainerFlags::get_args_info() }
    }
}

impl ArgsInfo for Create {
    fn get_args_info() -> CommandInfoWithArgs {
        let all = ContainerFlags::get_args_info();
        let flags = &all.flags[..all.flags.len() - RUN_ONLY];
        CommandInfoWithArgs { name: "create", description: CREATE, flags, ..all }
    }
}

/// Flags that are known and refused by name, with the command they belong to; an empty command stands for all.
#[rustfmt::skip]
pub static REFUSED: &[(&[&str], &[&str])] = &[
    (&["run", "create"], &[
        "--ip", "--publish", "-p", "--expose", "--publish-all", "-P",
    ]),
    (&["pull"], &["--all-tags", "-a"]),
];

/// Whether `flag` of `command` is known and comes with a later release.
pub fn is_refused(command: &str, flag: &str) -> bool {
    REFUSED
        .iter()
        .any(|(commands, flags)| (commands.is_empty() || commands.contains(&command)) && flags.contains(&flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::argv::{Fault, Stop, parse};

    /// Every flag of `create` and `run` that the original has, and docker's of those refused, with a value that fits where it takes one.
    #[rustfmt::skip]
    const ORIGINAL: &[(&str, &str)] = &[
        ("-n", "x"), ("--name", "x"), ("-h", "x"), ("--hostname", "x"), ("-e", "A=b"), ("--env", "A=b"),
        ("--env-file", "f"), ("-l", "a=b"), ("--label", "a=b"), ("--label-file", "f"), ("--annotation", "a"),
        ("--entrypoint", "x"), ("-u", "0"), ("--user", "0"), ("--group-add", "g"), ("--workdir", "/"), ("-t", ""),
        ("--tty", ""), ("-i", ""), ("--interactive", ""), ("--rm", ""), ("--restart", "no"), ("--stop-signal", "9"),
        ("-R", "runc"), ("--runtime", "runc"), ("--pull", "missing"), ("--hook-spec", "f"), ("--env-target-file", "f"),
        ("--health-cmd", "x"), ("--health-interval", "1s"), ("--health-timeout", "1s"), ("--health-start-period", "1s"),
        ("--health-retries", "1"), ("--health-exit-on-unhealthy", ""), ("--no-healthcheck", ""), ("--privileged", ""),
        ("--cap-add", "all"), ("--cap-drop", "all"), ("--security-opt", "no-new-privileges"), ("--read-only", ""),
        ("--ipc", "host"), ("--pid", "host"), ("--uts", "host"), ("--cgroupns", "host"), ("--userns", "host"),
        ("--user-remap", "1:1:1"), ("--sysctl", "a=b"), ("--no-pivot", ""), ("--system-container", ""),
        ("--external-rootfs", "/x"), ("--ns-change-opt", "net"), ("--host-channel", "/a:/b:ro:4k"), ("-v", "/a:/b"),
        ("--volume", "/a:/b"), ("--mount", "type=tmpfs,dst=/x"), ("--tmpfs", "/x"), ("--volumes-from", "c"),
        ("--shm-size", "1m"), ("--storage-opt", "size=1"), ("--device", "/dev/null"),
        ("--device-cgroup-rule", "c 1:3 r"), ("--cpu-shares", "1"), ("--cpu-period", "1"), ("--cpu-quota", "1"),
        ("--cpus", "1"), ("--cpuset-cpus", "0"), ("--cpuset-mems", "0"), ("--cpu-rt-period", "1"),
        ("--cpu-rt-runtime", "1"), ("-m", "64m"), ("--memory", "64m"), ("--memory-reservation", "64m"),
        ("--kernel-memory", "64m"), ("--memory-swap", "-1"), ("--memory-swappiness", "0"), ("--oom-kill-disable", ""),
        ("--oom-score-adj", "-5"), ("--pids-limit", "-1"), ("--files-limit", "1"), ("--blkio-weight", "10"),
        ("--blkio-weight-device", "/dev/x:10"), ("--device-read-bps", "/dev/x:1"), ("--device-write-bps", "/dev/x:1"),
        ("--device-read-iops", "/dev/x:1"), ("--device-write-iops", "/dev/x:1"), ("--hugetlb-limit", "2M:4M"),
        ("--ulimit", "nofile=1"), ("--cgroup-parent", "/x"), ("--net", "none"), ("--network", "none"),
        ("--ip", "10.0.0.2"), ("-p", "80:80"), ("--publish", "80:80"), ("--expose", "80"), ("-P", ""),
        ("--publish-all", ""), ("--init", ""), ("--add-host", "a:1.1.1.1"), ("--dns", "1.1.1.1"), ("--dns-opt", "x"),
        ("--dns-search", "x"), ("--log-driver", "json-file"), ("--log-opt", "max-file=1"), ("-H", "unix:///x"),
        ("--host", "unix:///x"), ("-D", ""), ("--debug", ""), ("--tls", ""), ("--tlsverify", ""), ("--tlscacert", "f"),
        ("--tlscert", "f"), ("--tlskey", "f"),
    ];

    #[test]
    fn every_flag_of_the_original_is_taken_or_refused_by_name() {
        let mut refused = 0;
        for command in ["create", "run"] {
            for (flag, value) in ORIGINAL {
                let words = [command, flag, value, "img"].into_iter().filter(|w| !w.is_empty());
                match parse::<super::super::Top>("isula", words.map(Into::into).collect(), super::super::DIALECT) {
                    Ok(_) => assert!(!is_refused(command, flag), "{flag} is taken and refused"),
                    Err(Stop::Fault(Fault::RefusedFlag(name))) => {
                        assert_eq!(name, *flag);
                        refused += 1;
                    }
                    Err(other) => panic!("{command} {flag}: {other:?}"),
                }
            }
        }
        let ours = REFUSED.iter().filter(|(commands, _)| commands.is_empty() || commands.contains(&"run"));
        let known: usize = ours.map(|(_, flags)| 2 * flags.len()).sum();
        assert_eq!(refused, known, "each refused flag is in the list above");
    }

    #[test]
    fn create_has_no_flags_of_run() {
        for (words, want) in [(["create", "-d", "img"], "-d"), (["create", "--sig-proxy", "img"], "--sig-proxy")] {
            let got = parse::<super::super::Top>("isula", words.map(Into::into).to_vec(), super::super::DIALECT);
            assert!(matches!(&got, Err(Stop::Fault(Fault::UnknownFlag(f))) if f == want), "{got:?}");
        }
    }
}
