//! Starting a container.

use super::network_files;
use super::remains;
use super::root::Root;
use super::settle::{self, remove, settle};
use crate::api::container::{ContainerConfig, HostConfig};
use crate::api::shim::{Launch, Launched, Request, Streams, VERSION};
use crate::error::{Context, Error, Kind, Result};
use crate::executor::{Change, Daemon, health, monitor};
use crate::modules::container::health::starting;
use crate::modules::container::policy::Backoff;
use crate::modules::container::run::{Phase, Remains, Verb, Verdict, permit};
use crate::modules::container::{Container, PendingClient, external, host_channel, inside};
use crate::modules::runtime::shim::{self, Watch};
use crate::modules::spec::{self, JoinedNamespaces, Mode};
use crate::utils::atomic_file::Durability;
use crate::utils::kernel;
use crate::utils::sys::socket::{self, MAX_DESCRIPTORS};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Exit code of a container whose start failed for no fault of its program.
const FAILED: i32 = 125;

/// Starts it.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it is frozen or being removed; `Kind::CommandNotFound` and
/// `Kind::CommandNotExecutable` for the program; what is wrong with the configuration on this host. The reason stays
/// in the container's state, and an auto-remove container is removed.
pub fn start(daemon: &Daemon, reference: &str) -> Result<Change> {
    start_container(daemon, &daemon.find(reference)?)
}

pub(super) fn start_container(daemon: &Daemon, container: &Arc<Container>) -> Result<Change> {
    let _operation = container.operate();
    if permit(Verb::Start, container.run().phase(), &container.id)? == Verdict::Nothing {
        return Ok(Change::Unchanged);
    }
    container.change(|s| {
        s.run.restart_count = 0;
        s.backoff = Backoff::default();
    });
    begin(daemon, container, false).map(|()| Change::Changed)
}

/// Starts it again by policy, if it still waits for that since its exit of this number. When it cannot be started, that
/// is an exit like others: the disk or the network that it needs may come later than the container.
pub(in crate::executor) fn again(daemon: &Daemon, container: &Arc<Container>, exits: u64) {
    let _operation = container.operate();
    let due = container.change(|s| {
        let due = s.exits == exits && !s.removed && s.run.phase() == Phase::Restarting;
        s.run.restart_count += u64::from(due);
        due
    });
    if !due {
        return;
    }
    if let Err(e) = begin(daemon, container, true) {
        log::warn!("container {}: is not started again: {e}", container.id);
    }
}

/// Starts one that does not run; `by_policy` tries again when that fails. The operation lock must be held.
fn begin(daemon: &Daemon, container: &Arc<Container>, by_policy: bool) -> Result<()> {
    settle(daemon, container);
    // At once: whoever attaches from now on finds a start under way and waits for its end.
    let clients = container.change(|s| {
        s.run.begin();
        std::mem::take(&mut s.pending)
    });
    let result = launch(daemon, container, &clients);
    // Those that a failure left, and the monitor's duplicates: else no client would see the end of its stream.
    clients.iter().for_each(|c| drop(c.take()));
    daemon.monitor.let_go();
    match result {
        Ok((watch, launched)) => {
            started(daemon, container, watch, &launched);
            Ok(())
        }
        Err(e) => {
            failed(daemon, container, &e, by_policy);
            Err(e)
        }
    }
}

/// Notes a running container. Its shim has all that is needed to find it again, so a failing note is no failure.
fn started(daemon: &Daemon, container: &Arc<Container>, watch: Watch, launched: &Launched) {
    let run = container.change(|s| {
        s.run.started(launched);
        s.run.health = container.head.check.as_ref().map(|_| starting());
        s.since = Some(Instant::now());
        s.run.clone()
    });
    log::info!("container {}: started as process {}", container.id, launched.pid);
    let mut noted = daemon.disk.save_volatile(&container.id, &run);
    if !container.head.auto_remove {
        // So that a reboot sees that it ran; not worth an fsync.
        noted = noted.and(daemon.disk.save(&container.id, &run, Durability::Volatile));
    }
    if let Err(e) = noted {
        log::warn!("container {}: its start is not recorded: {e}", container.id);
    }
    for volume in container.head.volumes() {
        daemon.tell_volume_at(launched.started_at, "mount", &volume.name, Some(container));
    }
    daemon.tell(container, "start", &[]);
    // Before its end can be heard of: it is the run after so many exits.
    health::begin(daemon, container);
    daemon.monitor.add(container, watch);
}

fn failed(daemon: &Daemon, container: &Arc<Container>, error: &Error, by_policy: bool) {
    let code = exit_code(error.kind());
    // One that did not come up in its time, or whose shim died, may have left what does not end.
    let late = matches!(error.kind(), Kind::Timeout | Kind::Remote);
    let remains = late && !settle::clean_up(daemon, container, 0, 0, Duration::from_millis(100));
    let (run, restart) = container.change(|s| {
        s.run.not_started(code, error.to_string());
        s.run.remains = remains.then(Remains::default);
        // Whoever waits for its end need not wait any longer.
        s.exits += 1;
        let again = by_policy && !remains && s.policy.restarts(&s.run);
        let restart = again.then(|| s.await_restart(Duration::ZERO));
        (s.run.clone(), restart)
    });
    if let Some(delay) = restart {
        monitor::restart_in(daemon, container, delay);
    }
    if remains {
        settle::record(daemon, container);
        remains::await_end(daemon, container);
        return;
    }
    daemon.disk.remove_state_directory(&container.id);
    let done = if container.head.auto_remove {
        remove(daemon, container)
    } else {
        daemon.disk.save(&container.id, &run, Durability::Durable)
    };
    if let Err(e) = done {
        log::error!("container {}: after its failed start: {e}", container.id);
    }
}

/// The exit code that a failure to start a program stands for.
pub fn exit_code(kind: Kind) -> i32 {
    match kind {
        Kind::CommandNotFound => 127,
        Kind::CommandNotExecutable => 126,
        _ => FAILED,
    }
}

fn launch(daemon: &Daemon, container: &Arc<Container>, clients: &[Arc<PendingClient>]) -> Result<(Watch, Launched)> {
    let id = &container.id;
    let document = daemon.disk.document(id)?;
    let host = daemon.disk.host_config(id)?;
    let runtime = daemon.settings.runtimes.find(&host.runtime)?;
    let config = &document.common_config.config;
    let mut root = Root::find(daemon, id, &document, &host)?;
    if let Some(overlay) = root.overlay.as_mut().filter(|_| host.auto_remove && kernel::version() >= (5, 10)) {
        // The layer goes with the container, so the kernel need not write it out when the overlay is unmounted.
        overlay.options.push("volatile".into());
        if container.run().started_at.is_set() {
            // What would say after a crash that the layer is not whole (Documentation/filesystems/overlayfs.rst).
            let _ = std::fs::remove_dir_all(overlay.work.join("work/incompat")); // else the mount tells
        }
    }
    let owner = spec::remap_of(&host, &daemon.settings.defaults)?.map(|remap| remap.root()).unwrap_or_default();
    if !host.external_rootfs.is_empty() && root.device.is_none() {
        external::complete(&root.path, owner)?;
    }
    host_channel::restore(&host.host_channel)?;
    let namespaces = join(daemon, container, &host)?;
    let inside = root.holds_network_files(&host).then_some(root.path.as_path());
    if let Some(inside) = inside.filter(|_| !host.env_target_file.is_empty()) {
        inside::write_environment(inside, &host.env_target_file, &config.env, owner)?;
    }
    let init = spec::wants_init(&host).then(own_executable).transpose()?;
    let (hostname, files) = network_files::write(daemon, container, &document, &host, (owner, inside))?;
    let spec = spec::generate(&spec::Input {
        id,
        config,
        host: &host,
        rootfs: &root.path,
        files: &files,
        namespaces: &namespaces,
        defaults: &daemon.settings.defaults,
        hostname: &hostname,
        image_mounts: &root.mounts,
        hooks: document.common_config.hooks.as_ref(),
        init: init.as_deref(),
        log_path: &document.common_config.log_path,
        mount_points: &document.common_config.mount_points,
    })?;
    daemon.disk.write_spec(id, &spec)?;
    daemon.disk.remove_exit_file(id);
    let state_directory = daemon.disk.make_state_directory(id)?;
    let (first, later) = claim(clients);
    let bundle = daemon.disk.directory(id);
    let (syslog_tag, syslog_facility) = container.head.logging.syslog();
    let order = Launch {
        version: VERSION,
        id: id.clone(),
        exit_directory: if host.auto_remove { state_directory.clone() } else { bundle.clone() },
        exit_durable: !host.auto_remove,
        log: container.head.logging.file(&daemon.disk.log(id)),
        syslog_tag,
        syslog_facility,
        bundle,
        overlay: root.overlay,
        device: root.device,
        realtime_period: daemon.settings.realtime.0,
        realtime_runtime: daemon.settings.realtime.1,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        no_pivot: no_pivot(config, &host),
        runtime,
        start_timeout_ms: u64::try_from(daemon.settings.start_timeout.as_millis()).unwrap_or(u64::MAX),
        clients: first.iter().map(|(streams, _)| streams.clone()).collect(),
        state_directory: state_directory.clone(),
    };
    let fds: Vec<OwnedFd> = first.into_iter().flat_map(|(_, fds)| fds).collect();
    let result = shim::launch(&order, &socket::borrow(&fds));
    drop(fds);
    if result.is_ok() {
        for (streams, fds) in later {
            let attach = Request::Attach(streams);
            if let Err(e) = shim::request(&state_directory, None, &attach, &socket::borrow(&fds)) {
                log::warn!("container {id}: a waiting client is not attached: {e}");
            }
        }
    }
    result
}

/// Where this executable is, or what took its place in an upgrade.
fn own_executable() -> Result<PathBuf> {
    const GONE: &[u8] = b" (deleted)"; // proc_pid_exe(5)
    let path = std::env::current_exe().context(|| "readlink(\"/proc/self/exe\") for --init".into())?;
    Ok(match path.as_os_str().as_bytes().strip_suffix(GONE) {
        Some(before) if !path.exists() => PathBuf::from(OsStr::from_bytes(before)),
        _ => path,
    })
}

type Claimed = Vec<(Streams, Vec<OwnedFd>)>;

/// Takes the waiting clients' descriptors: those that fit into the first message, and the others.
fn claim(clients: &[Arc<PendingClient>]) -> (Claimed, Claimed) {
    // A long message needs one descriptor for itself, and the shim's listening socket is another.
    let mut room = MAX_DESCRIPTORS - 2;
    let all = clients.iter().filter_map(|c| c.take().map(|w| (w.streams, w.fds)));
    all.partition(|(_, fds)| {
        let fits = fds.len() <= room;
        room = if fits { room - fds.len() } else { 0 };
        fits
    })
}

/// For a host whose root is a ram disk, which pivot_root(2) refuses.
fn no_pivot(config: &ContainerConfig, host: &HostConfig) -> bool {
    const WORD: &str = "ISULAD_RAMDISK";
    host.no_pivot_root
        || config.annotations.contains_key(WORD)
        || host.annotations.contains_key(WORD)
        || std::env::var_os(WORD).is_some()
}

/// What the modes `container:ID` stand for now.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` for one that does not run, `Kind::Invalid` for one that does not share.
fn join(daemon: &Daemon, container: &Container, host: &HostConfig) -> Result<JoinedNamespaces> {
    let file = |mode: &str, name: &str| -> Result<Option<PathBuf>> {
        let Mode::Container(other) = spec::mode(mode) else { return Ok(None) };
        let other = daemon.find(other)?;
        if other.id == container.id {
            return Err(Error::invalid("a container cannot join its own namespaces"));
        }
        let run = other.run();
        permit(Verb::Join, run.phase(), &other.id)?;
        Ok(Some(PathBuf::from(format!("/proc/{}/{name}", run.pid))))
    };
    if let Mode::Container(other) = spec::mode(&host.ipc_mode) {
        let owner = daemon.disk.host_config(&daemon.find(other)?.id)?;
        if matches!(owner.ipc_mode.as_str(), "none" | "private") {
            return Err(Error::invalid(format!("cannot join IPC of a container {other}: non-shareable IPC")));
        }
    }
    Ok(JoinedNamespaces {
        network: file(&host.network_mode, "ns/net")?,
        pid: file(&host.pid_mode, "ns/pid")?,
        ipc: file(&host.ipc_mode, "ns/ipc")?,
        uts: file(&host.uts_mode, "ns/uts")?,
        cgroup: file(&host.cgroupns_mode, "ns/cgroup")?,
        shm: file(&host.ipc_mode, "root/dev/shm")?,
        // Last: it is known then that all of them run.
        user: user_namespace(daemon, host)?,
    })
}

/// The user namespace of the containers that one with a user namespace joins.
fn user_namespace(daemon: &Daemon, host: &HostConfig) -> Result<Option<PathBuf>> {
    if spec::remap_of(host, &daemon.settings.defaults)?.is_none() {
        return Ok(None);
    }
    let mut first: Option<(PathBuf, PathBuf, String)> = None;
    for other in spec::peers(host) {
        let other = daemon.find(other)?;
        let path = PathBuf::from(format!("/proc/{}/ns/user", other.run().pid));
        let namespace = std::fs::read_link(&path).context(|| format!("readlink({path:?})"))?;
        match &first {
            Some((_, known, name)) if *known != namespace => {
                let id = &other.id;
                let text =
                    format!("containers {name} and {id} have different user namespaces and cannot both be joined");
                return Err(Error::conflict(text));
            }
            Some(_) => {}
            None => first = Some((path, namespace, other.id.clone())),
        }
    }
    Ok(first.map(|(path, ..)| path))
}
