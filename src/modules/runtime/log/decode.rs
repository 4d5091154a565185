//! From entries to text.
//!
//! The form that our writer gives an entry is recognised by its fixed parts, without a JSON parser; entries of any
//! other form (docker leaves trailing zeros of the time away, and may add attributes) go through the parser.

use super::{Query, Sink, Stream};
use crate::error::Result;
use crate::utils::json::{self, Object};
use crate::utils::time::Timestamp;

/// Decoded bytes that are passed on together.
const BLOCK: usize = 64 * 1024;

/// Bytes that are looked at together.
const WORD: usize = 8;

const HEAD: &[u8; 8] = b"{\"log\":\"";
const STREAM: &[u8; 15] = b"\",\"stream\":\"std";
const TIME: &[u8; 10] = b"\",\"time\":\"";
const END: &[u8; 2] = b"\"}";
/// Length of `2026-11-24T03:50:19.123456789Z`.
const TIME_LENGTH: usize = 30;
/// Length of everything behind the text.
const TAIL: usize = STREAM.len() + 3 + TIME.len() + TIME_LENGTH + END.len();

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    More,
    /// Everything that follows is too late.
    Stop,
}

/// Turns entries into blocks of text.
pub struct Decoder<'a> {
    query: &'a Query,
    since: Option<[u8; TIME_LENGTH]>,
    until: Option<[u8; TIME_LENGTH]>,
    /// Text that was not passed on yet: the first `filled` bytes.
    block: Vec<u8>,
    filled: usize,
    stream: Stream,
    /// Whether the stream's next entry begins a line.
    at_line_start: [bool; 2],
}

/// An entry in the writer's form, its text still escaped.
struct Entry<'a> {
    text: &'a [u8],
    stream: Stream,
    time: &'a [u8; TIME_LENGTH],
}

/// An entry in any other form.
#[derive(Object, Default)]
struct Foreign {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    time: Timestamp,
}

impl<'a> Decoder<'a> {
    /// For a query.
    pub fn new(query: &'a Query) -> Decoder<'a> {
        Decoder {
            query,
            since: query.since.and_then(fixed_time),
            until: query.until.and_then(fixed_time),
            block: Vec::new(),
            filled: 0,
            stream: Stream::Stdout,
            at_line_start: [true; 2],
        }
    }

    /// Takes one entry, without its newline. What is no entry is passed over.
    pub fn line(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<Flow> {
        if let Some(entry) = split(line) {
            return self.entry(&entry, sink);
        }
        let Ok(foreign) = json::parse::<Foreign>(line) else { return Ok(Flow::More) };
        let stream = match foreign.stream.as_str() {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return Ok(Flow::More),
        };
        let Some(time) = fixed_time(foreign.time) else { return Ok(Flow::More) };
        match self.admit(stream, &time, sink)? {
            Admission::Wanted => {}
            Admission::Not(flow) => return Ok(flow),
        }
        self.put(foreign.log.as_bytes());
        self.at_line_start[stream as usize] = foreign.log.ends_with('\n');
        self.end_entry(sink)
    }

    fn entry(&mut self, entry: &Entry<'_>, sink: &mut dyn Sink) -> Result<Flow> {
        match self.admit(entry.stream, entry.time, sink)? {
            Admission::Wanted => {}
            Admission::Not(flow) => return Ok(flow),
        }
        let room = self.room(entry.text.len());
        let written = unescape(entry.text, room);
        let ends_line = written > 0 && room[written - 1] == b'\n';
        self.filled += written;
        self.at_line_start[entry.stream as usize] = ends_line && entry.text.last_chunk() == Some(b"\\n");
        self.end_entry(sink)
    }

    /// Checks the conditions, and makes the block ready for the entry's text.
    #[inline(always)] // these three are most of what an entry costs when they are calls
    fn admit(&mut self, stream: Stream, time: &[u8; TIME_LENGTH], sink: &mut dyn Sink) -> Result<Admission> {
        if self.until.is_some_and(|until| *time > until) {
            self.flush(sink)?;
            return Ok(Admission::Not(Flow::Stop));
        }
        let wanted = match stream {
            Stream::Stdout => self.query.stdout,
            Stream::Stderr => self.query.stderr,
        };
        if !wanted || self.since.is_some_and(|since| *time < since) {
            return Ok(Admission::Not(Flow::More));
        }
        if stream != self.stream {
            self.flush(sink)?;
            self.stream = stream;
        }
        if self.query.timestamps && self.at_line_start[stream as usize] {
            self.put(time);
            self.put(b" ");
        }
        Ok(Admission::Wanted)
    }

    #[inline(always)]
    fn end_entry(&mut self, sink: &mut dyn Sink) -> Result<Flow> {
        if self.filled >= BLOCK {
            self.flush(sink)?;
        }
        Ok(Flow::More)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Unused space of at least `length` bytes and a word.
    #[inline(always)]
    fn room(&mut self, length: usize) -> &mut [u8] {
        let needed = self.filled + length + WORD;
        if self.block.len() < needed {
            self.grow(needed);
        }
        self.block.split_at_mut(self.filled).1
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        self.block.resize(needed.max(BLOCK + BLOCK / 4), 0);
    }

    /// Passes on what is there.
    pub fn flush(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let filled = std::mem::take(&mut self.filled);
        if filled == 0 {
            return Ok(());
        }
        sink.write(self.stream, &self.block[..filled])
    }
}

enum Admission {
    Wanted,
    Not(Flow),
}

/// Recognises the writer's form. Arrays, because they are compared in place; slices would be calls.
fn split(line: &[u8]) -> Option<Entry<'_>> {
    let (head, body) = line.split_first_chunk()?;
    let (text, tail) = body.split_last_chunk::<TAIL>()?;
    let (before, tail) = tail.split_first_chunk()?;
    let (name, tail) = tail.split_first_chunk::<3>()?;
    let stream = match name {
        b"out" => Stream::Stdout,
        b"err" => Stream::Stderr,
        _ => return None,
    };
    let (between, tail) = tail.split_first_chunk()?;
    let (time, end) = tail.split_first_chunk::<TIME_LENGTH>()?;
    let fixed = head == HEAD && before == STREAM && between == TIME && end == END;
    (fixed && time[19] == b'.' && time[29] == b'Z' && time[4] == b'-').then_some(Entry { text, stream, time })
}

/// The time as entries spell it, so that times compare as text. `None` for one that has no such form.
fn fixed_time(time: Timestamp) -> Option<[u8; TIME_LENGTH]> {
    if !(0..=253_402_300_799).contains(&time.unix_seconds()) {
        // Before the epoch there are no logs, and the year 10000 is far: no condition.
        return None;
    }
    let mut buffer = [0u8; 40];
    let n = time.write_rfc3339(&mut buffer);
    buffer.get(..n)?.try_into().ok()
}

/// Writes the text with its escapes undone to the start of `out`, which has room for it and a word, and gives its
/// length. An escape that is none stays as it is.
fn unescape(text: &[u8], out: &mut [u8]) -> usize {
    let (mut rest, mut at) = (text, 0);
    loop {
        while let Some((word, after)) = rest.split_first_chunk::<WORD>() {
            let Some(space) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else { return at };
            *space = *word;
            let plain = plain_bytes(u64::from_le_bytes(*word));
            // What was copied from the backslash on is overwritten.
            at += plain;
            if plain < WORD {
                rest = &rest[plain..];
                break;
            }
            rest = after;
        }
        let Some(&first) = rest.first() else { return at };
        let (byte, length) = match (first, rest.get(1)) {
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'b')) => (8, 2),
            (b'\\', Some(b'f')) => (12, 2),
            (b'\\', Some(&b @ (b'"' | b'\\' | b'/'))) => (b, 2),
            (b'\\', Some(b'u')) => {
                let (c, length) = unicode(rest);
                at += c.encode_utf8(&mut out[at..]).len();
                rest = &rest[length..];
                continue;
            }
            (other, _) => (other, 1),
        };
        out[at] = byte;
        at += 1;
        rest = &rest[length..];
    }
}

/// How many bytes from the lowest on are no backslash.
fn plain_bytes(word: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let difference = word ^ (ONES * b'\\' as u64);
    // A high bit marks a byte that is zero; a mark above the lowest one may be wrong (borrows), the lowest is right.
    let marks = difference.wrapping_sub(ONES) & !difference & (ONES * 0x80);
    marks.trailing_zeros() as usize / 8
}

/// The character of `\uXXXX` or of a surrogate pair, and its length in the escaped text.
fn unicode(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| -> Option<u32> {
        let escape = text.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u").filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 2.min(text.len())) };
    if (0xd800..0xdc00).contains(&first)
        && let Some(second @ 0xdc00..0xe000) = unit(6)
        && let Some(c) = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    {
        return (c, 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let text = |s: &str| {
            let mut out = vec![0; s.len() + WORD];
            let length = unescape(s.as_bytes(), &mut out);
            String::from_utf8(out[..length].to_vec()).unwrap()
        };
        assert_eq!(text(r#"a\"b\\c\n\r\t\u003c\u0000\u2028\/"#), "a\"b\\c\n\r\t<\0\u{2028}/");
        assert_eq!(text(r"\ud83d\ude80 \ud83d x"), "🚀 \u{fffd} x");
        assert_eq!(text(r"\ud83d\u0041"), "\u{fffd}A");
        assert_eq!(text(r"0123456\n01234567\n0123456789abcdef"), "0123456\n01234567\n0123456789abcdef");
        for broken in [r"\", r"\u", r"\u12", r"\uzzzz", r"\q"] {
            text(broken);
        }
    }

    #[test]
    fn only_the_writers_form_is_split() {
        let line = br#"{"log":"x\n","stream":"stderr","time":"2026-11-24T03:50:19.123456789Z"}"#;
        let entry = split(line).unwrap();
        assert_eq!((entry.text, entry.stream), (&b"x\\n"[..], Stream::Stderr));
        assert!(split(br#"{"log":"x","stream":"stdout","time":"2026-11-24T03:50:19.5Z"}"#).is_none());
        assert!(split(br#"{"log":"x","stream":"stdxxx","time":"2026-11-24T03:50:19.123456789Z"}"#).is_none());
        for end in 0..line.len() {
            assert!(split(&line[..end]).is_none(), "{end}");
        }
    }
}
