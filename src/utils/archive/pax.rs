//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`, the value any bytes, so that
//! a capability attribute with a newline in it survives.

use crate::error::{Error, Result};

/// Most pieces of a sparse file: 1 MiB of map.
pub const SPARSE_LIMIT: usize = 65_536;

/// Most bytes of names of extended attributes, each with its NUL: the kernel lists no more (XATTR_LIST_MAX,
/// linux/limits.h), so no file that was archived had them.
const ATTRIBUTES_LIMIT: usize = 65_536;

/// What the header of the next member says.
#[derive(Debug, Default, PartialEq)]
pub struct Pax {
    /// Replaces the name.
    pub path: Option<Vec<u8>>,
    /// Replaces the link target.
    pub link: Option<Vec<u8>>,
    /// Replaces the size of the stored data.
    pub size: Option<u64>,
    /// Replaces the owner.
    pub uid: Option<u64>,
    /// Replaces the group.
    pub gid: Option<u64>,
    /// Replaces the time of modification: seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Extended attributes (`SCHILY.xattr.`).
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// GNU sparse files.
    pub sparse: Sparse,
    /// Bytes of the attributes' names; those that come again count again.
    names: usize,
}

/// GNU's sparse format in PAX headers, versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default, PartialEq)]
pub struct Sparse {
    /// `GNU.sparse.major` is 1: the map precedes the data.
    pub in_data: bool,
    /// Size of the whole file.
    pub real_size: Option<u64>,
    /// Name of the file; the member's own is a makeshift.
    pub name: Option<Vec<u8>>,
    /// Offsets and lengths of versions 0.x.
    pub map: Vec<(u64, u64)>,
    /// An offset of version 0.0 that waits for its length.
    offset: Option<u64>,
}

impl Sparse {
    /// Whether the member is a sparse file.
    pub fn is_sparse(&self) -> bool {
        self.in_data || self.real_size.is_some()
    }
}

impl Pax {
    /// Reads the records of one header.
    ///
    /// # Errors
    /// `Kind::Corrupt` for a record that is malformed or has a malformed value.
    pub fn parse(mut bytes: &[u8]) -> Result<Pax> {
        let mut pax = Pax::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or_else(|| Error::corrupt("malformed PAX header record"))?;
            pax.set(key, value).ok_or_else(|| {
                Error::corrupt(format!("malformed value of PAX header record {:?}", String::from_utf8_lossy(key)))
            })?;
            if pax.names > ATTRIBUTES_LIMIT {
                let text =
                    format!("more than {ATTRIBUTES_LIMIT} bytes of names of extended attributes in a PAX header");
                return Err(Error::corrupt(text));
            }
            bytes = rest;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = || Some(value).filter(|v| !v.contains(&0)).map(<[u8]>::to_vec);
        // An empty value takes back what an earlier record said.
        let over = |v: Option<u64>| if value.is_empty() { Some(None) } else { v.map(Some) };
        match key {
            b"path" => self.path = Some(text()?).filter(|v| !v.is_empty()),
            b"linkpath" => self.link = Some(text()?).filter(|v| !v.is_empty()),
            b"size" => self.size = over(decimal(value))?,
            b"uid" => self.uid = over(decimal(value))?,
            b"gid" => self.gid = over(decimal(value))?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.major" => self.sparse.in_data = decimal(value)? >= 1,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(text()?),
            b"GNU.sparse.offset" => self.sparse.offset = Some(decimal(value)?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take()?;
                self.sparse.map.push((offset, decimal(value)?));
            }
            b"GNU.sparse.map" => {
                let numbers: Option<Vec<u64>> = value.split(|b| *b == b',').map(decimal).collect();
                let (pairs, rest) = numbers.as_ref()?.as_chunks::<2>();
                if !rest.is_empty() {
                    return None;
                }
                self.sparse.map = pairs.iter().map(|p| (p[0], p[1])).collect();
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return None;
                    }
                    self.names += name.len() + 1;
                    self.xattrs.retain(|(n, _)| n != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        (self.sparse.map.len() <= SPARSE_LIMIT).then_some(())
    }
}

/// Key, value and the bytes behind the record.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let body = bytes.get(blank + 1..length)?;
    let body = body.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=').filter(|n| *n > 0)?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

/// A number without sign.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]`.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |t| (true, t));
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..dot])?).ok()?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |n: usize| fraction.get(n).map_or(0, |b| u32::from(b - b'0'));
    let nanos = (0..9).fold(0, |sum, n| sum * 10 + digit(n));
    Some(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A well-formed record.
    pub(crate) fn entry(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn values_are_bytes() {
        let all = [
            entry("path", b"a\nb\xff"),
            entry("SCHILY.xattr.security.capability", b"\x01\0\n=\n\0"),
            entry("SCHILY.xattr.user.x", b""),
            entry("mtime", b"-1.25"),
            entry("size", b"8589934592"),
            entry("uid", b"7"),
            entry("uid", b""),
            entry("comment", b"ignored"),
        ];
        let pax = Pax::parse(&all.concat()).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a\nb\xff"[..]));
        assert_eq!(
            pax.xattrs,
            [(b"security.capability".to_vec(), b"\x01\0\n=\n\0".to_vec()), (b"user.x".to_vec(), Vec::new())]
        );
        assert_eq!((pax.mtime, pax.size, pax.uid), (Some((-2, 750_000_000)), Some(1 << 33), None));
    }

    #[test]
    fn malformed_records() {
        for bad in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"6 a=b\n6 a=",
            b"a=b\n",
            b"0 a=b\n",
            b"6 =ab\n",
            b"99999999999999999999 a=b\n",
            &entry("path", b"a\0b"),
            &entry("size", b"-1"),
            &entry("size", b"0x1"),
            &entry("mtime", b"1.x"),
            &entry("SCHILY.xattr.", b"x"),
            &entry("SCHILY.xattr.user.\0", b"x"),
            &entry("GNU.sparse.numbytes", b"1"),
            &entry("GNU.sparse.map", b"1,2,3"),
        ] {
            assert!(Pax::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn sparse_maps() {
        let old = [
            entry("GNU.sparse.size", b"99"),
            entry("GNU.sparse.offset", b"1"),
            entry("GNU.sparse.numbytes", b"2"),
            entry("GNU.sparse.offset", b"50"),
            entry("GNU.sparse.numbytes", b"3"),
        ];
        let pax = Pax::parse(&old.concat()).unwrap();
        assert_eq!((pax.sparse.map, pax.sparse.real_size), (vec![(1, 2), (50, 3)], Some(99)));
        let pax = Pax::parse(&entry("GNU.sparse.map", b"1,2,50,3")).unwrap();
        assert_eq!(pax.sparse.map, [(1, 2), (50, 3)]);
    }
}
