//! Terminals seen from their master side: tty_ioctl(4), ioctl_tty(2).

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Sets the size; the foreground process group gets SIGWINCH when it changed.
///
/// # Errors
/// ENOTTY.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives for the call.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) } {
        0 => Ok(()),
        _ => Err(Error::last_os(format!("ioctl(TIOCSWINSZ, {rows}, {columns})"))),
    }
}

/// Opens the other side of a pseudo terminal, close-on-exec, without a path (TIOCGPTPEER, Linux 4.13). While someone
/// has it open, the master side does not report a hang-up when the last process closes its own.
///
/// # Errors
/// ENOTTY when `master` is no master side; EINVAL on older kernels.
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes an integer and returns a new descriptor or -1.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER as _, flags) };
    if fd < 0 {
        return Err(Error::last_os("ioctl(TIOCGPTPEER)"));
    }
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn size_is_seen_on_the_other_side() {
        let master = nix::pty::posix_openpt(nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY).unwrap();
        nix::pty::grantpt(&master).unwrap();
        nix::pty::unlockpt(&master).unwrap();
        set_size(master.as_fd(), 33, 77).unwrap();
        let peer = open_peer(master.as_fd()).unwrap();
        let out = std::process::Command::new("stty").arg("size").stdin(peer).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "33 77\n");
        assert!(set_size(std::fs::File::open("/dev/null").unwrap().as_fd(), 1, 1).is_err());
    }
}
