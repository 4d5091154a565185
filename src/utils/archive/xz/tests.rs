//! Streams made by hand around data that xz(1) made, and what damage does to them.

use super::*;
use std::io::BufReader;

/// The LZMA2 data of `printf 'abc%.0s' $(seq 100) | xz -c`
const DATA: [u8; 19] =
    [0xe0, 0x01, 0x2b, 0x00, 0x0b, 0x5d, 0x00, 0x30, 0x98, 0x88, 0xad, 0x4b, 0x36, 0xed, 0x1b, 0xb2, 0x00, 0x00, 0x00];
/// Bytes of [`DATA`] that are data, and those behind it that are padding.
const PACKED: usize = 19;

/// The whole of it: a CRC-64, no sizes in the block's head.
const WHOLE: [u8; 76] = [
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x16, 0x00, 0x00,
    0x00, 0x74, 0x2f, 0xe5, 0xa3, 0xe0, 0x01, 0x2b, 0x00, 0x0b, 0x5d, 0x00, 0x30, 0x98, 0x88, 0xad, 0x4b, 0x36, 0xed,
    0x1b, 0xb2, 0x00, 0x00, 0x00, 0x00, 0x32, 0xe8, 0xd2, 0x93, 0x03, 0xbf, 0x05, 0x27, 0x00, 0x01, 0x27, 0xac, 0x02,
    0x00, 0x00, 0x00, 0x4f, 0x5b, 0x22, 0xc6, 0xb1, 0xc4, 0x67, 0xfb, 0x02, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
];

fn plain() -> Vec<u8> {
    b"abc".repeat(100)
}

fn number_bytes(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(crc32(0, &bytes).to_le_bytes());
    bytes
}

/// A block's head with these fields behind its size.
fn head(fields: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0], fields].concat();
    bytes[0] = bytes.len().div_ceil(4) as u8;
    with_crc(bytes)
}

/// A stream of blocks, each a head, LZMA2 data, what it unpacks to and the check of that.
struct Made {
    flags: [u8; 2],
    body: Vec<u8>,
    index: Vec<u8>,
    blocks: u64,
}

impl Made {
    fn new(check: u8) -> Made {
        Made { flags: [0, check], body: Vec::new(), index: Vec::new(), blocks: 0 }
    }

    fn block(mut self, head: &[u8], data: &[u8], plain: &[u8]) -> Made {
        let check = match self.flags[1] {
            0 => Vec::new(),
            1 => crc32(0, plain).to_le_bytes().to_vec(),
            4 => crc64::update(0, plain).to_le_bytes().to_vec(),
            _ => {
                let digits = crate::utils::digest::sha256(plain);
                (0..32).map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap()).collect()
            }
        };
        self.body.extend_from_slice(head);
        self.body.extend_from_slice(data);
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        self.body.extend_from_slice(&check);
        self.index.extend(number_bytes((head.len() + data.len() + check.len()) as u64));
        self.index.extend(number_bytes(plain.len() as u64));
        self.blocks += 1;
        self
    }

    fn finish(self) -> Vec<u8> {
        let index = with_crc([vec![0], number_bytes(self.blocks), self.index].concat());
        let backward = (index.len() as u32 / 4 - 1).to_le_bytes();
        let tail = [&backward[..], &self.flags].concat();
        let crc = |bytes: &[u8]| crc32(0, bytes).to_le_bytes();
        [&MAGIC[..], &self.flags, &crc(&self.flags), &self.body, &index, &crc(&tail), &tail, &END].concat()
    }
}

/// LZMA2 with a dictionary of 8 MiB.
fn usual() -> Vec<u8> {
    head(&[0, 0x21, 1, 22])
}

fn unxz(bytes: &[u8], capacity: usize) -> Result<Vec<u8>> {
    within(Window::Large, bytes, capacity)
}

fn within(window: Window, bytes: &[u8], capacity: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Unxz::new(BufReader::with_capacity(capacity, bytes), window).read_to_end(&mut out)?;
    Ok(out)
}

#[track_caller]
fn refused(bytes: &[u8], kind: ErrorKind, want: &str) {
    let e = unxz(bytes, 64).expect_err(want);
    assert!(e.kind() == kind && e.to_string().contains(want), "{e}");
}

#[test]
fn streams_blocks_checks_and_padding() {
    let data = &DATA[..PACKED];
    let sized = head(&[&[0xc0, PACKED as u8], &number_bytes(300)[..], &[0x21, 1, 22]].concat());
    let made = |check| {
        let empty = Made::new(check).block(&usual(), data, &plain()).block(&usual(), &[0], b"");
        empty.block(&sized, data, &plain()).finish()
    };
    assert_eq!(Made::new(4).block(&usual(), data, &plain()).finish(), WHOLE);
    let padding = vec![0; 8];
    let streams =
        [made(0), made(1), padding.clone(), made(4), made(10), Made::new(1).finish(), WHOLE.to_vec(), padding];
    for capacity in [1, 2, 7, 4096] {
        assert!(unxz(&streams.concat(), capacity).unwrap() == b"abc".repeat(900), "{capacity}");
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_an_error() {
    for n in 0..WHOLE.len() {
        assert!(unxz(&WHOLE[..n], 64).is_err(), "{n}");
    }
    for bit in 0..WHOLE.len() * 8 {
        let mut bad = WHOLE;
        bad[bit / 8] ^= 1 << (bit % 8);
        let e = match unxz(&bad, 64) {
            Err(e) => e,
            // Another model of literals, of which there are three.
            Ok(content) if bit / 8 == 29 && content == plain() => continue,
            Ok(_) => panic!("bit {bit} is not missed"),
        };
        let known = [ErrorKind::InvalidData, ErrorKind::UnexpectedEof, ErrorKind::Unsupported];
        assert!(known.contains(&e.kind()), "{bit}: {e:?}");
    }
}

#[test]
fn what_does_not_belong_together_is_an_error() {
    let data = &DATA[..PACKED];
    let invalid = ErrorKind::InvalidData;
    let other = Made::new(4).block(&usual(), data, &plain()[1..]).finish();
    refused(&other, invalid, "checksum mismatch");
    let mut listed = Made::new(0).block(&usual(), data, &plain());
    listed.index = [number_bytes(usual().len() as u64 + 19), number_bytes(299)].concat();
    refused(&listed.finish(), invalid, "an index lists other blocks");
    let mut more = Made::new(0).block(&usual(), data, &plain());
    (more.blocks, more.index) = (2, more.index.repeat(2));
    refused(&more.finish(), invalid, "an index lists other blocks");
    for (packed, size, want) in [(18, 300, "longer"), (20, 300, "shorter"), (19, 299, "longer"), (19, 301, "shorter")] {
        let head = head(&[&[0xc0, packed], &number_bytes(size)[..], &[0x21, 1, 22]].concat());
        refused(&Made::new(0).block(&head, data, &plain()).finish(), invalid, want);
    }
    refused(&[&WHOLE[..], &[0; 3]].concat(), invalid, "multiple of four");
    refused(&[&WHOLE[..], b"abcdefghijklmnop"].concat(), invalid, "garbage behind the last stream");
    refused(&Made::new(0).block(&head(&[4, 0x21, 1, 22]), data, &plain()).finish(), invalid, "reserved bits");
    refused(&Made::new(0).block(&head(&[0, 0x21, 1, 41]), data, &plain()).finish(), invalid, "malformed");
    refused(&Made::new(0).block(&head(&[0x40, 0x80, 0, 0x21, 1, 22]), data, &plain()).finish(), invalid, "malformed");
}

#[test]
fn heads_are_judged_before_memory_is_taken() {
    let data = &DATA[..PACKED];
    let with = |fields: &[u8]| Made::new(4).block(&head(fields), data, &plain()).finish();
    // 64 MiB, as xz -9 asks for; what comes next, and the largest.
    assert_eq!(unxz(&with(&[0, 0x21, 1, 28]), 64).unwrap(), plain());
    refused(&with(&[0, 0x21, 1, 29]), ErrorKind::Unsupported, "100663296 bytes, more than 67108864");
    refused(&with(&[0, 0x21, 1, 40]), ErrorKind::Unsupported, "4294967295 bytes");
    // 8 MiB, as xz -6 asks for, and what comes next.
    assert_eq!(within(Window::Small, &with(&[0, 0x21, 1, 22]), 64).unwrap(), plain());
    let e = within(Window::Small, &with(&[0, 0x21, 1, 23]), 64).unwrap_err();
    assert!(e.to_string().contains("12582912 bytes, more than 8388608"), "{e}");
    // x86 in front of LZMA2, and a check that nobody writes.
    refused(&with(&[1, 4, 0, 0x21, 1, 22]), ErrorKind::Unsupported, "a filter besides LZMA2");
    refused(&Made::new(2).finish(), ErrorKind::Unsupported, "the check 2");
}

#[test]
fn numbers() {
    for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1] {
        let bytes = number_bytes(n);
        let mut rest = bytes.iter();
        assert_eq!(number(|| Ok(*rest.next().unwrap())).unwrap(), n);
        assert_eq!(length_of(n), bytes.len() as u64, "{n}");
    }
}
