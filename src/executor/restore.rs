//! Start-up: finds the containers, connects to the shims that still run, settles what ended in between, and has the
//! garbage of interrupted work removed.

use super::container::{remains, settle};
use super::{Daemon, health, monitor};
use crate::api::shim::{ExecState, Exit, Launched, Request};
use crate::error::{Kind, Result};
use crate::modules::container::disk::{Inventory, Loaded, UNKNOWN_END, remove_tree};
use crate::modules::container::health::starting;
use crate::modules::container::policy::{Backoff, Policy};
use crate::modules::container::run::Phase;
use crate::modules::container::{Container, State};
use crate::modules::runtime::shim::{self, Watch};
use crate::utils::atomic_file::Durability;
use crate::utils::order;
use crate::utils::sys::process::is_alive;
use crate::utils::time::Timestamp;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Containers for which starting a thread pays.
const WORTH_A_THREAD: usize = 64;
/// Stack of a thread that loads: documents, no deep recursion.
const STACK: usize = 128 * 1024;
/// From the end of the start to a look at what the start did not need.
const UNHURRIED: Duration = Duration::from_secs(1);
/// For which the start waits until the processes of a container without a shim have ended; more time they get later.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tries to reach a shim that is there but cannot be talked to at the moment.
const TRIES: u32 = 3;

/// Restores everything. Each container is there, in its right state, when this returns.
///
/// # Errors
/// When the directories cannot be read. What is wrong with one container concerns that one only.
pub fn all(daemon: &Arc<Daemon>) -> Result<()> {
    // Before any container may start again by policy.
    let volumes = daemon.volumes.restore();
    let Inventory { ids, active, garbage } = daemon.disk.inventory()?;
    let (mut running, mut found) = (0, Found::default());
    for (id, loaded) in ids.iter().zip(load(daemon, &ids, &active)) {
        match loaded {
            Some(loaded) => one(daemon, id, loaded, active.contains(id), &mut found),
            None => log::warn!("{:?} is no container and is left alone", daemon.disk.directory(id)),
        }
        running += usize::from(active.contains(id));
    }
    log::info!("{} containers found, {running} with run state", ids.len());
    match volumes {
        Ok(left) => super::volume::restore(daemon, left),
        Err(e) => log::error!("volumes are not checked for owners: {e}"),
    }
    // What happened meanwhile is told as it happened.
    let Found { mut past, mut followed, watched } = found;
    order::sort_by_key(&mut past, |(time, ..)| *time);
    for (time, container, end) in past {
        match end {
            End::OfSession(ended) => monitor::tell_exec(daemon, &container, time, &ended.exec_id, ended.exit_code),
            End::OfRun(exit) => {
                log::info!("container {}: had exited with {}", container.id, exit.exit_code);
                // Whether it is started again is decided when all containers are known.
                monitor::note(daemon, &container, &exit, None);
                followed.push(container);
            }
        }
    }
    for (container, watch) in watched {
        daemon.monitor.add(&container, watch);
    }
    // Not before all are known, of which one may need what another has.
    for container in &followed {
        follow(daemon, container);
    }
    for container in daemon.containers.all() {
        restart(daemon, &container);
    }
    check_documents(daemon);
    sweep(daemon, garbage, &active, &order::set(ids));
    Ok(())
}

/// Loads the containers in the order of `ids`, many of them on all processors.
fn load(daemon: &Daemon, ids: &[String], active: &BTreeSet<String>) -> Vec<Option<Loaded>> {
    let load = |ids: &[String]| ids.iter().map(|id| daemon.disk.load(id, active.contains(id))).collect::<Vec<_>>();
    let threads = crate::utils::host::usable_processors().min(ids.len() / WORTH_A_THREAD).max(1);
    let mut shares = ids.chunks(ids.len().div_ceil(threads).max(1));
    let own = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| {
                let thread = std::thread::Builder::new().name("restore".into()).stack_size(STACK);
                thread.spawn_scoped(scope, move || load(share)).map_err(|_| load(share))
            })
            .collect();
        let mut all = load(own);
        for other in others {
            all.extend(other.map_or_else(|done| done, |thread| thread.join().expect("a panic ends the process")));
        }
        all
    })
}

/// What became of the containers' runs.
#[derive(Default)]
struct Found {
    /// What ended when nobody watched, and when that was.
    past: Vec<(Timestamp, Arc<Container>, End)>,
    /// They were known to have ended; something [follows](follow) from that.
    followed: Vec<Arc<Container>>,
    /// Their shims are there. They are heard when what was before is told.
    watched: Vec<(Arc<Container>, Watch)>,
}

enum End {
    OfRun(Exit),
    OfSession(ExecState),
}

fn one(daemon: &Arc<Daemon>, id: &str, loaded: Loaded, active: bool, found: &mut Found) {
    let Loaded { head, mut run } = loaded;
    // Whatever was under way is not any more.
    run.starting = false;
    run.restarting = false;
    run.removal_inprogress = false;
    if !active {
        run.remains = None; // of a boot before this one
    }
    let container = daemon.containers.add(Container::new(id.into(), head, run));
    let connected = if active { connect(daemon, &container) } else { Ok(None) };
    match connected {
        Ok(Some((watch, launched))) => {
            container.change(|s| {
                resume(s, &launched);
                if container.head.check.is_some() {
                    s.run.health.get_or_insert_with(starting);
                }
            });
            adopt(daemon, &container, &launched);
            health::begin(daemon, &container);
            daemon.execs.restore(&container, &launched);
            for ended in launched.ended_execs {
                found.past.extend(ended.untold.map(|at| (at, Arc::clone(&container), End::OfSession(ended))));
            }
            found.watched.push((Arc::clone(&container), watch));
        }
        Ok(None) => {
            if container.run().damage.is_empty()
                && let Some(damage) = lost_image(daemon, &container)
            {
                container.change(|s| s.run.damage = damage);
            }
            if let Some(exit) = ended(daemon, &container, active) {
                found.past.push((exit.finished_at, Arc::clone(&container), End::OfRun(exit)));
            } else if active || settle::is_to_go(&container) {
                found.followed.push(Arc::clone(&container));
            }
        }
        Err(e) => container.change(|s| s.run.damage = e.to_string()),
    }
    report(&container);
}

/// What is wrong with a container whose image is not there, when it needs it. Images cannot be removed from under a
/// container; they are lost when they are damaged.
fn lost_image(daemon: &Daemon, container: &Container) -> Option<String> {
    let id = &container.head.image_id;
    if id.is_empty() || daemon.images.find(id).is_ok() || daemon.images.container_copy(&container.id).is_some() {
        return None;
    }
    let host = daemon.disk.host_config(&container.id).ok()?;
    host.external_rootfs.is_empty().then(|| lost(id))
}

fn lost(image: &str) -> String {
    format!("its image sha256:{image} is damaged or gone")
}

/// An image is there that may have been lost: its containers can be used again.
pub fn image_came(daemon: &Daemon, image: &str) {
    for container in daemon.containers.all() {
        if container.head.image_id != image || container.run().damage.is_empty() {
            continue;
        }
        let healed = container.change(|s| {
            let healed = s.run.damage == lost(image);
            if healed {
                s.run.damage.clear();
            }
            healed
        });
        if healed {
            log::info!("container {}: its image is there again", container.id);
        }
    }
}

/// Says in the log what is wrong with a container. It is listed, with its directory as it is, until a person removes it.
fn report(container: &Container) {
    let damage = container.run().damage;
    if !damage.is_empty() {
        log::error!("container {}: its directory is kept but it cannot be used: {damage}", container.id);
    }
}

/// Has the host configurations looked at, which no listing needs: so an operator sees what is damaged before it is used.
/// And what writes of earlier daemons left beside them is removed.
/// Not now, when it would take a processor and the memory allocator from whoever waits for the daemon's start.
fn check_documents(daemon: &Arc<Daemon>) {
    if daemon.containers.all().is_empty() {
        return;
    }
    let owner = Arc::clone(daemon);
    let check = move || {
        std::thread::sleep(UNHURRIED);
        for container in owner.containers.all() {
            remove_temporaries(&owner, &container);
            let Err(e) = owner.disk.host_config(&container.id) else { continue };
            let found = container.change(|s| {
                let found = s.run.damage.is_empty() && s.run.phase() != Phase::Removing && !s.removed;
                if found {
                    s.run.damage = e.to_string();
                }
                found
            });
            if found {
                report(&container);
            }
        }
    };
    // Not one of the workers, whose end a stop of the daemon awaits.
    if let Err(e) = std::thread::Builder::new().name("check".into()).stack_size(STACK).spawn(check) {
        log::warn!("the host configurations are not looked at before they are used: {e}");
    }
}

fn remove_temporaries(daemon: &Daemon, container: &Container) {
    let _operation = container.operate();
    let (removed, has_shim) = {
        let state = container.state();
        (state.removed, state.run.running || state.unsettled.is_some())
    };
    if !removed && let Err(e) = daemon.disk.remove_temporaries(&container.id, has_shim) {
        log::warn!("container {}: garbage is left: {e}", container.id);
    }
}

/// Connects to the container's shim; `None` when there is none any more.
fn connect(daemon: &Daemon, container: &Container) -> Result<Option<(Watch, Launched)>> {
    let directory = daemon.disk.state_directory(&container.id);
    let mut tries = 0;
    loop {
        match shim::watch(&directory) {
            Ok(found) => return Ok(Some(found)),
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            Err(e) if e.kind() == Kind::Unsupported => return Err(e),
            Err(e) => {
                tries += 1;
                let run = container.run();
                if !is_alive(run.shim_pid, run.shim_start_time) {
                    return Ok(None);
                }
                if tries == TRIES {
                    // Its container runs and must not be killed for that.
                    return Err(e.context("its shim runs but does not answer"));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Has an ended container started again when its policy says so.
fn restart(daemon: &Daemon, container: &Arc<Container>) {
    if container.state().policy == Policy::No {
        return; // nearly all
    }
    let delay = container.change(|s| {
        if s.run.remains.is_some() || s.run.unwanted {
            return None; // not before that has ended, or not at all
        }
        let due = s.run.restarting || !s.run.is_active() && s.policy.restarts_with_daemon(&s.run);
        // Whoever stopped it did so with the daemon before.
        s.run.has_been_manually_stopped &= !due;
        // A daemon counts anew.
        s.backoff = Backoff::default();
        due.then(|| s.await_restart(s.run.finished_at.since(s.run.started_at)))
    });
    if let Some(delay) = delay {
        monitor::restart_in(daemon, container, delay);
    }
}

/// The shim knows better than what was written last.
fn resume(state: &mut State, launched: &Launched) {
    let (oom_killed, stopped) = (state.run.oom_killed, state.run.has_been_manually_stopped);
    let (unwanted, with_volumes) = (state.run.unwanted, state.run.with_volumes);
    let health = state.run.health.take();
    let same = state.run.started_at == launched.started_at;
    state.run.started(launched);
    if same {
        state.run.oom_killed = oom_killed;
        state.run.has_been_manually_stopped = stopped;
        (state.run.unwanted, state.run.with_volumes) = (unwanted, with_volumes);
        state.run.health = health;
    }
}

fn adopt(daemon: &Daemon, container: &Container, launched: &Launched) {
    log::info!("container {}: runs as process {}", container.id, launched.pid);
    if let Err(e) = daemon.disk.save_volatile(&container.id, &container.run()) {
        log::warn!("container {}: its state is not recorded: {e}", container.id);
    }
}

/// No shim: the run, if there was one, has ended. Gives its exit when nobody noted that so far.
fn ended(daemon: &Daemon, container: &Container, active: bool) -> Option<Exit> {
    let run = container.run();
    match settle::exit_file(daemon, container, active) {
        // Of a boot before this one nothing is left.
        Some(exit) if run.concerns(&exit) => Some(Exit { remains: exit.remains && active, ..exit }),
        _ if run.running => Some(unseen(daemon, container, active)),
        _ => None,
    }
}

/// Has done what follows the end of a run that ended before this daemon began.
fn follow(daemon: &Arc<Daemon>, container: &Arc<Container>) {
    if container.state().run.remains.is_some() {
        settle::record(daemon, container);
        remains::await_end(daemon, container);
        return;
    }
    let (owner, container) = (Arc::clone(daemon), Arc::clone(container));
    daemon.workers.submit(move || {
        let _operation = container.operate();
        let (run, removed) = {
            let state = container.state();
            (state.run.clone(), state.removed)
        };
        if removed || run.running {
            return; // somebody was faster
        }
        if settle::is_to_go(&container) {
            settle::go(&owner, &container);
            return;
        }
        match owner.disk.save(&container.id, &run, Durability::Durable) {
            Ok(()) => owner.disk.remove_exit_file(&container.id),
            Err(e) => {
                log::error!("container {}: its exit is not recorded: {e}", container.id);
                return;
            }
        }
        owner.disk.remove_state_directory(&container.id);
    });
}

/// A run that nobody saw end: its remains are killed. After a reboot there are none; but the volatile directory may be
/// lost without one, and then the shim that nobody can talk to any more still looks after what is in the cgroup. An id that
/// another process has by now does no harm: nothing is killed but what is there.
fn unseen(daemon: &Daemon, container: &Container, active: bool) -> Exit {
    if active {
        return settle::after_loss(daemon, container, UNKNOWN_END, PATIENCE);
    }
    let run = container.run();
    let lives = is_alive(run.shim_pid, run.shim_start_time) || is_alive(run.pid, run.start_time);
    let remains = lives && !settle::clean_up(daemon, container, 0, 0, PATIENCE);
    let started_at = run.started_at;
    Exit { started_at, finished_at: Timestamp::now(), exit_code: UNKNOWN_END, oom_killed: false, remains }
}

/// Has removed what belongs to no container. The lists are made now, before new containers come; `known` are those that
/// were there when the daemon started, of which some may have been removed since.
fn sweep(daemon: &Arc<Daemon>, garbage: Vec<PathBuf>, active: &BTreeSet<String>, known: &BTreeSet<String>) {
    let orphans: Vec<PathBuf> = active.difference(known).map(|id| daemon.disk.state_directory(id)).collect();
    if let Err(e) = daemon.images.remove_strays(known) {
        log::error!("layers are not checked for owners: {e}");
    }
    if garbage.is_empty() && orphans.is_empty() {
        return;
    }
    daemon.workers.submit(move || {
        for directory in orphans {
            log::warn!("{directory:?} belongs to no container: ending what runs there");
            match end_orphan(&directory) {
                Ok(()) => remove_tree(&directory),
                Err(e) => log::error!("{directory:?} is kept: {e}"),
            }
        }
        for path in garbage {
            remove_tree(&path);
        }
    });
}

/// Kills the container of a shim whose container directory is gone, and lets the shim end.
///
/// # Errors
/// When there is a shim that cannot be talked to.
fn end_orphan(directory: &std::path::Path) -> Result<()> {
    let kill = || {
        let kill = Request::Signal { exec_id: None, signal: libc::SIGKILL, all: true };
        if let Err(e) = shim::request(directory, None, &kill, &[]) {
            log::warn!("{directory:?}: {e}");
        }
    };
    let mut watch = match shim::watch(directory) {
        Ok((watch, launched)) => {
            if launched.exit.is_none() {
                kill();
            }
            watch
        }
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        Err(e) => {
            kill(); // that much all of them understand
            return Err(e);
        }
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        match watch.next_event() {
            Ok(Some(crate::api::shim::Event::Exited(_))) | Err(_) => break,
            Ok(Some(_)) => {}
            Ok(None) if std::time::Instant::now() > deadline => break,
            Ok(None) => {
                use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
                let _ = poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], PollTimeout::from(500u16));
            }
        }
    }
    watch.release();
    Ok(())
}
