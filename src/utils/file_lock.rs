//! A lock that ends with its process: flock(2) on a file of its own.

use crate::error::{Error, Kind, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two attempts: flock(2) waits for ever or not at all.
const PAUSE: Duration = Duration::from_millis(10);

/// A held lock; released on drop and by the kernel when the process dies.
#[derive(Debug)]
pub struct FileLock(#[allow(dead_code)] Flock<File>);

impl FileLock {
    /// Takes the lock at `path`, creating the file (mode 0600). A holder gets `patience` to give it back. The file is not
    /// open for writing, which would keep its file system from being made read-only.
    ///
    /// # Errors
    /// `Kind::Busy` when another process holds it on; otherwise the failing call.
    pub fn exclusive(path: &Path, patience: Duration) -> Result<FileLock> {
        let deadline = Instant::now() + patience;
        loop {
            match FileLock::try_exclusive(path) {
                Err(e) if e.kind() == Kind::Busy && Instant::now() < deadline => std::thread::sleep(PAUSE),
                done => return done,
            }
        }
    }

    fn try_exclusive(path: &Path) -> Result<FileLock> {
        let lock = |write| -> Result<nix::Result<FileLock>> {
            let mut options = OpenOptions::new();
            options.read(true).write(write).custom_flags(libc::O_CREAT).mode(0o600);
            let file = options.open(path).map_err(|e| Error::io(format!("open({path:?})"), e))?;
            Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).map(FileLock).map_err(|(_, e)| e))
        };
        let locked = match lock(false)? {
            // Network file systems make another kind of lock of it, which wants more (flock(2), NFS details).
            Err(nix::Error::EBADF) => lock(true)?,
            locked => locked,
        };
        locked.map_err(|e| match e {
            nix::Error::EWOULDBLOCK => Error::new(Kind::Busy, format!("{path:?} is locked by another process")),
            e => Error::os(format!("flock({path:?}, LOCK_EX|LOCK_NB)"), e as i32),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused() {
        let path = std::env::temp_dir().join(format!("lock-{}", std::process::id()));
        let held = FileLock::exclusive(&path, Duration::ZERO).unwrap();
        assert_eq!(FileLock::exclusive(&path, Duration::from_millis(30)).unwrap_err().kind(), Kind::Busy);
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || FileLock::exclusive(&path, Duration::from_secs(60)))
        };
        drop(held);
        drop(waiting.join().unwrap().unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
