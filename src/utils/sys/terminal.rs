//! Terminals: size, and a raw mode that is taken back however the process ends.
//!
//! The saved settings are kept in one place of the process, so that a panic hook and a signal handler can restore them
//! as well as the guard: a process that waits for somebody else's answer must be ended as usual meanwhile.

use crate::error::{Context, Error, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// The terminal that is in raw mode, with what it was before.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}

/// Rows and columns; `None` for something that is no terminal or has no size.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` through the pointer, which is to a live local.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    (result == 0 && size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Raw mode, until it is dropped or a signal ends the process. One at a time.
#[derive(Debug)]
pub struct RawMode {
    /// Signals that were caught, with what they did before.
    dispositions: Vec<(Signal, SigAction)>,
}

/// Signals that end a process. In raw mode they restore the terminal first; the exit code is 128 and the signal.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

impl RawMode {
    /// Puts the terminal into raw mode (`cfmakeraw(3)`).
    ///
    /// # Errors
    /// When `fd` is no terminal, or a terminal is in raw mode already.
    pub fn enter(fd: BorrowedFd<'_>) -> Result<RawMode> {
        RawMode::change(fd, set_raw)
    }

    /// As [`RawMode::enter`], but the terminal only ceases to show what is typed: for passwords.
    ///
    /// # Errors
    /// As [`RawMode::enter`].
    pub fn hide(fd: BorrowedFd<'_>) -> Result<RawMode> {
        RawMode::change(fd, |fd, before| {
            let mut quiet = before.clone();
            quiet.local_flags.remove(LocalFlags::ECHO);
            tcsetattr(fd, SetArg::TCSAFLUSH, &quiet).context(|| "tcsetattr()".into())
        })
    }

    fn change(fd: BorrowedFd<'_>, set: impl FnOnce(BorrowedFd<'_>, &Termios) -> Result<()>) -> Result<RawMode> {
        let before = tcgetattr(fd).context(|| "tcgetattr()".into())?;
        let own = fd.try_clone_to_owned().context(|| "dup()".into())?;
        {
            let mut saved = lock();
            if saved.is_some() {
                return Err(Error::internal("a terminal is in raw mode already"));
            }
            *saved = Some((own, before.clone()));
        }
        // From here on the guard undoes what was done, and a signal finds the settings.
        let mut raw = RawMode { dispositions: Vec::with_capacity(ENDING.len()) };
        raw.catch()?;
        set(fd, &before)?;
        Ok(raw)
    }

    fn catch(&mut self) -> Result<()> {
        // Restoring the terminal from the background must not stop the process.
        let action = SigAction::new(SigHandler::Handler(end), SaFlags::SA_RESTART, SigSet::from(Signal::SIGTTOU));
        for signal in ENDING {
            // SAFETY: `end` makes only calls that are allowed in a handler, and does not return.
            let before = unsafe { sigaction(signal, &action) }.context(|| format!("sigaction({signal})"))?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                give_back(signal, &before); // nohup(1) and the like
            } else {
                self.dispositions.push((signal, before));
            }
        }
        Ok(())
    }

    /// After so many seconds, unless [`RawMode::renew`] comes first, the terminal's keys for signals (`^C`, `^\\`, `^Z`)
    /// raise them again, for a process that waits in vain. Uses alarm(2).
    ///
    /// # Errors
    /// The failing call.
    pub fn heed_keys_after(&self, seconds: u32) -> Result<()> {
        let action = SigAction::new(SigHandler::Handler(heed_keys), SaFlags::SA_RESTART, SigSet::from(Signal::SIGTTOU));
        // SAFETY: `heed_keys` makes only calls that are allowed in a handler.
        unsafe { sigaction(Signal::SIGALRM, &action) }.context(|| "sigaction(SIGALRM)".into())?;
        nix::unistd::alarm::set(seconds);
        Ok(())
    }

    /// Enters raw mode once more: a shell that had the terminal meanwhile set it back, or the wait is over.
    pub fn renew(&self) {
        nix::unistd::alarm::cancel();
        if let Some((fd, before)) = lock().as_ref() {
            let _ = set_raw(fd.as_fd(), before); // a terminal that is gone is noticed by whoever reads it
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        nix::unistd::alarm::cancel();
        restore();
        for (signal, before) in &self.dispositions {
            give_back(*signal, before);
        }
    }
}

/// Sets a disposition that was found before.
fn give_back(signal: Signal, before: &SigAction) {
    // SAFETY: whoever set this disposition first vouched for its handler.
    let _ = unsafe { sigaction(signal, before) }; // it was accepted once
}

/// The handler: restores the terminal and ends the process. tcsetattr(3), close(2) and _exit(2) may be called here
/// (signal-safety(7)), and the lock is only tried.
extern "C" fn end(signal: libc::c_int) {
    restore();
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(128 + signal) }
}

/// The handler of the alarm: as [`end`], only tcsetattr(3) is called.
extern "C" fn heed_keys(_: libc::c_int) {
    let Ok(saved) = SAVED.try_lock() else { return };
    if let Some((fd, before)) = saved.as_ref() {
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        raw.local_flags.insert(LocalFlags::ISIG);
        let _ = tcsetattr(fd.as_fd(), SetArg::TCSANOW, &raw); // nobody to tell
    }
}

/// Restores the terminal that is in raw mode, if one is. For panic hooks; [`RawMode`] does it when dropped.
pub fn restore() {
    // Whoever panicked may hold the lock.
    let Ok(mut saved) = SAVED.try_lock() else { return };
    if let Some((fd, before)) = saved.take() {
        // Now, not after draining: output that is held back (^S) would block the end of the process.
        let _ = tcsetattr(fd.as_fd(), SetArg::TCSANOW, &before);
    }
}

fn set_raw(fd: BorrowedFd<'_>, before: &Termios) -> Result<()> {
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    tcsetattr(fd, SetArg::TCSANOW, &raw).context(|| "tcsetattr()".into())
}

fn lock() -> std::sync::MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;

    #[test]
    fn raw_mode_is_taken_back() {
        let size = libc::winsize { ws_row: 7, ws_col: 9, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let tty = pty.slave.as_fd();
        assert!(is_terminal(tty));
        assert_eq!(window_size(tty), Some((7, 9)));
        let canonical = || tcgetattr(tty).unwrap().local_flags.contains(LocalFlags::ICANON);
        assert!(canonical());
        let raw = RawMode::enter(tty).unwrap();
        assert!(!canonical());
        assert!(RawMode::enter(tty).is_err());
        restore();
        assert!(canonical());
        drop(raw);
        let raw = RawMode::enter(tty).unwrap();
        let heeds = || tcgetattr(tty).unwrap().local_flags.contains(LocalFlags::ISIG);
        heed_keys(libc::SIGALRM);
        assert!(heeds() && !canonical());
        raw.renew();
        assert!(!heeds());
        drop(raw);
        assert!(canonical());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_terminal(null.as_fd()) && window_size(null.as_fd()).is_none());
        assert!(RawMode::enter(null.as_fd()).is_err());
    }
}
