//! Writes tar archives: POSIX.1-2001 (pax(1)), whose headers of 1988 suffice for most members.

use super::tar::{Member, Type};
use crate::error::{Context, Error, Result};
use std::io::{Read, Write};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Largest number of seven octal digits.
const SEVEN: u64 = 0o777_7777;
/// Largest number of eleven.
const ELEVEN: u64 = 0o777_7777_7777;
/// Bytes that are copied at once.
const CHUNK: usize = 64 << 10;

/// A writer of members.
pub struct Writer<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Writer<W> {
        Writer { out, buffer: vec![0; CHUNK] }
    }

    /// Writes a member; `data` must have as many bytes as it says. What a file grew meanwhile is left out, what it
    /// shrank comes as zeros: the archive stays one.
    ///
    /// # Errors
    /// What reading or writing gives.
    pub fn member(&mut self, member: &Member, data: &mut dyn Read) -> Result<()> {
        self.head(member)?;
        self.copy(member.size, data)
    }

    /// Writes a member whose data `make` writes: as many bytes as it says.
    ///
    /// # Errors
    /// What `make` or writing gives; `Kind::Internal` for more or fewer bytes.
    pub fn made(&mut self, member: &Member, make: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        self.head(member)?;
        let mut counted = Counted { out: &mut self.out, bytes: 0 };
        make(&mut counted)?;
        if counted.bytes != member.size {
            return Err(Error::internal(format!("{} bytes for a member of {}", counted.bytes, member.size)));
        }
        self.pad(member.size)
    }

    fn head(&mut self, member: &Member) -> Result<()> {
        let mut path = member.path.clone();
        if member.kind == Type::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let mut records = Vec::new();
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        field(&mut old.name, "path", &path, &mut records);
        field(&mut old.linkname, "linkpath", &member.link, &mut records);
        let (seconds, nanos) = member.mtime;
        let mtime = u64::try_from(seconds).ok().filter(|s| *s <= ELEVEN);
        if nanos != 0 || mtime.is_none() {
            record("mtime", time(seconds, nanos).as_bytes(), &mut records);
        }
        for (key, value, limit) in [
            ("uid", u64::from(member.uid), SEVEN),
            ("gid", u64::from(member.gid), SEVEN),
            ("size", member.size, ELEVEN),
        ] {
            if value > limit {
                record(key, value.to_string().as_bytes(), &mut records);
            }
        }
        for (name, value) in &member.xattrs {
            record(&format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value, &mut records);
        }
        let small = |value: u64, limit: u64| if value > limit { 0 } else { value };
        header.set_mode(member.mode & 0o7777);
        header.set_uid(small(member.uid.into(), SEVEN));
        header.set_gid(small(member.gid.into(), SEVEN));
        header.set_size(small(member.size, ELEVEN));
        header.set_mtime(mtime.unwrap_or(0));
        header.set_entry_type(match member.kind {
            Type::Regular => EntryType::Regular,
            Type::Directory => EntryType::Directory,
            Type::HardLink => EntryType::Link,
            Type::Symlink => EntryType::Symlink,
            Type::Char => EntryType::Char,
            Type::Block => EntryType::Block,
            Type::Fifo => EntryType::Fifo,
        });
        if matches!(member.kind, Type::Char | Type::Block) {
            let number = |n: u64| u32::try_from(n).map_err(|_| Error::invalid(format!("device number {n}")));
            let (major, minor) = (number(member.device.0)?, number(member.device.1)?);
            header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).context(|| "device".into())?;
        }
        header.set_cksum();
        if !records.is_empty() {
            self.extension(&records)?;
        }
        self.write(header.as_bytes())
    }

    fn extension(&mut self, records: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        field(&mut header.as_old_mut().name, "path", b"././@PaxHeader", &mut Vec::new());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_entry_type(EntryType::XHeader);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(records)?;
        self.pad(records.len() as u64)
    }

    fn copy(&mut self, size: u64, data: &mut dyn Read) -> Result<()> {
        let mut left = size;
        let mut ended = false;
        while left > 0 {
            let most = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let mut n = 0;
            if !ended {
                n = match data.read(&mut self.buffer[..most]) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    other => other.context(|| "read()".into())?,
                };
                ended = n == 0;
            }
            if ended {
                self.buffer[..most].fill(0);
                n = most;
            }
            self.out.write_all(&self.buffer[..n]).context(|| "write the archive".into())?;
            left -= n as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write(&[0; BLOCK][..padding as usize])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context(|| "write the archive".into())
    }

    /// Writes the end marker; gives the output back.
    ///
    /// # Errors
    /// What writing gives.
    pub fn finish(mut self) -> Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().context(|| "write the archive".into())?;
        Ok(self.out)
    }
}

/// Counts what goes through.
struct Counted<'a, W> {
    out: &'a mut W,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Puts a text into its field, or what does not fit or is not plain into a record as well.
fn field<const N: usize>(field: &mut [u8; N], key: &str, text: &[u8], records: &mut Vec<u8>) {
    if text.len() > N || !text.is_ascii() {
        record(key, text, records);
    }
    let n = text.len().min(N);
    field[..n].copy_from_slice(&text[..n]);
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself (pax(1), "pax Extended Header").
fn record(key: &str, value: &[u8], records: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn time(seconds: i64, nanos: u32) -> String {
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (true, 1..) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (false, nanos) => ("", seconds.unsigned_abs(), nanos),
    };
    match nanos {
        0 => format!("{sign}{seconds}"),
        nanos => format!("{sign}{seconds}.{nanos:09}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tar::Reader;
    use super::*;

    /// An archive of these files.
    pub(crate) fn files(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for &(path, mut data) in files {
            let member = Member { size: data.len() as u64, ..sample(Type::Regular, path.as_bytes()) };
            writer.member(&member, &mut data).unwrap();
        }
        writer.finish().unwrap()
    }

    pub(crate) fn sample(kind: Type, path: &[u8]) -> Member {
        Member {
            kind,
            path: path.to_vec(),
            link: Vec::new(),
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: (1_700_000_000, 0),
            device: (0, 0),
            size: 0,
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = [b"d/".repeat(80), b"name".to_vec()].concat();
        let members = [
            sample(Type::Directory, b"etc/"),
            Member { size: 5, mode: 0o4755, ..sample(Type::Regular, b"a") },
            Member { size: 513, uid: 3_000_000, gid: u32::MAX - 1, mtime: (-5, 7), ..sample(Type::Regular, &long) },
            Member { link: b"e".repeat(300), ..sample(Type::Symlink, b"l") },
            Member { link: b"a".to_vec(), ..sample(Type::HardLink, "\u{e4}".as_bytes()) },
            Member { device: (8, 300), ..sample(Type::Block, b"b") },
            Member { device: (1, 3), mtime: (1 << 34, 999), ..sample(Type::Char, b"c") },
            Member { xattrs: vec![(b"user.k".to_vec(), vec![0, 10, 61])], ..sample(Type::Fifo, b"f") },
        ];
        let mut writer = Writer::new(Vec::new());
        for member in &members {
            let data = vec![b'x'; member.size as usize];
            writer.member(member, &mut &data[..]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(&bytes[..]);
        for want in &members {
            let have = reader.next_member().unwrap().unwrap();
            assert_eq!(&have, want);
            if want.size > 0 {
                assert_eq!(reader.data().unwrap().len() as u64, want.size);
            }
        }
        assert!(reader.next_member().unwrap().is_none());
    }

    #[test]
    fn files_that_change_leave_an_archive() {
        for data in [&b""[..], b"ab", b"abcdef"] {
            let mut writer = Writer::new(Vec::new());
            writer.member(&Member { size: 4, ..sample(Type::Regular, b"a") }, &mut &data[..]).unwrap();
            writer.member(&sample(Type::Regular, b"b"), &mut std::io::empty()).unwrap();
            let bytes = writer.finish().unwrap();
            let mut reader = Reader::new(&bytes[..]);
            assert_eq!(reader.next_member().unwrap().unwrap().size, 4);
            assert_eq!(reader.data().unwrap()[..data.len().min(4)], data[..data.len().min(4)]);
            assert_eq!(reader.next_member().unwrap().unwrap().path, b"b");
        }
    }
}
