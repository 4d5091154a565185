//! SHA-256: the one hash of images. A seam, so that another implementation is one edit here.

use super::buffered;
use super::id::hex;
use crate::error::{Error, Result};
use sha2::Digest as _;
use std::io::BufRead;

/// A hash in the making.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Nothing hashed yet.
    pub fn new() -> Sha256 {
        Sha256::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 lower-case hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The hash of `bytes`, 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

/// The digits of `sha256:DIGITS`. Other algorithms are not known here. The result is safe as a file name.
///
/// # Errors
/// `Kind::Invalid` for anything but the prefix and 64 lower-case hexadecimal digits.
pub fn parse(text: &str) -> Result<&str> {
    match text.strip_prefix("sha256:") {
        Some(digits) if super::id::is_full_id(digits) => Ok(digits),
        _ => Err(Error::invalid(format!("invalid digest {text:?}: want sha256: and 64 lower-case hexadecimal digits"))),
    }
}

/// A reader that hashes what is consumed.
pub struct Hashing<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R: BufRead> Hashing<R> {
    /// Begins with an empty hash.
    pub fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hash: Sha256::new(), length: 0 }
    }

    /// The hash and the number of all bytes consumed.
    pub fn finish(self) -> (String, u64) {
        (self.hash.finish(), self.length)
    }
}

impl<R: BufRead> std::io::Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        buffered::read(self, out)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        // A buffer that holds unread bytes is handed out again without reading.
        if let Ok(buffer) = self.inner.fill_buf() {
            self.hash.update(&buffer[..n]);
        }
        self.length += n as u64;
        self.inner.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn known_answer_and_streaming() {
        assert_eq!(sha256(b"abc"), ABC);
        let mut reader = Hashing::new(std::io::BufReader::with_capacity(2, &b"abc"[..]));
        reader.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(reader.finish(), (ABC.to_string(), 3));
    }

    #[test]
    fn only_whole_lower_case_digests() {
        assert_eq!(parse(&format!("sha256:{ABC}")).unwrap(), ABC);
        for bad in
            ["", ABC, "sha256:", "sha256:../../etc/passwd", "sha512:00", &format!("sha256:{}", ABC.to_uppercase())]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
