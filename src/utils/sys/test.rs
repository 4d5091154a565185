//! Calls that only tests need.

use nix::unistd::{ForkResult, Pid, fork};

/// Runs `f` in a forked child, whose exit code is what `f` returns; 101 after a panic.
pub fn fork_child(f: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the child runs `f` and leaves by _exit. Test threads may hold locks at the fork (of the allocator the C
    // library takes care); `f` prints nothing unless it fails.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or(101);
            // SAFETY: _exit ends this process and nothing else.
            unsafe { libc::_exit(code) }
        }
    }
}

/// The errno of a system call with two numbers as arguments; 0 when it succeeds.
pub fn raw_errno(number: libc::c_long, args: [i64; 2]) -> i32 {
    // SAFETY: callers pass calls whose arguments are no pointers.
    let result = unsafe { libc::syscall(number, args[0], args[1]) };
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// fork(2) as it is.
pub fn raw_fork() -> i32 {
    // SAFETY: callers are children of [`fork_child`], which make system calls only.
    unsafe { libc::fork() }
}
