//! gzip (RFC 1952): all members of a stream, as parallel compressors and seekable layers write many.

use super::inflate::{Inflate, crc32};
use crate::utils::buffered;
use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// Most bytes in the optional fields of a member's head.
const HEAD_LIMIT: usize = 128 << 10;

enum State {
    /// Before a member's head; the first one must be there.
    Head {
        first: bool,
    },
    Body,
    End,
}

/// A decompressing reader.
pub struct Gunzip<R> {
    source: R,
    state: State,
    inflate: Inflate,
    /// What is decompressed and not consumed, in the output of `inflate`.
    from: usize,
    to: usize,
    crc: u32,
    length: u32,
}

fn corrupt(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("corrupt gzip stream: {text}"))
}

impl<R: BufRead> Gunzip<R> {
    /// Begins at a member's head.
    pub fn new(source: R) -> Gunzip<R> {
        Gunzip {
            source,
            state: State::Head { first: true },
            inflate: Inflate::new(),
            from: 0,
            to: 0,
            crc: 0,
            length: 0,
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let mut one = [0];
        self.source.read_exact(&mut one).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => Error::new(ErrorKind::UnexpectedEof, "gzip stream ends early"),
            _ => e,
        })?;
        Ok(one[0])
    }

    /// Reads a head; false at a proper end of the stream.
    fn head(&mut self, first: bool) -> Result<bool> {
        if !first {
            // Tapes and block devices pad with zeros behind the last member.
            loop {
                let buffer = self.source.fill_buf()?;
                if buffer.is_empty() {
                    return Ok(false);
                }
                let zeros = buffer.iter().take_while(|b| **b == 0).count();
                let more = zeros < buffer.len();
                self.source.consume(zeros);
                if more {
                    break;
                }
            }
        }
        if [self.byte()?, self.byte()?, self.byte()?] != [0x1f, 0x8b, 8] {
            return Err(corrupt(if first { "not gzip" } else { "garbage behind the last member" }));
        }
        let flags = self.byte()?;
        if flags & 0xe0 != 0 {
            return Err(corrupt("reserved flags are set"));
        }
        for _ in 0..6 {
            self.byte()?; // time, extra flags, system
        }
        let mut budget = HEAD_LIMIT;
        if flags & 4 != 0 {
            let length = u16::from_le_bytes([self.byte()?, self.byte()?]);
            for _ in 0..length {
                self.byte()?;
            }
        }
        for text in [8, 16] {
            while flags & text != 0 && self.byte()? != 0 {
                budget = budget.checked_sub(1).ok_or_else(|| corrupt("endless head"))?;
            }
        }
        if flags & 2 != 0 {
            self.byte()?;
            self.byte()?;
        }
        self.inflate.begin();
        (self.crc, self.length) = (0, 0);
        Ok(true)
    }

    fn trailer(&mut self) -> Result<()> {
        let mut word = || Ok(u32::from_le_bytes([self.byte()?, self.byte()?, self.byte()?, self.byte()?]));
        let (crc, length): (Result<u32>, Result<u32>) = (word(), word());
        match (crc? == self.crc, length? == self.length) {
            (true, true) => Ok(()),
            _ => Err(corrupt("checksum mismatch")),
        }
    }

    /// Decompresses until there is something to hand out or the stream ends.
    fn refill(&mut self) -> Result<()> {
        while self.from == self.to {
            match self.state {
                State::End => return Ok(()),
                State::Head { first } => self.state = if self.head(first)? { State::Body } else { State::End },
                State::Body => self.body()?,
            }
        }
        Ok(())
    }

    fn body(&mut self) -> Result<()> {
        let input = self.source.fill_buf()?;
        if input.is_empty() {
            return Err(Error::new(ErrorKind::UnexpectedEof, "gzip stream ends early"));
        }
        let step = self.inflate.step(input).ok_or_else(|| corrupt("invalid deflate data"))?;
        self.source.consume(step.read);
        if step.read == 0 && step.written.is_empty() && !step.ended {
            return Err(corrupt("invalid deflate data")); // or it would be tried for ever
        }
        (self.from, self.to) = (step.written.start, step.written.end);
        let written = &self.inflate.output()[step.written];
        self.crc = crc32(self.crc, written);
        self.length = self.length.wrapping_add(written.len() as u32);
        if step.ended {
            self.trailer()?;
            self.state = State::Head { first: false };
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        buffered::read(self, out)
    }
}

impl<R: BufRead> BufRead for Gunzip<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        self.refill()?;
        Ok(&self.inflate.output()[self.from..self.to])
    }

    fn consume(&mut self, n: usize) {
        self.from = (self.from + n).min(self.to);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::BufReader;

    /// One member.
    pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255, b'n', 0];
        out.extend(miniz_oxide::deflate::compress_to_vec(data, 6));
        out.extend(crc32(0, data).to_le_bytes());
        out.extend((data.len() as u32).to_le_bytes());
        out
    }

    fn gunzip(bytes: &[u8], capacity: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        Gunzip::new(BufReader::with_capacity(capacity, bytes)).read_to_end(&mut out)?;
        Ok(out)
    }

    /// Compressible, but not trivially.
    fn sample(length: usize) -> Vec<u8> {
        let mut x = 1u32;
        let step = |_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 28) as u8
        };
        (0..length).map(step).collect()
    }

    #[test]
    fn members_padding_and_any_input_size() {
        let (a, b) = (sample(300_000), sample(1));
        let stream = [gzip(&a), gzip(b""), gzip(&b), vec![0; 700]].concat();
        let want = [a, b].concat();
        for capacity in [1, 2, 7, 4096, 1 << 20] {
            assert!(gunzip(&stream, capacity).unwrap() == want, "{capacity}");
        }
    }

    #[test]
    fn every_truncation_and_flipped_trailer_is_an_error() {
        let stream = gzip(&sample(500));
        for n in 0..stream.len() {
            assert!(gunzip(&stream[..n], 64).is_err(), "{n}");
        }
        for at in stream.len() - 8..stream.len() {
            let mut bad = stream.clone();
            bad[at] ^= 1;
            assert_eq!(gunzip(&bad, 64).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        assert!(gunzip(&[stream, b"garbage".to_vec()].concat(), 64).is_err());
    }
}
