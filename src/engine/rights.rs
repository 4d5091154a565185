//! What the user of this process may do. An ordinary user has no rights of its own over namespaces and mounts, and all of
//! them inside a user namespace that it made; root of such a namespace has them from the start, but none over what
//! belongs to the host (user_namespaces(7)).

use crate::utils::pseudo_file;
use crate::utils::sys::prctl;

/// CAP_SETGID
pub const SET_GROUPS: u32 = 6;
/// CAP_SETUID
pub const SET_USERS: u32 = 7;
/// CAP_SYS_ADMIN
pub const ADMINISTER: u32 = 21;

/// Whether this process has the capability of this number, in its own user namespace.
pub fn has(capability: u32) -> bool {
    prctl::capabilities().is_ok_and(|sets| sets.effective & (1 << capability) != 0)
}

/// Whether this process is root of the host: of a user namespace in which each id is its own. Of a kernel without such
/// namespaces there is no other root.
pub fn is_host_root() -> bool {
    nix::unistd::geteuid().is_root()
        && pseudo_file::read_to_string("/proc/self/uid_map").map_or(true, |map| is_whole(&map))
}

/// Whether the map is the one of the first user namespace.
fn is_whole(map: &str) -> bool {
    let mut words = map.split_ascii_whitespace();
    [words.next(), words.next(), words.next()] == [Some("0"), Some("0"), Some("4294967295")]
}

/// Whether nobody in the user namespace of the process `pid`, by its entry in `/proc`, can change its groups.
pub fn has_fixed_groups(pid: &str) -> bool {
    pseudo_file::read_to_string(format!("/proc/{pid}/setgroups")).is_ok_and(|word| word.trim() == "deny")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_map_is_told_from_others() {
        assert!(is_whole("         0          0 4294967295\n"));
        for map in ["", "0 4711 1\n", "0 0 65536\n", "0 100000 4294967295\n"] {
            assert!(!is_whole(map), "{map:?}");
        }
    }
}
