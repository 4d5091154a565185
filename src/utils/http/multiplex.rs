//! Docker's framing of several streams on one connection: a head of 8 bytes (stream, 0, 0, 0, length big-endian), then
//! that many bytes.

use crate::error::{Error, Result};

/// Length of a frame's head.
pub const HEAD: usize = 8;
/// Standard input, which no server sends.
pub const STDIN: u8 = 0;
/// Standard output.
pub const STDOUT: u8 = 1;
/// Standard error.
pub const STDERR: u8 = 2;
/// An error text of the server.
pub const SYSTEM_ERROR: u8 = 3;

/// The head of a frame of `length` bytes.
pub fn head(stream: u8, length: u32) -> [u8; HEAD] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

/// Takes frames apart. Feed it what came, in any pieces.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    head: [u8; HEAD],
    filled: usize,
    stream: u8,
    left: u32,
}

/// What a piece of input was.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes of the input that are dealt with, [`Step::data`] included.
    pub consumed: usize,
    /// Which stream the bytes belong to.
    pub stream: u8,
    /// The next bytes of that stream; empty when more input is needed.
    pub data: &'a [u8],
}

impl Decoder {
    /// Whether the input may end here: between two frames.
    pub fn is_between_frames(&self) -> bool {
        self.left == 0 && self.filled == 0
    }

    /// Takes the next piece of a stream out of `input`.
    ///
    /// # Errors
    /// `Kind::Corrupt` for a stream number that docker has not.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>> {
        let mut at = 0;
        while self.left == 0 {
            let n = (HEAD - self.filled).min(input.len() - at);
            self.head[self.filled..self.filled + n].copy_from_slice(&input[at..at + n]);
            self.filled += n;
            at += n;
            if self.filled < HEAD {
                return Ok(Step { consumed: at, stream: self.stream, data: &[] });
            }
            let [stream, _, _, _, a, b, c, d] = self.head;
            if stream > SYSTEM_ERROR {
                return Err(Error::corrupt(format!("frame of unknown stream {stream}")));
            }
            (self.stream, self.left, self.filled) = (stream, u32::from_be_bytes([a, b, c, d]), 0);
        }
        let rest = &input[at..];
        let n = (self.left as usize).min(rest.len());
        self.left -= n as u32;
        Ok(Step { consumed: at + n, stream: self.stream, data: &rest[..n] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_streams() {
        let mut input = Vec::new();
        for (stream, bytes) in [(STDOUT, "hello "), (STDERR, "err"), (STDOUT, ""), (STDOUT, "world\n")] {
            input.extend_from_slice(&head(stream, bytes.len() as u32));
            input.extend_from_slice(bytes.as_bytes());
        }
        for piece in 1..=input.len() {
            let mut decoder = Decoder::default();
            let mut out = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
            for part in input.chunks(piece) {
                let mut at = 0;
                while at < part.len() {
                    let step = decoder.step(&part[at..]).unwrap();
                    out[usize::from(step.stream)].extend_from_slice(step.data);
                    at += step.consumed;
                }
            }
            assert_eq!((&out[1][..], &out[2][..]), (&b"hello world\n"[..], &b"err"[..]), "{piece}");
            assert!(decoder.is_between_frames());
        }
    }

    #[test]
    fn unknown_streams_and_halves_are_noticed() {
        assert!(Decoder::default().step(b"HTTP/1.1 200").is_err());
        let mut decoder = Decoder::default();
        decoder.step(&head(1, 5)).unwrap();
        assert!(!decoder.is_between_frames());
    }
}
