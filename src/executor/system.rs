//! The daemon itself.

use super::Daemon;
use crate::api::system::{API_VERSION, Component, Info, MIN_API_VERSION, Platform, Swarm, Version};
use crate::applet::BUILD_TIME;
use crate::applet::COMMIT;
use crate::applet::VERSION;
use crate::modules::container::run::Phase;
use crate::modules::image::driver::Driver;
use crate::utils::host;
use crate::utils::order;
use crate::utils::time::Timestamp;
use serde_json::json;
use std::path::Path;

/// Version of the OCI runtime specification, as the original shows it.
const OCI_VERSION: &str = "1.0.1";

/// Versions.
pub fn version(daemon: &Daemon) -> Version {
    let _ = daemon;
    let kernel = host::kernel();
    Version {
        platform: Platform { name: "isulabox".into() },
        version: VERSION.into(),
        api_version: API_VERSION.into(),
        min_api_version: MIN_API_VERSION.into(),
        git_commit: COMMIT.into(),
        go_version: String::new(),
        os: "linux".into(),
        arch: host::go_architecture().into(),
        kernel_version: kernel.release.clone(),
        build_time: BUILD_TIME.into(),
        oci_version: OCI_VERSION.into(),
        components: vec![Component {
            name: "Engine".into(),
            version: VERSION.into(),
            details: [
                ("ApiVersion", API_VERSION),
                ("MinAPIVersion", MIN_API_VERSION),
                ("GitCommit", COMMIT),
                ("BuildTime", BUILD_TIME),
                ("GoVersion", ""),
                ("Os", "linux"),
                ("Arch", host::go_architecture()),
                ("KernelVersion", &kernel.release),
                ("Experimental", "false"),
            ]
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .into(),
        }],
    }
}

/// Counts, limits, host.
pub fn info(daemon: &Daemon) -> Info {
    let runtimes = &daemon.settings.runtimes;
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    let mut warnings = Vec::new();
    for container in daemon.containers.all() {
        let run = container.run();
        if !run.damage.is_empty() {
            warnings.push(format!("WARNING: container {} is damaged: {}", container.id, run.damage));
        }
        match run.phase() {
            Phase::Running => running += 1,
            Phase::Paused => paused += 1,
            _ => stopped += 1,
        }
    }
    let kernel = host::kernel();
    let cgroup = host::cgroup();
    for (limit, there) in [("memory", cgroup.memory), ("cpu", cgroup.cpu), ("pids", cgroup.pids)] {
        if !there {
            warnings.push(format!("WARNING: No {limit} limit support"));
        }
    }
    let proxy = |name: &str| host::masked(&host::environment(name));
    Info {
        id: host::machine_id(),
        containers: running + paused + stopped,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: stopped,
        images: daemon.images.list().len() as i64,
        driver: daemon.images.driver().map_or("unknown", Driver::name).into(),
        driver_status: vec![
            ["Backing Filesystem".into(), host::filesystem(&daemon.settings.graph).into()],
            ["Supports d_type".into(), "true".into()],
        ],
        memory_limit: cgroup.memory,
        swap_limit: cgroup.swap,
        cpu_cfs_period: cgroup.cpu,
        cpu_cfs_quota: cgroup.cpu,
        cpu_shares: cgroup.cpu,
        cpu_set: cgroup.cpuset,
        pids_limit: cgroup.pids,
        oom_kill_disable: cgroup.memory && !cgroup.unified,
        logging_driver: daemon.settings.logging.config().driver,
        cgroup_driver: "cgroupfs".into(),
        cgroup_version: if cgroup.unified { "2".into() } else { "1".into() },
        kernel_version: kernel.release,
        operating_system: host::operating_system(),
        os_type: "linux".into(),
        architecture: kernel.machine,
        ncpu: host::processors(),
        mem_total: host::memory(),
        docker_root_dir: daemon.settings.graph.to_string_lossy().into_owned(),
        http_proxy: proxy("HTTP_PROXY"),
        https_proxy: proxy("HTTPS_PROXY"),
        no_proxy: host::environment("NO_PROXY"),
        name: kernel.node,
        server_version: VERSION.into(),
        runtimes: order::map(runtimes.list().into_iter().map(|(name, path)| (name.into(), json!({"path": path})))),
        default_runtime: runtimes.default().into(),
        live_restore_enabled: true,
        swarm: Swarm { local_node_state: "inactive".into() },
        security_options: [
            ("name=seccomp,profile=builtin", Path::new("/proc/sys/kernel/seccomp").exists()),
            ("name=userns", daemon.settings.defaults.remap.is_some()),
        ]
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(option, _)| option.to_owned())
        .collect(),
        warnings,
        hugetlb_pagesize: host::huge_page_size(),
        system_time: Timestamp::now().rfc3339(),
    }
}
