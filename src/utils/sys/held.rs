//! Signals kept for later while a process waits for somebody else's answer. Blocking alone would do that too, but one
//! whose answer never comes could then be ended by SIGKILL only.

use crate::error::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, raise, sigaction};
use std::sync::atomic::{AtomicU32, Ordering};

/// A bit for each signal that came.
static KEPT: AtomicU32 = AtomicU32::new(0);
/// How many more that ask for the end are kept.
static LEFT: AtomicU32 = AtomicU32::new(0);

const GIVEN_UP: &[u8] = b"the daemon does not answer; what it was asked for goes on without this client\n";

/// Signals being kept; raised when dropped, with the mask as it was found. One at a time.
#[derive(Debug)]
pub struct Held {
    mask: SigSet,
    dispositions: Vec<(Signal, SigAction)>,
}

impl Held {
    /// Keeps `signals`, which are blocked. The last of `patience` among them that ask for the end (SIGHUP, SIGINT,
    /// SIGQUIT, SIGTERM) ends the process at once, with 128 and the signal. For a single-threaded process.
    ///
    /// # Errors
    /// The failing call.
    pub fn keep(signals: &[Signal], patience: u32) -> Result<Held> {
        KEPT.store(0, Ordering::SeqCst);
        LEFT.store(patience, Ordering::SeqCst);
        let mut held = Held { mask: SigSet::empty(), dispositions: Vec::with_capacity(signals.len()) };
        let action = SigAction::new(SigHandler::Handler(keep), SaFlags::SA_RESTART, SigSet::all());
        for &signal in signals {
            // SAFETY: `keep` makes only calls that are allowed in a handler.
            let before = unsafe { sigaction(signal, &action) }.context(|| format!("sigaction({signal})"))?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                set(signal, &before); // nohup(1) and the like
            } else {
                held.dispositions.push((signal, before));
            }
        }
        let open = signals.iter().copied().collect();
        pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&open), Some(&mut held.mask))
            .context(|| "sigprocmask()".into())?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None); // a mask of the kernel's own making
        for (signal, before) in &self.dispositions {
            set(*signal, before);
        }
        let kept = KEPT.swap(0, Ordering::SeqCst);
        for (signal, _) in self.dispositions.iter().filter(|(signal, _)| kept & 1 << *signal as i32 != 0) {
            let _ = raise(*signal); // a number that was accepted before
        }
    }
}

/// Sets a disposition that was found before.
fn set(signal: Signal, before: &SigAction) {
    // SAFETY: whoever set this disposition first vouched for its handler.
    let _ = unsafe { sigaction(signal, before) }; // it was accepted once
}

/// The handler. write(2) and _exit(2) may be called here (signal-safety(7)).
extern "C" fn keep(signal: libc::c_int) {
    KEPT.fetch_or(1 << signal, Ordering::SeqCst);
    let asks = matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM);
    if asks && LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        // SAFETY: pointer and length are those of a constant; the other call ends the process and runs nothing of it.
        unsafe {
            libc::write(2, GIVEN_UP.as_ptr().cast(), GIVEN_UP.len());
            libc::_exit(128 + signal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_raised_afterwards() {
        let signals = [Signal::SIGUSR2, Signal::SIGINT];
        // What a shell starts in the background ignores it.
        set(Signal::SIGINT, &SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()));
        let set: SigSet = signals.iter().copied().collect();
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).unwrap();
        let held = Held::keep(&signals, 3).unwrap();
        for _ in 0..2 {
            raise(Signal::SIGINT).unwrap();
        }
        drop(held);
        assert_eq!(set.wait().unwrap(), Signal::SIGINT, "it is pending again, and the handler is not there any more");
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
    }
}
