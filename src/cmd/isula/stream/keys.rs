//! Key sequences that detach: `ctrl-a,q`.

use crate::error::{Error, Result};

/// Longest sequence that is accepted.
const MAX_KEYS: usize = 32;

/// The bytes of a sequence of keys, each a character or `ctrl-` and one of `a`–`z @ [ \ ] ^ _`; empty for none.
///
/// # Errors
/// `Kind::Invalid` naming the sequence.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let key = |word: &str| match word.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(letter & 0x1f),
        Some(_) => None,
        None => match word.as_bytes() {
            [byte] => Some(*byte),
            _ => None,
        },
    };
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.filter(|k| k.len() <= MAX_KEYS).ok_or_else(|| Error::invalid(format!("invalid detach keys ({text})")))
}

/// Notices whether what was typed ends with the sequence.
#[derive(Debug)]
pub struct Watch {
    keys: Vec<u8>,
    last: Vec<u8>,
}

impl Watch {
    /// For these keys; none are never noticed.
    pub fn new(keys: Vec<u8>) -> Watch {
        Watch { keys, last: Vec::new() }
    }

    /// Takes what was typed.
    pub fn typed(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(self.keys.len())..]);
        let excess = self.last.len().saturating_sub(self.keys.len());
        self.last.drain(..excess);
    }

    /// Whether the sequence was the last that was typed.
    pub fn is_complete(&self) -> bool {
        !self.keys.is_empty() && self.last == self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        assert_eq!(parse("ctrl-a,q").unwrap(), [1, b'q']);
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-@,ctrl-[,ctrl-_").unwrap(), [0, 27, 31]);
        assert!(parse("").unwrap().is_empty());
        for text in ["ctrl-", "ctrl-1", "ctrl-aa", "ab", ",", "a,", "é", &"a,".repeat(40)] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sequence_is_noticed_in_any_pieces() {
        let mut watch = Watch::new(vec![1, b'q']);
        for (bytes, complete) in
            [(&b"ls\n"[..], false), (&[1], false), (b"q", true), (b"x", false), (&[b'y', 1, b'q'], true), (b"", true)]
        {
            watch.typed(bytes);
            assert_eq!(watch.is_complete(), complete, "{bytes:?}");
        }
        let mut none = Watch::new(Vec::new());
        none.typed(b"abc");
        assert!(!none.is_complete());
    }
}
