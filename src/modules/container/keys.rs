//! Key sequences that detach a client from a terminal: `ctrl-p,ctrl-q`.

use crate::error::{Error, Result};

/// Docker's default.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";
/// Most keys in a sequence.
const MOST: usize = 16;

/// The bytes of a sequence of single ASCII characters and `ctrl-X` with X out of `a-z @ [ \ ] ^ _`, separated by
/// commas. Empty stands for the default.
///
/// # Errors
/// `Kind::Invalid` naming the key.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    let text = if text.is_empty() { DEFAULT } else { text };
    let keys: Vec<u8> = text.split(',').map(key).collect::<Result<_>>()?;
    if keys.len() > MOST {
        return Err(Error::invalid(format!("invalid detach keys: more than {MOST} keys")));
    }
    Ok(keys)
}

fn key(word: &str) -> Result<u8> {
    if let [b] = word.as_bytes()
        && b.is_ascii()
    {
        return Ok(*b);
    }
    match word.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([b @ b'a'..=b'z']) => Ok(b - b'a' + 1),
        Some([b'@']) => Ok(0),
        Some([b @ b'['..=b'_']) => Ok(b - b'[' + 27),
        _ => Err(Error::invalid(format!(
            "invalid detach key {word:?}: want one character or ctrl- with a letter or one of @ [ \\ ] ^ _"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        assert_eq!(parse("").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-a,q").unwrap(), [1, b'q']);
        assert_eq!(parse("ctrl-@,ctrl-[,ctrl-_,ctrl-\\").unwrap(), [0, 27, 31, 28]);
        for text in ["ctrl-", "ctrl-A", "ctrl-1", "ab", ",", "ö", "a,,b"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&vec!["a"; 17].join(",")).is_err());
    }
}
