//! seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

pub use libc::sock_filter as Instruction;

/// SECCOMP_FILTER_FLAG_TSYNC: all threads get the filter.
pub const TSYNC: u32 = 1 << 0;
/// SECCOMP_FILTER_FLAG_LOG: actions other than allowing are logged.
pub const LOG: u32 = 1 << 1;
/// SECCOMP_FILTER_FLAG_SPEC_ALLOW (Linux 4.17): the filter does not switch on mitigations against speculation.
pub const SPEC_ALLOW: u32 = 1 << 2;
/// SECCOMP_FILTER_FLAG_NEW_LISTENER (Linux 5.0): gives the descriptor for SECCOMP_RET_USER_NOTIF.
pub const NEW_LISTENER: u32 = 1 << 3;
/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19): a received notification is interrupted by fatal signals only.
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;

/// Whether this kernel knows `flag`. Nothing changes: without a program the kernel looks at the flags and then fails.
pub fn is_known(flag: u32) -> bool {
    // SAFETY: the null pointer is not followed by the kernel but refused with EFAULT.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, std::ptr::null::<u8>()) };
    result < 0 && nix::errno::Errno::last_raw() == libc::EFAULT
}

/// Adds a filter to the calling thread; gives the listener's descriptor, close-on-exec, when `flags` ask for one.
/// Makes no allocation. Needs CAP_SYS_ADMIN in the user namespace, or no_new_privs.
///
/// # Errors
/// The errno: EINVAL for flags or a program that this kernel does not know, EACCES without the right.
pub fn set_filter(program: &[Instruction], flags: u32) -> std::result::Result<Option<OwnedFd>, i32> {
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| libc::EINVAL)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: `filter` points at `length` instructions that outlive the call; the kernel copies and checks them and
    // does not write through the pointer.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    if result < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
    }
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag a result that is not negative is a new descriptor, which nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) }))
}
