//! The interface files: small texts, read whole, written with one write(2), and polled for changes.

use crate::error::{Error, Result};
use crate::utils::pseudo_file;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// The content; `None` when the file does not exist or cannot be read.
pub fn read(path: &Path) -> Option<String> {
    pseudo_file::read_to_string(path).ok()
}

/// The content as one number; `max` is the largest.
pub fn number(path: &Path) -> Option<u64> {
    parse(&read(path)?)
}

/// The value of `key` in lines of `key value`.
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).and_then(parse)
}

fn parse(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Writes `value` with one call. Never makes the file.
///
/// # Errors
/// The failing call.
pub fn write(path: &Path, value: &str) -> Result<()> {
    write_each(path, [value])
}

/// The same for several values, each with a call of its own.
///
/// # Errors
/// The failing call.
pub fn write_each<'a>(path: &Path, values: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut file =
        OpenOptions::new().write(true).open(path).map_err(|e| Error::io(format!("open({path:?}, O_WRONLY)"), e))?;
    let mut write =
        |value: &str| file.write_all(value.as_bytes()).map_err(|e| Error::io(format!("write({path:?}, {value:?})"), e));
    values.into_iter().try_for_each(&mut write)
}

/// Waits until the file `events` of version 2 has the line `line`. Whether it has before `deadline`; true also when
/// the cgroup is gone.
///
/// # Errors
/// The failing call.
pub fn wait_for(events: &Path, line: &str, deadline: Instant) -> Result<bool> {
    let gone = |e: &std::io::Error| matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV));
    let mut file = match File::open(events) {
        Err(e) if gone(&e) => return Ok(true),
        other => other.map_err(|e| Error::io(format!("open({events:?})"), e))?,
    };
    loop {
        let mut text = String::new();
        match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
            Err(e) if gone(&e) => return Ok(true),
            other => other.map_err(|e| Error::io(format!("read({events:?})"), e))?,
        };
        if text.lines().any(|l| l == line) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // The kernel tells each change with POLLPRI. Looking now and then costs nothing and needs no trust.
        let timeout = PollTimeout::try_from(left.min(Duration::from_millis(200))).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(Error::os("poll()", e as i32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!((keyed(text, "oom_kill"), keyed(text, "oom")), (Some(3), None));
        assert_eq!((parse("max\n"), parse(" 7\n"), parse("x")), (Some(u64::MAX), Some(7), None));
        assert!(write(Path::new("/nonexistent/x"), "1").unwrap_err().errno() == Some(libc::ENOENT));
    }
}
