//! Messages as bytes: D-Bus Specification, Type System, Marshaling and Message Protocol. What is sent is little-endian.

use super::Method;
use crate::error::{Error, Result};

/// Types of messages.
pub mod kind {
    /// A call.
    pub const CALL: u8 = 1;
    /// Its answer.
    pub const RETURN: u8 = 2;
    /// Its answer that it failed.
    pub const ERROR: u8 = 3;
    /// Told to everybody.
    pub const SIGNAL: u8 = 4;
}

/// Numbers of header fields.
pub mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const ERROR_NAME: u8 = 4;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SIGNATURE: u8 = 8;
}

/// Length of what every message starts with, up to and with the length of the header fields.
pub const START: usize = 16;
/// Longest array (D-Bus Specification, Valid Signatures).
const ARRAY_LIMIT: usize = 1 << 26;

/// Values one after the other, each aligned to its own size from the start of the message's body.
#[derive(Debug, Default)]
pub struct Writer {
    signature: String,
    bytes: Vec<u8>,
}

impl Writer {
    /// For values of these types; they are not checked.
    pub fn new(signature: &str) -> Writer {
        Writer { signature: signature.to_owned(), bytes: Vec::new() }
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// `y`
    pub fn byte(mut self, value: u8) -> Writer {
        self.bytes.push(value);
        self
    }

    /// `b`
    pub fn bool(self, value: bool) -> Writer {
        self.u32(value.into())
    }

    /// `u`
    pub fn u32(mut self, value: u32) -> Writer {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// `t`
    pub fn u64(mut self, value: u64) -> Writer {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// `s` or `o`
    pub fn string(self, value: &str) -> Writer {
        let mut out = self.u32(value.len() as u32);
        out.bytes.extend(value.as_bytes());
        out.byte(0)
    }

    /// `g`
    pub fn signature(mut self, value: &str) -> Writer {
        self.bytes.push(value.len() as u8);
        self.bytes.extend(value.as_bytes());
        self.byte(0)
    }

    /// A structure, whose members are what `members` writes.
    pub fn structure(mut self, members: impl FnOnce(Writer) -> Writer) -> Writer {
        self.align(8);
        members(self)
    }

    /// An array of elements that are aligned to `alignment`, which `elements` writes.
    pub fn array(self, alignment: usize, elements: impl FnOnce(Writer) -> Writer) -> Writer {
        let mut out = self.u32(0);
        let length_at = out.bytes.len() - 4;
        // Also of an array without elements, and not counted by its length.
        out.align(alignment);
        let start = out.bytes.len();
        let mut out = elements(out);
        let length = (out.bytes.len() - start) as u32;
        out.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        out
    }
}

/// A call as it is sent.
pub fn call(serial: u32, method: &Method<'_>, body: Writer) -> Vec<u8> {
    let fields = [
        (field::PATH, method.path),
        (field::DESTINATION, method.destination),
        (field::INTERFACE, method.interface),
        (field::MEMBER, method.member),
    ];
    message(kind::CALL, serial, &fields, body)
}

/// A message as it is sent, with those of the header fields that are not empty.
pub fn message(kind: u8, serial: u32, fields: &[(u8, &str)], body: Writer) -> Vec<u8> {
    let head = Writer::default().byte(b'l').byte(kind).byte(0).byte(1).u32(body.bytes.len() as u32).u32(serial);
    let signature = (field::SIGNATURE, body.signature.as_str());
    let mut head = head.array(8, |mut out| {
        for (code, value) in fields.iter().chain([&signature]).filter(|(_, value)| !value.is_empty()) {
            out = out.structure(|out| {
                let out = out.byte(*code);
                match *code {
                    field::SIGNATURE => out.signature("g").signature(value),
                    field::REPLY_SERIAL => out.signature("u").u32(value.parse().unwrap_or(0)),
                    field::PATH => out.signature("o").string(value),
                    _ => out.signature("s").string(value),
                }
            });
        }
        out
    });
    head.align(8);
    head.bytes.extend(body.bytes);
    head.bytes
}

/// What the start of a message says of its length: bytes of the header fields with their padding, and of the body.
///
/// # Errors
/// `Kind::Corrupt` for what is no message.
pub fn lengths(start: &[u8; START]) -> Result<(usize, usize)> {
    if !matches!(start[0], b'l' | b'B') || start[3] != 1 {
        return Err(Error::corrupt("this is no D-Bus message"));
    }
    let mut reader = Reader::new(start, start[0] == b'B');
    reader.at = 4;
    let body = reader.u32()? as usize;
    reader.u32()?;
    let fields = reader.u32()? as usize;
    Ok((fields.saturating_add(7) & !7, body))
}

/// The header of a message, as far as it is of use here.
#[derive(Debug, Default)]
pub struct Header {
    pub is_big_endian: bool,
    /// See [`kind`].
    pub kind: u8,
    pub reply_serial: u32,
    pub member: String,
    pub error_name: String,
    pub signature: String,
}

impl Header {
    /// `start` is the start of the message, `fields` what follows up to the body.
    ///
    /// # Errors
    /// `Kind::Corrupt` for what breaks the form.
    pub fn parse(start: &[u8; START], fields: &[u8]) -> Result<Header> {
        let is_big_endian = start[0] == b'B';
        let mut header = Header { is_big_endian, kind: start[1], ..Header::default() };
        let mut length = Reader::new(&start[12..], is_big_endian);
        let length = length.u32()? as usize;
        // It starts at a multiple of eight, so alignment is as within the message.
        let mut reader = Reader::new(fields.get(..length).ok_or_else(cut)?, is_big_endian);
        while reader.at < length {
            reader.align(8)?;
            let code = reader.byte()?;
            let text = match reader.signature()? {
                "u" => {
                    let value = reader.u32()?;
                    if code == field::REPLY_SERIAL {
                        header.reply_serial = value;
                    }
                    continue;
                }
                "g" => reader.signature()?,
                "s" | "o" => reader.text()?,
                other => return Err(Error::corrupt(format!("a D-Bus header field of type {other:?}"))),
            };
            match code {
                field::MEMBER => header.member = text.to_owned(),
                field::ERROR_NAME => header.error_name = text.to_owned(),
                field::SIGNATURE => header.signature = text.to_owned(),
                _ => {}
            }
        }
        Ok(header)
    }
}

/// Reads values one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    is_big_endian: bool,
}

fn cut() -> Error {
    Error::corrupt("a D-Bus message that ends too early")
}

impl<'a> Reader<'a> {
    /// From the start of a message's body.
    pub fn new(bytes: &'a [u8], is_big_endian: bool) -> Reader<'a> {
        Reader { bytes, at: 0, is_big_endian }
    }

    fn align(&mut self, to: usize) -> Result<()> {
        self.at = self.at.next_multiple_of(to);
        if self.at > self.bytes.len() { Err(cut()) } else { Ok(()) }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or_else(cut)?;
        let bytes = self.bytes.get(self.at..end).ok_or_else(cut)?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// `u`
    ///
    /// # Errors
    /// `Kind::Corrupt` at the end of the message.
    pub fn u32(&mut self) -> Result<u32> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().expect("four were taken");
        Ok(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// `s` or `o`
    ///
    /// # Errors
    /// `Kind::Corrupt` at the end of the message, and for what is no text.
    pub fn text(&mut self) -> Result<&'a str> {
        let length = self.u32()? as usize;
        if length > ARRAY_LIMIT {
            return Err(cut());
        }
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<&'a str> {
        let length = self.byte()?;
        self.terminated(length.into())
    }

    fn terminated(&mut self, length: usize) -> Result<&'a str> {
        let bytes = self.take(length)?;
        if self.byte()? != 0 {
            return Err(Error::corrupt("a D-Bus string without its end"));
        }
        std::str::from_utf8(bytes).map_err(|_| Error::corrupt("a D-Bus string that is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_by_the_book() {
        let method = Method { destination: "d.e", path: "/o", interface: "", member: "Me" };
        let body = Writer::new("sbat").string("ab").bool(true).array(8, |out| out.u64(1).u64(2));
        // Header fields of 58 bytes, padded to a multiple of eight; a body of 32.
        let want: &[u8] = b"\
            l\x01\x00\x01\x20\x00\x00\x00\x05\x00\x00\x00\x3a\x00\x00\x00\
            \x01\x01o\x00\x02\x00\x00\x00/o\x00\x00\x00\x00\x00\x00\
            \x06\x01s\x00\x03\x00\x00\x00d.e\x00\x00\x00\x00\x00\
            \x03\x01s\x00\x02\x00\x00\x00Me\x00\x00\x00\x00\x00\x00\
            \x08\x01g\x00\x04sbat\x00\x00\x00\x00\x00\x00\x00\
            \x02\x00\x00\x00ab\x00\x00\x01\x00\x00\x00\x10\x00\x00\x00\
            \x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00";
        let bytes = call(5, &method, body);
        assert_eq!(bytes, want);
    }

    #[test]
    fn arrays_without_elements_are_padded() {
        let bytes = Writer::new("").byte(7).array(8, |out| out).byte(9).bytes;
        assert_eq!(bytes, [7, 0, 0, 0, 0, 0, 0, 0, 9]);
        let properties = Writer::new("")
            .array(8, |out| out.structure(|out| out.string("P").signature("au").array(4, |out| out.u32(3))));
        assert_eq!(
            properties.bytes,
            [20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'P', 0, 2, b'a', b'u', 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0]
        );
    }

    #[test]
    fn headers_of_both_endians_are_read() {
        let fields = [(field::MEMBER, "Gone"), (field::REPLY_SERIAL, "300"), (field::ERROR_NAME, "a.b")];
        let bytes = message(kind::ERROR, 1, &fields, Writer::new("s").string("x"));
        let start = bytes[..START].try_into().unwrap();
        let (length, body) = lengths(start).unwrap();
        assert_eq!(START + length + body, bytes.len());
        let header = Header::parse(start, &bytes[START..START + length]).unwrap();
        assert_eq!((header.kind, header.reply_serial), (kind::ERROR, 300));
        assert_eq!([header.member, header.error_name, header.signature], ["Gone", "a.b", "s"]);
        let big = b"B\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x08\x05\x01u\x00\x00\x00\x01\x2c";
        let start = big[..START].try_into().unwrap();
        assert_eq!(lengths(start).unwrap(), (8, 0));
        assert_eq!(Header::parse(start, &big[START..]).unwrap().reply_serial, 300);
    }

    #[test]
    fn what_breaks_the_form_is_told() {
        let bytes = message(kind::RETURN, 1, &[(field::MEMBER, "Gone")], Writer::new(""));
        let start: &[u8; START] = bytes[..START].try_into().unwrap();
        for n in 0..bytes.len() - START - 3 {
            assert!(Header::parse(start, &bytes[START..START + n]).is_err(), "{n}");
        }
        assert!(Reader::new(b"\x01\x00\x00\x00ax", false).text().is_err());
        assert!(Reader::new(b"\x01\x00\x00\x00\xff\x00", false).text().is_err());
        assert!(Reader::new(b"\xff\xff\xff\xffa\x00", false).text().is_err());
        assert_eq!(Reader::new(b"\x01\x00\x00\x00a\x00", false).text().unwrap(), "a");
    }
}
