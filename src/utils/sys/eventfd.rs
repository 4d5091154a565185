//! A descriptor that polls readable once it was signalled (eventfd(2)).

use crate::error::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The descriptor, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<EventFd> {
        // SAFETY: eventfd takes two integers and returns a new descriptor or -1.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::last_os("eventfd()"));
        }
        // SAFETY: the kernel just made this descriptor and nobody else owns it.
        Ok(EventFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes it poll readable.
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // EAGAIN means that the counter is full: it polls readable already.
        let _ = nix::unistd::write(&self.0, &one);
    }

    /// Makes it poll unreadable again.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        let _ = nix::unistd::read(&self.0, &mut count); // EAGAIN: it was not signalled
    }

    /// Gives the descriptor away.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// The descriptor.
    pub fn owned(&self) -> &OwnedFd {
        &self.0
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    #[test]
    fn polls_readable_between_signal_and_clear() {
        let e = EventFd::new().unwrap();
        let ready = || poll(&mut [PollFd::new(e.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap();
        assert_eq!(ready(), 0);
        e.signal();
        e.signal();
        assert_eq!(ready(), 1);
        e.clear();
        assert_eq!(ready(), 0);
        e.clear();
    }
}
