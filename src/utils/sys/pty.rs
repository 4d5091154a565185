//! Pseudo terminals (pty(7), ioctl_tty(2)).

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Unlocks the other side of the master `ptmx` and opens it, without a path (TIOCGPTPEER, Linux 4.13). Close-on-exec,
/// not yet anyone's controlling terminal.
///
/// # Errors
/// The failing call.
pub fn open_peer(ptmx: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an int.
    Errno::result(unsafe { libc::ioctl(ptmx.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value.
    let fd = Errno::result(unsafe { libc::ioctl(ptmx.as_raw_fd(), TIOCGPTPEER as _, flags) })?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `_IO('T', 0x41)`, the same on the architectures built for.
const TIOCGPTPEER: u32 = 0x5441;

/// Sets rows and columns.
///
/// # Errors
/// The failing call.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) }).map(drop)
}

/// Makes `terminal` the controlling terminal of this session leader.
///
/// # Errors
/// EPERM when the process is no session leader or has one.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY as _, 0) }).map(drop)
}
