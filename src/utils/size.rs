//! Sizes as people write them: `64m`, `1.5GiB`, always in powers of 1024 (the original's rule, and docker's for memory).

use crate::error::{Error, Result};

/// Parses a number of bytes: an integer or decimal, an optional unit out of B K M G T P in any case, optionally
/// followed by `i` and/or `B`. `-1` is not a size; callers that allow it ask for it first.
///
/// # Errors
/// `Kind::Invalid` naming the text.
pub fn parse(text: &str) -> Result<u64> {
    let bad =
        || Error::invalid(format!("invalid size {text:?}: want a number with an optional unit B, K, M, G, T or P"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).or(unit.strip_suffix('i')).unwrap_or(&unit) {
        "" if unit != "ib" && unit != "i" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 15 {
        return Err(bad());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let mut bytes = whole.checked_mul(1 << shift).ok_or_else(bad)?;
    if !fraction.is_empty() {
        let part: u128 = fraction.parse().map_err(|_| bad())?;
        let scaled = (part << shift) / 10u128.pow(fraction.len() as u32);
        bytes = bytes.checked_add(u64::try_from(scaled).map_err(|_| bad())?).ok_or_else(bad)?;
    }
    Ok(bytes)
}

/// `1.5MB`: powers of 1000 and up to four digits, as docker prints progress.
pub fn decimal(bytes: u64) -> String {
    decimal_with(bytes, 4)
}

/// As [`decimal`] with up to this many digits; docker prints three in tables.
pub fn decimal_with(bytes: u64, digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    let whole = 1 + [10.0, 100.0, 1000.0].iter().filter(|limit| value >= **limit).count();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_sizes() {
        for (bytes, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_500_000, "1.5MB"),
            (12_345_678, "12.35MB"),
            (u64::MAX, "18447PB"),
        ] {
            assert_eq!(decimal(bytes), want);
        }
        assert_eq!((decimal_with(12_345_678, 3), decimal_with(1_234, 3)), ("12.3MB".into(), "1.23kB".into()));
    }

    #[test]
    fn units() {
        for (text, want) in [
            ("0", 0),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("1k", 1024),
            ("7b", 7),
            ("4 M", 4 << 20),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        for text in ["", "m", "1.2.3k", "-1", "1x", "1ib", "99999999999p", "1.k.", "1e3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
