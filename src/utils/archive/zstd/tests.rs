//! Frames made by hand, one that the reference implementation made, and what damage does to them.

use super::*;
use std::io::BufReader;

/// Head of a frame with a window of 1 KiB.
const PLAIN: [u8; 2] = [0x00, 0x00];

/// A block (RFC 8878, section 3.1.1.2).
fn block(kind: u32, last: bool, size: usize, content: &[u8]) -> Vec<u8> {
    let head = ((size as u32) << 3 | kind << 1 | u32::from(last)).to_le_bytes();
    [&head[..3], content].concat()
}

/// A frame of one raw block, which says its size.
fn frame(data: &[u8]) -> Vec<u8> {
    let head = [&MAGIC[..], &[0xa0], &(data.len() as u32).to_le_bytes()].concat();
    [head, block(0, true, data.len(), data)].concat()
}

fn skippable(data: &[u8]) -> Vec<u8> {
    [&[0x53, 0x2a, 0x4d, 0x18][..], &(data.len() as u32).to_le_bytes(), data].concat()
}

/// `printf 'abc%.0s' $(seq 100) | zstd -c`
fn compressed() -> (Vec<u8>, Vec<u8>) {
    let bytes = [
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x55, 0x00, 0x00, 0x18, 0x61, 0x62, 0x63, 0x01, 0x00, 0x26, 0xaa, 0x6e,
        0x08, 0x2b, 0xac, 0x9d, 0x8f,
    ];
    (bytes.to_vec(), b"abc".repeat(100))
}

fn unzstd(bytes: &[u8], capacity: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Unzstd::new(BufReader::with_capacity(capacity, bytes)).read_to_end(&mut out)?;
    Ok(out)
}

fn refused(bytes: &[u8], kind: ErrorKind, want: &str) {
    let e = unzstd(bytes, 64).expect_err(want);
    assert!(e.kind() == kind && e.to_string().contains(want), "{e}");
}

#[test]
fn frames_and_what_is_between_them() {
    let (packed, plain) = compressed();
    let frames = [skippable(b"x"), frame(b"hello "), packed, skippable(&[0; 100]), frame(b""), frame(b"world")];
    let want = [b"hello ", &plain[..], b"world"].concat();
    for capacity in [1, 2, 7, 4096] {
        assert_eq!(unzstd(&frames.concat(), capacity).unwrap(), want, "{capacity}");
    }
    assert!(unzstd(b"", 1).unwrap().is_empty());
    assert!(is_frame(&frames[0]) && is_frame(&frames[1]) && !is_frame(&frames[1][..3]) && !is_frame(b"P*M\0"));
}

#[test]
fn more_than_the_window_passes_through() {
    let mut bytes = [&MAGIC[..], &[0x00, 0x08]].concat(); // 2 KiB
    for n in 0..=9 {
        bytes.extend(block(1, n == 9, 2048, &[b'0' + n]));
    }
    let want: Vec<u8> = (b'0'..=b'9').flat_map(|digit| [digit; 2048]).collect();
    assert!(unzstd(&bytes, 64).unwrap() == want);
}

#[test]
fn every_truncation_is_an_error() {
    for whole in [compressed().0, frame(b"hello"), skippable(b"hello")] {
        for n in 1..whole.len() {
            refused(&whole[..n], ErrorKind::UnexpectedEof, "ends early");
        }
    }
}

#[test]
fn damage_is_told() {
    let (packed, plain) = compressed();
    let mut wrong = packed.clone();
    *wrong.last_mut().unwrap() ^= 1;
    refused(&wrong, ErrorKind::InvalidData, "checksum mismatch");
    for at in 4..packed.len() {
        let mut bad = packed.clone();
        bad[at] ^= 1;
        // A bit that nothing hangs on may differ; no other content passes.
        assert!(unzstd(&bad, 64).map_or(true, |have| have == plain), "{at}");
    }
    refused(&[frame(b"hello"), b"more".to_vec()].concat(), ErrorKind::InvalidData, "garbage");
    refused(&[&MAGIC[..], &PLAIN, &block(3, true, 0, b"")].concat(), ErrorKind::InvalidData, "invalid block");
    refused(&[&MAGIC[..], &[0x08, 0x00]].concat(), ErrorKind::InvalidData, "reserved bit");
    for (size, want) in [(4, "longer"), (6, "shorter")] {
        let bytes = [&MAGIC[..], &[0x20, size], &block(0, true, 5, b"hello")].concat();
        refused(&bytes, ErrorKind::InvalidData, if size == 4 { "invalid block" } else { want });
        let bytes = [&MAGIC[..], &[0x80, 0x00, size, 0, 0, 0], &block(0, true, 5, b"hello")].concat();
        refused(&bytes, ErrorKind::InvalidData, want);
    }
}

#[test]
fn what_a_head_asks_for_is_bounded() {
    let whole = |head: &[u8]| [&MAGIC[..], head, &block(0, true, 2, b"ok")].concat();
    // 8 MiB, as a window and as the content of a frame that is its own window.
    assert_eq!(unzstd(&whole(&[0x00, 13 << 3]), 64).unwrap(), b"ok");
    refused(&[&MAGIC[..], &[0xa0, 0, 0, 0x80, 0]].concat(), ErrorKind::UnexpectedEof, "early");
    for head in [&[0x00, 13 << 3 | 1][..], &[0x00, 0xff], &[0xa0, 1, 0, 0x80, 0], &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0xff]] {
        refused(&whole(head), ErrorKind::Unsupported, "more than the 8388608 that RFC 8878");
    }
    assert_eq!(unzstd(&whole(&[0x01, 0x00, 0]), 64).unwrap(), b"ok", "dictionary 0 is none");
    refused(&whole(&[0x01, 0x00, 7]), ErrorKind::Unsupported, "dictionary 7");
    // Blocks beyond their greatest size.
    refused(
        &[&MAGIC[..], &[0, 13 << 3], &block(1, true, (128 << 10) + 1, b"x")].concat(),
        ErrorKind::InvalidData,
        "block",
    );
    refused(&[&MAGIC[..], &PLAIN, &block(1, true, 1025, b"x")].concat(), ErrorKind::InvalidData, "block");
}

#[test]
fn an_error_of_the_source_stays_what_it_is() {
    struct Refusing;
    impl Read for Refusing {
        fn read(&mut self, _: &mut [u8]) -> Result<usize> {
            Err(ErrorKind::TimedOut.into())
        }
    }
    let (packed, _) = compressed();
    for n in 0..packed.len() {
        let source = BufReader::with_capacity(5, (&packed[..n]).chain(Refusing));
        let e = Unzstd::new(source).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TimedOut, "{n}");
    }
}
