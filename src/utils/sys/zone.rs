//! The local time zone, which the C library knows from `TZ` and `/etc/localtime`.

/// Seconds east of UTC at a Unix time; 0 when unknown.
pub fn utc_offset(seconds: i64) -> i64 {
    #[allow(deprecated)] // on musl, for a change that is done already
    let time: libc::time_t = seconds; // 64 bits on every target, as the crate root asserts
    let mut broken = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: localtime_r reads one time and writes one `tm`, both live locals; it returns null or the second pointer.
    let done = unsafe { !libc::localtime_r(&time, broken.as_mut_ptr()).is_null() };
    // SAFETY: all bytes of a zeroed `tm` are valid, and localtime_r filled it when it succeeded.
    let broken = unsafe { broken.assume_init() };
    #[allow(clippy::useless_conversion)] // a C long, which has 32 bits on 32-bit targets
    if done { i64::from(broken.tm_gmtoff) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_within_a_day() {
        assert!(utc_offset(1_700_000_000).abs() <= 26 * 3600);
    }
}
