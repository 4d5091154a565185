//! Which newer system calls this kernel (or a filter around this process) lacks: learnt at the first ENOSYS, kept for
//! the life of the process. Each has a fallback beside its wrapper.

use std::sync::atomic::{AtomicU32, Ordering};

/// A system call that may be missing, with the kernel it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// clone3(2), Linux 5.3: clone(2) instead.
    Clone3 = 1,
    /// openat2(2), Linux 5.6: one openat(2) per component instead.
    Openat2 = 2,
    /// open_tree(2) and move_mount(2), Linux 5.2: mount(2) by path instead.
    MountApi = 4,
    /// mount_setattr(2), Linux 5.12: remount by mount(2) instead.
    MountSetattr = 8,
    /// close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11: `/proc/self/fd` instead.
    CloseRange = 16,
    /// setns(2) with a pidfd, Linux 5.8: `/proc/PID/ns` instead.
    PidfdSetns = 32,
    /// quotactl_fd(2), Linux 5.14: quotactl(2) with a node of the block device instead.
    QuotactlFd = 64,
    /// ioctl(LOOP_CONFIGURE), Linux 5.8: LOOP_SET_FD and LOOP_SET_STATUS128 instead.
    LoopConfigure = 128,
}

static MISSING: AtomicU32 = AtomicU32::new(0);

/// Whether the call is known to be missing.
pub fn is_missing(feature: Feature) -> bool {
    MISSING.load(Ordering::Relaxed) & feature as u32 != 0
}

/// Notes that the call is missing.
pub fn set_missing(feature: Feature) {
    MISSING.fetch_or(feature as u32, Ordering::Relaxed);
}

/// Makes the call missing until the guard is dropped: for tests of the fallback.
#[cfg(test)]
pub fn deny(feature: Feature) -> Denied {
    set_missing(feature);
    Denied(feature)
}

/// See [`deny`].
#[cfg(test)]
pub struct Denied(Feature);

#[cfg(test)]
impl Drop for Denied {
    fn drop(&mut self) {
        MISSING.fetch_and(!(self.0 as u32), Ordering::Relaxed);
    }
}
