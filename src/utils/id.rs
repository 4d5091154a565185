//! Random identifiers: 64 lower-case hexadecimal digits, as docker and the original give.

use crate::error::{Error, Result};

/// A new identifier from the kernel's random source (getrandom(2)).
///
/// # Errors
/// The failing call; only a kernel without the call (before 3.17) gives one.
pub fn random_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    crate::utils::sys::random::fill(&mut bytes).map_err(|e| Error::io("getrandom()", e))?;
    Ok(hex(&bytes))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
    }
    out
}

/// The first 12 digits, which tables show.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Whether `s` has the form of a whole identifier.
pub fn is_full_id(s: &str) -> bool {
    s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_the_form() {
        let (a, b) = (random_id().unwrap(), random_id().unwrap());
        assert!(is_full_id(&a) && is_full_id(&b) && a != b);
        assert!(!is_full_id(&a[..63]) && !is_full_id(&a.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")));
    }
}
