//! What unpacking one layer may take, of itself and of the file system that it goes to.
//!
//! A few kilobytes unpack to any size, and the file system of a board holds more than images: unpacking stops before
//! there is nothing left for everybody else.

use crate::error::{Context, Error, Result};
use nix::sys::statvfs::fstatvfs;
use std::os::fd::{BorrowedFd, OwnedFd};

/// What a member takes besides its bytes: an inode, a name, metadata. Empty files count, too.
pub const ENTRY: u64 = 1 << 10;
/// Of the file system's blocks and inodes this part stays free.
const PART: u64 = 50;
/// More need not stay free, in bytes: it is for logs, records and the container that is to be stopped.
const BYTES_LIMIT: u64 = 64 << 20;
/// The same in inodes.
const INODES_LIMIT: u64 = 4096;
/// Bytes that are written from one look at the file system to the next, at most and, close to its end, at least.
const STEP: u64 = 4 << 20;
const LEAST_STEP: u64 = 64 << 10;

/// The budget of one layer.
pub struct Budget {
    root: OwnedFd,
    limit: Option<u64>,
    counted: u64,
    /// Bytes that may be written before the next look.
    ahead: u64,
}

impl Budget {
    /// For a tree below the directory `root`. `limit` is for everything that [`Budget::count`] is told.
    ///
    /// # Errors
    /// As [`Budget::write`].
    pub fn new(root: BorrowedFd<'_>, limit: Option<u64>) -> Result<Budget> {
        let root = root.try_clone_to_owned().context(|| "dup()".into())?;
        let mut budget = Budget { root, limit, counted: 0, ahead: 0 };
        budget.look()?;
        Ok(budget)
    }

    /// Counts what the layer amounts to: the apparent size of a file, entries.
    ///
    /// # Errors
    /// `Kind::Invalid` beyond the limit.
    pub fn count(&mut self, bytes: u64) -> Result<()> {
        self.counted = self.counted.saturating_add(bytes);
        match self.limit {
            Some(limit) if self.counted > limit => {
                Err(Error::invalid(format!("the layer takes more than the {limit} bytes that max-layer-size allows")))
            }
            _ => Ok(()),
        }
    }

    /// Says that so much is going to be written.
    ///
    /// # Errors
    /// `Kind::Os(ENOSPC)` when the file system comes to its reserve; the failing call.
    pub fn write(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.ahead {
            self.look()?;
        }
        self.ahead = self.ahead.saturating_sub(bytes);
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let now = fstatvfs(&self.root).context(|| "fstatvfs(directory of a layer)".into())?;
        let unit = wide(now.fragment_size());
        let free = wide(now.blocks_available()).saturating_mul(unit);
        let bytes = room(free, wide(now.blocks()).saturating_mul(unit), BYTES_LIMIT, "bytes")?;
        let inodes = room(wide(now.files_available()), wide(now.files()), INODES_LIMIT, "inodes")?;
        self.ahead = bytes.min(inodes.saturating_mul(ENTRY)).clamp(LEAST_STEP, STEP);
        Ok(())
    }
}

/// What may still be taken.
fn room(free: u64, all: u64, limit: u64, what: &str) -> Result<u64> {
    // File systems in memory without a limit, and those that make inodes as they need them, say 0.
    if all == 0 {
        return Ok(u64::MAX);
    }
    let reserve = (all / PART).min(limit);
    match free.checked_sub(reserve) {
        Some(room @ 1..) => Ok(room),
        _ => Err(Error::os(
            format!("the file system has {free} of {all} {what} left, {reserve} are kept free"),
            libc::ENOSPC,
        )),
    }
}

/// The counters have the width of a word of the C library.
fn wide(n: impl Into<u64>) -> u64 {
    n.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::os::fd::AsFd;

    #[test]
    fn a_part_stays_free_and_no_more_than_is_of_use() {
        let free = |free, all| room(free, all, BYTES_LIMIT, "bytes").ok();
        assert_eq!(free(100 << 20, 100 << 20), Some(98 << 20));
        assert_eq!(
            (free((2 << 20) + 1, 100 << 20), free(2 << 20, 100 << 20), free(0, 100 << 20)),
            (Some(1), None, None)
        );
        assert_eq!((free(65 << 20, 1 << 40), free(64 << 20, 1 << 40)), (Some(1 << 20), None));
        assert_eq!((free(0, 0), free(1, 10)), (Some(u64::MAX), Some(1)));
        let e = room(10, 1000, BYTES_LIMIT, "bytes").unwrap_err();
        assert_eq!(e.errno(), Some(libc::ENOSPC));
        assert!(e.to_string().contains("10 of 1000 bytes left, 20 are kept free: no space left on device"), "{e}");
    }

    #[test]
    fn a_limit_is_of_everything_together() {
        let root = std::fs::File::open("/").unwrap();
        let mut budget = Budget::new(root.as_fd(), Some(5000)).unwrap();
        budget.count(3000).unwrap();
        budget.count(2000).unwrap();
        let e = budget.count(1).unwrap_err();
        assert!(e.kind() == Kind::Invalid && e.to_string().contains("5000 bytes that max-layer-size"), "{e}");
        assert!(budget.count(u64::MAX).is_err());
        assert!(Budget::new(root.as_fd(), None).unwrap().count(u64::MAX).is_ok());
    }
}
