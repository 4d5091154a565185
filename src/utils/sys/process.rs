//! Processes by descriptor (pidfd, Linux 5.3) with the start time as fallback against reuse of numbers.

use crate::error::{Error, Result};
use crate::utils::pseudo_file;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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

/// Whether a signal or a debugger has stopped the process.
pub fn is_stopped(pid: i32) -> bool {
    matches!(stat_field(pid, 3), Ok(Some(state)) if state == "T" || state == "t")
}

/// All that descends from `pid` and has not ended, with start times. What was started while this looked may be missing.
pub fn descendants(pid: i32) -> Vec<(i32, u64)> {
    let number = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().filter_map(number);
    let mut others: Vec<(i32, i32)> =
        pids.filter_map(|pid| Some((pid, stat_field(pid, 4).ok()??.parse().ok()?))).collect();
    let (mut family, mut parents) = (Vec::new(), vec![pid]);
    while let Some(parent) = parents.pop() {
        let (children, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, of)| *of == parent);
        others = rest;
        parents.extend(children.iter().map(|(pid, _)| pid));
        family.extend(children);
    }
    // A number may be another's by now: its parent is asked after the start time.
    let is_same = |&(pid, of): &(i32, i32)| {
        let start = start_time(pid)?;
        let parent = stat_field(pid, 4).ok()??;
        (parent == of.to_string() && !is_zombie(pid)).then_some((pid, start))
    };
    family.iter().filter_map(is_same).collect()
}

/// Sends a signal to the process `pid` that started at `start`; gives whether it is there.
///
/// # Errors
/// EINVAL, EPERM.
pub fn signal(pid: i32, start: u64, signal: i32) -> Result<bool> {
    let fd = pidfd_open(pid);
    // After the look: the number may be another's by then.
    if !is_alive(pid, start) {
        return Ok(false);
    }
    let sent = match fd {
        Ok(fd) => pidfd_send_signal(fd.as_fd(), signal),
        // An older kernel, or no descriptor left.
        Err(_) => super::child::send_signal(pid, signal),
    };
    match sent {
        Err(e) if e.errno() == Some(libc::ESRCH) => Ok(false),
        sent => sent.map(|()| true),
    }
}

fn pidfd_send_signal(fd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: pidfd_send_signal takes integers; without a siginfo it acts as kill(2).
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::last_os(format!("pidfd_send_signal({signal})"))),
    }
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

    #[test]
    fn descendants_are_found_and_signals_reach_who_is_meant() {
        use std::io::{BufRead, BufReader};
        let script = "sleep 60 & (sleep 60 & echo; wait) & echo; wait";
        let mut child =
            std::process::Command::new("sh").args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id() as i32;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().and(lines.next()).unwrap().unwrap();
        let family = descendants(pid);
        assert_eq!(family.len(), 3, "{family:?}");
        assert!(!signal(family[0].0, family[0].1 + 1, libc::SIGKILL).unwrap());
        let me = start_time(pid).unwrap();
        assert!(signal(pid, me, libc::SIGSTOP).unwrap() && signal(pid, me, -1).is_err());
        while !is_stopped(pid) {
            std::thread::yield_now();
        }
        family.iter().for_each(|&(pid, start)| drop(signal(pid, start, libc::SIGKILL)));
        assert!(signal(pid, me, libc::SIGKILL).unwrap());
        child.wait().unwrap();
        assert!(!signal(pid, me, libc::SIGKILL).unwrap());
        assert_eq!(descendants(pid), []);
    }
}
