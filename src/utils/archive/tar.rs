//! tar as a stream of members.
//!
//! The layout of headers is that of the `tar` crate; the loop over them is ours. The crate's own iterator reads
//! extension headers of any length into memory, splits PAX records at newlines (which breaks capability attributes),
//! knows no negative times and takes a stream that just stops for a whole one.

use super::pax::{self, Pax, SPARSE_LIMIT};
use super::read_error;
use crate::error::{Error, Kind, Result};
use std::io::BufRead;
use tar::{GnuExtSparseHeader, Header};

const BLOCK: u64 = 512;
/// Most bytes of one extension header.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// The kernel takes no longer path (PATH_MAX with its NUL), so no container could use one.
const PATH_LIMIT: usize = 4095;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// File with data.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Further name of an earlier member.
    HardLink,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
}

/// One member.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// What it is.
    pub kind: Type,
    /// Name as the archive has it: any bytes but NUL.
    pub path: Vec<u8>,
    /// Link target.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number.
    pub device: (u64, u64),
    /// Size of the file.
    pub size: u64,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Offsets and lengths of the pieces that have data, in order; `None` for an ordinary file.
    pub sparse: Option<Vec<(u64, u64)>>,
}

/// A reader of members.
pub struct Reader<R> {
    source: R,
    /// Bytes of the current member's data that were not read, and the padding behind them.
    left: u64,
    padding: u64,
    members: u64,
    ended: bool,
    marked: bool,
}

impl<R: BufRead> Reader<R> {
    /// Begins at a header.
    pub fn new(source: R) -> Reader<R> {
        Reader { source, left: 0, padding: 0, members: 0, ended: false, marked: false }
    }

    /// The source, behind everything that was read.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Members given so far.
    pub fn members(&self) -> u64 {
        self.members
    }

    /// Whether the last member was followed by the blocks of zeros that POSIX (pax, "ustar Interchange Format") wants
    /// there. Go's reader and GNU tar ask for none, and some writers of layers leave them out, with the padding of the last
    /// member; without them a stream that was cut behind a member's data cannot be told from a whole one.
    pub fn has_end_marker(&self) -> bool {
        self.marked
    }

    /// The next member; what was not read of the last one's data is skipped. `None` behind the last one.
    ///
    /// # Errors
    /// `Kind::Invalid` for a stream that is no tar archive, `Kind::Corrupt` for one that is damaged or stops within a
    /// member, and the source's own error.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        if self.ended {
            return Ok(None);
        }
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                self.ended = true;
                return match extension.is_empty() {
                    true => Ok(None),
                    false => Err(Error::corrupt("tar archive ends behind an extension header")),
                };
            };
            let size = match header.as_old().linkflag[0] {
                b'x' | b'g' | b'L' | b'K' => number(&header.as_old().size).and_then(|n| u64::try_from(n).ok()),
                _ => return self.member(&header, extension).map(Some),
            };
            let size = size.ok_or_else(|| Error::corrupt("malformed size of an extension header in a tar archive"))?;
            self.begin_data(size)?;
            if header.as_old().linkflag[0] == b'g' {
                continue; // defaults for all members, as git writes: nothing that a layer needs
            }
            let bytes = self.extension(size)?;
            extension.add(header.as_old().linkflag[0], bytes)?;
        }
    }

    /// Data of the current member that is at hand; empty behind its end.
    ///
    /// # Errors
    /// As [`Reader::next_member`].
    pub fn data(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let buffer = self.source.fill_buf().map_err(read_error)?;
        if buffer.is_empty() {
            return Err(truncated());
        }
        Ok(&buffer[..buffer.len().min(left)])
    }

    /// Takes `n` bytes of what [`Reader::data`] gave as done.
    pub fn advance(&mut self, n: usize) {
        self.left -= n as u64;
        self.source.consume(n);
    }

    fn begin_data(&mut self, size: u64) -> Result<()> {
        let padded =
            size.checked_next_multiple_of(BLOCK).ok_or_else(|| Error::corrupt("impossible size in a tar archive"))?;
        (self.left, self.padding) = (size, padded - size);
        Ok(())
    }

    fn skip(&mut self) -> Result<()> {
        while self.left > 0 {
            let n = self.data()?.len();
            self.advance(n);
        }
        // umoci's layers of one file stop behind its data, and Go's reader takes that for the end.
        self.left = std::mem::take(&mut self.padding);
        while self.left > 0 {
            let n = self.source.fill_buf().map_err(read_error)?.len();
            if n == 0 {
                self.left = 0;
            }
            self.advance(n.min(usize::try_from(self.left).unwrap_or(n)));
        }
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            return Err(Error::corrupt(format!("extension header of {size} bytes in a tar archive")));
        }
        let mut bytes = Vec::new();
        while self.left > 0 {
            let chunk = self.data()?;
            bytes.extend_from_slice(chunk);
            let n = chunk.len();
            self.advance(n);
        }
        Ok(bytes)
    }

    /// The next header with a right checksum; `None` at a block of zeros or at the end of the stream.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut read = 0;
        while read < block.len() {
            match self.source.read(&mut block[read..]).map_err(read_error)? {
                0 if self.members == 0 && read == 0 => return Err(Error::invalid("the archive is empty")),
                0 if self.members == 0 => return Err(not_tar()),
                0 if read == 0 => return Ok(None),
                0 => return Err(truncated()),
                n => read += n,
            }
        }
        if block.iter().all(|b| *b == 0) {
            self.marked = true;
            return Ok(None);
        }
        // Both readings of the bytes occur: unsigned, and signed by old programs.
        let sum = |value: fn(u8) -> i64| -> i64 {
            let bytes = block.iter().enumerate();
            bytes.map(|(n, b)| value(if (148..156).contains(&n) { b' ' } else { *b })).sum()
        };
        let (unsigned, signed) = (sum(i64::from), sum(|b| i64::from(b as i8)));
        match number(&header.as_old().cksum) {
            Some(stored) if stored == unsigned || stored == signed => Ok(Some(header)),
            _ if self.members == 0 => Err(not_tar()),
            _ => Err(Error::corrupt("wrong checksum of a header in a tar archive")),
        }
    }

    fn member(&mut self, header: &Header, extension: Extension) -> Result<Member> {
        self.members += 1;
        let old = header.as_old();
        let pax = extension.pax.unwrap_or_default();
        let path = extension.path.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let bad = |what: &str, path: &[u8]| {
            Error::corrupt(format!("tar member {:?}: malformed {what}", String::from_utf8_lossy(path)))
        };
        let stored = pax.size.or_else(|| number(&old.size).and_then(|n| u64::try_from(n).ok()));
        let mut size = stored.ok_or_else(|| bad("size", &path))?;
        let mut member = Member {
            kind: Type::Regular,
            link: extension.link.or(pax.link).unwrap_or_else(|| text(&old.linkname)),
            mode: number(&old.mode).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| bad("mode", &path))? & 0o7777,
            uid: id(pax.uid, &old.uid).ok_or_else(|| bad("owner", &path))?,
            gid: id(pax.gid, &old.gid).ok_or_else(|| bad("group", &path))?,
            mtime: match pax.mtime {
                Some(time) => time,
                None => (number(&old.mtime).ok_or_else(|| bad("time", &path))?, 0),
            },
            device: (0, 0),
            size,
            xattrs: pax.xattrs,
            sparse: None,
            path,
        };
        let device = |field: &[u8]| number(field).and_then(|n| u64::try_from(n).ok());
        member.kind = match old.linkflag[0] {
            // Old programs wrote directories as files whose name ends so.
            b'0' | 0 if size == 0 && member.path.ends_with(b"/") => Type::Directory,
            b'0' | 0 | b'7' | b'S' => Type::Regular,
            b'1' => Type::HardLink,
            b'2' => Type::Symlink,
            kind @ (b'3' | b'4') => {
                // Both formats with devices have the numbers at the same place.
                let block = header.as_bytes();
                let numbers = device(&block[329..337]).zip(device(&block[337..345]));
                member.device = numbers.ok_or_else(|| bad("device number", &member.path))?;
                if kind == b'3' { Type::Char } else { Type::Block }
            }
            b'5' => Type::Directory,
            b'6' => Type::Fifo,
            other => {
                let name = String::from_utf8_lossy(&member.path).into_owned();
                return Err(Error::invalid(format!("tar member {name:?} has the unknown type {:?}", other as char)));
            }
        };
        if member.kind != Type::Regular {
            // No data follows a member that has none, whatever its size says.
            (size, member.size) = (0, 0);
        }
        self.begin_data(size)?;
        if old.linkflag[0] == b'S' {
            self.gnu_sparse(header, &mut member)?;
        } else if member.kind == Type::Regular && pax.sparse.is_sparse() {
            self.pax_sparse(pax.sparse, &mut member)?;
        }
        if member.path.len() > PATH_LIMIT || member.link.len() > PATH_LIMIT {
            return Err(Error::invalid(format!("a path of more than {PATH_LIMIT} bytes in a tar archive")));
        }
        Ok(member)
    }

    /// GNU's old format: four pieces in the header, more in blocks behind it, which are not part of the size.
    fn gnu_sparse(&mut self, header: &Header, member: &mut Member) -> Result<()> {
        let bad = || Error::corrupt("malformed sparse file in a tar archive");
        let gnu = header.as_gnu().ok_or_else(bad)?;
        member.size = number(&gnu.realsize).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)?;
        let mut map = Vec::new();
        let mut add = |pieces: &[tar::GnuSparseHeader]| -> Result<()> {
            for piece in pieces.iter().filter(|p| !p.is_empty()) {
                let value = |field: &[u8]| number(field).and_then(|n| u64::try_from(n).ok());
                map.push(value(&piece.offset).zip(value(&piece.numbytes)).ok_or_else(bad)?);
            }
            if map.len() > SPARSE_LIMIT { Err(bad()) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut extended = gnu.is_extended();
        while extended {
            let mut more = GnuExtSparseHeader::new();
            self.source.read_exact(more.as_mut_bytes()).map_err(|_| truncated())?;
            add(more.sparse())?;
            extended = more.is_extended();
        }
        member.sparse = Some(checked_map(map, member.size, self.left).ok_or_else(bad)?);
        Ok(())
    }

    /// GNU's formats in PAX headers; version 1.0 has the map in front of the data, as decimal lines padded to a block.
    fn pax_sparse(&mut self, sparse: pax::Sparse, member: &mut Member) -> Result<()> {
        let bad = || Error::corrupt("malformed sparse file in a tar archive");
        let mut map = sparse.map;
        if sparse.in_data {
            let before = self.left;
            let pieces = self.map_line().ok_or_else(bad)?;
            if pieces > SPARSE_LIMIT as u64 {
                return Err(bad());
            }
            map = Vec::new();
            for _ in 0..pieces {
                map.push(self.map_line().zip(self.map_line()).ok_or_else(bad)?);
            }
            let mut rest = (before - self.left).next_multiple_of(BLOCK) - (before - self.left);
            while rest > 0 {
                let n = self.data()?.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
                if n == 0 {
                    return Err(bad());
                }
                self.advance(n);
                rest -= n as u64;
            }
        }
        member.size = sparse.real_size.ok_or_else(bad)?;
        if let Some(name) = sparse.name {
            member.path = name;
        }
        member.sparse = Some(checked_map(map, member.size, self.left).ok_or_else(bad)?);
        Ok(())
    }

    /// One decimal line of a map.
    fn map_line(&mut self) -> Option<u64> {
        let mut digits = Vec::new();
        loop {
            let byte = *self.data().ok()?.first()?;
            self.advance(1);
            match byte {
                b'\n' => return pax::decimal(&digits),
                _ if digits.len() > 20 => return None,
                byte => digits.push(byte),
            }
        }
    }
}

/// A map whose pieces ascend, lie inside the file and are as long together as the data.
fn checked_map(map: Vec<(u64, u64)>, size: u64, stored: u64) -> Option<Vec<(u64, u64)>> {
    let (mut end, mut sum) = (0u64, 0u64);
    for &(offset, length) in &map {
        if offset < end {
            return None;
        }
        end = offset.checked_add(length)?;
        sum = sum.checked_add(length)?;
    }
    (end <= size && sum == stored && size <= i64::MAX as u64).then_some(map)
}

/// Extension headers in front of a member.
#[derive(Default)]
struct Extension {
    pax: Option<Pax>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extension {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.path.is_none() && self.link.is_none()
    }

    fn add(&mut self, kind: u8, bytes: Vec<u8>) -> Result<()> {
        let before = match kind {
            b'L' => self.path.replace(text(&bytes)).is_some(),
            b'K' => self.link.replace(text(&bytes)).is_some(),
            _ => self.pax.replace(Pax::parse(&bytes)?).is_some(),
        };
        if before { Err(Error::corrupt("two extension headers of one kind for a tar member")) } else { Ok(()) }
    }
}

fn not_tar() -> Error {
    Error::new(Kind::Invalid, "not a tar archive")
}

fn truncated() -> Error {
    Error::corrupt("tar archive ends early")
}

/// A field up to its NUL.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

/// An owner: a PAX record wins; (uid_t)-1 means "leave it" to the kernel and so is none.
fn id(pax: Option<u64>, field: &[u8]) -> Option<u32> {
    let value = match pax {
        Some(n) => n,
        None => u64::try_from(number(field)?).ok()?,
    };
    u32::try_from(value).ok().filter(|n| *n != u32::MAX)
}

/// A numeric field: octal digits with blanks and NULs around, or GNU's base 256 in two's complement. Blank is zero.
fn number(field: &[u8]) -> Option<i64> {
    if let Some((&first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        // The first byte's second bit is the sign.
        let start = i64::from(first & 0x7f) - if first & 0x40 != 0 { 0x80 } else { 0 };
        return rest.iter().try_fold(start, |n, b| n.checked_mul(256)?.checked_add(i64::from(*b)));
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(digits.len());
    let octal = |n: i64, b: &u8| n.checked_mul(8)?.checked_add(i64::from(b.checked_sub(b'0').filter(|d| *d < 8)?));
    digits[..end].iter().try_fold(0, octal)
}

#[cfg(test)]
mod tests;
