//! Resource limits of processes (getrlimit(2)) and kernel parameters.

use super::namespace::{Mode, mode};
use crate::api::container::{HostConfig, Ulimit};
use crate::api::oci::runtime::Rlimit;
use crate::error::{Error, Result};
use crate::utils::kernel;

/// The daemon's limits, each replaced by the container's of the same name; `as`, which docker lacks, is not offered.
pub(super) fn rlimits(defaults: &[Ulimit], own: &[Ulimit]) -> Result<Vec<Rlimit>> {
    let inherited = defaults.iter().filter(|d| !own.iter().any(|o| o.name.eq_ignore_ascii_case(&d.name)));
    inherited.chain(own).map(rlimit).collect()
}

fn rlimit(ulimit: &Ulimit) -> Result<Rlimit> {
    let name = ulimit.name.to_ascii_lowercase();
    if !Ulimit::NAMES.contains(&name.as_str()) {
        return Err(Error::invalid(format!("invalid ulimit type: {:?}", ulimit.name)));
    }
    let value = |n: i64| match n {
        -1 => Ok(u64::MAX),
        n => u64::try_from(n).map_err(|_| Error::invalid(format!("invalid ulimit {name}: {n} is negative"))),
    };
    let (soft, hard) = (value(ulimit.soft)?, value(ulimit.hard)?);
    if soft > hard {
        return Err(Error::invalid(format!(
            "ulimit {name}: soft limit must be less than or equal to hard limit: {} > {}",
            ulimit.soft, ulimit.hard
        )));
    }
    Ok(Rlimit { kind: format!("RLIMIT_{}", name.to_ascii_uppercase()), hard, soft })
}

/// Whether a limit of a document is of a kind that there is, and in order.
pub(super) fn known(limit: &Rlimit) -> bool {
    let name = limit.kind.strip_prefix("RLIMIT_").unwrap_or_default().to_ascii_lowercase();
    (name == "as" || Ulimit::NAMES.contains(&name.as_str())) && limit.soft <= limit.hard
}

pub(super) fn validate_ulimits(ulimits: &[Ulimit]) -> Result<()> {
    for (n, ulimit) in ulimits.iter().enumerate() {
        rlimit(ulimit)?;
        if ulimits[..n].iter().any(|u| u.name.eq_ignore_ascii_case(&ulimit.name)) {
            return Err(Error::invalid(format!("ulimit {:?} is given twice", ulimit.name)));
        }
    }
    Ok(())
}

const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Only parameters that belong to a namespace of the container, and only when that one is its own.
pub(super) fn validate_sysctls(host: &HostConfig) -> Result<()> {
    host.sysctls.keys().try_for_each(|name| check_sysctl(host, name))?;
    match host.sysctls.iter().find(|(_, value)| value.contains('\0')) {
        Some((name, _)) => Err(Error::invalid(format!("the value of sysctl {name:?} holds a NUL"))),
        None => Ok(()),
    }
}

/// Checks one of [`validate_sysctls`].
pub(super) fn check_sysctl(host: &HostConfig, name: &str) -> Result<()> {
    // A slash would be a path separator below /proc/sys.
    let plain = !name.contains(['/', '\0']) && !name.split('.').any(str::is_empty);
    let (known, namespace, shared) = if IPC_SYSCTLS.contains(&name) || name.starts_with("fs.mqueue.") {
        (true, "IPC", mode(&host.ipc_mode) == Mode::Host)
    } else if name.starts_with("net.") {
        (true, "network", mode(&host.network_mode) == Mode::Host)
    } else if name == "kernel.pid_max" {
        let (major, minor) = kernel::OWN_PID_MAX;
        if kernel::version() < kernel::OWN_PID_MAX {
            return Err(Error::invalid(format!(
                "sysctl {name:?} belongs to the whole host before Linux {major}.{minor}"
            )));
        }
        (true, "PID", mode(&host.pid_mode) == Mode::Host)
    } else {
        (false, "", false)
    };
    if !known || !plain {
        return Err(Error::invalid(format!("sysctl {name:?} is not in a namespace of the container")));
    }
    if shared {
        return Err(Error::invalid(format!("sysctl {name:?} is not allowed in the host's {namespace} namespace")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulimit(name: &str, soft: i64, hard: i64) -> Ulimit {
        Ulimit { name: name.into(), soft, hard }
    }

    #[test]
    fn own_ulimits_replace_inherited_ones() {
        let got = rlimits(&[ulimit("nofile", 1, 2), ulimit("core", 0, -1)], &[ulimit("NOFILE", 5, 6)]).unwrap();
        let want = [
            Rlimit { kind: "RLIMIT_CORE".into(), soft: 0, hard: u64::MAX },
            Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 5, hard: 6 },
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn bad_ulimits() {
        for bad in [ulimit("x", 1, 1), ulimit("core", 2, 1), ulimit("core", -1, 5), ulimit("core", -2, 5)] {
            assert!(validate_ulimits(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        assert!(validate_ulimits(&[ulimit("core", 1, 1), ulimit("core", 1, 1)]).is_err());
    }

    #[test]
    fn sysctls() {
        let check = |name: &str, ipc: &str, net: &str| {
            validate_sysctls(&HostConfig {
                sysctls: [(name.to_string(), "1".to_string())].into(),
                ipc_mode: ipc.into(),
                network_mode: net.into(),
                ..HostConfig::default()
            })
            .is_ok()
        };
        assert!(
            check("kernel.shmmax", "", "")
                && check("net.ipv4.ip_forward", "host", "")
                && check("fs.mqueue.msg_max", "", "host")
        );
        for (name, ipc, net) in [
            ("kernel.shmmax", "host", ""),
            ("net.ipv4.ip_forward", "", "host"),
            ("kernel.core_pattern", "", ""),
            ("net/../kernel/core_pattern", "", ""),
            ("net.x/../../kernel/core_pattern", "", ""),
            ("net..ipv4", "", ""),
        ] {
            assert!(!check(name, ipc, net), "{name}");
        }
    }
}
