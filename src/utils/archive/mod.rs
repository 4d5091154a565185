//! Archives as streams: gzip and tar, each byte seen once, memory bounded whatever the input claims.

pub mod crc32;
pub mod gzip;
pub mod pax;
pub mod tar;
pub mod tar_writer;

use crate::error::{Error, Result};
use std::io::BufRead;

/// A stream that is decompressed when it needs to be.
pub enum Decompressed<R: BufRead> {
    /// As it came.
    Plain(R),
    /// gzip.
    Gzip(Box<gzip::Gunzip<R>>),
}

impl<R: BufRead> Decompressed<R> {
    /// Looks at the first bytes and decides.
    ///
    /// # Errors
    /// `Kind::Unsupported` for a compression that is known but not built in; the source's own error.
    pub fn detect(mut source: R) -> Result<Decompressed<R>> {
        let head = source.fill_buf().map_err(read_error)?;
        let known = [
            (&b"\xfd7zXZ\0"[..], "xz"),
            (b"BZh", "bzip2"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"\x04\x22\x4d\x18", "lz4"),
        ];
        if let Some((_, name)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
            let text = format!("{name} compression is not supported: give a plain or gzip tar archive");
            return Err(Error::new(crate::error::Kind::Unsupported, text));
        }
        // One byte may be all that has come so far; no tar archive begins with it.
        if head.first() == Some(&0x1f) {
            return Ok(Decompressed::Gzip(Box::new(gzip::Gunzip::new(source))));
        }
        Ok(Decompressed::Plain(source))
    }
}

impl<R: BufRead> std::io::Read for Decompressed<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(out.len());
        out[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Decompressed<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        match self {
            Decompressed::Plain(r) => r.fill_buf(),
            Decompressed::Gzip(r) => r.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        match self {
            Decompressed::Plain(r) => r.consume(n),
            Decompressed::Gzip(r) => r.consume(n),
        }
    }
}

/// What went wrong while an archive was read: the archive's fault is `Kind::Corrupt`, everything else the source's.
pub fn read_error(e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => Error::corrupt(e.to_string()),
        _ => Error::io("read from the archive", e),
    }
}
