//! The chunked transfer coding (RFC 9112 §7.1).

use crate::error::{Error, Result};

/// Longest line between chunks in bytes: a size with its extensions, or a trailer field.
pub const MAX_LINE: usize = 4096;
/// Longest trailer in bytes.
pub const MAX_TRAILER: usize = 8192;
/// The end of a body without trailer.
pub const END: &[u8] = b"0\r\n\r\n";

/// Takes a body apart. Holds no bytes; feed it what came, in any pieces.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    /// Bytes of the current line or, in the trailer, of all its lines.
    line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size: the value so far, how many digits.
    Size(u64, u8),
    /// In what follows the digits.
    Extension(u64),
    /// Behind the `\r` of the size line.
    SizeEnd(u64),
    /// In a chunk with this many bytes to come.
    Data(u64),
    /// Behind a chunk.
    DataCr,
    /// Behind the `\r` after a chunk.
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    /// In a trailer line.
    Trailer,
    /// Behind the `\r` of the last, empty line.
    TrailerEnd,
    /// At the end.
    Done,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { state: State::Size(0, 0), line: 0 }
    }
}

/// What a piece of input was.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes of the input that are dealt with, [`Step::data`] included.
    pub consumed: usize,
    /// The next bytes of the body; empty when more input is needed or the body has ended.
    pub data: &'a [u8],
}

impl Decoder {
    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of the current chunk are still to come: a reader may take so many past this decoder and report
    /// them by [`Decoder::skip`].
    pub fn in_chunk(&self) -> u64 {
        match self.state {
            State::Data(n) => n,
            _ => 0,
        }
    }

    /// Reports `n` bytes of the current chunk, at most [`Decoder::in_chunk`], as dealt with.
    pub fn skip(&mut self, n: u64) {
        if let State::Data(left) = self.state {
            self.state = if n >= left { State::DataCr } else { State::Data(left - n) };
        }
    }

    /// Takes the next piece of body out of `input`.
    ///
    /// # Errors
    /// `Kind::Invalid` naming what is malformed or too long.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>> {
        let mut at = 0;
        while let Some(&b) = input.get(at) {
            match self.state {
                State::Done => break,
                State::Data(left) => {
                    let rest = &input[at..];
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.skip(n as u64);
                    return Ok(Step { consumed: at + n, data: &rest[..n] });
                }
                _ => {
                    self.control(b)?;
                    at += 1;
                }
            }
        }
        Ok(Step { consumed: at, data: &[] })
    }

    fn control(&mut self, b: u8) -> Result<()> {
        self.line += 1;
        let in_trailer = matches!(self.state, State::TrailerStart | State::Trailer | State::TrailerEnd);
        if self.line > if in_trailer { MAX_TRAILER } else { MAX_LINE } {
            return Err(malformed("line too long"));
        }
        self.state = match (self.state, b) {
            (State::Size(value, digits), _) if b.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(malformed("chunk too large"));
                }
                let digit = (b as char).to_digit(16).expect("checked to be a hexadecimal digit");
                State::Size(value << 4 | u64::from(digit), digits + 1)
            }
            (State::Size(_, 0), _) => return Err(malformed("chunk without a size")),
            (State::Size(value, _) | State::Extension(value), b'\r') => State::SizeEnd(value),
            (State::Size(value, _), b';' | b' ' | b'\t') => State::Extension(value),
            // A lone newline ends the line for some readers and not for others.
            (State::Extension(value), _) if b != b'\n' => State::Extension(value),
            (State::SizeEnd(0), b'\n') => State::TrailerStart,
            (State::SizeEnd(n), b'\n') => State::Data(n),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0, 0),
            (State::TrailerStart, b'\r') => State::TrailerEnd,
            (State::TrailerEnd, b'\n') => State::Done,
            (State::Trailer, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, _) if b != b'\n' => State::Trailer,
            _ => return Err(malformed("unexpected byte")),
        };
        if matches!(self.state, State::Data(_) | State::Size(_, 0) | State::TrailerStart) && !in_trailer {
            self.line = 0;
        }
        Ok(())
    }
}

fn malformed(what: &str) -> Error {
    Error::invalid(format!("malformed chunked body: {what}"))
}

/// The size line of a chunk, for a writer that sends size line, data and `\r\n` as three slices.
pub struct SizeLine {
    bytes: [u8; 18],
    start: usize,
}

impl SizeLine {
    /// For a chunk of `n` bytes; `n` is not 0, which would end the body.
    pub fn new(n: usize) -> SizeLine {
        let mut line = SizeLine { bytes: *b"................\r\n", start: 16 };
        let mut rest = n;
        loop {
            line.start -= 1;
            line.bytes[line.start] = b"0123456789abcdef"[rest & 15];
            rest >>= 4;
            if rest == 0 {
                return line;
            }
        }
    }

    /// The line with its end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` fed in pieces of `piece` bytes; gives the body and how many bytes were left over.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool)> {
        let mut decoder = Decoder::default();
        let (mut body, mut used) = (Vec::new(), 0);
        for part in input.chunks(piece) {
            let mut at = 0;
            while at < part.len() && !decoder.is_done() {
                let step = decoder.step(&part[at..])?;
                body.extend_from_slice(step.data);
                at += step.consumed;
            }
            used += at;
        }
        Ok((body, input.len() - used, decoder.is_done()))
    }

    #[test]
    fn any_split_gives_the_same_body() {
        let input =
            b"4\r\nWiki\r\n6;name=\"v\"\r\npedia \r\nE \t;x\r\nin \r\n\r\nchunks.\r\n0\r\nA: b\r\nC: d\r\n\r\nGET";
        for piece in 1..=input.len() {
            let (body, left, done) = decode(input, piece).unwrap();
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.", "{piece}");
            assert_eq!((left, done), (3, true), "{piece}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for input in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1\na\r\n",
            "1;a\nb\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "11111111111111111\r\n",
            "1\rX",
            "0\r\nA: b\n\n\r\n",
            "0\r\n\n",
        ] {
            assert!(decode(input.as_bytes(), 1).is_err(), "{input:?}");
        }
        assert!(decode(format!("1;{}\r\na", "x".repeat(MAX_LINE)).as_bytes(), 100).is_err());
        assert!(decode(format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_TRAILER / 6 + 1)).as_bytes(), 100).is_err());
    }

    #[test]
    fn a_body_that_stops_is_not_done() {
        for input in ["", "4", "4\r\nWi", "4\r\nWiki\r\n", "4\r\nWiki\r\n0\r\n"] {
            assert!(!decode(input.as_bytes(), 3).unwrap().2, "{input:?}");
        }
    }

    #[test]
    fn a_reader_may_go_past_the_decoder_inside_a_chunk() {
        let mut decoder = Decoder::default();
        let step = decoder.step(b"a\r\n").unwrap();
        assert_eq!((step.consumed, decoder.in_chunk()), (3, 10));
        decoder.skip(10);
        assert_eq!(decoder.in_chunk(), 0);
        assert_eq!(decoder.step(b"\r\n0\r\n\r\n").unwrap().consumed, 7);
        assert!(decoder.is_done());
    }

    #[test]
    fn size_lines() {
        for (n, want) in [(1, "1\r\n"), (16, "10\r\n"), (65536, "10000\r\n"), (0xabc, "abc\r\n")] {
            assert_eq!(SizeLine::new(n).as_bytes(), want.as_bytes());
        }
        assert_eq!(SizeLine::new(usize::MAX).as_bytes().len(), size_of::<usize>() * 2 + 2);
    }

    #[test]
    fn the_longest_sizes_do_not_overflow() {
        let mut decoder = Decoder::default();
        decoder.step(b"ffffffffffffffff\r\n").unwrap();
        assert_eq!(decoder.in_chunk(), u64::MAX);
    }
}
