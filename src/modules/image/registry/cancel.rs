//! A flag that ends a pull: looked at between reads, and what blocks is woken.

use crate::error::{Error, Kind, Result};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by the one who pulls and the one who may end it. Clones are the same flag.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// What interrupts those who wait for a peer.
    interrupts: Vec<Box<dyn FnOnce() + Send>>,
}

impl Cancel {
    /// Not cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Sets the flag for good and wakes whoever waits.
    pub fn cancel(&self) {
        let interrupts = {
            let mut state = self.lock();
            state.cancelled = true;
            std::mem::take(&mut state.interrupts)
        };
        self.0.changed.notify_all();
        interrupts.into_iter().for_each(|interrupt| interrupt());
    }

    /// Whether the flag is set.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// An error when the flag is set.
    ///
    /// # Errors
    /// `Kind::Conflict`: "cancelled".
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::new(Kind::Conflict, "cancelled")) } else { Ok(()) }
    }

    /// Waits for so long, or until the flag is set.
    ///
    /// # Errors
    /// As [`Cancel::check`].
    pub fn wait(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut state = self.lock();
        while !state.cancelled {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.check()
    }

    /// Has `interrupt` called when the flag is set; at once when it is set already.
    pub(super) fn on_cancel(&self, interrupt: impl FnOnce() + Send + 'static) {
        {
            let mut state = self.lock();
            if !state.cancelled {
                state.interrupts.push(Box::new(interrupt));
                return;
            }
        }
        interrupt();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn wakes_waiters_and_interrupts_once() {
        let cancel = Cancel::new();
        cancel.check().unwrap();
        cancel.wait(Duration::from_millis(1)).unwrap();
        let (sender, receiver) = channel();
        cancel.on_cancel(move || sender.send(()).unwrap());
        let waiter = std::thread::spawn({
            let cancel = cancel.clone();
            move || cancel.wait(Duration::from_secs(3600))
        });
        cancel.cancel();
        assert_eq!(waiter.join().unwrap().unwrap_err().to_string(), "cancelled");
        receiver.recv().unwrap();
        assert!(receiver.recv().is_err());
        let (sender, receiver) = channel();
        cancel.on_cancel(move || sender.send(()).unwrap());
        receiver.recv().unwrap();
    }
}
