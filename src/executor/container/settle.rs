//! What follows the end of a run: the exit is put on disk, the shim is let go, an auto-remove container goes away.
//!
//! The shim has put the exit on disk already, in a file of its own, and that is what lasts through a power cut until a
//! worker has made the state file last too. So no verb waits for the disk here.
//!
//! Done by a worker, or by the verb that needs it done first; whoever holds the operation lock.

use crate::api::shim::Exit;
use crate::error::{Error, Kind, Result};
use crate::executor::{Daemon, monitor, volume};
use crate::modules::container::run::Run;
use crate::modules::container::{Container, disk, host_channel};
use crate::modules::runtime::shim::{self, Watch};
use crate::modules::volume::discard;
use crate::utils::atomic_file::Durability;
use crate::utils::sys::process::is_alive;
use crate::utils::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Exit code of a container whose shim died before it.
pub(super) const LOST: u8 = 137;

/// The worker's part: settles, removes what is to be removed after its exit, makes the record of the others lasting.
pub fn ended(daemon: &Daemon, container: &Arc<Container>) {
    let exits = {
        let _operation = container.operate();
        let (exits, gone) = {
            let state = container.state();
            (state.exits, state.removed || state.run.running && !state.lost)
        };
        if gone {
            return;
        }
        if is_to_go(container) {
            go(daemon, container);
            return;
        }
        settle(daemon, container);
        exits
    };
    // Not under the lock: a verb must not wait for the disk, since the exit file of the shim says the same so far.
    if let Err(e) = daemon.disk.sync_state(&container.id) {
        log::error!("container {}: its exit is not recorded: {e}", container.id);
        return;
    }
    let _operation = container.operate();
    let state = container.state();
    let same = state.exits == exits && !state.run.running && state.run.remains.is_none() && !state.removed;
    drop(state);
    if same {
        daemon.disk.remove_exit_file(&container.id);
    }
}

/// The same of a run whose shim nobody watched, and whose exit is known only here.
pub fn unwatched(daemon: &Daemon, container: &Arc<Container>) {
    let _operation = container.operate();
    let (gone, remains) = {
        let state = container.state();
        (state.removed || state.run.running, state.run.remains.is_some())
    };
    if gone {
        return;
    }
    if is_to_go(container) {
        go(daemon, container);
    } else if record(daemon, container) && !remains {
        daemon.disk.remove_state_directory(&container.id);
    }
}

/// Finishes the last run, if that is still to be done. The operation lock must be held.
pub fn settle(daemon: &Daemon, container: &Arc<Container>) {
    let Some(watch) = take(daemon, container) else { return };
    let recorded = record(daemon, container);
    watch.release();
    if recorded && container.state().run.remains.is_none() {
        daemon.disk.remove_state_directory(&container.id);
    }
}

/// Finishes the last run of a container and removes it. The removal does not wait for the end of the shim, nor is
/// there anything to record. The operation lock must be held.
///
/// # Errors
/// `Kind::Timeout` when something of the run has not ended; as [`remove`].
pub fn settle_and_remove(daemon: &Daemon, container: &Arc<Container>) -> Result<()> {
    let watch = take(daemon, container);
    let result = match container.state().run.remains {
        None => Ok(()),
        Some(_) => Err(Error::new(Kind::Timeout, remaining(&container.id))),
    };
    let result = result.and_then(|()| remove(daemon, container));
    if let Some(watch) = watch {
        if result.is_err() {
            record(daemon, container);
        }
        watch.release();
    }
    result
}

/// Removes a container after its end, which is what it [is to do](is_to_go). The operation lock must be held.
pub fn go(daemon: &Daemon, container: &Arc<Container>) {
    if let Err(e) = settle_and_remove(daemon, container) {
        log::error!("container {}: cannot be removed after its exit: {e}", container.id);
        if e.kind() != Kind::Timeout {
            // Whoever asked for that has to ask again.
            container.change(|s| s.run.unwanted = false);
        }
    }
}

/// Whether it is removed after its end.
pub fn is_to_go(container: &Container) -> bool {
    let state = container.state();
    state.run.unwanted || container.head.auto_remove && state.restarts == 0
}

/// What to say of a container that has ended but for processes that have not.
pub fn remaining(id: &str) -> String {
    format!("container {id} has a process that does not end after SIGKILL")
}

/// Takes over the connection to the shim of an ended run, whose exit is known after that.
fn take(daemon: &Daemon, container: &Arc<Container>) -> Option<Watch> {
    let (watch, lost) = container.change(|s| (s.unsettled.take(), std::mem::take(&mut s.lost)));
    let watch = watch?;
    if lost {
        let exit = after_loss(daemon, container, LOST, shim::PATIENCE);
        daemon.execs.container_ended(&container.id);
        monitor::record(daemon, container, &exit, None);
    }
    Some(watch)
}

/// Notes the exit. Gives whether the volatile directory may go.
pub fn record(daemon: &Daemon, container: &Container) -> bool {
    let run = container.run();
    if run.remains.is_some() {
        // What remains does so until a reboot at most.
        if let Err(e) = daemon.disk.save_volatile(&container.id, &run) {
            log::error!("container {}: what has not ended of it is not recorded: {e}", container.id);
        }
    }
    if container.head.auto_remove {
        return true;
    }
    let run = Run { remains: None, ..run };
    let Err(e) = daemon.disk.save(&container.id, &run, Durability::Volatile) else { return true };
    // A full disk: the volatile directory keeps the exit for the next daemon.
    log::error!("container {}: its exit is not recorded: {e}", container.id);
    if let Err(e) = daemon.disk.save_volatile(&container.id, &run) {
        log::error!("container {}: not even for the next daemon: {e}", container.id);
    }
    false
}

/// The exit of a container whose shim is gone: what it left in a file, otherwise `code` after everything of the
/// container is killed, which may take so long.
pub fn after_loss(daemon: &Daemon, container: &Container, code: u8, patience: Duration) -> Exit {
    let run = container.run();
    if let Some(exit) = exit_file(daemon, container, true)
        && (run.concerns(&exit) || !run.started_at.is_set())
    {
        return exit;
    }
    let remains = !clean_up(daemon, container, run.pid, run.start_time, patience);
    Exit { started_at: run.started_at, finished_at: Timestamp::now(), exit_code: code, oom_killed: false, remains }
}

/// Kills what is left of a run that has no shim any more, and gives whether that has ended, after `patience` at most.
pub fn clean_up(daemon: &Daemon, container: &Container, pid: i32, start: u64, patience: Duration) -> bool {
    let path = daemon.disk.spec(&container.id).map(|spec| spec.linux.map(|l| l.cgroups_path).unwrap_or_default());
    if let Err(e) = &path {
        // At least the first process gets its end.
        log::error!("container {}: its cgroup is not known: {e}", container.id);
    }
    // A disk that does not answer now may later.
    let is_told = !path.as_ref().is_err_and(|e| matches!(e.kind(), Kind::Os(_)));
    // One that is no more configured has nothing to say.
    let runtime = daemon.settings.runtimes.find(container.head.runtime.as_deref().unwrap_or_default());
    let about = (&*daemon.disk.state_directory(&container.id), &*container.id);
    let known = path.as_deref().unwrap_or_default();
    let cleaned = shim::clean_up(known, pid, start, patience, &runtime.unwrap_or_default(), about);
    let Err(e) = cleaned else { return is_told };
    log::error!("container {}: its processes are not cleaned up: {e}", container.id);
    match e.kind() {
        // Something has not ended, or no process could look after it at the moment.
        Kind::Timeout | Kind::Os(_) => false,
        // What is left is no process, unless nobody knows where they are.
        _ => is_told && !is_alive(pid, start),
    }
}

/// What the shim noted about the exit, beside the container or, when there is one, in its volatile directory.
pub fn exit_file(daemon: &Daemon, container: &Container, active: bool) -> Option<Exit> {
    let volatile = active.then(|| daemon.disk.state_directory(&container.id));
    let lasting = daemon.disk.has_exit_file(&container.id).then(|| daemon.disk.directory(&container.id));
    let places = volatile.into_iter().chain(lasting);
    places.into_iter().find_map(|directory| match shim::read_exit(&directory) {
        Ok(exit) => exit,
        Err(e) => {
            log::error!("container {}: {e}", container.id);
            None
        }
    })
}

/// Removes a container that does not run. The operation lock must be held.
///
/// # Errors
/// When it cannot cease to exist; it is as before then. What is left of one that has ceased to exist is logged, and
/// removed by the next start.
pub fn remove(daemon: &Daemon, container: &Arc<Container>) -> Result<()> {
    container.change(|s| s.run.removal_inprogress = true);
    // A reboot removes an auto-remove container anyway.
    let durability = if container.head.auto_remove { Durability::Volatile } else { Durability::Durable };
    if let Some(at) = &container.head.host_channel {
        // First: once nobody knows of it, nobody would.
        host_channel::remove(at);
    }
    // The volumes of those that go by themselves are marked anyway.
    let marks = container.state().run.with_volumes && !container.head.auto_remove;
    if marks {
        volume::mark_anonymous(daemon, container);
    }
    let garbage = match daemon.disk.begin_removal(&container.id, durability) {
        Ok(garbage) => garbage,
        Err(e) => {
            if marks {
                volume::unmark_anonymous(daemon, container);
            }
            container.change(|s| s.run.removal_inprogress = false);
            return Err(e);
        }
    };
    // Before it is forgotten: whoever finds it gone finds them gone.
    let volumes = container.head.auto_remove || container.state().run.with_volumes;
    let volumes = if volumes { volume::take_anonymous(daemon, container) } else { Vec::new() };
    daemon.containers.remove(&container.id);
    volumes.iter().for_each(|path| discard(path));
    if let Err(e) = daemon.images.remove_container_layer(&container.id) {
        log::warn!("container {}: its layer is left for the next start: {e}", container.id);
    }
    disk::remove_tree(&garbage);
    daemon.disk.remove_state_directory(&container.id);
    daemon.execs.forget_container(&container.id);
    log::info!("container {}: removed", container.id);
    daemon.tell(container, "destroy", &[]);
    container.change(|s| {
        s.removed = true;
        s.dismiss_pending();
    });
    daemon.monitor.let_go();
    Ok(())
}
