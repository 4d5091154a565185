//! Signals as a descriptor (signalfd(2)), for as long as a session lasts.

use crate::error::{Context, Result};
use crate::utils::sys::held::Held;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// The window changed its size.
    Window,
    /// The client was stopped and goes on.
    Continued,
    /// One that ends a process unless it is passed on.
    Other(i32),
}

/// Blocked signals; let through again when dropped.
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

/// Those that end a process.
const ENDING: &[Signal] = &[Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
/// Those that are passed on besides.
const PASSED_ON: &[Signal] = &[Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM];

impl Signals {
    /// Catches what the session needs: the window's size with a terminal, and what is passed on.
    ///
    /// # Errors
    /// The failing call.
    pub fn catch(tty: bool, raw: bool, sig_proxy: bool) -> Result<Signals> {
        let mut wanted = SigSet::empty();
        if tty {
            wanted.add(Signal::SIGWINCH);
        }
        if raw {
            wanted.add(Signal::SIGCONT);
        }
        if sig_proxy {
            wanted.extend(ENDING.iter().chain(PASSED_ON).copied());
        }
        let mut blocked = wanted;
        if raw {
            // Restoring the terminal from the background must not stop the client.
            blocked.add(Signal::SIGTTOU);
        }
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut before)).context(|| "sigprocmask()".into())?;
        let fd = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        match fd.context(|| "signalfd()".into()) {
            Ok(fd) => Ok(Signals { fd, before }),
            Err(e) => {
                let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
                Err(e)
            }
        }
    }

    /// Keeps what came and comes until the value is dropped; the last of `patience` signals that ask for the end of the
    /// client ends it. Only with `sig_proxy`: the others do so anyway.
    ///
    /// # Errors
    /// The failing call.
    pub fn hold(patience: u32) -> Result<Held> {
        let signals: Vec<Signal> = ENDING.iter().chain(PASSED_ON).copied().collect();
        Held::keep(&signals, patience)
    }

    /// For polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next signal that came, if any.
    ///
    /// # Errors
    /// The failing call.
    pub fn next(&self) -> Result<Option<Caught>> {
        let found = self.fd.read_signal().context(|| "read(signalfd)".into())?;
        Ok(found.map(|info| match info.ssi_signo as i32 {
            libc::SIGWINCH => Caught::Window,
            libc::SIGCONT => Caught::Continued,
            other => Caught::Other(other),
        }))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    #[test]
    fn signals_come_by_descriptor_and_the_mask_is_given_back() {
        let mask = || SigSet::thread_get_mask().unwrap();
        let before = mask();
        let signals = Signals::catch(true, true, true).unwrap();
        assert!(mask().contains(Signal::SIGTTOU));
        for signal in [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGUSR1] {
            raise(signal).unwrap();
        }
        let mut got: Vec<Caught> = std::iter::from_fn(|| signals.next().unwrap()).collect();
        got.sort_by_key(|c| format!("{c:?}"));
        assert_eq!(got, [Caught::Other(libc::SIGUSR1), Caught::Other(libc::SIGTERM), Caught::Window]);
        drop(signals);
        assert!(mask() == before);
    }
}
