//! A fast checksum of sparse content: finds damage, is no defence against an adversary.
//!
//! Blocks of 4096 bytes are summed up one by one and mixed with their number, so that a hole costs nothing and is the
//! same as zeros that are written out. Four lanes of multiplications keep a processor busy without vector instructions:
//! a small part of what SHA-256 costs.

/// Bytes that are summed up at once.
const BLOCK: usize = 4096;
/// Odd numbers without structure: digits of the golden ratio and of the roots of 2, 3 and 5.
const FACTORS: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];
/// The sum of a block of zeros.
const ZERO: u64 = sum(&[0; BLOCK]);

const fn sum(block: &[u8; BLOCK]) -> u64 {
    let [mut a, mut b, mut c, mut d] = FACTORS;
    let (mut rest, _) = block.as_chunks::<32>();
    // Four names and no loop over them: builds for size unroll nothing.
    while let [bytes, after @ ..] = rest {
        a = step(a, bytes, 0);
        b = step(b, bytes, 8);
        c = step(c, bytes, 16);
        d = step(d, bytes, 24);
        rest = after;
    }
    mix(mix(a, b), mix(c, d))
}

/// The rotation brings the upper bits back to where the multiplication spreads them.
#[inline(always)]
const fn step(lane: u64, bytes: &[u8; 32], at: usize) -> u64 {
    let (_, word) = bytes.split_at(at);
    let word = match word.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => 0,
    };
    (lane ^ word).wrapping_mul(FACTORS[0]).rotate_left(29)
}

/// Two numbers to one.
pub const fn mix(a: u64, b: u64) -> u64 {
    let mut x = (a ^ b.wrapping_mul(FACTORS[1])).wrapping_mul(FACTORS[0]);
    x = (x ^ (x >> 32)).wrapping_mul(FACTORS[2]);
    x = (x ^ (x >> 29)).wrapping_mul(FACTORS[3]);
    x ^ (x >> 32)
}

/// A short text.
pub fn text(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words.iter().fold(text.len() as u64, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    mix(sum, u64::from_le_bytes(last))
}

/// The checksum of content in the making. What is not added is zeros.
pub struct Checksum {
    sum: u64,
    /// A block that is not complete, and its number.
    block: Box<[u8; BLOCK]>,
    number: u64,
    begun: bool,
}

impl Default for Checksum {
    fn default() -> Checksum {
        Checksum { sum: 0, block: Box::new([0; BLOCK]), number: 0, begun: false }
    }
}

impl Checksum {
    /// Adds bytes from `offset` on. Offsets go up.
    pub fn add(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (number, within) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
            if number != self.number {
                self.close();
                self.number = number;
            }
            let taken = match bytes.first_chunk::<BLOCK>() {
                Some(whole) if within == 0 && !self.begun => {
                    self.sum = self.sum.wrapping_add(placed(sum(whole), number));
                    BLOCK
                }
                _ => {
                    let n = bytes.len().min(BLOCK - within);
                    self.block[within..within + n].copy_from_slice(&bytes[..n]);
                    self.begun = true;
                    n
                }
            };
            offset += taken as u64;
            bytes = &bytes[taken..];
        }
    }

    /// The checksum of content of `size` bytes. A new one may begin.
    pub fn finish(&mut self, size: u64) -> u64 {
        self.close();
        self.number = 0;
        mix(std::mem::take(&mut self.sum), size)
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.sum = self.sum.wrapping_add(placed(sum(&self.block), self.number));
            self.block.fill(0);
        }
    }
}

/// The part of a block in the whole.
fn placed(sum: u64, number: u64) -> u64 {
    if sum == ZERO { 0 } else { mix(sum, number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], pieces: &[usize]) -> u64 {
        let mut checksum = Checksum::default();
        let (mut at, mut n) = (0, 0);
        while at < bytes.len() {
            let length = pieces[n % pieces.len()].min(bytes.len() - at);
            checksum.add(at as u64, &bytes[at..at + length]);
            (at, n) = (at + length, n + 1);
        }
        checksum.finish(bytes.len() as u64)
    }

    #[test]
    fn pieces_do_not_matter_and_every_bit_does() {
        let mut bytes: Vec<u8> = (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let whole = of(&bytes, &[usize::MAX]);
        for pieces in [&[1][..], &[4096], &[4095], &[5000], &[10_000, 3, 4096, 1]] {
            assert_eq!(of(&bytes, pieces), whole, "{pieces:?}");
        }
        let mut seen = std::collections::BTreeSet::from([whole]);
        for (at, bit) in [(0, 0), (7, 7), (15, 7), (4095, 1), (4096, 1), (8191, 7), (19_999, 7)] {
            bytes[at] ^= 1 << bit;
            assert!(seen.insert(of(&bytes, &[usize::MAX])), "byte {at}, bit {bit}");
        }
        // The highest bits of words in one lane, which a plain multiplication would let cancel each other.
        bytes[7 + 32] ^= 0x80;
        bytes[7 + 64] ^= 0x80;
        assert!(seen.insert(of(&bytes, &[usize::MAX])));
        bytes.swap(100, 4096 + 100);
        assert!(seen.insert(of(&bytes, &[usize::MAX])));
        assert!(seen.insert(of(&bytes[..19_998], &[usize::MAX])));
    }

    #[test]
    fn holes_are_zeros() {
        let mut bytes = vec![0u8; 50_000];
        bytes[10_000..10_010].fill(7);
        bytes[30_000] = 1;
        let mut sparse = Checksum::default();
        sparse.add(10_000, &[7; 10]);
        sparse.add(30_000, &[1]);
        assert_eq!(sparse.finish(50_000), of(&bytes, &[usize::MAX]));
        assert_eq!(sparse.finish(0), of(&[], &[1]));
        assert_ne!(of(&vec![0; 4096], &[99]), of(&vec![0; 8192], &[99]));
        assert!(text(b"a/b") != text(b"a/c") && text(b"") != text(b"\0") && text(b"12345678") != text(b"12345678\0"));
    }
}
