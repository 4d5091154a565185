//! Processes made by clone(2), and the namespaces they enter.
//!
//! `fork(3)` of the C libraries runs hooks and offers no flags, so the calls are raw. The memory of the new process is
//! a copy: in a single-threaded caller everything keeps working in it, allocation included.

use super::probe::{self, Feature};
use crate::error::{Error, Result};
use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// clone3(2) has one number on every architecture.
const SYS_CLONE3: libc::c_long = 435;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Not in every C library's header.
pub const CLONE_NEWTIME: libc::c_int = 0x80;
/// Not in every C library's header.
pub const CLONE_NEWCGROUP: libc::c_int = 0x0200_0000;

/// `struct clone_args` of Linux 5.7; older kernels accept the longer form when the tail is zero.
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

/// Whether a process can be made in a cgroup (CLONE_INTO_CGROUP, Linux 5.7). Asked once, with a descriptor that cannot be open: where the flag is known the answer is EBADF, elsewhere E2BIG,
/// EINVAL or ENOSYS (the last also from system call filters). No process comes of it.
pub fn can_start_in_cgroup() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let arguments = CloneArgs { flags: CLONE_INTO_CGROUP, cgroup: i32::MAX as u64, ..CloneArgs::default() };
        // SAFETY: the structure lives for the call and has the size given. No child can come into being, since the
        // number of descriptors is limited far below i32::MAX (sysctl fs.nr_open).
        let result = unsafe { libc::syscall(SYS_CLONE3, &raw const arguments, size_of::<CloneArgs>()) };
        result < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
    })
}

/// A new process.
#[derive(Debug)]
pub struct Child {
    /// Process id as the caller sees it.
    pub pid: i32,
    /// Its descriptor; `None` before Linux 5.2.
    pub pidfd: Option<OwnedFd>,
    /// Whether it started in the wanted cgroup; always false where clone3(2) or CLONE_INTO_CGROUP is missing.
    pub in_cgroup: bool,
}

/// Makes a process with the CLONE_* `flags` that runs `body` and never returns from it, in the cgroup v2 directory
/// `cgroup` where the kernel can (Linux 5.7); `body` is told whether it could. The caller must have one thread only, or
/// `body` must not allocate.
///
/// # Errors
/// The failing call.
pub fn spawn(
    flags: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce(bool) -> Infallible,
) -> Result<Child> {
    match clone(flags, cgroup)? {
        Side::Parent(child) => Ok(child),
        // The compiler knows that a value of this type never comes, and calls whatever takes it unreachable.
        #[allow(unreachable_code)]
        Side::Child(in_cgroup) => match body(in_cgroup) {},
    }
}

enum Side {
    Parent(Child),
    /// Whether it is in the wanted cgroup.
    Child(bool),
}

fn clone(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Side> {
    let mut pidfd: RawFd = -1;
    let mut result = -1;
    let mut errno = libc::ENOSYS;
    let mut in_cgroup = false;
    if !probe::is_missing(Feature::Clone3) {
        // A kernel before 5.7 knows the call but not the flag (EINVAL) or the longer structure (E2BIG).
        for wanted in [cgroup, None] {
            let mut args = CloneArgs {
                flags: flags as u32 as u64 | CLONE_PIDFD,
                pidfd: &raw mut pidfd as u64,
                exit_signal: libc::SIGCHLD as u64,
                ..CloneArgs::default()
            };
            if let Some(directory) = wanted {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = directory.as_raw_fd() as u64;
            }
            // Before the call, so that the new process has it too.
            in_cgroup = wanted.is_some();
            // The exit signal of a sibling is that of the caller itself and must be zero here.
            if flags & libc::CLONE_PARENT != 0 {
                args.exit_signal = 0;
            }
            // SAFETY: `args` and `pidfd` live through the call; without CLONE_VM and a stack the new process goes on
            // with a copy of this one's memory, like fork(2).
            result = unsafe { libc::syscall(SYS_CLONE3, &raw const args, size_of::<CloneArgs>()) };
            errno = nix::errno::Errno::last_raw();
            if result >= 0 || wanted.is_none() || !matches!(errno, libc::EINVAL | libc::E2BIG) {
                break;
            }
        }
        if result < 0 && errno == libc::ENOSYS {
            probe::set_missing(Feature::Clone3);
        }
    }
    if result < 0 && errno == libc::ENOSYS {
        in_cgroup = false;
        let flags = libc::c_long::from(flags | libc::SIGCHLD) | CLONE_PIDFD as libc::c_long;
        // SAFETY: as above. The order of the last two arguments differs between architectures; both are zero. The
        // third takes the pidfd, which a kernel before 5.2 leaves alone.
        result = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize) };
        errno = nix::errno::Errno::last_raw();
    }
    match result {
        0 => Ok(Side::Child(in_cgroup)),
        pid if pid > 0 => {
            // SAFETY: the kernel just made this descriptor, close-on-exec, and nobody else owns it.
            let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
            Ok(Side::Parent(Child { pid: pid as i32, pidfd, in_cgroup }))
        }
        _ => Err(Error::os(format!("clone({flags:#x})"), errno)),
    }
}

/// Enters the namespace `fd`, which must be of the kind `kind` (CLONE_NEW*). With a pidfd (Linux 5.8) `kind` names
/// several and all are entered at once.
///
/// # Errors
/// The failing call: EINVAL for a pidfd on older kernels.
pub fn setns(fd: BorrowedFd<'_>, kind: libc::c_int) -> nix::Result<()> {
    // SAFETY: setns takes two integers.
    nix::errno::Errno::result(unsafe { libc::setns(fd.as_raw_fd(), kind) }).map(drop)
}

/// Leaves the namespaces of the kinds `flags` (CLONE_NEW*) for new ones.
///
/// # Errors
/// The failing call.
pub fn unshare(flags: libc::c_int) -> nix::Result<()> {
    // SAFETY: unshare takes an integer.
    nix::errno::Errno::result(unsafe { libc::unshare(flags) }).map(drop)
}

/// Every signal to its default action, none blocked. Ignored signals and the mask live on through execve(2), so a
/// program must not start with those of its supervisor.
pub fn reset_signals() {
    // The C libraries keep their first real-time signals to themselves and refuse them, so the call is raw; its
    // `struct sigaction` of all zeros is SIG_DFL without flags on every architecture, and 64 bytes hold any of them.
    let default = [0u64; 8];
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: the structure is at least as long as the kernel reads, and the old one is not asked for.
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0usize, 8usize) };
        }
    }
    let none = 0u64;
    // SAFETY: the mask is eight bytes, as the last argument says.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, 0usize, 8usize) };
}

/// Waits for the child `pid` and gives the status as waitpid(2) does.
///
/// # Errors
/// ECHILD when it is not a child or was reaped already.
pub fn wait(pid: i32) -> nix::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the result.
        match unsafe { libc::waitpid(pid, &raw mut status, 0) } {
            -1 if nix::errno::Errno::last_raw() == libc::EINTR => {}
            -1 => return Err(nix::errno::Errno::last()),
            _ => return Ok(status),
        }
    }
}

/// Ends the process without running anything registered for its end.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_calls_make_a_process_that_can_be_reaped() {
        for missing in [false, true] {
            let _guard = missing.then(|| probe::deny(Feature::Clone3));
            let child = spawn(0, None, |_| exit(7)).unwrap();
            let status = wait(child.pid).unwrap();
            assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 7), "{missing}");
            assert!(!child.in_cgroup);
        }
    }
}
