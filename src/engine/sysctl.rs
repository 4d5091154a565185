//! Kernel parameters of the container's namespaces (proc_sys(5)).
//!
//! Written through the host's `/proc`, before the root changes: each file shows the namespace of the process that
//! opens it, and no file that an image brings can stand in its place.

use crate::error::{Context, Error, Result};
use crate::utils::kernel;
use libc::{CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS, c_int};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

/// Checks names and that each belongs to a namespace in `own` (CLONE_NEW*, made or joined): all others would change
/// the host.
///
/// # Errors
/// `Kind::Invalid` naming the parameter.
pub fn check(parameters: &BTreeMap<String, String>, own: c_int) -> Result<()> {
    for key in parameters.keys() {
        let word = path(key);
        let plain = |c: &str| !c.is_empty() && c != "." && c != "..";
        if !word.split('/').all(plain) || word.contains('\0') {
            return Err(Error::invalid(format!("sysctl {key:?} is not a name")));
        }
        let (kind, namespace) = match word.as_str() {
            w if w.starts_with("net/") => (CLONE_NEWNET, "network"),
            w if w.starts_with("fs/mqueue/") => (CLONE_NEWIPC, "ipc"),
            "kernel/msgmax"
            | "kernel/msgmnb"
            | "kernel/msgmni"
            | "kernel/sem"
            | "kernel/shmall"
            | "kernel/shmmax"
            | "kernel/shmmni"
            | "kernel/shm_rmid_forced" => (CLONE_NEWIPC, "ipc"),
            // One for all namespaces before that.
            "kernel/pid_max" if kernel::version() >= kernel::OWN_PID_MAX => (CLONE_NEWPID, "pid"),
            "kernel/hostname" | "kernel/domainname" => (CLONE_NEWUTS, "uts"),
            _ => return Err(Error::invalid(format!("sysctl {key:?} is not in a separate kernel namespace"))),
        };
        if own & kind == 0 {
            return Err(Error::invalid(format!("sysctl {key:?} needs a {namespace} namespace of the container's own")));
        }
    }
    Ok(())
}

/// Writes all.
///
/// # Errors
/// The failing call.
pub fn apply(parameters: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in parameters {
        let path = format!("/proc/sys/{}", path(key));
        let call = || format!("sysctl {key:?}: write({path:?}, {value:?})");
        let mut file = OpenOptions::new().write(true).open(&path).context(call)?;
        file.write_all(value.as_bytes()).context(call)?;
    }
    Ok(())
}

/// Dots separate, unless slashes do: then dots are part of a name (interface names), as sysctl(8) has it.
fn path(key: &str) -> String {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'/') => key.to_string(),
        _ => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_own_namespaces() {
        let check = |key: &str, own| super::check(&BTreeMap::from([(key.to_string(), "1".to_string())]), own);
        check("net.ipv4.ip_forward", CLONE_NEWNET).unwrap();
        check("net/ipv4/conf/eth0.1/forwarding", CLONE_NEWNET).unwrap();
        check("kernel.shmmax", CLONE_NEWIPC).unwrap();
        assert_eq!(check("kernel.pid_max", CLONE_NEWPID).is_ok(), kernel::version() >= kernel::OWN_PID_MAX);
        for (key, own) in [
            ("net.ipv4.ip_forward", CLONE_NEWIPC),
            ("kernel.panic", !0),
            ("net/../kernel/panic", !0),
            ("net..x", !0),
            ("", !0),
            ("fs.mqueue.msg_max", 0),
            ("kernel.pid_max", CLONE_NEWIPC),
        ] {
            assert!(check(key, own).is_err(), "{key}");
        }
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
