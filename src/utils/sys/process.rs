//! Processes by descriptor (pidfd, Linux 5.3) with the start time as fallback against reuse of numbers.

use crate::error::{Error, Result};
use crate::utils::pseudo_file;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Opens a descriptor for `pid` (pidfd_open(2), Linux 5.3). It polls readable when the process has ended.
///
/// # Errors
/// ESRCH when there is no such process, ENOSYS on older kernels.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(Error::last_os(format!("pidfd_open({pid})")));
    }
    // SAFETY: the kernel just made this descriptor, close-on-exec, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Start time of a process in clock ticks since boot, field 22 of `/proc/PID/stat` (proc(5)). `None` when the
/// process does not exist. Stored beside a pid it tells a process from a later one with the same number.
pub fn start_time(pid: i32) -> Option<u64> {
    stat_field(pid, 22).ok()??.parse().ok()
}

/// Whether the process has ended and was not waited for by its parent.
pub fn is_zombie(pid: i32) -> bool {
    matches!(stat_field(pid, 3), Ok(Some(state)) if state == "Z" || state == "X")
}

/// Field `number` (from 3) of `/proc/PID/stat`.
fn stat_field(pid: i32, number: usize) -> std::io::Result<Option<String>> {
    let stat = pseudo_file::read(format!("/proc/{pid}/stat"))?;
    // The command in parentheses may hold spaces and parentheses of its own.
    let after = stat.iter().rposition(|&b| b == b')').map_or(stat.len(), |at| at + 2);
    let text = stat.get(after..).and_then(|rest| std::str::from_utf8(rest).ok()).unwrap_or_default();
    Ok(text.split_ascii_whitespace().nth(number - 3).map(str::to_owned))
}

/// Whether the process `pid` that started at `start` is still there. So it is when nobody can look, for want of
/// descriptors or memory: a container must not be given up for that.
pub fn is_alive(pid: i32, start: u64) -> bool {
    let started = || match stat_field(pid, 22) {
        Ok(time) => time.and_then(|time| time.parse().ok()) == Some(start),
        Err(e) => !matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
    };
    pid > 0 && started()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_alive_and_another_start_time_is_not() {
        let me = std::process::id() as i32;
        let start = start_time(me).unwrap();
        assert!(is_alive(me, start) && !is_alive(me, start + 1) && !is_alive(-1, start));
        pidfd_open(me).unwrap();
    }
}
