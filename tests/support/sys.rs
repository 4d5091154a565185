//! System calls without a safe wrapper, for the runner and for terminals.
#![allow(unsafe_code, reason = "each is one call, explained")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// In the background of a shell script some signals are ignored, and so they would be by every program under test.
pub fn heed_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Orphans of our descendants become our children: whatever a test leaves behind shows up here.
pub fn become_subreaper() {
    // SAFETY: prctl with numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0, "prctl(PR_SET_CHILD_SUBREAPER)");
}

/// Turns the clock of the whole machine by so many seconds.
#[track_caller]
pub fn turn_clock(by: i64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the argument outlives both calls.
    let turned = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut time);
        time.tv_sec += by as libc::time_t;
        libc::clock_settime(libc::CLOCK_REALTIME, &time)
    };
    assert_eq!(turned, 0, "clock_settime: {}", std::io::Error::last_os_error());
}

/// The command gets a session of its own with standard input as its terminal.
pub fn on_terminal(command: &mut Command) {
    // SAFETY: between fork and exec only two calls that allocate nothing.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    };
}

/// The command dies with the thread that starts it, so that a killed test takes its programs along.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only a call with numbers.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            Ok(())
        })
    };
}

/// Two files or directories change places in one step (renameat2(2)): never is either missing.
pub fn exchange(one: &Path, other: &Path) {
    let [one, other] = [one, other].map(|path| CString::new(path.as_os_str().as_bytes()).expect("a path"));
    let (here, flag) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // SAFETY: both paths end with a zero and outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), flag) };
    assert_eq!(done, 0, "renameat2(RENAME_EXCHANGE): {}", std::io::Error::last_os_error());
}

/// Sets the size of the terminal behind a descriptor.
pub fn set_window_size(fd: &impl std::os::fd::AsRawFd, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request reads the one structure it is given.
    assert_eq!(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0, "ioctl(TIOCSWINSZ)");
}

/// Sets the number of descriptors that a running process may have open.
pub fn limit_files_of(pid: u32, n: u64) {
    let limit = libc::rlimit64 { rlim_cur: n, rlim_max: 4096 };
    // SAFETY: reads one structure, writes none.
    let returned = unsafe { libc::prlimit64(pid as i32, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(returned, 0, "prlimit");
}

/// Sets a variable for the processes started from now on.
pub fn set_environment(name: &str, value: &std::path::Path) {
    // SAFETY: called before the runner starts any thread.
    unsafe { std::env::set_var(name, value) };
}

/// System calls with numbers in one of the spans, both ends included, fail with ENOSYS in this process and in those that
/// it starts from now on. Needs CAP_SYS_ADMIN.
pub fn deny_calls(spans: &[(u32, u32)]) {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const FROM: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const BEYOND: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![step(LOAD_NUMBER, 0, 0, 0)];
    for &(first, last) in spans {
        program.push(step(FROM, 0, 2, first));
        program.push(step(BEYOND, 1, 0, last));
        program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program live for the call, which copies them.
    let returned = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    assert_eq!(returned, 0, "seccomp(SECCOMP_SET_MODE_FILTER): {}", std::io::Error::last_os_error());
}

/// What comes over a stream with one descriptor.
pub fn receive_with_descriptor(stream: &std::os::unix::net::UnixStream) -> (Vec<u8>, std::os::fd::OwnedFd) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    let mut bytes = vec![0; 64 * 1024];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let mut fds: Vec<RawFd> = Vec::new();
    for c in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(list) = c {
            fds.extend(list);
        }
    }
    let [fd] = fds[..] else { panic!("{} descriptors", fds.len()) };
    let length = message.bytes;
    bytes.truncate(length);
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    (bytes, unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the kernel stop and tell of the calls with these numbers, and of those in `opens` (number and the place of the
/// flags among the arguments) that may create a file. For the calling thread and what it starts from now on; needs
/// CAP_SYS_ADMIN. Little-endian machines only.
pub fn notify_calls(calls: &[libc::c_long], opens: &[(libc::c_long, u32)]) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const HAS_BITS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Where the arguments are in `struct seccomp_data`.
    const ARGUMENTS: u32 = 16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let tell = step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF);
    let mut program = vec![step(LOAD, 0, 0, 0)];
    for &call in calls {
        program.extend([step(EQUAL, 0, 1, call as u32), tell]);
    }
    for &(call, place) in opens {
        program.extend([
            step(EQUAL, 0, 4, call as u32),
            step(LOAD, 0, 0, ARGUMENTS + 8 * place),
            step(HAS_BITS, 0, 1, libc::O_CREAT as u32),
            tell,
            step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]);
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: the filter and its program live for the call, which copies them.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as i32) })
}

/// A call that waits for an answer.
pub struct StoppedCall {
    id: u64,
    /// The thread that makes it.
    pub thread: u32,
}

/// Waits for a call that a seccomp filter stops; `None` when no process has the filter any more.
pub fn next_call(filter: &std::os::fd::OwnedFd) -> Option<StoppedCall> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::{AsFd, AsRawFd};
    // SECCOMP_IOCTL_NOTIF_RECV of linux/seccomp.h.
    const RECEIVE: u64 = 0xc050_2100;
    loop {
        let mut fds = [PollFd::new(filter.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        if !fds[0].revents().unwrap().contains(PollFlags::POLLIN) {
            return None; // POLLHUP, Linux 5.9
        }
        // SAFETY: plain numbers, for which zero is a value and which the request wants; it fills the structure.
        let (asked, returned) = unsafe {
            let mut asked: libc::seccomp_notif = std::mem::zeroed();
            let returned = libc::ioctl(filter.as_raw_fd(), RECEIVE as _, &raw mut asked);
            (asked, returned)
        };
        if returned == 0 {
            return Some(StoppedCall { id: asked.id, thread: asked.pid });
        }
        // Otherwise it was killed meanwhile.
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT), "SECCOMP_IOCTL_NOTIF_RECV");
    }
}

/// Lets a stopped call go on, or fail with an error number.
pub fn answer(filter: &std::os::fd::OwnedFd, call: &StoppedCall, errno: Option<i32>) {
    use std::os::fd::AsRawFd;
    // SECCOMP_IOCTL_NOTIF_SEND of linux/seccomp.h.
    const SEND: u64 = 0xc018_2101;
    let (error, flags) = match errno {
        Some(errno) => (-errno, 0),
        None => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
    };
    let answer = libc::seccomp_notif_resp { id: call.id, val: 0, error, flags };
    // SAFETY: the request reads the structure. Whoever asked may be dead, so how it ends does not matter.
    unsafe { libc::ioctl(filter.as_raw_fd(), SEND as _, &raw const answer) };
}

/// Waits for one call that a seccomp filter stopped and lets it fail with `errno`; `false` when no process has the filter
/// any more.
pub fn answer_notification(filter: &std::os::fd::OwnedFd, errno: i32) -> bool {
    next_call(filter).inspect(|call| answer(filter, call, Some(errno))).is_some()
}
