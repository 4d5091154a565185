//! Files that are read once, from begin to end: what was read does not stay in the page cache, where it would push out
//! what others use.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::io::{Read, Result};

/// Bytes that are given back at once.
const STEP: u64 = 4 << 20;

/// A reader of a file that was just opened. What may not be a regular file is read as it is.
pub struct ReadOnce {
    file: File,
    read: u64,
    dropped: u64,
}

impl ReadOnce {
    /// Begins where the file does.
    pub fn new(file: File) -> ReadOnce {
        // Hints, here and below: a pipe refuses them.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        ReadOnce { file, read: 0, dropped: 0 }
    }

    fn drop_behind(&mut self) {
        let length = self.read - self.dropped;
        let _ = posix_fadvise(&self.file, self.dropped as _, length as _, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        self.dropped = self.read;
    }
}

impl Read for ReadOnce {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let n = self.file.read(out)?;
        self.read += n as u64;
        if self.read - self.dropped >= STEP || (n == 0 && self.read > self.dropped) {
            self.drop_behind();
        }
        Ok(n)
    }
}
