//! Names of containers.

use crate::error::{Error, Result};

/// Longest name, in bytes.
const LONGEST: usize = 1024;

/// The name without its leading slash, if it follows the rule `^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`.
///
/// # Errors
/// `Kind::Invalid` with the rule.
pub fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let bytes = bare.as_bytes();
    let good = bytes.len() >= 2
        && bytes.len() <= LONGEST
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        return Ok(bare);
    }
    let shown = if name.len() > LONGEST { &name[..name.floor_char_boundary(64)] } else { name };
    Err(Error::invalid(format!(
        "Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to {LONGEST} characters"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule() {
        for (name, want) in [("ab", "ab"), ("/web-1", "web-1"), ("0.a_B-c", "0.a_B-c"), ("a-", "a-")] {
            assert_eq!(check(name).unwrap(), want);
        }
        let long = "a".repeat(LONGEST + 1);
        for name in ["", "a", "/", "/a", "-ab", ".ab", "_ab", "a b", "a/b", "//ab", "ä1", "a\n", long.as_str()] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&long[1..]).is_ok());
        assert!(check(&"ä".repeat(2000)).unwrap_err().to_string().len() < 300);
    }
}
