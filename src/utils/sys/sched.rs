//! Scheduling by number: sched_setattr(2), ioprio_set(2), sched_setaffinity(2), set_mempolicy(2), personality(2).

use libc::{c_int, c_long, c_ulong};
use nix::errno::Errno;

/// `struct sched_attr` in its first form (linux/sched/types.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Set when it is given to the kernel.
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// Of real-time policies.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// Sets policy and parameters of process `pid`; 0 is this one.
///
/// # Errors
/// The failing call: EPERM without CAP_SYS_NICE, EINVAL for what the kernel does not have.
pub fn set_attributes(pid: i32, attributes: &Attributes) -> nix::Result<()> {
    let attributes = Attributes { size: size_of::<Attributes>() as u32, ..*attributes };
    // SAFETY: the structure says its size and lives through the call.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &attributes, 0) })
}

/// Sets class (bits from 13 on) and priority of process `pid`; 0 is this one.
///
/// # Errors
/// The failing call: EPERM for the real-time class without CAP_SYS_NICE or CAP_SYS_ADMIN.
pub fn set_io_priority(pid: i32, priority: i32) -> nix::Result<()> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: three integers.
    done(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, priority) })
}

/// Binds this process to the processors whose bits are set.
///
/// # Errors
/// The failing call: EINVAL when it may use none of them.
pub fn set_affinity(mask: &[c_ulong]) -> nix::Result<()> {
    // SAFETY: pointer and length describe the mask.
    done(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
}

/// Sets the memory policy of this process: mode with flags, and the nodes whose bits are set.
///
/// # Errors
/// The failing call: ENOSYS for a kernel without NUMA, EINVAL for what it does not have.
pub fn set_memory_policy(mode: u32, nodes: &[c_ulong]) -> nix::Result<()> {
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel reads one bit less.
        nodes => (nodes.as_ptr(), nodes.len() * c_ulong::BITS as usize + 1),
    };
    // SAFETY: the kernel reads as many bits as it is told, less one.
    done(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })
}

/// Sets the execution domain of this process.
///
/// # Errors
/// The failing call.
pub fn set_personality(domain: c_ulong) -> nix::Result<()> {
    // SAFETY: an integer.
    Errno::result(unsafe { libc::personality(domain) }).map(drop)
}

fn done(result: c_long) -> nix::Result<()> {
    Errno::result(result).map(drop)
}
