//! Signal names and numbers (signal(7)).

use crate::error::{Error, Result};

/// Names without their prefix. Numbers come from the C library since they differ between processors.
const NAMES: &[(&str, i32)] = &[
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGIO),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// The first real-time signal a program may use: the C libraries keep 32 and 33, as docker's table has it.
const REAL_TIME_MIN: i32 = 34;
/// The last signal.
const MAX: i32 = 64;

/// Reads a signal: a number from 1 to 64 or a name in any case, with or without `SIG`; real-time signals as `RTMIN+n`
/// and `RTMAX-n`.
///
/// # Errors
/// `Kind::Invalid`: `Invalid signal: x`, the original's words.
pub fn parse(text: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("Invalid signal: {text}"));
    let number = match text.parse::<i32>() {
        Ok(n) => n,
        Err(_) => by_name(text).ok_or_else(bad)?,
    };
    if (1..=MAX).contains(&number) { Ok(number) } else { Err(bad()) }
}

fn by_name(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
        return Some(*number);
    }
    let steps = |rest: &str, sign: char| -> Option<i32> {
        if rest.is_empty() {
            return Some(0);
        }
        let n: i32 = rest.strip_prefix(sign)?.parse().ok()?;
        (0..=MAX - REAL_TIME_MIN).contains(&n).then_some(n)
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(REAL_TIME_MIN + steps(rest, '+')?);
    }
    Some(MAX - steps(name.strip_prefix("RTMAX")?, '-')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time_signals() {
        for (text, want) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("Sigkill", 9),
            ("9", 9),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        for text in ["", "99", "0", "-1", "SIG", "NOSUCH", "RTMIN+99", "RTMIN-1", "RTMAX+1", "65", "SIGRTMIN+"] {
            let e = parse(text).unwrap_err().to_string();
            assert_eq!(e, format!("Invalid signal: {text}"));
        }
    }
}
