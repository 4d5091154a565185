//! bpf(2) for programs attached to cgroups.

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One instruction of extended BPF (`linux/bpf.h`, `struct bpf_insn`): opcode, registers (source in the upper half),
/// jump offset, immediate value.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source above (little-endian bit fields).
    pub registers: u8,
    /// Jump distance, or offset of a load.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;
/// BPF_CGROUP_MAX_PROGS.
const MAX_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T>(name: &str, command: libc::c_int, attributes: &mut T) -> Result<libc::c_long> {
    // SAFETY: `attributes` is a plain structure of this size that lives for the call; addresses in it were taken by
    // the callers below from slices that live as long. The kernel takes the rest of its union as zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(Error::last_os(format!("bpf({name})"))) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the two commands that give descriptors make new ones, close-on-exec, that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// Loads a program that decides over device access (BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15).
///
/// # Errors
/// EINVAL where the kernel lacks the type or its verifier refuses the program; EPERM without CAP_SYS_ADMIN or CAP_BPF,
/// or when RLIMIT_MEMLOCK is too small (before Linux 5.11).
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd> {
    let mut attributes = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    bpf("BPF_PROG_LOAD", BPF_PROG_LOAD, &mut attributes).map(owned)
}

/// Attaches a device program to a cgroup beside those that are there: all must allow. With `replace` in place of that
/// one, without a moment between (Linux 5.6).
///
/// # Errors
/// The failing call.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attributes = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | if replace.is_some() { BPF_F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf("BPF_PROG_ATTACH", BPF_PROG_ATTACH, &mut attributes).map(drop)
}

/// Detaches a device program.
///
/// # Errors
/// The failing call.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attributes = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf("BPF_PROG_DETACH", BPF_PROG_DETACH, &mut attributes).map(drop)
}

/// The device programs attached to this very cgroup.
///
/// # Errors
/// The failing call.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut query = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    bpf("BPF_PROG_QUERY", BPF_PROG_QUERY, &mut query)?;
    let count = (query.prog_cnt as usize).min(MAX_PROGRAMS);
    ids[..count]
        .iter()
        .map(|&prog_id| {
            let mut attributes = ById { prog_id, ..ById::default() };
            bpf("BPF_PROG_GET_FD_BY_ID", BPF_PROG_GET_FD_BY_ID, &mut attributes).map(owned)
        })
        .collect()
}
