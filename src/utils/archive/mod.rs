//! Archives as streams: gzip, zstd, xz and tar, each byte seen once, memory bounded whatever the input claims.

#[cfg(feature = "xz")]
pub mod crc64;
#[cfg(feature = "image-tools")]
pub mod extract;
pub mod gzip;
mod inflate;
pub mod metadata;
pub mod pack;
pub mod pax;
pub mod tar;
pub mod tar_writer;
#[cfg(feature = "xz")]
pub mod xz;
#[cfg(feature = "zstd")]
pub mod zstd;

use crate::error::{Error, Kind, Result};
use crate::utils::buffered;
use std::io::{BufRead, BufReader, Chain, Cursor, ErrorKind, Read, Take};

/// Compressions by the first bytes of their streams, known by name to say which one it is that cannot be read.
const UNSUPPORTED: &[(&[u8], &str)] = &[
    #[cfg(not(feature = "xz"))]
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    #[cfg(not(feature = "zstd"))]
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
];
const SUPPORTED: &str = match (cfg!(feature = "zstd"), cfg!(feature = "xz")) {
    (true, true) => "plain, gzip, xz or zstd",
    (true, false) => "plain, gzip or zstd",
    (false, true) => "plain, gzip or xz",
    (false, false) => "plain or gzip",
};

/// Bytes read from a source at once.
const CHUNK: usize = 128 << 10;

/// The bytes that were looked at, and what follows them.
type Source<'a> = Chain<Take<Cursor<[u8; 6]>>, BufReader<Patient<'a>>>;

/// How much memory the window of a stream may take, where the stream decides that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// 8 MiB: for what comes from a stranger, several at once.
    Small,
    /// 64 MiB: for what the operator gives.
    Large,
}

/// A stream that is decompressed when it needs to be. No trait object: its tables would hold every method of a reader.
pub struct Decompressed<'a>(Form<'a>);

enum Form<'a> {
    Plain(Source<'a>),
    Gzip(Box<gzip::Gunzip<Source<'a>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::Unzstd<Source<'a>>>),
    #[cfg(feature = "xz")]
    Xz(Box<xz::Unxz<Source<'a>>>),
}

impl<'a> Decompressed<'a> {
    /// Looks at the first bytes and decides.
    ///
    /// # Errors
    /// `Kind::Unsupported` for a compression that is known but not built in; the source's own error.
    pub fn detect(source: &'a mut dyn Read, window: Window) -> Result<Decompressed<'a>> {
        #[cfg(not(feature = "xz"))]
        let _ = window;
        let mut source = Patient(source);
        // A pipe may give a single byte first, which is not enough to tell by.
        let mut bytes = [0; 6];
        let mut length = 0;
        while length < bytes.len() {
            match source.read(&mut bytes[length..]).map_err(read_error)? {
                0 => break,
                n => length += n,
            }
        }
        let head = &bytes[..length];
        if let Some((_, name)) = UNSUPPORTED.iter().find(|(magic, _)| head.starts_with(magic)) {
            let text = format!("{name} compression is not supported: give a {SUPPORTED} tar archive");
            return Err(Error::new(Kind::Unsupported, text));
        }
        let source = Cursor::new(bytes).take(length as u64).chain(BufReader::with_capacity(CHUNK, source));
        Ok(Decompressed(match head.first() {
            #[cfg(feature = "zstd")]
            _ if zstd::is_frame(head) => Form::Zstd(Box::new(zstd::Unzstd::new(source))),
            #[cfg(feature = "xz")]
            _ if head == xz::MAGIC => Form::Xz(Box::new(xz::Unxz::new(source, window))),
            // No tar archive begins with it.
            Some(0x1f) => Form::Gzip(Box::new(gzip::Gunzip::new(source))),
            _ => Form::Plain(source),
        }))
    }

    /// Whether it is one of those, all of which tell their end from a stream that just stops.
    pub fn is_compressed(&self) -> bool {
        !matches!(self.0, Form::Plain(_))
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        buffered::read(self, out)
    }
}

impl BufRead for Decompressed<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        match &mut self.0 {
            Form::Plain(r) => r.fill_buf(),
            Form::Gzip(r) => r.fill_buf(),
            #[cfg(feature = "zstd")]
            Form::Zstd(r) => r.fill_buf(),
            #[cfg(feature = "xz")]
            Form::Xz(r) => r.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        match &mut self.0 {
            Form::Plain(r) => r.consume(n),
            Form::Gzip(r) => r.consume(n),
            #[cfg(feature = "zstd")]
            Form::Zstd(r) => r.consume(n),
            #[cfg(feature = "xz")]
            Form::Xz(r) => r.consume(n),
        }
    }
}

/// Reads again after a signal.
struct Patient<'a>(&'a mut dyn Read);

impl Read for Patient<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(out) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// What went wrong while an archive was read: the archive's fault is `Kind::Corrupt`, what it asks for and is not given
/// `Kind::Unsupported`, everything else the source's.
pub fn read_error(e: std::io::Error) -> Error {
    match e.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Error::corrupt(e.to_string()),
        ErrorKind::Unsupported => Error::new(Kind::Unsupported, e.to_string()),
        _ => Error::io("read from the archive", e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], capacity: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut source = BufReader::with_capacity(capacity, bytes);
        let mut stream = Decompressed::detect(&mut source, Window::Large)?;
        stream.read_to_end(&mut out).map_err(read_error)?;
        Ok(out)
    }

    #[test]
    fn the_first_bytes_decide_however_they_come() {
        let packed = gzip::tests::gzip(b"content");
        for capacity in [1, 4, 100] {
            for plain in [&b""[..], b"x", b"(\xb5/", b"(name of a member", b"P*M", b"BZ"] {
                assert_eq!(read(plain, capacity).unwrap(), plain);
            }
            assert_eq!(read(&packed, capacity).unwrap(), b"content");
            for (magic, name) in UNSUPPORTED {
                let e = read(&[magic, &b"and more"[..]].concat(), capacity).unwrap_err();
                assert!(e.kind() == Kind::Unsupported && e.to_string().starts_with(name), "{e}");
            }
            assert_eq!(read(b"\x1f", capacity).unwrap_err().kind(), Kind::Corrupt);
            if cfg!(feature = "zstd") {
                let head = b"\x28\xb5\x2f\xfd\x20\x02\x11\0\0ok";
                assert_eq!(read(head, capacity).unwrap(), b"ok");
                assert_eq!(read(&head[..7], capacity).unwrap_err().kind(), Kind::Corrupt);
                assert_eq!(read(b"\x28\xb5\x2f\xfd\0\xff", capacity).unwrap_err().kind(), Kind::Unsupported);
            }
        }
    }
}
