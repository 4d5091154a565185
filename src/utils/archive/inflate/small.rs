//! With miniz_oxide, and CRC-32 four bytes a step: eight would need as much table again and make up for little of the time.

use super::Step;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// Output is the window that matches reach back in: a power of two and at least 32 KiB. Slices of it are handed out, so
/// that nothing is copied in between.
const RING: usize = 128 << 10;

/// The state of a stream.
pub struct Inflate {
    state: Box<DecompressorOxide>,
    ring: Box<[u8]>,
    at: usize,
}

impl Inflate {
    /// For a stream that begins.
    pub fn new() -> Inflate {
        Inflate { state: Box::default(), ring: vec![0; RING].into_boxed_slice(), at: 0 }
    }

    /// Begins another stream.
    pub fn begin(&mut self) {
        self.state.init();
    }

    /// Decompresses some. `None` for data that is none.
    pub fn step(&mut self, input: &[u8]) -> Option<Step> {
        let from = self.at;
        let (status, read, written) =
            decompress(&mut self.state, input, &mut self.ring, from, TINFL_FLAG_HAS_MORE_INPUT);
        self.at = (from + written) % RING;
        let ended = match status {
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => false,
            TINFLStatus::Done => true,
            _ => return None,
        };
        Some(Step { read, written: from..from + written, ended })
    }

    /// What the last step gave is in here.
    pub fn output(&self) -> &[u8] {
        &self.ring
    }
}

const POLYNOMIAL: u32 = 0xedb8_8320;

static TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    let mut t = [[0u32; 256]; 4];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { POLYNOMIAL ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        t[0][n] = c;
        n += 1;
    }
    let mut k = 1;
    while k < 4 {
        let mut n = 0;
        while n < 256 {
            let c = t[k - 1][n];
            t[k][n] = t[0][(c & 255) as usize] ^ (c >> 8);
            n += 1;
        }
        k += 1;
    }
    t
}

/// Continues gzip's checksum (RFC 1952, section 8), which begins with 0.
pub fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    let mut c = !crc;
    let (words, rest) = bytes.as_chunks::<4>();
    for w in words {
        let four = u32::from_le_bytes(*w) ^ c;
        c = TABLES[3][(four & 255) as usize]
            ^ TABLES[2][(four >> 8 & 255) as usize]
            ^ TABLES[1][(four >> 16 & 255) as usize]
            ^ TABLES[0][(four >> 24) as usize];
    }
    for b in rest {
        c = TABLES[0][usize::from(c as u8 ^ b)] ^ (c >> 8);
    }
    !c
}
