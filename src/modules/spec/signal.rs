//! Signals as users write them: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.

use crate::error::{Error, Result};

/// Real-time signals as the kernel numbers them for programs: libcs keep 32 to 34 for themselves.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal.
///
/// # Errors
/// `Kind::Invalid`: `Invalid signal: X`.
pub fn parse(text: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("Invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |digits: &str| digits.parse::<i32>().ok().filter(|n| (0..=RTMAX - RTMIN).contains(n));
    match name {
        "RTMIN" => return Ok(RTMIN),
        "RTMAX" => return Ok(RTMAX),
        "CLD" => return Ok(libc::SIGCHLD),
        "POLL" => return Ok(libc::SIGIO),
        _ => {}
    }
    if let Some(n) = name.strip_prefix("RTMIN+").and_then(offset) {
        return Ok(RTMIN + n);
    }
    if let Some(n) = name.strip_prefix("RTMAX-").and_then(offset) {
        return Ok(RTMAX - n);
    }
    use std::str::FromStr;
    nix::sys::signal::Signal::from_str(&format!("SIG{name}")).map(|s| s as i32).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sigusr1", libc::SIGUSR1),
            ("9", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        for text in ["", "0", "99", "-1", "SIG", "NOSUCH", "RTMIN+31", "RTMAX-x", "SIGSIGTERM"] {
            assert_eq!(parse(text).unwrap_err().to_string(), format!("Invalid signal: {text}"));
        }
    }
}
