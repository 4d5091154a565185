//! Takes output apart into lines, across reads; what is longer than the log takes at once comes in pieces.

use memchr::memchr;

/// The unfinished line of each stream.
pub struct Lines {
    /// Bytes of the longest piece.
    limit: usize,
    carry: [Vec<u8>; 2],
}

impl Lines {
    /// With pieces of at most `limit` bytes, which are at least four.
    pub fn new(limit: usize) -> Lines {
        Lines { limit, carry: [Vec::new(), Vec::new()] }
    }

    /// Takes what one read of a stream brought. `piece` gets lines without their newline, and whether there was one.
    pub fn write(&mut self, stream: usize, bytes: &[u8], mut piece: impl FnMut(&[u8], bool)) {
        let mut rest = bytes;
        while let Some(newline) = memchr(b'\n', rest) {
            self.part(stream, &rest[..newline], true, &mut piece);
            rest = &rest[newline + 1..];
        }
        if !rest.is_empty() {
            self.part(stream, rest, false, &mut piece);
        }
    }

    /// The stream ends: what is left of its last line.
    pub fn finish(&mut self, stream: usize) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.carry[stream])).filter(|text| !text.is_empty())
    }

    /// Gives memory back while nothing happens.
    pub fn trim(&mut self) {
        self.carry.iter_mut().for_each(Vec::shrink_to_fit);
    }

    /// A part of a line that may have begun in the carry.
    fn part(&mut self, stream: usize, part: &[u8], ends: bool, piece: &mut impl FnMut(&[u8], bool)) {
        let mut part = part;
        let text = &mut self.carry[stream];
        if !text.is_empty() || !ends {
            // Filled up to one piece at a time, so the carry never grows beyond.
            while text.len() + part.len() > self.limit {
                let (head, rest) = part.split_at(self.limit + 1 - text.len());
                text.extend_from_slice(head);
                let cut = cut(text, self.limit);
                piece(&text[..cut], false);
                text.drain(..cut);
                part = rest;
            }
            text.extend_from_slice(part);
            if ends {
                piece(text, true);
                text.clear(); // keeps its allocation while the stream is busy
            }
            return;
        }
        while part.len() > self.limit {
            let cut = cut(part, self.limit);
            piece(&part[..cut], false);
            part = &part[cut..];
        }
        piece(part, true);
    }
}

/// Where to cut `text`, which is longer than a piece: at the limit, or before the character that straddles it.
fn cut(text: &[u8], limit: usize) -> usize {
    let is_continuation = |at: usize| text.get(at).is_some_and(|b| b & 0xc0 == 0x80);
    (limit - 3..=limit).rev().find(|&at| !is_continuation(at)).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_keep_characters_whole() {
        let mut text = vec![b'x'; 99];
        text.extend_from_slice("日本".as_bytes());
        assert_eq!(cut(&text, 100), 99);
        assert_eq!(cut(&[b'x'; 109], 100), 100);
        assert_eq!(cut(&[0x80; 109], 100), 100);
    }

    #[test]
    fn pieces_of_any_reads_are_the_same() {
        let text = "one\n\ntwo and a half, 日本語日本語日本語\nlast".as_bytes();
        for size in 1..text.len() {
            let (mut lines, mut got) = (Lines::new(10), Vec::new());
            for read in text.chunks(size) {
                lines.write(1, read, |piece, ends| {
                    assert!(piece.len() <= 10);
                    got.extend_from_slice(std::str::from_utf8(piece).unwrap().as_bytes());
                    got.extend(ends.then_some(b'\n'));
                });
            }
            assert_eq!(lines.finish(0), None);
            got.extend(lines.finish(1).unwrap());
            assert_eq!((got.as_slice(), lines.finish(1)), (text, None), "{size}");
        }
    }
}
