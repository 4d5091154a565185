//! Names of volumes.

use crate::error::{Error, Result};

/// Longest name, in bytes; that of a volume without a name of its own has as many.
const LONGEST: usize = 64;

/// Checks the rule `^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,63}$`.
///
/// # Errors
/// `Kind::Invalid` with the rule.
pub fn check(name: &str) -> Result<()> {
    if is_valid(name) {
        return Ok(());
    }
    let shown = if name.len() > LONGEST { &name[..name.floor_char_boundary(LONGEST)] } else { name };
    Err(Error::invalid(format!(
        "Invalid volume name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to {LONGEST} characters; a \
         directory of the host is named by its absolute path"
    )))
}

/// Whether a name follows the rule.
pub fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    (2..=LONGEST).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule() {
        for name in ["ab", "0.a_B-c", &"a".repeat(64)] {
            check(name).unwrap();
        }
        for name in ["", "a", ".a", "-a", "_data", "a/b", "a b", "ä1", "..", &"a".repeat(65), &"ä".repeat(65)] {
            assert!(check(name).unwrap_err().to_string().contains("Invalid volume name"), "{name}");
        }
    }
}
