//! Waiting for children and signalling by number, real-time signals included, which nix has no names for.

use crate::error::{Error, Result};

/// Waits for one child that has ended, whichever (waitpid(2), WNOHANG): its id and its exit code, 128 + signal when it
/// was killed. `None` when none has ended. For a process without threads that owns all its children.
pub fn reap_any() -> Option<(i32, u8)> {
    loop {
        let mut status = 0;
        // SAFETY: waitpid writes one int, which lives for the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if pid == 0 {
            return None;
        }
        if pid < 0 {
            match std::io::Error::last_os_error() {
                e if e.kind() == std::io::ErrorKind::Interrupted => continue,
                _ => return None, // no children
            }
        }
        if libc::WIFEXITED(status) {
            return Some((pid, libc::WEXITSTATUS(status) as u8));
        }
        if libc::WIFSIGNALED(status) {
            return Some((pid, 128 + libc::WTERMSIG(status) as u8));
        }
    }
}

/// Sends a signal (kill(2)). The caller knows that `pid` is still the process that it means: it is a child that was not
/// waited for, or was just listed.
///
/// # Errors
/// ESRCH, EINVAL, EPERM; EINVAL also for what would reach a group of processes.
pub fn send_signal(pid: i32, signal: i32) -> Result<()> {
    if pid <= 0 {
        return Err(Error::os(format!("kill({pid}, {signal})"), libc::EINVAL));
    }
    // SAFETY: kill takes two integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(Error::last_os(format!("kill({pid}, {signal})"))),
    }
}

/// kill(2) for all processes of a group.
///
/// # Errors
/// ESRCH, EINVAL, EPERM; EINVAL also for a leader that would reach the caller's group or every process.
pub fn send_group_signal(leader: i32, signal: i32) -> Result<()> {
    if leader <= 1 {
        return Err(Error::os(format!("kill(-{leader}, {signal})"), libc::EINVAL));
    }
    // SAFETY: kill takes two integers.
    match unsafe { libc::kill(-leader, signal) } {
        0 => Ok(()),
        _ => Err(Error::last_os(format!("kill(-{leader}, {signal})"))),
    }
}

/// Lets the program start with no signal blocked: a command inherits the mask of the thread that starts it, and those
/// that wait for signals by descriptor block them.
pub fn unblock_signals(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec the closure makes one async-signal-safe call with a mask on its own stack.
    unsafe {
        command.pre_exec(|| {
            let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            match libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// Blocks every signal in the calling thread, for [`next_signal`].
///
/// # Errors
/// sigprocmask(2).
pub fn block_signals() -> Result<()> {
    set_signal_mask(&ALL_SIGNALS).then_some(()).ok_or_else(|| Error::last_os("rt_sigprocmask()"))
}

/// The kernel's own form of a set, a bit for each of the 64. That of the C library leaves out those which it keeps for
/// itself, the first of which is another library's SIGRTMIN.
type SignalMask = u64;

static ALL_SIGNALS: SignalMask = !0;

fn set_signal_mask(mask: &SignalMask) -> bool {
    // SAFETY: the mask lives for the call; the old one is not asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::from_ref(mask),
            std::ptr::null_mut::<SignalMask>(),
            size_of::<SignalMask>(),
        )
    };
    result == 0
}

/// Waits for a signal that is blocked, whichever (sigwaitinfo(2)): its number.
pub fn next_signal() -> i32 {
    loop {
        // SAFETY: the mask lives for the call; nothing is asked for but the number, and no time is given.
        let signal = unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const ALL_SIGNALS,
                std::ptr::null_mut::<libc::siginfo_t>(),
                std::ptr::null::<libc::timespec>(),
                size_of::<SignalMask>(),
            )
        };
        if signal > 0 {
            return signal as i32;
        }
    }
}

/// Lets the program lead a group of processes of its own, which is the one in the foreground when standard input is a
/// terminal, so that the terminal's keys signal the program and not who starts it. It starts with no signal blocked.
pub fn lead_foreground(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec the closure makes async-signal-safe calls only, with a mask on its own stack.
    unsafe {
        command.pre_exec(|| {
            libc::setpgid(0, 0);
            // Who is not in the foreground is stopped for the call, unless SIGTTOU is blocked.
            set_signal_mask(&ALL_SIGNALS);
            libc::tcsetpgrp(0, libc::getpid()); // fails where there is no terminal
            set_signal_mask(&0);
            Ok(())
        });
    }
}

/// Lets the program lead a session of its own, so that what it starts can be ended with it ([`send_group_signal`]) and no
/// terminal stops it, and has the kernel kill it when the thread that starts it ends (PR_SET_PDEATHSIG, prctl(2)); not
/// one that gains rights by its execution.
pub fn lead_session(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec the closure makes two system calls with plain numbers.
    unsafe {
        command.pre_exec(|| {
            // Where a filter forbids them it runs all the same.
            libc::setsid();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_starts_with_no_signal_blocked() {
        let text = std::thread::spawn(|| {
            nix::sys::signal::SigSet::all().thread_block().unwrap();
            let mut command = std::process::Command::new("cat");
            command.arg("/proc/self/status");
            unblock_signals(&mut command);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        });
        let text = text.join().unwrap();
        assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
    }

    #[test]
    fn signals_reach_one_process_only() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(send_signal(-pid, 9).is_err() && send_signal(0, 9).is_err() && send_signal(pid, 1000).is_err());
        send_signal(pid, libc::SIGRTMIN() + 1).unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGRTMIN() + 1));
    }
}
