//! Lists of processors and memory nodes as the kernel reads them (cpuset(7), List format): `0-3,7`.

use std::collections::BTreeSet;

/// Largest number that is taken. Those beyond are a mistake: the kernel's own ceiling is 8192 processors.
pub const LIMIT: u32 = 65_536;

/// The numbers of a list; `None` when it is malformed or has one beyond [`LIMIT`].
pub fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<u32>().ok()).flatten();
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > LIMIT {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

/// The numbers as bits of words, as system calls take them.
pub fn mask(set: &BTreeSet<u32>) -> Vec<libc::c_ulong> {
    let bits = libc::c_ulong::BITS;
    let mut words = vec![0; set.last().map_or(1, |last| (last / bits + 1) as usize)];
    for n in set {
        words[(n / bits) as usize] |= 1 << (n % bits);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse("0-2,7\n"), Some([0, 1, 2, 7].into()));
        for bad in ["", "1-", "-1", "2-1", "a", "1,,2", "65537", "+1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let bits = libc::c_ulong::BITS;
        assert_eq!(mask(&[0, 3].into()), [9]);
        assert_eq!(mask(&[bits].into()), [0, 1]);
    }
}
