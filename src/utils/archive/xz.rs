//! xz (version 1.2.1 of the .xz file format) as a stream: any number of streams, padding between them, blocks with
//! every check that xz(1) writes.
//!
//! The container is read here and only LZMA2 by the crate: its readers of whole files keep the index of a stream in
//! memory, which an archive of empty blocks makes as large as it likes.

use super::Window;
use super::crc64;
use super::inflate::crc32;
use crate::utils::buffered;
use crate::utils::digest::Sha256;
use crate::utils::id::hex;
use lzma_rust2::{Action, Lzma2Stream, Status};
use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// Bytes handed out at once.
const CHUNK: usize = 128 << 10;
/// Largest dictionaries: that of `xz -9`, which is what Yocto packs root file systems with, and that of `xz -6`. Memory
/// is taken as the dictionary fills, so an archive takes no more than it unpacks to.
const LARGE: u64 = 64 << 20;
const SMALL: u64 = 8 << 20;
/// First bytes of a stream.
pub const MAGIC: [u8; 6] = *b"\xfd7zXZ\0";
/// Last bytes of a stream.
const END: [u8; 2] = *b"YZ";
/// Number of the filter LZMA2 (section 5.3.1).
const LZMA2: u64 = 0x21;
/// Bytes of the longest number (section 1.2).
const LONGEST: u32 = 9;

/// A decompressing reader.
pub struct Unxz<R> {
    source: R,
    /// Bytes of the largest dictionary.
    limit: u64,
    state: State,
    /// What the head of the stream says; its tail must repeat it.
    flags: [u8; 2],
    records: Records,
    out: Box<[u8]>,
    /// What is decompressed and not consumed: `out[from..to]`.
    from: usize,
    to: usize,
}

enum State {
    /// Before a stream; the first one must be there.
    Stream {
        first: bool,
    },
    /// Between the blocks of a stream.
    Between,
    Block(Box<Block>),
    End,
}

struct Block {
    decoder: Lzma2Stream,
    check: Check,
    /// Bytes of the head.
    head: u64,
    /// Bytes so far: compressed, decompressed.
    packed: u64,
    plain: u64,
    /// The same as the head has them.
    expected: [Option<u64>; 2],
}

/// What a stream's blocks are verified by (section 2.1.1.2).
enum Check {
    None,
    Crc32(u32),
    Crc64(u64),
    Sha256(Sha256),
}

/// Sizes of blocks, those that were read and those that an index lists, each as a hash: an index may be of any length.
#[derive(Default)]
struct Records {
    count: u64,
    /// Bytes that the list takes in an index.
    length: u64,
    hash: Sha256,
}

impl Records {
    fn add(&mut self, unpadded: u64, plain: u64) {
        self.count += 1;
        self.length += length_of(unpadded) + length_of(plain);
        self.hash.update(&unpadded.to_le_bytes());
        self.hash.update(&plain.to_le_bytes());
    }
}

fn corrupt(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("corrupt xz stream: {text}"))
}

fn truncated() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "xz stream ends early")
}

fn unsupported(text: String) -> Error {
    Error::new(ErrorKind::Unsupported, text)
}

impl Check {
    /// By its number in the flags of a stream.
    fn new(id: u8) -> Result<Check> {
        Ok(match id {
            0 => Check::None,
            1 => Check::Crc32(0),
            4 => Check::Crc64(0),
            10 => Check::Sha256(Sha256::new()),
            other => {
                let text = format!("xz stream has the check {other}: only none, CRC32, CRC64 and SHA-256 are known");
                return Err(unsupported(text));
            }
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Check::None => {}
            Check::Crc32(crc) => *crc = crc32(*crc, bytes),
            Check::Crc64(crc) => *crc = crc64::update(*crc, bytes),
            Check::Sha256(hash) => hash.update(bytes),
        }
    }
}

impl<R: BufRead> Unxz<R> {
    /// Begins at a stream.
    pub fn new(source: R, window: Window) -> Unxz<R> {
        Unxz {
            source,
            limit: if window == Window::Large { LARGE } else { SMALL },
            state: State::Stream { first: true },
            flags: [0; 2],
            records: Records::default(),
            out: vec![0; CHUNK].into_boxed_slice(),
            from: 0,
            to: 0,
        }
    }

    fn exact(&mut self, out: &mut [u8]) -> Result<()> {
        self.source.read_exact(out).map_err(|e| if e.kind() == ErrorKind::UnexpectedEof { truncated() } else { e })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the head of a stream (section 2.1.1); false at a proper end.
    fn head(&mut self, first: bool) -> Result<bool> {
        if !first && !self.padding()? {
            return Ok(false);
        }
        let bytes: [u8; 12] = self.array()?;
        let (magic, rest) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(corrupt("garbage behind the last stream"));
        }
        let (flags, stored) = rest.split_at(2);
        if crc32(0, flags).to_le_bytes() != stored {
            return Err(corrupt("wrong checksum of a stream's head"));
        }
        if flags[0] != 0 || flags[1] & 0xf0 != 0 {
            return Err(corrupt("reserved bits are set in a stream's head"));
        }
        Check::new(flags[1])?;
        (self.flags, self.records) = ([flags[0], flags[1]], Records::default());
        Ok(true)
    }

    /// Skips the padding behind a stream, four zeros or a multiple (section 2.2); false when nothing follows.
    fn padding(&mut self) -> Result<bool> {
        let mut skipped = 0;
        loop {
            let buffer = self.source.fill_buf()?;
            let zeros = buffer.iter().take_while(|b| **b == 0).count();
            let (ends, more) = (buffer.is_empty(), zeros < buffer.len());
            self.source.consume(zeros);
            skipped += zeros % 4;
            if ends || more {
                return if skipped % 4 == 0 { Ok(more) } else { Err(corrupt("padding of no multiple of four bytes")) };
            }
        }
    }

    /// What follows a stream's head or a block: a block, or index and tail.
    fn between(&mut self) -> Result<State> {
        let [size] = self.array()?;
        if size == 0 {
            self.index()?;
            return Ok(State::Stream { first: false });
        }
        let mut head = vec![0; (usize::from(size) + 1) * 4];
        head[0] = size;
        self.exact(&mut head[1..])?;
        Block::parse(&head, self.flags[1], self.limit).map(|block| State::Block(Box::new(block)))
    }

    /// Decompresses until there is something to hand out or the block ends.
    fn block(&mut self, block: &mut Block) -> Result<bool> {
        let input = self.source.fill_buf()?;
        if input.is_empty() {
            return Err(truncated());
        }
        let done = block.decoder.process(input, &mut self.out, Action::Run).map_err(|e| match e.kind() {
            ErrorKind::OutOfMemory => {
                Error::new(e.kind(), "the dictionary of an xz stream takes more memory than there is")
            }
            _ => {
                // What the decoder says goes into details that nobody can do anything about.
                log::debug!("xz: {e}");
                corrupt("invalid LZMA2 data")
            }
        })?;
        self.source.consume(done.bytes_consumed);
        (self.from, self.to) = (0, done.bytes_produced);
        block.check.update(&self.out[..self.to]);
        block.packed += done.bytes_consumed as u64;
        block.plain += self.to as u64;
        let have = [block.packed, block.plain];
        if block.expected.iter().zip(have).any(|(want, have)| want.is_some_and(|want| have > want)) {
            return Err(corrupt("a block is longer than its head says"));
        }
        match done.status {
            Status::StreamEnd => Ok(true),
            Status::Ok if done.bytes_consumed + self.to == 0 => Err(corrupt("invalid LZMA2 data")),
            Status::Ok => Ok(false),
        }
    }

    /// Reads what is behind the data of a block (sections 3.3 and 3.4).
    fn end_block(&mut self, block: Block) -> Result<()> {
        if block.expected.iter().zip([block.packed, block.plain]).any(|(want, have)| want.is_some_and(|w| have != w)) {
            return Err(corrupt("a block is shorter than its head says"));
        }
        for _ in 0..block.packed.wrapping_neg() % 4 {
            if self.array()? != [0] {
                return Err(corrupt("the padding of a block is not zero"));
            }
        }
        let (equal, length) = match block.check {
            Check::None => (true, 0),
            Check::Crc32(crc) => (self.array()? == crc.to_le_bytes(), 4),
            Check::Crc64(crc) => (self.array()? == crc.to_le_bytes(), 8),
            Check::Sha256(hash) => (hex(&self.array::<32>()?) == hash.finish(), 32),
        };
        self.records.add(block.head + block.packed + length, block.plain);
        if equal { Ok(()) } else { Err(corrupt("checksum mismatch")) }
    }

    /// Reads an index behind its first byte (section 4), and the tail of the stream.
    fn index(&mut self) -> Result<()> {
        let mut crc = crc32(0, &[0]);
        let count = self.number(&mut crc)?;
        let mut listed = Records::default();
        while listed.count < count {
            let (unpadded, plain) = (self.number(&mut crc)?, self.number(&mut crc)?);
            listed.add(unpadded, plain);
        }
        let length = 1 + length_of(count) + listed.length;
        let padding = length.wrapping_neg() % 4;
        for _ in 0..padding {
            let zero = self.array()?;
            crc = crc32(crc, &zero);
            if zero != [0] {
                return Err(corrupt("the padding of an index is not zero"));
            }
        }
        let read = std::mem::take(&mut self.records);
        if self.array()? != crc.to_le_bytes() {
            return Err(corrupt("wrong checksum of an index"));
        }
        if (read.count, read.hash.finish()) != (count, listed.hash.finish()) {
            return Err(corrupt("an index lists other blocks"));
        }
        // Section 2.1.2: a checksum, the size of the index with its own checksum, the flags again.
        let tail: [u8; 12] = self.array()?;
        let backward = (length + padding + 4) / 4 - 1;
        let right = tail[..4] == crc32(0, &tail[4..10]).to_le_bytes()
            && u64::from(u32::from_le_bytes([tail[4], tail[5], tail[6], tail[7]])) == backward
            && tail[8..] == [self.flags, END].concat();
        if right { Ok(()) } else { Err(corrupt("wrong tail of a stream")) }
    }

    /// A number of an index, added to its checksum.
    fn number(&mut self, crc: &mut u32) -> Result<u64> {
        number(|| {
            let byte: [u8; 1] = self.array()?;
            *crc = crc32(*crc, &byte);
            Ok(byte[0])
        })
    }
}

impl Block {
    /// From a whole head (section 3.1).
    fn parse(head: &[u8], check: u8, limit: u64) -> Result<Block> {
        let (fields, stored) = head.split_at(head.len() - 4);
        if crc32(0, fields).to_le_bytes() != stored {
            return Err(corrupt("wrong checksum of a block's head"));
        }
        let mut fields = &fields[1..];
        let mut byte = || {
            let (first, rest) = fields.split_first().ok_or_else(|| corrupt("malformed head of a block"))?;
            fields = rest;
            Ok(*first)
        };
        let flags = byte()?;
        if flags & 0x3c != 0 {
            return Err(corrupt("reserved bits are set in a block's head"));
        }
        let packed = (flags & 0x40 != 0).then(|| number(&mut byte)).transpose()?;
        let plain = (flags & 0x80 != 0).then(|| number(&mut byte)).transpose()?;
        let filter = number(&mut byte)?;
        if flags & 3 != 0 || filter != LZMA2 {
            return Err(unsupported(
                "xz stream has a filter besides LZMA2: compress without --x86, --delta and the like".into(),
            ));
        }
        let (length, code) = (number(&mut byte)?, byte()?);
        if length != 1 || code > 40 || fields.iter().any(|b| *b != 0) {
            return Err(corrupt("malformed head of a block"));
        }
        Ok(Block {
            decoder: Lzma2Stream::new(dictionary(code, limit)?),
            check: Check::new(check)?,
            head: head.len() as u64,
            packed: 0,
            plain: 0,
            expected: [packed, plain],
        })
    }
}

/// The size of a dictionary by its code (section 5.3.1), judged before memory is taken.
fn dictionary(code: u8, limit: u64) -> Result<u32> {
    let size = match code {
        40 => u64::from(u32::MAX),
        _ => u64::from(2 | code & 1) << (code / 2 + 11),
    };
    match u32::try_from(size) {
        Ok(size) if u64::from(size) <= limit => Ok(size),
        _ => Err(unsupported(format!(
            "xz stream needs a dictionary of {size} bytes, more than {limit}: compress with a smaller preset"
        ))),
    }
}

/// A number (section 1.2): seven bits a byte, the lowest first.
fn number(mut next: impl FnMut() -> Result<u8>) -> Result<u64> {
    let mut value = 0;
    for n in 0..LONGEST {
        let byte = next()?;
        value |= u64::from(byte & 0x7f) << (7 * n);
        match byte {
            0 if n > 0 => break,
            0x80.. => {}
            _ => return Ok(value),
        }
    }
    Err(corrupt("malformed number"))
}

/// Bytes that a number takes.
fn length_of(number: u64) -> u64 {
    u64::from((64 - number.leading_zeros()).div_ceil(7)).max(1)
}

impl<R: BufRead> Read for Unxz<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        buffered::read(self, out)
    }
}

impl<R: BufRead> BufRead for Unxz<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        while self.from == self.to {
            // An error leaves the end, behind which nothing is read again.
            self.state = match std::mem::replace(&mut self.state, State::End) {
                State::End => break,
                State::Stream { first } if self.head(first)? => State::Between,
                State::Stream { .. } => State::End,
                State::Between => self.between()?,
                State::Block(mut block) => match self.block(&mut block)? {
                    false => State::Block(block),
                    true => {
                        self.end_block(*block)?;
                        State::Between
                    }
                },
            };
        }
        Ok(&self.out[self.from..self.to])
    }

    fn consume(&mut self, n: usize) {
        self.from = (self.from + n).min(self.to);
    }
}

#[cfg(test)]
mod tests;
