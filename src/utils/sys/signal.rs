//! Signals by number and name, real-time ones included, which nix has no names for.

use crate::error::{Context, Error, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::str::FromStr;

/// Sends a signal (kill(2)) to one process. The caller knows that `pid` is still the process that it means.
///
/// # Errors
/// ESRCH, EPERM; EINVAL also for what would reach a group of processes.
pub fn send(pid: i32, signal: i32) -> Result<()> {
    if pid <= 0 {
        return Err(Error::os(format!("kill({pid}, {signal})"), libc::EINVAL));
    }
    // SAFETY: kill takes two integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(Error::last_os(format!("kill({pid}, {signal})"))),
    }
}

/// Blocks every signal that can be blocked and gives the descriptor from which they are read; close-on-exec,
/// non-blocking. Those that a fault of this program itself raises stay as they are.
///
/// # Errors
/// The failing call.
pub fn collect_all() -> Result<SignalFd> {
    let mut set = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGTRAP] {
        set.remove(fault);
    }
    set.thread_block().context(|| "sigprocmask(SIG_BLOCK)".into())?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context(|| "signalfd()".into())
}

/// The number of `9`, `KILL`, `sigkill`, `RTMIN+3`.
///
/// # Errors
/// `Kind::Invalid` naming the word.
pub fn parse(word: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("invalid signal: {word:?}"));
    let in_range = |n: &i32| (1..=libc::SIGRTMAX()).contains(n);
    if word.bytes().all(|b| b.is_ascii_digit()) {
        return word.parse().ok().filter(in_range).ok_or_else(bad);
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(signal) = Signal::from_str(&format!("SIG{name}")) {
        return Ok(signal as i32);
    }
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        libc::SIGRTMIN()
            + if rest.is_empty() { 0 } else { rest.strip_prefix('+').and_then(|n| n.parse().ok()).ok_or_else(bad)? }
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        libc::SIGRTMAX()
            - if rest.is_empty() { 0 } else { rest.strip_prefix('-').and_then(|n| n.parse().ok()).ok_or_else(bad)? }
    } else {
        match name {
            "CLD" => libc::SIGCHLD,
            "POLL" => libc::SIGIO,
            "IOT" => libc::SIGABRT,
            _ => return Err(bad()),
        }
    };
    Some(number)
        .filter(|n| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(n) || !name.starts_with("RT"))
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (word, want) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("CLD", libc::SIGCHLD),
            ("RTMIN", libc::SIGRTMIN()),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3),
            ("rtmax-1", libc::SIGRTMAX() - 1),
        ] {
            assert_eq!(parse(word).unwrap(), want, "{word}");
        }
        for word in ["", "0", "65", "-9", "FOO", "RTMIN-1", "RTMIN+99", "RTMAX+1", "SIG", "99999999999"] {
            assert!(parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn one_process_only() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(send(-pid, 9).is_err() && send(0, 9).is_err() && send(pid, 1000).is_err());
        send(pid, libc::SIGRTMIN() + 1).unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGRTMIN() + 1));
    }
}
