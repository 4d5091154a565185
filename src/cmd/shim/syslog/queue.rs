//! Datagrams that wait to be sent, in one block of bounded size.

/// Bytes of all that wait: a thousand lines or so.
const LIMIT: usize = 128 * 1024;

/// Two bytes of length before each datagram.
const LENGTH: usize = 2;

/// Datagrams, oldest first.
#[derive(Default)]
pub struct Queue {
    bytes: Vec<u8>,
    /// Where the oldest begins.
    start: usize,
}

impl Queue {
    /// Adds a datagram of two parts; false when there is no room for it.
    pub fn push(&mut self, head: &str, text: &[u8]) -> bool {
        let length = head.len() + text.len();
        let Some(prefix) = u16::try_from(length).ok().filter(|_| self.size() + LENGTH + length <= LIMIT) else {
            return false;
        };
        if self.bytes.len() + LENGTH + length > LIMIT {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(&prefix.to_ne_bytes());
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(text);
        true
    }

    /// The oldest.
    pub fn front(&self) -> Option<&[u8]> {
        let (prefix, rest) = self.bytes.get(self.start..)?.split_first_chunk::<LENGTH>()?;
        rest.get(..u16::from_ne_bytes(*prefix).into())
    }

    /// Takes the oldest away.
    pub fn pop(&mut self) {
        self.start += self.front().map_or(0, |datagram| LENGTH + datagram.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Takes all away; gives how many there were.
    pub fn clear(&mut self) -> u64 {
        let mut count = 0;
        while !self.is_empty() {
            self.pop();
            count += 1;
        }
        count
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }

    /// Whether less waits than half of what may.
    pub fn has_eased(&self) -> bool {
        self.size() < LIMIT / 2
    }

    /// Gives memory back.
    pub fn trim(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.shrink_to_fit();
    }

    fn size(&self) -> usize {
        self.bytes.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_within_the_limit() {
        let (mut queue, mut next) = (Queue::default(), 0u32);
        assert!(queue.is_empty() && queue.front().is_none());
        for n in 0..100_000u32 {
            while !queue.push("<14>", format!("{n:0>100}").as_bytes()) {
                assert_eq!(queue.front(), Some(format!("<14>{next:0>100}").as_bytes()));
                queue.pop();
                next += 1;
            }
            assert!(queue.bytes.len() <= LIMIT, "{}", queue.bytes.len());
        }
        assert!(next > 90_000 && !queue.has_eased());
        queue.trim();
        assert_eq!(queue.clear(), u64::from(100_000 - next));
        assert!(queue.is_empty() && queue.has_eased());
        queue.trim();
        assert_eq!(queue.bytes.capacity(), 0);
    }

    #[test]
    fn an_empty_datagram_is_one() {
        let mut queue = Queue::default();
        assert!(queue.push("", b"") && queue.push("a", b"b") && !queue.push("", &vec![b'x'; 1 << 16]));
        assert_eq!(queue.front(), Some(&b""[..]));
        queue.pop();
        assert_eq!(queue.front(), Some(&b"ab"[..]));
        assert_eq!(queue.clear(), 1);
    }
}
