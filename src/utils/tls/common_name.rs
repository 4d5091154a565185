//! The common name of a certificate's subject (X.509, RFC 5280 §4.1): a reader of as much DER as that takes. It is given
//! certificates that the TLS library has verified, and still trusts no length in them.

/// Longest name that is taken, in bytes; the standard's bound is 64 characters.
const LONGEST: usize = 256;

const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const TELETEX: u8 = 0x14;
const IA5: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, around the version.
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The last common name of the subject, which is the one that Go's library shows. `None` without one, for another
/// kind of string than the usual ones, and for what is no certificate.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let mut outer = Reader(certificate);
    let mut signed = Reader(outer.of(SEQUENCE)?);
    let mut fields = Reader(signed.of(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.of(VERSION)?;
    }
    fields.of(INTEGER)?; // serial number
    fields.of(SEQUENCE)?; // algorithm
    fields.of(SEQUENCE)?; // issuer
    fields.of(SEQUENCE)?; // validity
    let mut subject = Reader(fields.of(SEQUENCE)?);
    let mut name = None;
    while !subject.0.is_empty() {
        let mut set = Reader(subject.of(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Reader(set.of(SEQUENCE)?);
            if attribute.of(OBJECT)? == COMMON_NAME {
                name = Some(attribute.any()?);
            }
        }
    }
    let (kind, bytes) = name?;
    let is_text = matches!(kind, UTF8 | PRINTABLE | TELETEX | IA5) && bytes.len() <= LONGEST;
    let text = std::str::from_utf8(bytes).ok().filter(|_| is_text)?;
    (!text.is_empty()).then(|| text.to_owned())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value: its tag and its bytes.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let digits = usize::from(first & 0x7f);
            if !(1..=3).contains(&digits) {
                return None; // nothing here has 16 MiB
            }
            let (number, behind) = rest.split_at_checked(digits)?;
            rest = behind;
            number.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
        };
        let (value, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, value))
    }

    fn of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let inside = parts.concat();
        let mut out = vec![tag];
        match inside.len() {
            n @ 0..0x80 => out.push(n as u8),
            n @ 0x80..0x100 => out.extend([0x81, n as u8]),
            n => out.extend([0x82, (n >> 8) as u8, n as u8]),
        }
        out.extend(inside);
        out
    }

    fn attribute(id: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        value(SET, &[&value(SEQUENCE, &[&value(OBJECT, &[id]), &value(tag, &[text])])])
    }

    fn certificate(version: bool, subject: &[&[u8]]) -> Vec<u8> {
        let version = if version { value(VERSION, &[&value(INTEGER, &[&[2]])]) } else { Vec::new() };
        let empty = value(SEQUENCE, &[]);
        let (serial, subject) = (value(INTEGER, &[&[7]]), value(SEQUENCE, subject));
        let fields = [&version, &serial, &empty, &empty, &empty, &subject, &empty].map(Vec::as_slice);
        value(SEQUENCE, &[&value(SEQUENCE, &fields), &empty])
    }

    #[test]
    fn the_last_name_of_the_subject() {
        let organisation = attribute(&[0x55, 0x04, 0x0a], UTF8, b"somebody else");
        let (a, b) = (attribute(COMMON_NAME, UTF8, "jürgen".as_bytes()), attribute(COMMON_NAME, PRINTABLE, b"eve"));
        assert_eq!(common_name(&certificate(true, &[&organisation, &a])).as_deref(), Some("jürgen"));
        assert_eq!(common_name(&certificate(false, &[&a, &b, &organisation])).as_deref(), Some("eve"));
        let long = attribute(COMMON_NAME, UTF8, &[b'x'; LONGEST]);
        assert_eq!(common_name(&certificate(true, &[&long])).map(|n| n.len()), Some(LONGEST));
    }

    #[test]
    fn none_of_what_has_none() {
        let organisation = attribute(&[0x55, 0x04, 0x0a], UTF8, b"somebody");
        for subject in [
            organisation,
            attribute(COMMON_NAME, UTF8, b""),
            attribute(COMMON_NAME, UTF8, b"\xff"),
            attribute(COMMON_NAME, INTEGER, b"1"),
            attribute(COMMON_NAME, UTF8, &[b'x'; LONGEST + 1]),
            b"\x31\x84\xff\xff\xff\xff".to_vec(),
        ] {
            assert_eq!(common_name(&certificate(true, &[&subject])), None, "{subject:x?}");
        }
        assert_eq!(common_name(b""), None);
    }

    #[test]
    fn cut_and_changed_ones_are_survived() {
        let good = certificate(true, &[&attribute(COMMON_NAME, UTF8, b"alice")]);
        for end in 0..good.len() {
            assert!(common_name(&good[..end]).is_none());
        }
        for at in 0..good.len() {
            for byte in [0, 0x7f, 0x80, 0x82, 0x83, 0x84, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = common_name(&bad);
            }
        }
    }
}
