//! From the flags of `run` and `create` to the request. All that can be checked without the daemon is checked here, in
//! the words of the original; names, limits of this host and states are the daemon's to judge.

mod environment;
mod health;
pub mod limits;
mod mount;
mod security;
mod system;
mod volume;

use super::failure::Failure;
use super::flags::ContainerFlags;
use super::stream;
use crate::api::container::{ContainerConfig, CreateRequest, HostConfig, LogConfig, RestartPolicy};
use crate::utils::order;
use std::collections::BTreeMap;

pub use environment::{environment, labels};

/// Most entries of a list on the command line.
const MAX_LIST: usize = 1000;

/// Where the root is for the image name `none` when no flag says it: a variable, and what stands in without that.
const NONE_VARIABLE: &str = "IMAGE_NONE_PATH";
const NONE_PATH: &str = "/dev/ram0";

/// Makes the request. Reads the files that flags name.
///
/// # Errors
/// Exit code 125 with the rule that is broken.
pub fn request(flags: &ContainerFlags) -> Result<CreateRequest, Failure> {
    refuse(flags)?;
    let storage = storage(flags)?;
    let [stdin, stdout, stderr] = streams(flags)?;
    let config = ContainerConfig {
        hostname: flags.hostname.clone().unwrap_or_default(),
        user: flags.user.clone().unwrap_or_default(),
        domainname: flags.domainname.clone().unwrap_or_default(),
        attach_stdin: stdin,
        attach_stdout: stdout,
        attach_stderr: stderr,
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: stdin,
        env: environment(&flags.env_file, &flags.env)?,
        cmd: (!flags.command.is_empty()).then(|| flags.command.clone()),
        image: flags.image.clone(),
        volumes: order::map(storage.anonymous.into_iter().map(|v| (v, Default::default()))),
        healthcheck: health::healthcheck(flags)?,
        working_dir: working_directory(flags.workdir.as_deref())?,
        entrypoint: flags.entrypoint.clone().map(|e| vec![e]),
        labels: environment::labels(&flags.label_file, &flags.label)?,
        annotations: annotations(&flags.annotation)?,
        stop_signal: flags.stop_signal.clone().unwrap_or_default(),
        stop_timeout: flags.stop_timeout,
        ..ContainerConfig::default()
    };
    let security = security::options(&flags.security_opt)?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let host_config = HostConfig {
        binds: storage.binds,
        mounts: storage.mounts,
        network_mode: flags.network.clone().or_else(|| flags.net.clone()).unwrap_or_default(),
        group_add: flags.group_add.clone(),
        ipc_mode: text(&flags.ipc),
        pid_mode: text(&flags.pid),
        uts_mode: text(&flags.uts),
        userns_mode: text(&flags.userns),
        cgroupns_mode: text(&flags.cgroupns),
        privileged: flags.privileged,
        shm_size: limits::size("--shm-size", flags.shm_size.as_deref())?,
        auto_remove: flags.rm,
        restart_policy: flags.restart.as_deref().map(restart_policy).transpose()?.unwrap_or_default(),
        readonly_rootfs: flags.read_only,
        init: flags.init.then_some(true),
        no_pivot_root: flags.no_pivot,
        console_size: if flags.tty { stream::terminal_size().map(|(rows, columns)| [rows, columns]) } else { None },
        tmpfs: storage.tmpfs,
        sysctls: pairs("sysctl", &flags.sysctl)?,
        runtime: text(&flags.runtime),
        cap_add: security::capabilities("add", &flags.cap_add)?,
        cap_drop: security::capabilities("drop", &flags.cap_drop)?,
        dns: addresses(&flags.dns)?,
        dns_options: [&flags.dns_opt[..], &flags.dns_option].concat(),
        dns_search: flags.dns_search.clone(),
        extra_hosts: extra_hosts(&flags.add_host)?,
        cpu_shares: flags.cpu_shares.unwrap_or(0),
        cpu_period: flags.cpu_period.unwrap_or(0),
        cpu_quota: flags.cpu_quota.unwrap_or(0),
        nano_cpus: limits::nano_cpus(flags.cpus.as_deref())?,
        cpuset_cpus: text(&flags.cpuset_cpus),
        cpuset_mems: text(&flags.cpuset_mems),
        memory: limits::size("--memory", flags.memory.as_deref())?,
        memory_reservation: limits::size("--memory-reservation", flags.memory_reservation.as_deref())?,
        memory_swappiness: flags.memory_swappiness,
        oom_kill_disable: flags.oom_kill_disable.then_some(true),
        blkio_weight: limits::blkio_weight(flags.blkio_weight)?,
        memory_swap: limits::size_or_unlimited("--memory-swap", flags.memory_swap.as_deref())?,
        oom_score_adj: limits::oom_score_adj(flags.oom_score_adj)?,
        pids_limit: flags.pids_limit,
        ulimits: limits::ulimits(&flags.ulimit)?,
        devices: limits::devices(&flags.device)?,
        device_cgroup_rules: limits::device_rules(&flags.device_cgroup_rule)?,
        kernel_memory: limits::size("--kernel-memory", flags.kernel_memory.as_deref())?,
        files_limit: flags.files_limit.unwrap_or(0),
        cpu_realtime_period: flags.cpu_rt_period.unwrap_or(0),
        cpu_realtime_runtime: flags.cpu_rt_runtime.unwrap_or(0),
        blkio_weight_device: limits::weights(&flags.blkio_weight_device)?,
        blkio_device_read_bps: limits::byte_rates("--device-read-bps", &flags.device_read_bps)?,
        blkio_device_write_bps: limits::byte_rates("--device-write-bps", &flags.device_write_bps)?,
        blkio_device_read_iops: limits::operation_rates("--device-read-iops", &flags.device_read_iops)?,
        blkio_device_write_iops: limits::operation_rates("--device-write-iops", &flags.device_write_iops)?,
        hugetlbs: limits::hugetlbs(&flags.hugetlb_limit)?,
        security_opt: security.passed_on,
        masked_paths: security.unmask.then(Vec::new),
        readonly_paths: security.unmask.then(Vec::new),
        cgroup_parent: text(&flags.cgroup_parent),
        log_config: LogConfig { driver: text(&flags.log_driver), config: pairs("log-opt", &flags.log_opt)? },
        volumes_from: flags.volumes_from.clone(),
        external_rootfs: external_root(flags),
        system_container: flags.system_container,
        env_target_file: text(&flags.env_target_file),
        ns_change_files: system::parameters(flags.ns_change_opt.as_deref())?,
        user_remap: text(&flags.user_remap),
        host_channel: system::channel(flags.host_channel.as_deref())?,
        hook_spec: hook_spec(flags.hook_spec.as_deref())?,
        storage_opt: pairs("storage-opt", &flags.storage_opt)?,
        ..HostConfig::default()
    };
    Ok(CreateRequest { config, host_config })
}

/// What is the root in place of an image's: with the image name `none`, a place must be known.
fn external_root(flags: &ContainerFlags) -> String {
    match &flags.external_rootfs {
        Some(path) => path.clone(),
        None if is_none(&flags.image) => std::env::var(NONE_VARIABLE).unwrap_or_else(|_| NONE_PATH.into()),
        None => String::new(),
    }
}

/// Which of standard input, output and error are attached to: those of `-a`, else what goes with `-i` and `-d`.
///
/// # Errors
/// Exit code 125 for another word, and for `-a` with `-d`.
pub fn streams(flags: &ContainerFlags) -> Result<[bool; 3], Failure> {
    const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];
    let given: Vec<String> = flags.attach.iter().map(|word| word.to_ascii_lowercase()).collect();
    if let Some(bad) = given.iter().position(|word| !NAMES.contains(&word.as_str())) {
        let text = format!("invalid stream {:?} for --attach: want stdin, stdout or stderr", flags.attach[bad]);
        return Err(Failure::usage(text));
    }
    if given.is_empty() {
        return Ok([flags.interactive && !flags.detach, !flags.detach, !flags.detach]);
    }
    if flags.detach {
        return Err(Failure::usage("Conflicting options: -a and -d"));
    }
    let [stdin, stdout, stderr] = NAMES.map(|name| given.iter().any(|word| word == name));
    // Without -i there is no input to attach to.
    Ok([stdin && flags.interactive, stdout, stderr])
}

/// Reads `no`, `always`, `unless-stopped`, `on-reboot` or `on-failure[:N]`.
pub fn restart_policy(word: &str) -> Result<RestartPolicy, Failure> {
    let (name, count) = match word.split_once(':') {
        _ if word.is_empty() => ("no", None),
        Some((name, count)) => (name, Some(count)),
        None => (word, None),
    };
    let maximum_retry_count = match count {
        None => 0,
        Some(_) if name != "on-failure" => {
            return Err(Failure::usage(format!(
                "Invalid restart policy {word:?}: maximum retry count goes with on-failure only"
            )));
        }
        Some(count) => count.parse::<u32>().map(i64::from).map_err(|_| {
            Failure::usage(format!("Invalid restart policy {word:?}: maximum retry count must be a number"))
        })?,
    };
    if !matches!(name, "no" | "always" | "unless-stopped" | "on-reboot" | "on-failure") {
        return Err(Failure::usage(format!(
            "Invalid restart policy {word:?}: must be no, always, unless-stopped, on-reboot or on-failure[:N]"
        )));
    }
    Ok(RestartPolicy { name: name.into(), maximum_retry_count })
}

/// Whether the image name says that there is none.
pub fn is_none(image: &str) -> bool {
    matches!(image, "none" | "none:latest")
}

/// Conflicts, and values that a later release has.
fn refuse(flags: &ContainerFlags) -> Result<(), Failure> {
    if flags.name.as_deref() == Some("") {
        // To the daemon an empty name is none.
        return Err(Failure::usage(
            "Invalid container name (), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to 1024 characters",
        ));
    }
    if flags.rm && flags.restart.as_deref().is_some_and(|p| p != "no") {
        return Err(Failure::usage("Conflicting options: --restart and --rm"));
    }
    if !flags.disable_content_trust {
        return Err(Failure::usage("--disable-content-trust=false: signatures of images cannot be verified"));
    }
    if let Some(driver) = flags.volume_driver.as_deref().filter(|driver| !matches!(*driver, "" | "local")) {
        return Err(Failure::usage(format!("Invalid volume driver {driver:?}: local is the only one")));
    }
    let modes = [
        ("net", flags.network.as_ref().or(flags.net.as_ref())),
        ("ipc", flags.ipc.as_ref()),
        ("pid", flags.pid.as_ref()),
        ("uts", flags.uts.as_ref()),
        ("cgroupns", flags.cgroupns.as_ref()),
    ];
    if let Some((flag, _)) = modes.iter().find(|(_, mode)| mode.is_some_and(|mode| mode == "container:")) {
        return Err(Failure::usage(format!("Invalid value \"container:\" for flag --{flag}: want container:NAME")));
    }
    match flags.pull.as_deref() {
        None | Some("always" | "missing" | "never") => {}
        Some(other) => {
            return Err(Failure::usage(format!(
                "invalid pull option: {other:?}: must be one of \"always\", \"missing\" or \"never\""
            )));
        }
    }
    if flags.command.len() > MAX_LIST {
        return Err(Failure::usage("You specify too many arguments."));
    }
    let lists = [
        ("--cap-add", flags.cap_add.len()),
        ("--cap-drop", flags.cap_drop.len()),
        ("--volume", flags.volume.len()),
        ("--mount", flags.mount.len()),
        ("--tmpfs", flags.tmpfs.len()),
        ("--volumes-from", flags.volumes_from.len()),
        ("--ulimit", flags.ulimit.len()),
        ("--annotation", flags.annotation.len()),
        ("--hugetlb-limit", flags.hugetlb_limit.len()),
        ("--sysctl", flags.sysctl.len()),
    ];
    match lists.iter().find(|(_, n)| *n > MAX_LIST) {
        Some((flag, n)) => Err(Failure::usage(format!("flag {flag} is given {n} times, at most {MAX_LIST}"))),
        None => Ok(()),
    }
}

/// Everything that is mounted.
#[derive(Debug, Default)]
struct Storage {
    binds: Vec<String>,
    anonymous: Vec<String>,
    mounts: Vec<crate::api::container::MountPoint>,
    tmpfs: BTreeMap<String, String>,
}

fn storage(flags: &ContainerFlags) -> Result<Storage, Failure> {
    let mut storage = Storage::default();
    let mut taken: Vec<String> = Vec::new();
    let mut claim = |destination: &str| {
        let clean = crate::utils::path::clean(destination);
        if taken.contains(&clean) {
            return Err(Failure::usage(format!("Duplicate mount point: {clean}")));
        }
        taken.push(clean);
        Ok(())
    };
    for text in &flags.volume {
        let v = volume::parse(text)?;
        claim(&v.destination)?;
        match v.source {
            Some(_) => storage.binds.push(v.bind()),
            None if v.options.is_empty() => storage.anonymous.push(v.destination),
            None => storage.binds.push(format!("{}:{}", v.destination, v.options)),
        }
    }
    for text in &flags.mount {
        let m = mount::parse(text)?;
        claim(&m.target)?;
        storage.mounts.push(m);
    }
    for text in &flags.tmpfs {
        let (destination, options) = text.split_once(':').unwrap_or((text, ""));
        if !destination.starts_with('/') || crate::utils::path::clean(destination) == "/" {
            return Err(Failure::usage(
                "Invalid tmpfs: path must be absolute, and destination can't be '/'".to_owned(),
            ));
        }
        claim(destination)?;
        storage.tmpfs.insert(destination.to_owned(), options.to_owned());
    }
    Ok(storage)
}

fn working_directory(path: Option<&str>) -> Result<String, Failure> {
    match path {
        Some(path) if !path.is_empty() && !path.starts_with('/') => {
            Err(Failure::usage(format!("The working directory '{path}' is invalid. It needs to be an absolute path.")))
        }
        path => Ok(path.unwrap_or_default().to_owned()),
    }
}

fn hook_spec(path: Option<&str>) -> Result<String, Failure> {
    match path {
        Some(path) if !path.starts_with('/') => {
            Err(Failure::usage(format!("Hook spec file {path:?} must be an absolute path")))
        }
        path => Ok(path.unwrap_or_default().to_owned()),
    }
}

/// `K[=V]`.
fn annotations(list: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let one = |text: &String| match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err(Failure::usage(format!("Invalid annotation: {text:?}"))),
        (key, value) => Ok((key.to_owned(), value.to_owned())),
    };
    order::try_map(list.iter().map(one))
}

/// `K=V`.
///
/// # Errors
/// Exit code 125 for another form.
pub fn pairs(what: &str, list: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let one = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(Failure::usage(format!("Invalid {what} {text:?}: want KEY=VALUE"))),
    };
    order::try_map(list.iter().map(one))
}

fn addresses(list: &[String]) -> Result<Vec<String>, Failure> {
    match list.iter().find(|a| a.parse::<std::net::IpAddr>().is_err()) {
        Some(bad) => Err(Failure::usage(format!("{bad} is not an ip address"))),
        None => Ok(list.to_vec()),
    }
}

/// `NAME:ADDRESS` of those and of docker's other forms, `NAME=ADDRESS` and an IPv6 address in brackets.
fn extra_hosts(list: &[String]) -> Result<Vec<String>, Failure> {
    let one = |text: &String| {
        let bad = || Failure::usage(format!("bad format for add-host: {text:?}"));
        let (name, address) = text.split_once([':', '=']).filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
        if address == "host-gateway" {
            let why = "containers have no bridge network, whose gateway that would be";
            return Err(Failure::usage(format!("add-host {text:?} is not available: {why}")));
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_good = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => address.parse::<std::net::IpAddr>().is_ok(),
        };
        if is_good { Ok(format!("{name}:{}", bare.unwrap_or(address))) } else { Err(bad()) }
    };
    list.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
