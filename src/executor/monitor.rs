//! One thread that hears from all shims, and from clients that wait for a container to start, and that knows what is to
//! be done at which time.
//!
//! It only moves state: what must touch the disk or a process goes to the workers.

use super::Daemon;
use super::container::start::again;
use super::container::{remains, settle};
use crate::api::shim::{Event, Exit};
use crate::error::{Context, Error, Result};
use crate::modules::container::{Container, PendingClient, lock};
use crate::modules::runtime::shim::Watch;
use crate::utils::sys::eventfd::EventFd;
use crate::utils::time::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Size of the thread's stack.
const STACK: usize = 128 * 1024;
/// How long [`Monitor::catch_up`] waits at most.
const CATCH_UP: Duration = Duration::from_secs(2);

/// The way to the thread.
pub struct Monitor {
    wake: EventFd,
    inbox: Mutex<Inbox>,
    round: Condvar,
}

#[derive(Default)]
struct Inbox {
    watched: Vec<Watched>,
    waiting: Vec<Waiting>,
    /// What is due when; the number tells apart what is due at the same time. Of a clock that nobody can set
    /// (CLOCK_MONOTONIC).
    timers: BTreeMap<(Instant, u64), Job>,
    timers_made: u64,
    /// Rounds asked for and rounds made.
    wanted: u64,
    made: u64,
}

/// Work for a worker.
type Job = Box<dyn FnOnce(&Arc<Daemon>) + Send>;

struct Watched {
    container: Arc<Container>,
    watch: Watch,
}

struct Waiting {
    container: Arc<Container>,
    client: Arc<PendingClient>,
    /// A duplicate of the client's connection: the client's own may go to a shim while this one is polled.
    connection: OwnedFd,
}

impl Monitor {
    /// Not started yet.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> Result<Monitor> {
        Ok(Monitor { wake: EventFd::new()?, inbox: Mutex::default(), round: Condvar::new() })
    }

    /// Hears from this shim from now on.
    pub fn add(&self, container: &Arc<Container>, watch: Watch) {
        lock(&self.inbox).watched.push(Watched { container: Arc::clone(container), watch });
        self.wake.signal();
    }

    /// Drops this client when it leaves before the container starts.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn hold(&self, container: &Arc<Container>, client: Arc<PendingClient>) -> Result<()> {
        let connection = match client.with(|w| w.fds.first().map(|fd| fd.try_clone())).flatten() {
            Some(fd) => fd.context(|| "dup(connection)".into())?,
            None => return Ok(()),
        };
        lock(&self.inbox).waiting.push(Waiting { container: Arc::clone(container), client, connection });
        self.wake.signal();
        Ok(())
    }

    /// Has `job` done by a worker in `delay` from now, unless the daemon ends before. There is no way to take it back: the
    /// job is to look whether it is still wanted.
    pub fn after(&self, delay: Duration, job: impl FnOnce(&Arc<Daemon>) + Send + 'static) {
        let mut inbox = lock(&self.inbox);
        inbox.timers_made += 1;
        let key = (Instant::now() + delay, inbox.timers_made);
        inbox.timers.insert(key, Box::new(job));
        self.wake.signal();
    }

    /// Lets go of clients that were taken.
    pub fn let_go(&self) {
        self.wake.signal();
    }

    /// Returns when everything that shims have sent so far is seen: a client that saw its stream end may ask for the
    /// exit code at once.
    pub fn catch_up(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.wanted += 1;
        let mine = inbox.wanted;
        self.wake.signal();
        let _ =
            self.round.wait_timeout_while(inbox, CATCH_UP, |i| i.made < mine).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Starts the thread.
///
/// # Errors
/// When there can be no thread.
pub fn start(daemon: &Arc<Daemon>) -> Result<()> {
    let daemon = Arc::clone(daemon);
    std::thread::Builder::new()
        .name("monitor".into())
        .stack_size(STACK)
        .spawn(move || run(&daemon))
        .context(|| "start the monitor thread".into())?;
    Ok(())
}

fn run(daemon: &Arc<Daemon>) {
    let monitor = &daemon.monitor;
    let (mut watched, mut waiting) = (Vec::new(), Vec::<Waiting>::new());
    loop {
        let (wanted, limit) = {
            let mut inbox = lock(&monitor.inbox);
            watched.append(&mut inbox.watched);
            waiting.append(&mut inbox.waiting);
            let (due, next) = take_due(&mut inbox.timers, Instant::now());
            let limit = if inbox.wanted == inbox.made { next } else { Some(Duration::ZERO) };
            let wanted = inbox.wanted;
            drop(inbox);
            for job in due {
                let owner = Arc::clone(daemon);
                daemon.workers.submit(move || job(&owner));
            }
            (wanted, limit)
        };
        // A start took them, or the container is gone.
        waiting.retain(|w| w.client.with(|_| ()).is_some());
        let ready = match wait(monitor, &watched, &waiting, limit) {
            Ok(ready) => ready,
            Err(e) => {
                log::error!("monitor: {e}");
                std::thread::sleep(Duration::from_millis(100)); // ENOMEM: try again, but do not spin
                continue;
            }
        };
        let (shims, clients) = ready.split_at(watched.len());
        // From the back, so that a removal keeps the numbers before.
        for i in (0..shims.len()).rev().filter(|&i| shims[i]) {
            if let Some(end) = hear(daemon, &mut watched[i]) {
                let Watched { container, watch } = watched.swap_remove(i);
                finish(daemon, container, watch, end);
            }
        }
        for i in (0..clients.len()).rev().filter(|&i| clients[i]) {
            let w = waiting.swap_remove(i);
            w.client.take();
            w.container.change(|s| s.pending.retain(|p| !Arc::ptr_eq(p, &w.client)));
        }
        let mut inbox = lock(&monitor.inbox);
        if inbox.made < wanted {
            inbox.made = wanted;
            monitor.round.notify_all();
        }
    }
}

/// What is due at `now`, in order, and the time until more is.
fn take_due<T>(timers: &mut BTreeMap<(Instant, u64), T>, now: Instant) -> (Vec<T>, Option<Duration>) {
    let mut due = Vec::new();
    while let Some(first) = timers.first_entry() {
        let at = first.key().0;
        if at > now {
            return (due, Some(at - now));
        }
        due.push(first.remove());
    }
    (due, None)
}

/// Waits for anything, at most for so long; gives a flag for each shim that has something to say and then for each client that has left.
fn wait(monitor: &Monitor, watched: &[Watched], waiting: &[Waiting], limit: Option<Duration>) -> Result<Vec<bool>> {
    let mut set = vec![PollFd::new(monitor.wake.as_fd(), PollFlags::POLLIN)];
    set.extend(watched.iter().map(|w| PollFd::new(w.watch.as_fd(), PollFlags::POLLIN)));
    // Only a hang-up, which is always reported: a half-closed connection has but ended its standard input.
    set.extend(waiting.iter().map(|w| PollFd::new(w.connection.as_fd(), PollFlags::empty())));
    // A part of a millisecond more, else the last one would be spent in a loop.
    let limit = limit.map(|l| PollTimeout::try_from(l.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX));
    let limit = limit.unwrap_or(PollTimeout::NONE);
    match poll(&mut set, limit) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(e) => return Err(Error::os("poll()", e as i32)),
    }
    let flags = set[1..].iter().map(|p| p.any().unwrap_or(true)).collect();
    monitor.wake.clear();
    Ok(flags)
}

/// How the watch of a shim ends.
enum End {
    Exited(Exit),
    Lost,
}

/// Handles what one shim sent.
fn hear(daemon: &Arc<Daemon>, watched: &mut Watched) -> Option<End> {
    let container = &watched.container;
    loop {
        match watched.watch.next_event() {
            Ok(None) => return None,
            Ok(Some(Event::OutOfMemory)) => {
                log::info!("container {}: the kernel killed a process for memory", container.id);
                if !container.change(|s| std::mem::replace(&mut s.run.oom_killed, true)) {
                    daemon.tell(container, "oom", &[]);
                }
            }
            Ok(Some(Event::ExecExited { exec_id, exit_code })) => {
                // Before its end is seen, so that whoever saw it finds it told.
                tell_exec(daemon, container, Timestamp::now(), &exec_id, exit_code);
                daemon.execs.ended(&exec_id, i32::from(exit_code));
            }
            Ok(Some(Event::Exited(exit))) => return Some(End::Exited(exit)),
            Err(e) => {
                log::warn!("container {}: lost its shim: {e}", container.id);
                return Some(End::Lost);
            }
        }
    }
}

/// Tells the end of a session, unless it is one that no client knows of.
pub(super) fn tell_exec(daemon: &Daemon, container: &Container, time: Timestamp, exec_id: &str, exit_code: u8) {
    if daemon.execs.is_known(exec_id) {
        let code = exit_code.to_string();
        daemon.tell_at(time, container, "exec_die", &[("execID", exec_id), ("exitCode", &code)]);
    }
}

/// Notes the end in memory, wakes whoever waits for it, and leaves the rest to a worker. State and connection change
/// hands at once, so that a verb that sees the end can settle it.
fn finish(daemon: &Arc<Daemon>, container: Arc<Container>, watch: Watch, end: End) {
    match end {
        End::Exited(exit) => {
            daemon.execs.container_ended(&container.id);
            record(daemon, &container, &exit, Some(watch));
            log::info!("container {}: exited with {}", container.id, exit.exit_code);
        }
        End::Lost => container.change(|s| {
            s.unsettled = Some(watch);
            s.lost = true;
        }),
    }
    let owner = Arc::clone(daemon);
    daemon.workers.submit(move || settle::ended(&owner, &container));
}

/// Notes an exit, and has the next run come when there is to be one. `watch` is the connection to the shim, which is
/// settled later.
pub(super) fn record(daemon: &Daemon, container: &Arc<Container>, exit: &Exit, watch: Option<Watch>) {
    if let Some(delay) = note(daemon, container, exit, watch) {
        restart_in(daemon, container, delay);
    }
    if exit.remains {
        remains::await_end(daemon, container);
    }
}

/// Notes an exit; gives the time until the next run when there is to be one.
pub(super) fn note(daemon: &Daemon, container: &Container, exit: &Exit, watch: Option<Watch>) -> Option<Duration> {
    // Before the exit is seen, so that whoever saw it finds it told.
    if exit.oom_killed && !container.state().run.oom_killed {
        daemon.tell_at(exit.finished_at, container, "oom", &[]);
    }
    let (code, seconds) = (exit.exit_code.to_string(), exit.finished_at.since(exit.started_at).as_secs().to_string());
    daemon.tell_at(exit.finished_at, container, "die", &[("execDuration", &seconds), ("exitCode", &code)]);
    for volume in container.head.volumes() {
        daemon.tell_volume_at(exit.finished_at, "unmount", &volume.name, Some(container));
    }
    container.change(|s| {
        s.unsettled = watch.or(s.unsettled.take());
        // By a clock that nobody sets, if this daemon has seen the start.
        let lasted = s.since.take().map_or_else(|| exit.finished_at.since(exit.started_at), |at| at.elapsed());
        s.run.exited(exit);
        // Nobody starts it again, or copies from it, before a worker comes to remove it.
        s.run.unwanted |= container.head.auto_remove && s.restarts == 0;
        s.exits += 1;
        (s.run.remains.is_none() && !s.run.unwanted && s.policy.restarts(&s.run)).then(|| s.await_restart(lasted))
    })
}

/// Has a container started again that waits for it.
pub(super) fn restart_in(daemon: &Daemon, container: &Arc<Container>, delay: Duration) {
    log::info!("container {}: starts again in {} ms", container.id, delay.as_millis());
    let (container, exits) = (Arc::downgrade(container), container.state().exits);
    daemon.monitor.after(delay, move |daemon| {
        let Some(container) = container.upgrade() else { return };
        let owner = Arc::clone(daemon);
        daemon.starters.submit(move || again(&owner, &container, exits));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_once() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut timers = BTreeMap::from([((at(20), 1), 'd'), ((at(5), 3), 'b'), ((at(5), 2), 'a'), ((at(9), 4), 'c')]);
        assert_eq!(take_due(&mut timers, at(0)), (vec![], Some(Duration::from_millis(5))));
        assert_eq!(take_due(&mut timers, at(9)), (vec!['a', 'b', 'c'], Some(Duration::from_millis(11))));
        assert_eq!(take_due(&mut timers, at(100)), (vec!['d'], None));
        assert_eq!(take_due(&mut timers, at(200)), (vec![], None));
    }
}
