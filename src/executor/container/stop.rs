//! Stopping, restarting, removing.

use super::settle::{self, settle, settle_and_remove};
use super::signal::{By, await_end, force, note_stop, send_and_thaw, stop_signal};
use crate::error::{Error, Kind, Result};
use crate::executor::{Change, Daemon};
use crate::modules::container::Container;
use crate::modules::container::run::{Phase, Run, Verb, Verdict, permit};
use crate::utils::atomic_file::Durability;
use crate::utils::signal;
use std::sync::Arc;
use std::time::Duration;

/// Stack of a thread that writes one small document.
const STACK: usize = 64 * 1024;
/// Seconds from the stop signal to SIGKILL.
const GRACE: i64 = 10;
/// For how long a shim that does not answer may take to tell the end of a process that is dead, before it is killed as
/// one that does not end.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Stops it: its stop signal, then SIGKILL after `timeout` seconds (negative waits for ever).
///
/// # Errors
/// `Kind::NotFound`, `Kind::Invalid` for an unknown signal, `Kind::Timeout` when not even SIGKILL ends it.
pub fn stop(daemon: &Daemon, reference: &str, timeout: Option<i64>, signal: Option<&str>) -> Result<Change> {
    let container = daemon.find(reference)?;
    stop_container(daemon, &container, timeout, signal)
}

fn stop_container(
    daemon: &Daemon,
    container: &Arc<Container>,
    timeout: Option<i64>,
    signal: Option<&str>,
) -> Result<Change> {
    let number = match signal {
        None | Some("") => stop_signal(container),
        Some(word) => signal::parse(word)?,
    };
    let exits = {
        // A start that is under way is waited for; the lock is not kept while the container ends, so that a second
        // stop or a kill gets through.
        let _operation = container.operate();
        let run = container.run();
        let phase = run.phase();
        if run.is_going() {
            return Ok(Change::Unchanged);
        }
        if phase == Phase::Remaining {
            note_stop(daemon, container); // so that at least it is not started again
            keep(daemon, container);
        }
        if permit(Verb::Stop, phase, &container.id)? == Verdict::Nothing {
            settle(daemon, container);
            return Ok(Change::Unchanged);
        }
        let exits = container.state().exits;
        if note_stop(daemon, container) {
            settle(daemon, container);
            daemon.tell(container, "stop", &[]);
            return Ok(Change::Changed);
        }
        exits
    };
    log::info!("container {}: stopping with signal {number}", container.id);
    let grace = timeout.or(container.head.stop_timeout).unwrap_or(GRACE);
    let limit = u64::try_from(grace).ok().map(Duration::from_secs);
    let asked = send_and_thaw(daemon, container, number);
    if let Err(e) = &asked {
        log::warn!("container {}: cannot be asked to stop: {e}", container.id);
    }
    let ended = match asked {
        Ok(By::Shim) => container.wait_until(limit, |s| s.exits != exits || s.lost || !s.run.running),
        Ok(By::Daemon) => await_end(container, exits, limit, TOLD_WITHIN),
        Err(_) => false,
    };
    if !ended {
        force(daemon, container).inspect_err(|_| keep(daemon, container))?;
    }
    let _operation = container.operate();
    settle(daemon, container);
    if container.state().run.remains.is_some() {
        return Err(Error::new(Kind::Timeout, settle::remaining(&container.id)));
    }
    daemon.tell(container, "stop", &[]);
    Ok(Change::Changed)
}

/// Keeps a container that is removed at its end from that, for as long as this lives.
struct Restarting<'a>(&'a Container);

impl<'a> Restarting<'a> {
    fn new(container: &'a Container) -> Restarting<'a> {
        container.change(|s| s.restarts += 1);
        Restarting(container)
    }
}

impl Drop for Restarting<'_> {
    fn drop(&mut self) {
        self.0.change(|s| s.restarts -= 1);
    }
}

/// Stops and starts it, also one that is removed at its end.
///
/// # Errors
/// As [`stop`] and [`super::start`].
pub fn restart(daemon: &Daemon, reference: &str, timeout: Option<i64>, signal: Option<&str>) -> Result<()> {
    let container = daemon.find(reference)?;
    let _restarting = Restarting::new(&container);
    stop_container(daemon, &container, timeout, signal)?;
    super::start::start_container(daemon, &container)?;
    daemon.tell(&container, "restart", &[]);
    Ok(())
}

/// Removes it. `volumes` also removes its anonymous volumes, but for those that other containers have.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` while it runs and `force` is not given, the failing call.
pub fn delete(daemon: &Daemon, reference: &str, with_force: bool, volumes: bool) -> Result<()> {
    let container = daemon.find_any(reference)?;
    let _operation = container.operate();
    if container.state().removed {
        return Err(Error::not_found(format!("No such container:{reference}")));
    }
    let verb = if with_force { Verb::ForceRemove } else { Verb::Remove };
    let run = container.run();
    // Whoever comes first removes it.
    let phase = if run.is_going() { Phase::Exited } else { run.phase() };
    let permitted = permit(verb, phase, &container.id);
    if phase == Phase::Remaining && with_force {
        return permitted.map(drop).map_err(|e| when_it_ends(daemon, &container, volumes, &e));
    }
    permitted?;
    if matches!(phase, Phase::Running | Phase::Paused) {
        container.change(|s| s.run.has_been_manually_stopped = true);
        match force(daemon, &container) {
            Err(e) if e.kind() == Kind::Timeout => return Err(when_it_ends(daemon, &container, volumes, &e)),
            forced => forced?,
        }
    }
    container.change(|s| s.run.with_volumes = volumes);
    settle_and_remove(daemon, &container).map_err(|e| match e.kind() {
        Kind::Timeout => when_it_ends(daemon, &container, volumes, &e),
        _ => {
            container.change(|s| s.run.unwanted = false);
            e
        }
    })
}

/// Has written down, where also a reboot finds it, what was asked of a container that has not ended yet. By a thread of
/// its own, one for each container: the disk may be what does not answer.
pub(super) fn keep(daemon: &Daemon, container: &Arc<Container>) {
    let container = Arc::clone(container);
    daemon.monitor.after(Duration::ZERO, move |daemon| {
        if container.change(|s| std::mem::replace(&mut s.keeping, true)) {
            return;
        }
        let (owner, kept) = (Arc::clone(daemon), Arc::clone(&container));
        let spawned = std::thread::Builder::new().name("keep".into()).stack_size(STACK).spawn(move || {
            let mut written = None;
            while let Some(run) = unwritten(&kept, written.as_ref()) {
                if let Err(e) = owner.disk.save(&kept.id, &run, Durability::Durable)
                    && !kept.state().removed
                {
                    log::warn!("container {}: what was asked of it is not noted: {e}", kept.id);
                }
                written = Some(run);
            }
        });
        if let Err(e) = spawned {
            container.change(|s| s.keeping = false);
            log::warn!("container {}: what was asked of it is not noted: {e}", container.id);
        }
    });
}

/// What is to be written after what was `written`, if that is not how it is: it may have ended meanwhile, and that
/// must not be written over.
fn unwritten(container: &Container, written: Option<&Run>) -> Option<Run> {
    container.change(|s| {
        let run = Run { remains: None, ..s.run.clone() };
        s.keeping = !s.removed && written != Some(&run);
        s.keeping.then_some(run)
    })
}

/// A container that has not ended yet goes when it has, also with a daemon to come.
fn when_it_ends(daemon: &Daemon, container: &Arc<Container>, volumes: bool, e: &Error) -> Error {
    let run = container.change(|s| {
        (s.run.unwanted, s.run.with_volumes) = (true, volumes);
        s.run.clone()
    });
    if let Err(e) = daemon.disk.save_volatile(&container.id, &run) {
        log::warn!("container {}: that it is to be removed is not noted: {e}", container.id);
    }
    keep(daemon, container);
    Error::new(e.kind(), format!("{e}; it will be removed when it has ended"))
}
