//! Raw deflate data (RFC 1951) and gzip's checksum, by one of two libraries: zlib-rs, which has vector instructions and
//! is half as fast again, or the small miniz_oxide.

#[cfg(feature = "fast-inflate")]
mod fast;
#[cfg(not(feature = "fast-inflate"))]
mod small;

#[cfg(feature = "fast-inflate")]
pub use fast::{Inflate, crc32};
#[cfg(not(feature = "fast-inflate"))]
pub use small::{Inflate, crc32};

use std::ops::Range;

/// What became of some input.
pub struct Step {
    /// Bytes of the input that were used.
    pub read: usize,
    /// Where in [`Inflate::output`] what came of it is.
    pub written: Range<usize>,
    /// Whether the stream has ended.
    pub ended: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_checksum_in_any_pieces() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        let bytes: Vec<u8> = (0..200u8).collect();
        for split in 0..200 {
            assert_eq!(crc32(crc32(0, &bytes[..split]), &bytes[split..]), crc32(0, &bytes));
        }
    }

    #[test]
    fn what_follows_the_stream_is_left() {
        let mut stream = miniz_oxide::deflate::compress_to_vec(b"some text, some text", 6);
        let length = stream.len();
        stream.extend(b"what follows");
        let mut inflate = Inflate::new();
        for _ in 0..2 {
            inflate.begin();
            let step = inflate.step(&stream).unwrap();
            assert!(step.ended && step.read == length);
            assert_eq!(&inflate.output()[step.written], b"some text, some text");
        }
        inflate.begin();
        // A block of a type that there is not.
        assert!(inflate.step(&[7]).is_none());
    }
}
