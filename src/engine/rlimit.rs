//! Resource limits (getrlimit(2)).

use crate::api::oci::runtime::Rlimit;
use crate::error::{Context, Error, Result};
use crate::utils::sys::prctl;

/// The names by number; the numbers are those of every architecture built for.
const NAMES: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    resource: u32,
    soft: u64,
    hard: u64,
}

/// Reads the list.
///
/// # Errors
/// `Kind::Invalid` for an unknown name, one given twice, or a soft limit above the hard one.
pub fn parse(list: &[Rlimit]) -> Result<Vec<Limit>> {
    let mut limits: Vec<Limit> = Vec::new();
    for r in list {
        let upper = r.kind.to_ascii_uppercase();
        let word = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
        let Some(resource) = NAMES.iter().position(|n| *n == word).map(|n| n as u32) else {
            return Err(Error::invalid(format!("unknown resource limit {:?}", r.kind)));
        };
        if limits.iter().any(|l| l.resource == resource) {
            return Err(Error::invalid(format!("resource limit {:?} is given twice", r.kind)));
        }
        if r.soft > r.hard {
            return Err(Error::invalid(format!("{}: soft limit {} above hard limit {}", r.kind, r.soft, r.hard)));
        }
        limits.push(Limit { resource, soft: r.soft, hard: r.hard });
    }
    Ok(limits)
}

/// Sets the limits of process `pid`; 0 is this process.
///
/// # Errors
/// The failing call: EPERM for raising a hard limit without CAP_SYS_RESOURCE.
pub fn apply(pid: i32, limits: &[Limit]) -> Result<()> {
    for l in limits {
        let number = |n: u64| if n == u64::MAX { "unlimited".into() } else { n.to_string() };
        prctl::set_limit(pid, l.resource, l.soft, l.hard).context(|| {
            let name = NAMES[l.resource as usize];
            format!("prlimit(RLIMIT_{name}, {}, {})", number(l.soft), number(l.hard))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_order_are_checked() {
        let r = |kind: &str, soft, hard| Rlimit { kind: kind.into(), soft, hard };
        let ok = parse(&[r("RLIMIT_NOFILE", 1, 2), r("core", 0, u64::MAX)]).unwrap();
        assert_eq!(ok[0], Limit { resource: libc::RLIMIT_NOFILE as _, soft: 1, hard: 2 });
        assert_eq!(i64::from(ok[1].resource), i64::from(libc::RLIMIT_CORE));
        for bad in [vec![r("RLIMIT_X", 1, 1)], vec![r("AS", 2, 1)], vec![r("AS", 1, 1), r("RLIMIT_AS", 1, 1)]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
