//! Capability sets (capabilities(7)): the default list, what users add and drop, what privileged means.

use super::system;
use crate::api::container::HostConfig;
use crate::api::oci::runtime::Capabilities;
use crate::error::{Error, Result};
use crate::utils::capability::NAMES;

/// What a container has by default, in the order of the original's template.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// What a container has by default, as `CAP_…`.
pub(super) fn built_in(system: bool) -> Vec<String> {
    let more = if system { &system::CAPABILITIES[..] } else { &[] };
    prefixed(&[&DEFAULT[..], more].concat())
}

/// The bounding set of a container, as `CAP_…`; `base` is what it has unless it is asked for another.
///
/// Dropping `all` begins with none, adding `all` with every one of this process's bounding set; then names are added,
/// then names are dropped.
pub(super) fn of_container(host: &HostConfig, base: &Capabilities) -> Result<Vec<String>> {
    let add = parse(&host.cap_add, "add")?;
    let drop = parse(&host.cap_drop, "drop")?;
    if host.privileged {
        return Ok(all());
    }
    let mut set: Vec<&str> = match (add.all, drop.all) {
        (true, _) => bounding(),
        (false, true) => Vec::new(),
        (false, false) => base.bounding.iter().filter_map(|name| Some(&name[name.find('_')? + 1..])).collect(),
    };
    for name in add.names {
        if !set.contains(&name) {
            set.push(name);
        }
    }
    set.retain(|name| !drop.names.contains(name));
    Ok(prefixed(&set))
}

/// Every capability that this process may hand on.
pub(super) fn all() -> Vec<String> {
    prefixed(&bounding())
}

/// All five sets for a bounding set that came from `base`: what was added to that one is effective and permitted, and what
/// was taken from it is nowhere.
pub(super) fn sets(base: &Capabilities, bounding: &[String]) -> Capabilities {
    let of = |list: &[String], added: bool| {
        let has = |name: &String| list.contains(name) || (added && !base.bounding.contains(name));
        bounding.iter().filter(|name| has(name)).cloned().collect()
    };
    Capabilities {
        effective: of(&base.effective, true),
        permitted: of(&base.permitted, true),
        inheritable: of(&base.inheritable, false),
        ambient: of(&base.ambient, false),
        bounding: bounding.to_vec(),
    }
}

fn prefixed(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("CAP_{name}")).collect()
}

struct Names {
    all: bool,
    names: Vec<&'static str>,
}

fn parse(list: &[String], verb: &str) -> Result<Names> {
    let mut parsed = Names { all: false, names: Vec::with_capacity(list.len()) };
    for word in list {
        let upper = word.to_ascii_uppercase();
        if upper == "ALL" {
            parsed.all = true;
            continue;
        }
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().find(|name| **name == bare) {
            Some(name) => parsed.names.push(name),
            None => return Err(Error::invalid(format!("Unknown capability to {verb}: '{word}'"))),
        }
    }
    Ok(parsed)
}

/// The bounding set of this process (`CapBnd` of proc(5)); capabilities that the kernel does not know are not in it.
fn bounding() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    NAMES.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(add: &[&str], drop: &[&str]) -> Result<Vec<String>> {
        let own = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
        let base = Capabilities { bounding: built_in(false), ..Capabilities::default() };
        of_container(&HostConfig { cap_add: own(add), cap_drop: own(drop), ..HostConfig::default() }, &base)
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(caps(&[], &[]).unwrap(), prefixed(&DEFAULT));
        assert_eq!(caps(&["net_admin", "CAP_SYS_PTRACE"], &["all"]).unwrap(), ["CAP_NET_ADMIN", "CAP_SYS_PTRACE"]);
        assert!(!caps(&["ALL"], &["mknod"]).unwrap().contains(&"CAP_MKNOD".to_string()));
        assert_eq!(caps(&["ALL"], &[]).unwrap().len(), bounding().len());
        assert_eq!(caps(&["KILL"], &["Cap_Kill"]).unwrap().len(), DEFAULT.len() - 1);
        assert!(caps(&[], &["ALL"]).unwrap().is_empty());
    }

    #[test]
    fn unknown_names_are_refused_as_the_original_does() {
        assert_eq!(caps(&["NOSUCH"], &[]).unwrap_err().to_string(), "Unknown capability to add: 'NOSUCH'");
        assert_eq!(caps(&[], &["cap_x"]).unwrap_err().to_string(), "Unknown capability to drop: 'cap_x'");
    }
}
