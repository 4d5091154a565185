//! The C library's way to name a thread, in less: musl's formats the path of a file for threads other than the caller's
//! own, and so brings all of printf(3) with it, which nothing else here needs. The standard library names only the thread
//! that it runs in.

use libc::{c_char, c_int, pthread_t};

/// pthread_setname_np(3) of the calling thread; ENOSYS for another one, which no caller here names.
#[unsafe(no_mangle)]
extern "C" fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
    // SAFETY: takes nothing.
    if thread != unsafe { libc::pthread_self() } {
        return libc::ENOSYS;
    }
    // SAFETY: the kernel reads 16 bytes at most, up to the end of the text that the caller passes.
    match unsafe { libc::prctl(libc::PR_SET_NAME, name) } {
        0 => 0,
        _ => nix::errno::Errno::last_raw(),
    }
}
