//! With zlib-rs.

use super::Step;
use zlib_rs::{InflateFlush, Status};

/// Bytes that come out of one step at most.
const OUTPUT: usize = 128 << 10;
/// The longest distance that a match may reach back, as a power of two.
const WINDOW_BITS: u8 = 15;

/// The state of a stream.
pub struct Inflate {
    state: zlib_rs::Inflate,
    output: Box<[u8]>,
}

impl Inflate {
    /// For a stream that begins.
    pub fn new() -> Inflate {
        Inflate { state: zlib_rs::Inflate::new(false, WINDOW_BITS), output: vec![0; OUTPUT].into_boxed_slice() }
    }

    /// Begins another stream.
    pub fn begin(&mut self) {
        self.state.reset(false);
    }

    /// Decompresses some. `None` for data that is none.
    pub fn step(&mut self, input: &[u8]) -> Option<Step> {
        let (read, written) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(input, &mut self.output, InflateFlush::NoFlush).ok()?;
        let count = |after: u64, before: u64| usize::try_from(after - before).ok();
        let (read, written) = (count(self.state.total_in(), read)?, count(self.state.total_out(), written)?);
        Some(Step { read, written: 0..written, ended: status == Status::StreamEnd })
    }

    /// What the last step gave is in here.
    pub fn output(&self) -> &[u8] {
        &self.output
    }
}

/// Continues gzip's checksum (RFC 1952, section 8), which begins with 0.
pub fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    zlib_rs::crc32::crc32(crc, bytes)
}
