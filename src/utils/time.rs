//! Wall-clock times: RFC 3339 with nanoseconds (docker's and the original's form), Unix seconds, Go durations.
//!
//! Days are converted with the civil-calendar arithmetic of the proleptic Gregorian calendar; no zone database is read.

use crate::error::{Error, Result};
use crate::utils::json::object::{Free, Member, Place, Wrong};
use serde::de::Unexpected;
use serde::{Serialize, Serializer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in nanoseconds since 1970-01-01T00:00:00Z. The zero time of docker's JSON (year 1) is
/// [`Timestamp::UNSET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i128);

impl Default for Timestamp {
    fn default() -> Self {
        Timestamp::UNSET
    }
}

const NANOS: i128 = 1_000_000_000;
/// Days from 0001-01-01 to 1970-01-01.
const DAYS_TO_EPOCH: i128 = 719_162;

impl Timestamp {
    /// `0001-01-01T00:00:00Z`: never happened.
    pub const UNSET: Timestamp = Timestamp(-DAYS_TO_EPOCH * 86_400 * NANOS);

    /// The current time.
    pub fn now() -> Timestamp {
        SystemTime::now().into()
    }

    /// From Unix seconds and nanoseconds.
    pub fn from_unix(seconds: i64, nanos: u32) -> Timestamp {
        Timestamp(i128::from(seconds) * NANOS + i128::from(nanos))
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(NANOS) as i64
    }

    /// Nanoseconds since the epoch, saturating.
    pub fn unix_nanos(self) -> i64 {
        i64::try_from(self.0).unwrap_or(if self.0 < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether this is a real time.
    pub fn is_set(self) -> bool {
        self != Timestamp::UNSET
    }

    /// Time from `earlier` to `self`; zero when the clock went back.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let nanos = (self.0 - earlier.0).clamp(0, i128::from(u64::MAX));
        Duration::from_nanos(nanos as u64)
    }

    /// `self` moved back by `d`.
    pub fn before(self, d: Duration) -> Timestamp {
        Timestamp(self.0 - d.as_nanos() as i128)
    }

    /// `2026-11-24T03:50:19.123456789Z`: always UTC, always nine digits, except that the unset time has none, as in Go.
    pub fn rfc3339(self) -> String {
        let mut buffer = [0u8; 40];
        let n = self.write_rfc3339(&mut buffer);
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    /// The same on the clocks of a zone, which is `offset(seconds)` east of UTC: `2026-11-24T09:20:19.123456789+05:30`,
    /// with `+00:00` where that is UTC, as the original has it. The unset time is in none.
    pub fn rfc3339_in(self, offset: impl Fn(i64) -> i64) -> String {
        if !self.is_set() {
            return self.rfc3339();
        }
        let minutes = offset(self.unix_seconds()) / 60;
        let mut text = Timestamp(self.0 + i128::from(minutes) * 60 * NANOS).rfc3339();
        text.pop();
        let sign = if minutes < 0 { '-' } else { '+' };
        text + &format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }

    /// As [`Timestamp::rfc3339`] into a caller's buffer, for writers of many lines; gives the length.
    pub fn write_rfc3339(self, out: &mut [u8; 40]) -> usize {
        let nanos = self.0.rem_euclid(NANOS) as u32;
        let c = Civil::from_unix(self.0.div_euclid(NANOS) as i64);
        let mut at = 0;
        let mut put = |value: u32, width: usize, after: u8| {
            let mut v = value;
            for i in (0..width).rev() {
                out[at + i] = b'0' + (v % 10) as u8;
                v /= 10;
            }
            out[at + width] = after;
            at += width + 1;
        };
        put(c.year as u32, 4, b'-');
        put(c.month, 2, b'-');
        put(c.day, 2, b'T');
        put(c.hour, 2, b':');
        put(c.minute, 2, b':');
        if self == Timestamp::UNSET {
            put(c.second, 2, b'Z');
        } else {
            put(c.second, 2, b'.');
            put(nanos, 9, b'Z');
        }
        at
    }

    /// Parses RFC 3339 with any offset and any number of fraction digits.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the text.
    pub fn parse_rfc3339(text: &str) -> Result<Timestamp> {
        parse_rfc3339(text).ok_or_else(|| Error::invalid(format!("invalid time {text:?}: want RFC 3339")))
    }

    /// Parses what docker takes for `--since`: RFC 3339 (also without offset or time of day, then UTC), Unix seconds
    /// with an optional fraction, or a Go duration before `now`.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the text.
    pub fn parse_filter(text: &str, now: Timestamp) -> Result<Timestamp> {
        if let Some(t) = parse_rfc3339(text)
            .or_else(|| parse_rfc3339(&format!("{text}Z")))
            .or_else(|| parse_rfc3339(&format!("{text}T00:00:00Z")))
        {
            return Ok(t);
        }
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        if let Ok(seconds) = seconds.parse::<i64>()
            && fraction.len() <= 9
            && fraction.bytes().all(|b| b.is_ascii_digit())
        {
            let nanos = format!("{fraction:0<9}").parse().unwrap_or(0);
            return Ok(Timestamp::from_unix(seconds, nanos));
        }
        match parse_duration(text) {
            Ok(d) => Ok(now.before(d)),
            Err(_) => Err(Error::invalid(format!(
                "invalid time {text:?}: want RFC 3339, Unix seconds or a duration like 10m"
            ))),
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(t: SystemTime) -> Timestamp {
        match t.duration_since(UNIX_EPOCH) {
            Ok(d) => Timestamp(d.as_nanos() as i128),
            Err(e) => Timestamp(-(e.duration().as_nanos() as i128)),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.rfc3339())
    }
}

impl Member for Timestamp {
    fn place(&mut self) -> Place<'_> {
        Place::Free(self)
    }
}

impl Free for Timestamp {
    fn expected(&self) -> &'static str {
        "a time in RFC 3339"
    }

    fn single(&mut self, value: Unexpected<'_>) -> std::result::Result<(), Wrong> {
        let Unexpected::Str(text) = value else { return Err(Wrong::Type) };
        *self = match text {
            "" => Timestamp::UNSET,
            _ => parse_rfc3339(text).ok_or_else(|| Wrong::Text(format!("invalid time {text:?}")))?,
        };
        Ok(())
    }
}

/// A broken-down UTC time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1 to 9999 for times that print.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
}

impl Civil {
    /// Breaks Unix seconds down.
    pub fn from_unix(seconds: i64) -> Civil {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
        // Years that start in March make the leap day the last of its year.
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 }
    }

    /// Unix seconds of this UTC time.
    pub fn to_unix(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted_month = i64::from(if self.month > 2 { self.month - 3 } else { self.month + 9 });
        let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * 86_400 + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let b = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u32> {
        let s = b.get(from..to)?;
        s.iter().all(u8::is_ascii_digit).then(|| s.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0')))
    };
    let is = |at: usize, want: &[u8]| b.get(at).is_some_and(|c| want.contains(c));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > month_days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (mut at, mut nanos) = (19, 0u32);
    if is(19, b".,") {
        at += 1;
        let start = at;
        while b.get(at).is_some_and(u8::is_ascii_digit) {
            if at - start < 9 {
                nanos = nanos * 10 + u32::from(b[at] - b'0');
            }
            at += 1;
        }
        if at == start {
            return None;
        }
        nanos *= 10u32.pow(9u32.saturating_sub((at - start) as u32));
    }
    let offset = match &b[at..] {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
            i64::from(minutes) * if *sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    let civil = Civil { year: i64::from(year), month, day, hour, minute, second };
    Some(Timestamp::from_unix(civil.to_unix() - offset, nanos))
}

/// Parses a Go duration: numbers with units `ns us µs ms s m h`, e.g. `1h30m` or `1.5s`.
///
/// # Errors
/// `Kind::Invalid` naming the text.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || Error::invalid(format!("invalid duration {text:?}: want numbers with units like 1h30m, 10s or 500ms"));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(bad()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.len() > 18 || (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(bad());
        }
        let value: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        total += value * scale;
        if !fraction.is_empty() {
            total += fraction.parse::<u128>().map_err(|_| bad())? * scale / 10u128.pow(fraction.len() as u32);
        }
        rest = tail;
    }
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| bad())
}

/// `5 seconds`, `2 minutes`, `3 hours`, `4 days`, `6 weeks`, `8 months`, `3 years`: one unit, rounded down, as
/// container tools print ages.
pub fn human_duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        172_800..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    // The original says "1 seconds": a script that splits at the plural keeps working.
    format!("{n} {unit}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones() {
        let time = Timestamp::from_unix(1_700_000_000, 5);
        for (offset, want) in [
            (0, "2023-11-14T22:13:20.000000005+00:00"),
            (14 * 3600, "2023-11-15T12:13:20.000000005+14:00"),
            (-3 * 3600 - 1800, "2023-11-14T18:43:20.000000005-03:30"),
            (5 * 3600 + 2700, "2023-11-15T03:58:20.000000005+05:45"),
            // No such time is written with seconds of an offset.
            (-1800 - 59, "2023-11-14T21:43:20.000000005-00:30"),
        ] {
            let text = time.rfc3339_in(|_| offset);
            assert_eq!(text, want);
            assert_eq!(Timestamp::parse_rfc3339(&text).unwrap(), time);
        }
        assert_eq!(Timestamp::UNSET.rfc3339_in(|_| 3600), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn rfc3339_round_trips() {
        for text in [
            "2026-11-24T03:50:19.123456789Z",
            "1970-01-01T00:00:00.000000000Z",
            "2000-02-29T23:59:59.999999999Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text).unwrap().rfc3339(), text);
        }
        let t = Timestamp::parse_rfc3339("2026-11-24T05:50:19.5+02:00").unwrap();
        assert_eq!(t.rfc3339(), "2026-11-24T03:50:19.500000000Z");
        for text in
            ["2026-02-29T00:00:00Z", "2026-11-24T03:50:19", "2026-11-24T25:00:00Z", "x", "2026-11-24T03:50:19.Z"]
        {
            assert!(Timestamp::parse_rfc3339(text).is_err(), "{text}");
        }
    }

    #[test]
    fn filters() {
        let now = Timestamp::from_unix(1_000_000, 0);
        assert_eq!(Timestamp::parse_filter("10m", now).unwrap().unix_seconds(), 999_400);
        assert_eq!(Timestamp::parse_filter("123.5", now).unwrap(), Timestamp::from_unix(123, 500_000_000));
        assert_eq!(Timestamp::parse_filter("1970-01-02", now).unwrap().unix_seconds(), 86_400);
        assert!(Timestamp::parse_filter("yesterday", now).is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert!(parse_duration("5").is_err() && parse_duration("").is_err() && parse_duration("5x").is_err());
        assert_eq!(human_duration(Duration::from_secs(59)), "59 seconds");
        assert_eq!(human_duration(Duration::from_secs(7200)), "2 hours");
    }
}
