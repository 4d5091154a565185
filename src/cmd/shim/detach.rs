//! Finds the key sequence with which a person leaves a terminal without ending what runs in it.
//!
//! Keys that may be the beginning of the sequence are held back until the next key decides. The rule for a mismatch is
//! docker's: all of them pass, the deciding key included. One exception is the original's and screen(1)'s: with the
//! first key typed twice, where it is Ctrl-A, the program gets it once.

use memchr::memchr;

const CTRL_A: u8 = 1;
/// Longest sequence.
pub const KEYS_LIMIT: usize = 64;

/// The state between two reads.
#[derive(Debug)]
pub struct Scanner {
    keys: Vec<u8>,
    held: usize,
}

impl Scanner {
    /// For a sequence; `None` when it is empty or beyond all measure.
    pub fn new(keys: Vec<u8>) -> Option<Scanner> {
        (1..=KEYS_LIMIT).contains(&keys.len()).then_some(Scanner { keys, held: 0 })
    }

    /// How many bytes more than `input` has [`Scanner::filter`] may pass.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Copies to `output` what the program gets, and says how much that is and whether the sequence was complete; what
    /// follows the sequence is dropped.
    pub fn filter(&mut self, input: &[u8], output: &mut [u8]) -> (usize, bool) {
        let mut end = 0;
        let mut pass = |bytes: &[u8]| {
            output[end..end + bytes.len()].copy_from_slice(bytes);
            end += bytes.len();
        };
        let mut rest = input;
        while let Some((&key, after)) = rest.split_first() {
            if self.held == 0 {
                let plain = memchr(self.keys[0], rest).unwrap_or(rest.len());
                if plain > 0 {
                    pass(&rest[..plain]);
                    rest = &rest[plain..];
                    continue;
                }
            }
            rest = after;
            if key == self.keys[self.held] {
                self.held += 1;
                if self.held == self.keys.len() {
                    self.held = 0;
                    return (end, true);
                }
                continue;
            }
            pass(&self.keys[..self.held]);
            let doubled = self.held == 1 && key == CTRL_A && self.keys[0] == CTRL_A;
            if !doubled {
                pass(&[key]);
            }
            self.held = 0;
        }
        (end, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the input whole and byte by byte, which must make no difference.
    fn run(keys: &[u8], input: &[u8]) -> (Vec<u8>, bool) {
        let mut results = [1, input.len().max(1)].map(|step| {
            let mut scanner = Scanner::new(keys.to_vec()).unwrap();
            let (mut all, mut buffer) = (Vec::new(), [0u8; 64]);
            for piece in input.chunks(step) {
                let (n, detached) = scanner.filter(piece, &mut buffer[..piece.len() + scanner.held()]);
                all.extend_from_slice(&buffer[..n]);
                if detached {
                    return (all, true);
                }
            }
            (all, false)
        });
        assert_eq!(results[0], results[1]);
        std::mem::take(&mut results[0])
    }

    #[test]
    fn sequences() {
        let (p, q) = (0x10, 0x11);
        assert_eq!(run(&[p, q], &[b'a', p, q, b'b']), (b"a".to_vec(), true));
        assert_eq!(run(&[p, q], &[p, b'x', q]), (vec![p, b'x', q], false));
        assert_eq!(run(&[p, q], &[p, p, b'x']), (vec![p, p, b'x'], false));
        assert_eq!(run(&[p, q], b"plain"), (b"plain".to_vec(), false));
        assert_eq!(run(&[p, q], &[b'a', p]), (b"a".to_vec(), false));
        assert_eq!(run(b"q", b"abqc"), (b"ab".to_vec(), true));
        assert_eq!(run(b"aab", b"aaxaab!"), (b"aax".to_vec(), true));
        assert!(Scanner::new(Vec::new()).is_none());
    }

    #[test]
    fn ctrl_a_twice_is_ctrl_a() {
        assert_eq!(run(&[1, b'q'], &[1, 1, b'q', 1, b'q']), (vec![1, b'q'], true));
        assert_eq!(run(&[1, b'q'], &[1, b'x']), (vec![1, b'x'], false));
    }
}
