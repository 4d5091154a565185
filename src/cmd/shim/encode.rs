//! Entries of docker's json-file log: `{"log":"text\n","stream":"stdout","time":"2026-11-24T03:50:19.123456789Z"}`.
//!
//! Escaping is docker's: quote, backslash and the control characters, also `<`, `>`, `&`, U+2028 and U+2029; each
//! byte that is not part of valid UTF-8 becomes `\ufffd`. Text without any of these, which is nearly all text, is
//! copied eight bytes at a time.

use crate::utils::time::Timestamp;

/// Raw bytes in one entry; a longer line becomes several entries, of which only the last ends with a newline.
pub const ENTRY_LIMIT: usize = 16 * 1024;
/// Encoded bytes that one entry can need.
pub const ENCODED_LIMIT: usize = ENTRY_LIMIT * 6 + 128;

const HEAD: &[u8; 8] = b"{\"log\":\"";

/// What follows the text of each entry of one read, newline sequence included: lines that arrive together have one time.
pub struct Tail {
    bytes: [u8; 96],
    length: usize,
}

impl Tail {
    /// For output stream 0 or 1.
    pub fn new(stream: usize, now: Timestamp) -> Tail {
        let mut tail = Tail { bytes: [0; 96], length: 0 };
        let mut time = [0u8; 40];
        let n = now.write_rfc3339(&mut time);
        let stream: &[u8] = if stream == 0 { b"stdout" } else { b"stderr" };
        for part in [b"\\n\",\"stream\":\"", stream, b"\",\"time\":\"", &time[..n], b"\"}\n"] {
            tail.bytes[tail.length..tail.length + part.len()].copy_from_slice(part);
            tail.length += part.len();
        }
        tail
    }

    fn with_newline(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn without_newline(&self) -> &[u8] {
        &self.bytes[2..self.length]
    }
}

/// Appends one entry at `at` of `out`; gives the position behind it, `None` when it does not fit. `text` is without
/// its newline.
pub fn entry(out: &mut [u8], at: usize, text: &[u8], newline: bool, tail: &Tail) -> Option<usize> {
    let at = put_array(out, at, HEAD)?;
    let at = escape(out, at, text)?;
    put(out, at, if newline { tail.with_newline() } else { tail.without_newline() })
}

// The project is compiled for size, where nothing is inlined that grows; these and the loop below are each line's cost.
#[inline(always)]
fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Option<usize> {
    let end = at + bytes.len();
    out.get_mut(at..end)?.copy_from_slice(bytes);
    Some(end)
}

/// As [`put`], without a call to memcpy.
#[inline(always)]
fn put_array<const N: usize>(out: &mut [u8], at: usize, bytes: &[u8; N]) -> Option<usize> {
    *out.get_mut(at..)?.first_chunk_mut()? = *bytes;
    Some(at + N)
}

fn escape(out: &mut [u8], mut at: usize, text: &[u8]) -> Option<usize> {
    let mut rest = text;
    loop {
        while let Some((word, after)) = rest.split_first_chunk::<8>()
            && let Some(end) = put_array(out, at, word)
        {
            let special = special_bytes(u64::from_le_bytes(*word));
            if special != 0 {
                // The bytes before the first special one stand; what was copied behind them is overwritten.
                let plain = special.trailing_zeros() as usize / 8;
                at += plain;
                rest = &rest[plain..];
                break;
            }
            at = end;
            rest = after;
        }
        let Some((&b, after)) = rest.split_first() else { return Some(at) };
        let (length, end) = match b {
            b'"' | b'\\' => (1, put(out, at, &[b'\\', b])?),
            b'\n' => (1, put(out, at, b"\\n")?),
            b'\r' => (1, put(out, at, b"\\r")?),
            b'<' | b'>' | b'&' | 0..0x20 => (1, put(out, at, &unicode(u32::from(b)))?),
            0x20..0x80 => (1, put(out, at, &[b])?),
            _ => match character(b, after) {
                Some((0x2028, n)) => (n, put(out, at, b"\\u2028")?),
                Some((0x2029, n)) => (n, put(out, at, b"\\u2029")?),
                Some((_, n)) => (n, put(out, at, &rest[..n])?),
                None => (1, put(out, at, b"\\ufffd")?),
            },
        };
        at = end;
        rest = &rest[length..];
    }
}

/// Marks with a high bit the bytes that need a look. Marks above the lowest one may be wrong (borrows), the lowest is
/// right.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let equal = |x: u64, byte: u8| zero(x ^ (ONES * u64::from(byte)));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let marks = control
        | equal(word | (ONES * 0x04), b'&') // and the quote, which differs in this bit
        | equal(word | (ONES * 0x02), b'>') // and the other bracket
        | equal(word, b'\\')
        | word;
    marks & HIGH
}

fn unicode(c: u32) -> [u8; 6] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| DIGITS[(c >> shift & 15) as usize];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

/// Decodes one multi-byte character strictly (no surrogates, no overlong forms): code point and length in bytes.
fn character(first: u8, after: &[u8]) -> Option<(u32, usize)> {
    let (n, lowest, mut c) = match first {
        0xc2..=0xdf => (1, 0x80, u32::from(first & 0x1f)),
        0xe0..=0xef => (2, 0x800, u32::from(first & 0x0f)),
        0xf0..=0xf4 => (3, 0x10000, u32::from(first & 0x07)),
        _ => return None,
    };
    for &b in after.get(..n)? {
        if b & 0xc0 != 0x80 {
            return None;
        }
        c = c << 6 | u32::from(b & 0x3f);
    }
    (c >= lowest && char::from_u32(c).is_some()).then_some((c, n + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::json;
    use serde_json::Value;

    fn encode(text: &[u8], newline: bool) -> String {
        let mut out = vec![0u8; ENCODED_LIMIT];
        let tail = Tail::new(1, Timestamp::from_unix(0, 5));
        let end = entry(&mut out, 0, text, newline, &tail).unwrap();
        String::from_utf8(out[..end].to_vec()).unwrap()
    }

    fn escaped(text: &[u8]) -> String {
        let whole = encode(text, false);
        let body = whole.strip_prefix("{\"log\":\"").unwrap();
        body.strip_suffix("\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:00.000000005Z\"}\n").unwrap().to_owned()
    }

    #[test]
    fn the_form_is_dockers() {
        assert_eq!(
            encode(b"hello", true),
            "{\"log\":\"hello\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:00.000000005Z\"}\n"
        );
    }

    #[test]
    fn escapes_are_dockers() {
        for (raw, want) in [
            (&b"a\"b\\c\r\t\x1b[0m"[..], r#"a\"b\\c\r\u0009\u001b[0m"#),
            (b"<a href=\"x\">&amp;</a>", r#"\u003ca href=\"x\"\u003e\u0026amp;\u003c/a\u003e"#),
            ("größe 日本語 🚀 tail".as_bytes(), "größe 日本語 🚀 tail"),
            ("a\u{2028}b\u{2029}".as_bytes(), r"a\u2028b\u2029"),
            (b"\xff\xfe ok", r"\ufffd\ufffd ok"),
            (b"cut \xe2\x82", r"cut \ufffd\ufffd"),
            (b"\xed\xa0\x80\xc0\x80", r"\ufffd\ufffd\ufffd\ufffd\ufffd"),
            (b"\x7f\0", "\x7f\\u0000"),
        ] {
            assert_eq!(escaped(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn every_byte_at_every_position_reads_back() {
        for b in 0..=255u8 {
            for at in 0..20 {
                let mut raw = *b"abcdefghijklmnopqrst";
                raw[at] = b;
                let value: Value = json::parse(encode(&raw, true).as_bytes()).unwrap();
                let mut want = String::from_utf8_lossy(&raw).into_owned();
                want.push('\n');
                assert_eq!(value["log"], want, "{b} at {at}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let tail = Tail::new(0, Timestamp::now());
        let mut out = vec![0u8; 4096];
        let end = entry(&mut out, 0, b"some text <", true, &tail).unwrap();
        for size in 0..end {
            assert_eq!(entry(&mut out[..size], 0, b"some text <", true, &tail), None, "{size}");
        }
        assert_eq!(entry(&mut out[..end], 0, b"some text <", true, &tail), Some(end));
        let worst = vec![1u8; ENTRY_LIMIT];
        assert!(entry(&mut vec![0u8; ENCODED_LIMIT], 0, &worst, true, &tail).is_some());
    }
}
