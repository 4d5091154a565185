//! One thread that hears from all shims, and from clients that wait for a container to start.
//!
//! It only moves state: what must touch the disk or a process goes to the workers.

use super::Daemon;
use super::container::settle;
use crate::api::shim::{Event, Exit};
use crate::error::{Context, Error, Result};
use crate::modules::container::{Container, PendingClient, State, lock};
use crate::modules::runtime::shim::Watch;
use crate::utils::sys::eventfd::EventFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

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
    /// Rounds asked for and rounds made.
    wanted: u64,
    made: u64,
}

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
        let (wanted, hurry) = {
            let mut inbox = lock(&monitor.inbox);
            watched.append(&mut inbox.watched);
            waiting.append(&mut inbox.waiting);
            (inbox.wanted, inbox.wanted != inbox.made)
        };
        // A start took them, or the container is gone.
        waiting.retain(|w| w.client.with(|_| ()).is_some());
        let ready = match wait(monitor, &watched, &waiting, hurry) {
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

/// Waits for anything; gives a flag for each shim that has something to say and then for each client that has left.
fn wait(monitor: &Monitor, watched: &[Watched], waiting: &[Waiting], hurry: bool) -> Result<Vec<bool>> {
    let mut set = vec![PollFd::new(monitor.wake.as_fd(), PollFlags::POLLIN)];
    set.extend(watched.iter().map(|w| PollFd::new(w.watch.as_fd(), PollFlags::POLLIN)));
    // Only a hang-up, which is always reported: a half-closed connection has but ended its standard input.
    set.extend(waiting.iter().map(|w| PollFd::new(w.connection.as_fd(), PollFlags::empty())));
    let limit = if hurry { PollTimeout::ZERO } else { PollTimeout::NONE };
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
                container.change(|s| s.run.oom_killed = true);
            }
            Ok(Some(Event::ExecExited { exec_id, exit_code })) => daemon.execs.ended(&exec_id, i32::from(exit_code)),
            Ok(Some(Event::Exited(exit))) => return Some(End::Exited(exit)),
            Err(e) => {
                log::warn!("container {}: lost its shim: {e}", container.id);
                return Some(End::Lost);
            }
        }
    }
}

/// Notes the end in memory, wakes whoever waits for it, and leaves the rest to a worker. State and connection change
/// hands at once, so that a verb that sees the end can settle it.
fn finish(daemon: &Arc<Daemon>, container: Arc<Container>, watch: Watch, end: End) {
    match end {
        End::Exited(exit) => {
            daemon.execs.container_ended(&container.id);
            container.change(|s| {
                s.unsettled = Some(watch);
                record(s, &exit);
            });
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

/// Notes an exit in the state.
pub(super) fn record(state: &mut State, exit: &Exit) {
    state.run.exited(exit);
    state.exits += 1;
}
