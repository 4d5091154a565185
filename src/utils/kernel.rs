//! The running kernel's version.

use std::sync::OnceLock;

/// Since then `kernel.pid_max` belongs to a pid namespace.
pub const OWN_PID_MAX: (u32, u32) = (6, 14);

/// Major and minor number of the release, from `/proc/sys/kernel/osrelease`; (0, 0) when that cannot be read. For
/// choices that no call can probe.
pub fn version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let release = super::pseudo_file::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        parse(&release).unwrap_or((0, 0))
    })
}

/// Major and minor of `6.18.44-fc`, `4.8`.
pub fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(parse("6.18.44-fc-v595\n"), Some((6, 18)));
        assert_eq!(parse("4.8"), Some((4, 8)));
        assert_eq!(parse("5.10+"), Some((5, 10)));
        assert_eq!((parse("6"), parse(""), parse("x.1")), (None, None, None));
        assert!(version() >= (4, 14));
    }
}
