//! Verbs that are one message to the shim.

use super::settle::{self, LOST};
use super::stop::keep;
use crate::api::oci::runtime::ConsoleSize;
use crate::api::shim::{Reply, Request, Stats};
use crate::error::{Error, Kind, Result};
use crate::executor::{Daemon, monitor};
use crate::modules::container::Container;
use crate::modules::container::run::{Phase, Verb, permit};
use crate::modules::runtime::shim;
use crate::utils::atomic_file::Durability;
use crate::utils::{signal, sys};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a killed container may take to end. Processes whose disk is slow need this.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// How long after its shim was killed too, and for how long a shim that did not answer may take to tell the end of a
/// first process that is dead.
const SHIM_LIMIT: Duration = Duration::from_secs(10);
/// How often a process is looked at that was killed without its shim.
const LOOK: Duration = Duration::from_millis(100);

/// Sends a signal, by default SIGKILL, whose effect is waited for.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it does not run, `Kind::Invalid` for an unknown signal, `Kind::Timeout` when
/// not even SIGKILL ends all of it.
pub fn kill(daemon: &Daemon, reference: &str, word: Option<&str>) -> Result<()> {
    let container = daemon.find(reference)?;
    let number = match word {
        None | Some("" | "0") => libc::SIGKILL,
        Some(word) => signal::parse(word)?,
    };
    let ends = number == libc::SIGKILL || number == stop_signal(&container);
    // A start by policy may be under way: then the run that it makes is ended.
    let operation = (ends && container.run().restarting).then(|| container.operate());
    permit(Verb::Kill, container.run().phase(), &container.id)?;
    log::info!("container {}: signal {number}", container.id);
    if ends {
        let _operation = operation;
        if note_stop(daemon, &container) {
            return Ok(());
        }
    }
    if number == libc::SIGKILL {
        force(daemon, &container).inspect_err(|_| keep(daemon, &container))?;
        let is_open = {
            let state = container.state();
            state.lost || state.run.running
        };
        if is_open {
            // A worker may be at it, who finds out what has not ended.
            let _operation = container.operate();
            settle::settle(daemon, &container);
        }
        return match container.state().run.remains {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::Timeout, settle::remaining(&container.id))),
        };
    }
    // A frozen process would get its end only when somebody thaws it, as docker sees it.
    if ends { send_and_thaw(daemon, &container, number) } else { send(daemon, &container, number) }.map(drop)
}

/// Notes that a person ends it, so that no policy starts it again. Gives whether that is all: it was waiting for its
/// restart.
pub(super) fn note_stop(daemon: &Daemon, container: &Container) -> bool {
    let (run, waited) = container.change(|s| {
        s.run.has_been_manually_stopped = true;
        let waited = s.run.phase() == Phase::Restarting;
        s.run.restarting &= !waited;
        (s.run.clone(), waited)
    });
    let noted = match waited {
        true => daemon.disk.save(&container.id, &run, Durability::Durable),
        // The exit that is to come makes it last.
        false => daemon.disk.save_volatile(&container.id, &run),
    };
    if let Err(e) = noted {
        // Without room for a note it is stopped all the same; only the next daemon could start it again.
        log::warn!("container {}: that it was stopped is not noted: {e}", container.id);
    }
    waited
}

/// The signal that stops this container.
pub fn stop_signal(container: &Container) -> i32 {
    signal::parse(&container.head.stop_signal).unwrap_or(libc::SIGTERM)
}

/// Who sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The shim, as it should.
    Shim,
    /// This process, in the place of a shim that does not answer. It may also come from that one later.
    Daemon,
}

/// Sends a signal to the first process. One that has just ended is no error: its exit is on its way.
///
/// # Errors
/// What the shim reports.
pub fn send(daemon: &Daemon, container: &Container, signal: i32) -> Result<By> {
    let request = Request::Signal { exec_id: None, signal, all: false };
    // Before: its end may be told at once.
    daemon.tell(container, "kill", &[("signal", &signal.to_string())]);
    match ask_if_there(daemon, container, &request) {
        Err(e) if e.kind() == Kind::Timeout => {
            log::warn!("container {}: {e}: signal {signal} is sent without it", container.id);
            let run = container.run();
            sys::process::signal(run.pid, run.start_time, signal).map(|_| By::Daemon)
        }
        asked => asked.map(|()| By::Shim),
    }
}

/// As [`send`], and thaws one that is frozen, whose shim can be asked for that.
///
/// # Errors
/// What the shim reports.
pub fn send_and_thaw(daemon: &Daemon, container: &Container, signal: i32) -> Result<By> {
    let by = send(daemon, container, signal)?;
    if by == By::Shim {
        thaw(daemon, container)?;
    }
    Ok(by)
}

/// Thaws a container that is frozen.
///
/// # Errors
/// What the shim reports.
pub fn thaw(daemon: &Daemon, container: &Container) -> Result<()> {
    if !container.state().run.paused {
        return Ok(());
    }
    ask_if_there(daemon, container, &Request::Resume)?;
    container.change(|s| s.run.paused = false);
    Ok(())
}

/// Waits, for `limit` at most, for the end of the run after so many exits whose shim does not answer. Once its first
/// process is dead its exit should be told: that is waited for no longer than `told_within`.
pub fn await_end(container: &Container, exits: u64, limit: Option<Duration>, told_within: Duration) -> bool {
    let over = |limit| container.wait_until(Some(limit), |s| s.exits != exits || s.lost || !s.run.running);
    let run = container.run();
    let start = Instant::now();
    while !sys::process::is_zombie(run.pid) && sys::process::is_alive(run.pid, run.start_time) {
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return false;
        }
        if over(LOOK) {
            return true;
        }
    }
    over(told_within)
}

/// Kills a container and waits for its end.
///
/// # Errors
/// `Kind::Timeout` when it does not end: it will, as soon as what it waits for in the kernel has come. What the shim
/// reports.
pub fn force(daemon: &Daemon, container: &Arc<Container>) -> Result<()> {
    let exits = {
        let state = container.state();
        if !state.run.running {
            return Ok(());
        }
        state.exits
    };
    let over = |limit| container.wait_until(Some(limit), |s| s.exits != exits || s.lost);
    let asked = send_and_thaw(daemon, container, libc::SIGKILL);
    let run = container.run();
    let hangs = matches!(asked, Ok(By::Daemon));
    let ended = match &asked {
        // What is frozen does not die before its cgroup is cleaned up.
        Ok(By::Daemon) if run.paused => over(SHIM_LIMIT),
        Ok(By::Daemon) => await_end(container, exits, Some(KILL_LIMIT), SHIM_LIMIT),
        Ok(By::Shim) => over(KILL_LIMIT),
        Err(_) => false,
    };
    if ended {
        return Ok(());
    }
    let id = &container.id;
    let is_watched = run.damage.is_empty() && sys::process::is_alive(run.shim_pid, run.shim_start_time);
    if asked.is_ok()
        && is_watched
        && !(hangs && run.paused)
        && sys::process::is_alive(run.pid, run.start_time)
        && !sys::process::is_zombie(run.pid)
    {
        // The shim is not to blame, and is the one who hears of the end when it comes.
        let text = format!("container {id} does not end after SIGKILL: a process of it is in uninterruptible sleep");
        return Err(Error::new(Kind::Timeout, text));
    }
    log::error!("container {}: does not end, killing its shim {}", container.id, run.shim_pid);
    shim::kill(run.shim_pid, run.shim_start_time);
    if over(SHIM_LIMIT) {
        return Ok(());
    }
    if !sys::process::is_alive(run.shim_pid, run.shim_start_time) {
        // Nobody watches a shim that did not answer this daemon when it started.
        let exit = settle::after_loss(daemon, container, LOST, shim::PATIENCE);
        if container.state().exits == exits {
            monitor::record(daemon, container, &exit, None);
            let container = Arc::clone(container);
            daemon.monitor.after(Duration::ZERO, move |daemon| settle::unwatched(daemon, &container));
        }
        return Ok(());
    }
    asked?;
    Err(Error::new(Kind::Timeout, format!("container {id}: its shim does not end after SIGKILL")))
}

/// Freezes it.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it does not run, what the shim reports.
pub fn pause(daemon: &Daemon, reference: &str) -> Result<()> {
    freeze(daemon, reference, Verb::Pause)
}

/// Thaws it.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it is not frozen, what the shim reports.
pub fn unpause(daemon: &Daemon, reference: &str) -> Result<()> {
    freeze(daemon, reference, Verb::Unpause)
}

fn freeze(daemon: &Daemon, reference: &str, verb: Verb) -> Result<()> {
    let container = daemon.find(reference)?;
    let _operation = container.operate();
    permit(verb, container.run().phase(), &container.id)?;
    let paused = verb == Verb::Pause;
    ask(daemon, &container, if paused { &Request::Pause } else { &Request::Resume }, &[])?;
    let run = container.change(|s| {
        s.run.paused = paused && s.run.running;
        s.run.clone()
    });
    log::info!("container {}: {}", container.id, if paused { "paused" } else { "unpaused" });
    daemon.tell(&container, if paused { "pause" } else { "unpause" }, &[]);
    // A daemon that starts anew is told by the shim.
    if run.running
        && let Err(e) = daemon.disk.save_volatile(&container.id, &run)
    {
        log::warn!("container {}: its state is not recorded: {e}", container.id);
    }
    Ok(())
}

/// Sets its terminal's size.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it does not run, `Kind::Invalid` without a terminal.
pub fn resize(daemon: &Daemon, reference: &str, height: u16, width: u16) -> Result<()> {
    let container = daemon.find(reference)?;
    permit(Verb::Look, container.run().phase(), &container.id)?;
    if !container.head.tty {
        return Err(Error::invalid(format!("container {} has no terminal", container.id)));
    }
    ask(daemon, &container, &Request::Resize { exec_id: None, size: ConsoleSize { height, width } }, &[])?;
    daemon.tell(&container, "resize", &[("height", &height.to_string()), ("width", &width.to_string())]);
    Ok(())
}

/// Resource use, one sample.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it does not run, what the shim reports.
pub fn stats(daemon: &Daemon, reference: &str) -> Result<Stats> {
    let container = daemon.find(reference)?;
    permit(Verb::Look, container.run().phase(), &container.id)?;
    match ask(daemon, &container, &Request::Stats, &[])? {
        Reply::Stats(stats) => Ok(*stats),
        _ => Err(unexpected()),
    }
}

/// Asks the shim of a container that runs.
///
/// # Errors
/// `Kind::Conflict` when that has ended meanwhile; what the shim reports.
pub fn ask(daemon: &Daemon, container: &Container, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
    let reply = shim::request(&daemon.disk.state_directory(&container.id), shim_of(container), request, fds)?;
    reply.ok_or_else(|| Error::conflict(format!("Container {} is not running", container.id)))
}

/// The same of one that may have ended: then there is nothing to be done.
///
/// # Errors
/// What the shim reports.
pub fn ask_if_there(daemon: &Daemon, container: &Container, request: &Request) -> Result<()> {
    shim::request(&daemon.disk.state_directory(&container.id), shim_of(container), request, &[]).map(drop)
}

fn shim_of(container: &Container) -> Option<i32> {
    Some(container.state().run.shim_pid).filter(|pid| *pid > 0)
}

/// A shim that answers another question than the one asked.
pub fn unexpected() -> Error {
    Error::new(Kind::Remote, "the shim gave an unexpected answer")
}
