//! Terminals: size, and a raw mode that is taken back however the process ends.
//!
//! The saved settings are kept in one place of the process, so that a panic hook can restore them as well as the guard.

use crate::error::{Context, Error, Result};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
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

/// Raw mode, until it is dropped. One at a time.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal into raw mode (`cfmakeraw(3)`).
    ///
    /// # Errors
    /// When `fd` is no terminal, or a terminal is in raw mode already.
    pub fn enter(fd: BorrowedFd<'_>) -> Result<RawMode> {
        let before = tcgetattr(fd).context(|| "tcgetattr()".into())?;
        let own = fd.try_clone_to_owned().context(|| "dup()".into())?;
        let mut saved = lock();
        if saved.is_some() {
            return Err(Error::internal("a terminal is in raw mode already"));
        }
        set_raw(fd, &before)?;
        *saved = Some((own, before));
        Ok(RawMode(()))
    }

    /// Enters raw mode once more: a shell that had the terminal meanwhile set it back.
    pub fn renew(&self) {
        if let Some((fd, before)) = lock().as_ref() {
            let _ = set_raw(fd.as_fd(), before); // a terminal that is gone is noticed by whoever reads it
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
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
    use nix::sys::termios::LocalFlags;

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
        raw.renew();
        drop(raw);
        assert!(canonical());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_terminal(null.as_fd()) && window_size(null.as_fd()).is_none());
        assert!(RawMode::enter(null.as_fd()).is_err());
    }
}
