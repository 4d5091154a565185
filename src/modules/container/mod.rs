//! Containers: what they are, in which state, where they lie on disk.
//!
//! # Locks
//! A container has two. `operation` is held for a whole verb (start, pause, removal, settling an exit) and may be held
//! over I/O. `state` guards what a listing shows and is never held over I/O or a wait, so `ps` and `inspect` never wait
//! for a verb. `stop`, `kill` and `wait` hold no lock while they wait for the exit, so that a second `kill` gets
//! through. Order: operation, then the [`index::Index`], then state. The image store's lock is a leaf.

pub mod disk;
pub mod document;
pub mod external;
pub mod files;
pub mod filter;
pub mod head;
pub mod health;
pub mod host_channel;
pub mod index;
pub mod inside;
pub mod keys;
pub mod logging;
pub mod name;
pub mod policy;
pub mod restriction;
pub mod run;
pub mod status;
pub mod syslog;

use crate::utils::sys::eventfd::EventFd;
use head::Head;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use policy::{Backoff, Policy};
use run::Run;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One container. Its configuration stays on disk; here is what listings and policy need.
pub struct Container {
    /// 64 digits.
    pub id: String,
    /// What it is.
    pub head: Head,
    /// Held for a whole verb.
    operation: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What the state lock guards.
#[derive(Default)]
pub struct State {
    /// Run state.
    pub run: Run,
    /// Without a leading slash; empty when its document cannot be read.
    pub name: String,
    /// When it is started again.
    pub policy: Policy,
    /// Delays of restarts that follow each other.
    pub backoff: Backoff,
    /// When this daemon saw the run start.
    pub since: Option<Instant>,
    /// Clients that attached before the start.
    pub pending: Vec<Arc<PendingClient>>,
    /// Whoever waits for an exit or the removal.
    watchers: Vec<Watcher>,
    /// Set by a removal.
    pub removed: bool,
    /// The connection to the shim of a run that has ended and is not settled yet.
    pub unsettled: Option<crate::modules::runtime::shim::Watch>,
    /// The shim went away without telling an exit.
    pub lost: bool,
    /// Counts ends of runs.
    pub exits: u64,
    /// A thread writes down what was asked of it.
    pub keeping: bool,
    /// How many are stopping it to start it again: until then it is not removed at its end.
    pub restarts: usize,
}

/// What a watcher waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The next end of a run, that it is not started again after all, or the removal.
    Exit,
    /// The removal.
    Removal,
}

struct Watcher {
    awaited: Awaited,
    notice: Arc<Notice>,
}

/// What a watcher gets.
#[derive(Debug)]
pub struct Notice {
    /// Signalled when it is there.
    pub event: EventFd,
    exit_code: AtomicI32,
}

impl Notice {
    /// The exit code at that moment: the next run may have begun since.
    pub fn exit_code(&self) -> i32 {
        self.exit_code.load(Ordering::Acquire)
    }

    fn give(&self, exit_code: i32) {
        self.exit_code.store(exit_code, Ordering::Release);
        self.event.signal();
    }
}

/// A client whose connection is kept until the container starts.
pub struct PendingClient(Mutex<Option<Waiting>>);

/// What the start takes of a [`PendingClient`].
pub struct Waiting {
    /// How it is to be connected. Holds the response head until that is sent.
    pub streams: crate::api::shim::Streams,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

impl PendingClient {
    /// A client that nobody took yet.
    pub fn new(waiting: Waiting) -> PendingClient {
        PendingClient(Mutex::new(Some(waiting)))
    }

    /// Takes the client; `None` when somebody did before or the client left.
    pub fn take(&self) -> Option<Waiting> {
        lock(&self.0).take()
    }

    /// Looks at the client, which nobody can take meanwhile; `None` when it was taken.
    pub fn with<T>(&self, look: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        lock(&self.0).as_mut().map(look)
    }
}

impl State {
    /// Its run has ended after so long and another is to come; gives the delay until then.
    pub fn await_restart(&mut self, lasted: Duration) -> Duration {
        self.run.restarting = true;
        self.backoff.next(lasted)
    }

    /// Closes the connections of the clients that wait for a start.
    pub fn dismiss_pending(&mut self) {
        for client in self.pending.drain(..) {
            client.take();
        }
    }
}

impl Container {
    /// A container in this state.
    pub fn new(id: String, mut head: Head, run: Run) -> Container {
        let state = State { run, name: std::mem::take(&mut head.name), policy: head.policy, ..State::default() };
        Container { id, head, operation: Mutex::new(()), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Begins a verb.
    pub fn operate(&self) -> MutexGuard<'_, ()> {
        lock(&self.operation)
    }

    /// The state; not to be held over I/O.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Its name, without a leading slash.
    pub fn name(&self) -> String {
        self.state().name.clone()
    }

    /// A copy of the run state.
    pub fn run(&self) -> Run {
        self.state().run.clone()
    }

    /// Whether the first process is gone though the state says that it runs.
    pub fn is_behind(&self) -> bool {
        let state = self.state();
        let pid = if state.run.running { state.run.pid } else { 0 };
        drop(state);
        pid > 0 && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
    }

    /// Changes the state and wakes those whom it concerns.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let (exits, removed, active) = (state.exits, state.removed, state.run.is_active());
        let result = change(&mut state);
        let (exited, gone) = (state.exits != exits, state.removed && !removed);
        let stopped = active && !state.run.is_active();
        if exited || gone || stopped {
            let code = state.run.exit_code;
            state.watchers.retain(|w| {
                let due = gone || w.awaited == Awaited::Exit;
                if due {
                    w.notice.give(code);
                }
                !due
            });
        }
        drop(state);
        self.changed.notify_all();
        result
    }

    /// An event descriptor that is signalled at the next change of this kind. Give it back with
    /// [`Container::forget`].
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn watch(state: &mut State, awaited: Awaited) -> crate::error::Result<Arc<Notice>> {
        let notice = Arc::new(Notice { event: EventFd::new()?, exit_code: AtomicI32::new(0) });
        if state.removed {
            notice.give(state.run.exit_code);
        } else {
            state.watchers.push(Watcher { awaited, notice: Arc::clone(&notice) });
        }
        Ok(notice)
    }

    /// Ends a watch.
    pub fn forget(&self, notice: &Arc<Notice>) {
        self.state().watchers.retain(|w| !Arc::ptr_eq(&w.notice, notice));
    }

    /// Waits until `done` holds or the limit has passed; gives whether it holds.
    pub fn wait_until(&self, limit: Option<Duration>, done: impl Fn(&State) -> bool) -> bool {
        let deadline = limit.map(|l| Instant::now() + l);
        let mut state = self.state();
        loop {
            if done(&state) {
                return true;
            }
            state = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// Locks; a panic aborts the process, so no lock is ever poisoned.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    fn ready(e: &Notice) -> bool {
        poll(&mut [PollFd::new(e.event.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn watchers_hear_what_they_wait_for_and_no_more() {
        let c = Container::new("a".into(), Head::default(), Run::default());
        let (exit, removal) = {
            let mut s = c.state();
            (Container::watch(&mut s, Awaited::Exit).unwrap(), Container::watch(&mut s, Awaited::Removal).unwrap())
        };
        c.change(|s| s.run.restart_count += 1);
        assert!(!ready(&exit) && !ready(&removal));
        c.change(|s| {
            s.run.exit_code = 9;
            s.exits += 1;
        });
        assert!(ready(&exit) && !ready(&removal));
        c.change(|s| s.run.exit_code = 0);
        assert_eq!(exit.exit_code(), 9, "the next run has another");
        // One that waits for its restart and is not started again has ended as well.
        c.change(|s| s.run.restarting = true);
        let exit = Container::watch(&mut c.state(), Awaited::Exit).unwrap();
        c.change(|s| s.run.restart_count += 1);
        assert!(!ready(&exit));
        c.change(|s| s.run.restarting = false);
        assert!(ready(&exit));
        c.change(|s| s.removed = true);
        assert!(ready(&removal));
        assert!(ready(&Container::watch(&mut c.state(), Awaited::Exit).unwrap()), "nothing is awaited in vain");
        assert!(c.state().watchers.is_empty());
    }

    #[test]
    fn what_runs_is_not_behind() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id() as i32;
        child.wait().unwrap();
        let behind = |running, pid| {
            Container::new("a".into(), Head::default(), Run { running, pid, ..Run::default() }).is_behind()
        };
        assert!(behind(true, gone) && !behind(false, gone));
        assert!(!behind(true, std::process::id() as i32) && !behind(true, 0));
    }

    #[test]
    fn wait_until_ends_at_its_limit() {
        let c = Container::new("a".into(), Head::default(), Run::default());
        assert!(!c.wait_until(Some(Duration::from_millis(5)), |s| s.removed));
        c.change(|s| s.removed = true);
        assert!(c.wait_until(None, |s| s.removed));
    }
}
