//! Zstandard (RFC 8878) as a stream: any number of frames, skippable ones among them.
//!
//! The head of a frame is read here and not by the decoder alone: what it asks for is judged before memory is taken.

use crate::utils::buffered;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// Bytes handed out at once, as many as a block holds.
const CHUNK: usize = 128 << 10;
/// Largest window. RFC 8878, section 3.1.1.1.2, recommends that decoders support 8 MiB, and that encoders ask for no
/// more; a head can claim any number.
const WINDOW_LIMIT: u64 = 8 << 20;
/// First bytes of a frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether a stream that begins so is one of frames; a skippable one may come first.
pub fn is_frame(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) || head.first_chunk().is_some_and(is_skippable)
}

/// Four bits of its first byte are free (RFC 8878, section 3.1.2).
fn is_skippable(head: &[u8; 4]) -> bool {
    head[0] & 0xf0 == 0x50 && head[1..] == [0x2a, 0x4d, 0x18]
}

/// A decompressing reader.
pub struct Unzstd<R> {
    source: Source<R>,
    decoder: Box<FrameDecoder>,
    in_frame: bool,
    /// Bytes that the frame has still to give, when its head says so.
    expected: Option<u64>,
    out: Box<[u8]>,
    /// What is decompressed and not consumed: `out[from..to]`.
    from: usize,
    to: usize,
}

/// Keeps an error of the source, which the decoder would wrap.
struct Source<R> {
    inner: R,
    failed: Option<Error>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        match self.inner.read(out) {
            Ok(0) if !out.is_empty() => self.failed = Some(truncated()),
            Err(e) if e.kind() != ErrorKind::Interrupted => self.failed = Some(e),
            result => return result,
        }
        Err(ErrorKind::Other.into())
    }
}

impl<R: BufRead> Source<R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes).map_err(|e| self.failed.take().unwrap_or(e))?;
        Ok(bytes)
    }
}

fn corrupt(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("corrupt zstd stream: {text}"))
}

fn truncated() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "zstd stream ends early")
}

impl<R: BufRead> Unzstd<R> {
    /// Begins at a frame.
    pub fn new(source: R) -> Unzstd<R> {
        Unzstd {
            source: Source { inner: source, failed: None },
            decoder: Box::new(FrameDecoder::new()),
            in_frame: false,
            expected: None,
            out: vec![0; CHUNK].into_boxed_slice(),
            from: 0,
            to: 0,
        }
    }

    /// Goes into the next frame; false at the end.
    fn next_frame(&mut self) -> Result<bool> {
        loop {
            if self.source.inner.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let head = self.source.array()?;
            if head == MAGIC {
                return self.begin_frame().map(|()| true);
            }
            if !is_skippable(&head) {
                return Err(corrupt("garbage behind the last frame"));
            }
            let mut left = u32::from_le_bytes(self.source.array()?) as usize;
            while left > 0 {
                let n = self.source.inner.fill_buf()?.len().min(left);
                if n == 0 {
                    return Err(truncated());
                }
                self.source.inner.consume(n);
                left -= n;
            }
        }
    }

    /// Reads the rest of a head (RFC 8878, section 3.1.1.1).
    fn begin_frame(&mut self) -> Result<()> {
        let mut head = MAGIC.to_vec();
        let mut field = |length: usize| -> Result<u64> {
            let mut number = [0; 8];
            for digit in &mut number[..length] {
                [*digit] = self.source.array()?;
            }
            head.extend_from_slice(&number[..length]);
            Ok(u64::from_le_bytes(number))
        };
        let descriptor = field(1)?;
        let is_single = descriptor & 0x20 != 0;
        if descriptor & 8 != 0 {
            return Err(corrupt("a reserved bit is set"));
        }
        let window = match is_single {
            true => None,
            false => {
                let code = field(1)?;
                let base = 1u64 << (10 + (code >> 3));
                Some(base + base / 8 * (code & 7))
            }
        };
        let dictionary = field([0, 1, 2, 4][descriptor as usize & 3])?;
        let size = match descriptor >> 6 {
            0 if !is_single => None,
            0 => Some(field(1)?),
            1 => Some(field(2)? + 256),
            code => Some(field(1 << code)?),
        };
        let window = window.or(size).unwrap_or_default();
        if dictionary != 0 {
            let text = format!("zstd stream needs the dictionary {dictionary}: dictionaries are not supported");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if window > WINDOW_LIMIT {
            let text = format!(
                "zstd stream needs a window of {window} bytes, more than the {WINDOW_LIMIT} that RFC 8878 asks of \
                 decoders: compress without --long and --ultra"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        self.decoder.reset(&head[..]).map_err(|e| corrupt(&e.to_string()))?;
        (self.in_frame, self.expected) = (true, size);
        Ok(())
    }

    /// Takes decompressed bytes of the frame, a block's at most.
    fn decode(&mut self) -> Result<()> {
        if !self.decoder.is_finished() && self.decoder.can_collect() == 0 {
            self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1)).map_err(|e| {
                // What the decoder says goes into details that nobody can do anything about.
                log::debug!("zstd: {e}");
                self.source.failed.take().unwrap_or_else(|| corrupt("invalid block"))
            })?;
        }
        (self.from, self.to) = (0, self.decoder.read(&mut self.out)?);
        if let Some(expected) = &mut self.expected {
            let left = expected.checked_sub(self.to as u64);
            *expected = left.ok_or_else(|| corrupt("a frame is longer than its head says"))?;
        }
        if self.decoder.is_finished() && self.decoder.can_collect() == 0 {
            self.in_frame = false;
            if self.expected.is_some_and(|left| left > 0) {
                return Err(corrupt("a frame is shorter than its head says"));
            }
            let stored = self.decoder.get_checksum_from_data();
            if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
                return Err(corrupt("checksum mismatch"));
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Unzstd<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        buffered::read(self, out)
    }
}

impl<R: BufRead> BufRead for Unzstd<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        while self.from == self.to && (self.in_frame || self.next_frame()?) {
            self.decode()?;
        }
        Ok(&self.out[self.from..self.to])
    }

    fn consume(&mut self, n: usize) {
        self.from = (self.from + n).min(self.to);
    }
}

#[cfg(test)]
mod tests;
