//! poll(2) over a list that is filled anew for each wait and never gives its memory back, so a loop allocates nothing.
//!
//! Entries are descriptor numbers, not borrows: the list lives across changes of what it watches. A number that was
//! closed in between only yields POLLNVAL, or the readiness of whatever took its place: harmless for a caller that
//! never blocks on the operation itself.

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

pub use libc::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI};

/// A list of descriptors to wait for.
#[derive(Default)]
pub struct PollSet {
    entries: Vec<libc::pollfd>,
}

impl PollSet {
    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a descriptor; the entry's index is the number of entries before it. POLLERR and POLLHUP are always
    /// reported.
    pub fn add(&mut self, fd: BorrowedFd<'_>, events: i16) {
        self.entries.push(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the last wait found for the entry.
    pub fn ready(&self, index: usize) -> i16 {
        self.entries.get(index).map_or(0, |e| e.revents)
    }

    /// Waits; `None` waits for ever. Gives the number of ready entries, 0 after the timeout or a signal.
    ///
    /// # Errors
    /// ENOMEM and the like.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<usize> {
        let milliseconds = match timeout {
            // Rounded up, so that a deadline has passed when the wait ends.
            Some(t) => i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
            None => -1,
        };
        // SAFETY: pointer and length describe `entries`, exclusively borrowed for the call.
        let n = unsafe { libc::poll(self.entries.as_mut_ptr(), self.entries.len() as libc::nfds_t, milliseconds) };
        if n >= 0 {
            return Ok(n as usize);
        }
        for entry in &mut self.entries {
            entry.revents = 0;
        }
        match std::io::Error::last_os_error() {
            e if e.kind() == std::io::ErrorKind::Interrupted => Ok(0),
            _ => Err(Error::last_os("poll()")),
        }
    }
}

/// Whether `fd` is ready for `events`, hung up or broken at this moment.
pub fn is_ready(fd: BorrowedFd<'_>, events: i16) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one entry, exclusively borrowed for the call.
    unsafe { libc::poll(&raw mut entry, 1, 0) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn readiness_and_timeout() {
        let (r, w) = nix::unistd::pipe().unwrap();
        let mut set = PollSet::default();
        set.add(r.as_fd(), POLLIN);
        set.add(w.as_fd(), POLLOUT);
        assert_eq!(set.wait(None).unwrap(), 1);
        assert_eq!((set.ready(0), set.ready(1), set.ready(2)), (0, POLLOUT, 0));
        set.clear();
        set.add(r.as_fd(), POLLIN);
        assert_eq!(set.wait(Some(Duration::from_millis(1))).unwrap(), 0);
        drop(w);
        assert!(is_ready(r.as_fd(), POLLIN));
    }
}
