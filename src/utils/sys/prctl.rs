//! What a process is: privileges (prctl(2), capset(2)), ids, key ring, limits.
//!
//! The wrappers of the C libraries change every thread of a process and to that end signal them; here the caller is
//! single-threaded, so the calls are raw.

use nix::errno::Errno;
use std::ffi::CStr;

/// PR_SET_NO_NEW_PRIVS: no execve(2) gains privileges from now on.
///
/// # Errors
/// The failing call.
pub fn set_no_new_privs() -> nix::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// PR_SET_DUMPABLE: whether processes of the same user may trace this one and read its `/proc` entries. execve(2)
/// sets it again.
///
/// # Errors
/// The failing call.
pub fn set_dumpable(dumpable: bool) -> nix::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0).map(drop)
}

/// PR_SET_KEEPCAPS: whether the permitted capabilities outlive the change to a user other than root.
///
/// # Errors
/// The failing call.
pub fn set_keep_capabilities(keep: bool) -> nix::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0).map(drop)
}

/// Whether capability number `capability` is in the bounding set.
///
/// # Errors
/// EINVAL when this kernel has no such capability.
pub fn in_bounding_set(capability: u32) -> nix::Result<bool> {
    prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0).map(|r| r == 1)
}

/// PR_CAPBSET_DROP.
///
/// # Errors
/// EPERM without CAP_SETPCAP.
pub fn drop_from_bounding_set(capability: u32) -> nix::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0).map(drop)
}

/// Empties the ambient set.
///
/// # Errors
/// EINVAL before Linux 4.3.
pub fn clear_ambient_set() -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0).map(drop)
}

/// Adds to the ambient set.
///
/// # Errors
/// EPERM for a capability that is not both permitted and inheritable.
pub fn raise_in_ambient_set(capability: u32) -> nix::Result<()> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(capability)).map(drop)
}

fn prctl(operation: libc::c_int, a: libc::c_ulong, b: libc::c_ulong) -> nix::Result<libc::c_int> {
    let zero: libc::c_ulong = 0;
    // SAFETY: none of the operations above takes a pointer.
    Errno::result(unsafe { libc::prctl(operation, a, b, zero, zero) })
}

/// Bits of the three capability sets of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What is checked.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a program with inheritable file capabilities gets.
    pub inheritable: u64,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapabilityWords {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// capget(2) of this process.
///
/// # Errors
/// The failing call.
pub fn capabilities() -> nix::Result<CapabilitySets> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let mut words = [CapabilityWords::default(); 2];
    // SAFETY: version 3 writes two structures, and two are there.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw const header, words.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapabilitySets {
        effective: join(words[0].effective, words[1].effective),
        permitted: join(words[0].permitted, words[1].permitted),
        inheritable: join(words[0].inheritable, words[1].inheritable),
    })
}

/// capset(2) of this process. Allocates nothing.
///
/// # Errors
/// EPERM for permitted capabilities that the process does not have.
pub fn set_capabilities(sets: &CapabilitySets) -> nix::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let half = |shift: u32| CapabilityWords {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let words = [half(0), half(32)];
    // SAFETY: version 3 reads two structures, and two are there.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) }).map(drop)
}

/// The calls that take 16-bit ids under their plain name on 32-bit ARM.
#[cfg(target_arch = "arm")]
mod number {
    pub const SETGROUPS: libc::c_long = libc::SYS_setgroups32;
    pub const SETRESGID: libc::c_long = libc::SYS_setresgid32;
    pub const SETRESUID: libc::c_long = libc::SYS_setresuid32;
}
#[cfg(not(target_arch = "arm"))]
mod number {
    pub const SETGROUPS: libc::c_long = libc::SYS_setgroups;
    pub const SETRESGID: libc::c_long = libc::SYS_setresgid;
    pub const SETRESUID: libc::c_long = libc::SYS_setresuid;
}

/// Sets the supplementary groups.
///
/// # Errors
/// EPERM without CAP_SETGID or where the user namespace forbids it; EINVAL for unmapped ids or too many.
pub fn set_groups(groups: &[u32]) -> nix::Result<()> {
    // SAFETY: pointer and length describe the slice.
    Errno::result(unsafe { libc::syscall(number::SETGROUPS, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets the real, effective and saved group id.
///
/// # Errors
/// EPERM without CAP_SETGID; EINVAL for an unmapped id.
pub fn set_group(gid: u32) -> nix::Result<()> {
    // SAFETY: setresgid takes integers.
    Errno::result(unsafe { libc::syscall(number::SETRESGID, gid, gid, gid) }).map(drop)
}

/// Sets the real, effective and saved user id.
///
/// # Errors
/// EPERM without CAP_SETUID; EINVAL for an unmapped id.
pub fn set_user(uid: u32) -> nix::Result<()> {
    // SAFETY: setresuid takes integers.
    Errno::result(unsafe { libc::syscall(number::SETRESUID, uid, uid, uid) }).map(drop)
}

/// A new session key ring of this name, so that keys of the caller's session stay out of reach (keyctl(2)).
///
/// # Errors
/// ENOSYS without CONFIG_KEYS; EDQUOT when the user has too many keys.
pub fn join_session_keyring(name: &CStr) -> nix::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the string is terminated and lives through the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}

/// setdomainname(2) of the UTS namespace.
///
/// # Errors
/// The failing call.
pub fn set_domain_name(name: &str) -> nix::Result<()> {
    // SAFETY: pointer and length describe the string.
    Errno::result(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) }).map(drop)
}

/// Sets the limit `resource` (RLIMIT_*) of process `pid`; 0 is this process. `u64::MAX` is unlimited.
///
/// # Errors
/// EPERM for a hard limit above the present one without CAP_SYS_RESOURCE; EINVAL for soft above hard.
pub fn set_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = [soft, hard];
    // SAFETY: prlimit64 reads two 64-bit words and writes nothing when the last argument is null.
    Errno::result(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, limit.as_ptr(), 0usize) }).map(drop)
}

/// Brings up the loopback interface of this network namespace.
///
/// # Errors
/// The failing call.
pub fn raise_loopback() -> nix::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: socket takes integers.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
        // A kernel without IPv4 may still have the other one.
        // SAFETY: socket takes integers.
        .or_else(|_| Errno::result(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads name and flags of the structure.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }).map(drop)
}
