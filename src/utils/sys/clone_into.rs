//! Whether clone3(2) can start a child inside of a cgroup (CLONE_INTO_CGROUP, Linux 5.7).

use std::sync::OnceLock;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` up to the field `cgroup` (CLONE_ARGS_SIZE_VER2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Asked once, with a descriptor that cannot be open: where the flag is known the answer is EBADF, elsewhere E2BIG,
/// EINVAL or ENOSYS (the last also from system call filters). No process comes of it.
pub fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let arguments = CloneArgs { flags: CLONE_INTO_CGROUP, cgroup: i32::MAX as u64, ..CloneArgs::default() };
        // SAFETY: the structure lives for the call and has the size given. No child can come into being, since the
        // number of descriptors is limited far below i32::MAX (sysctl fs.nr_open).
        let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
        result < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
    })
}
