//! Waiting for a process: forwards signals to it, and its terminal to ours.

use crate::engine::create::Started;
use crate::error::{Context, Error, Result};
use crate::utils::sys::poll::{POLLIN, POLLOUT, PollSet};
use crate::utils::sys::terminal::{RawMode, window_size};
use crate::utils::sys::{child::send_signal, clone, descriptor, pty};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Checks that a terminal has somebody at its other end.
///
/// # Errors
/// `Kind::Invalid` saying what is missing.
pub fn check_terminal(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<()> {
    match (terminal, detach, socket) {
        (true, true, None) => Err(Error::invalid("a terminal in the background needs --console-socket")),
        (false, _, Some(_)) => Err(Error::invalid("--console-socket needs a process with a terminal")),
        _ => Ok(()),
    }
}

/// Blocks every signal and gives the descriptor from which they are read. Those that a fault of this program itself
/// raises stay as they are.
///
/// # Errors
/// The failing call.
pub fn collect_signals() -> Result<SignalFd> {
    let mut set = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGTRAP] {
        set.remove(fault);
    }
    set.thread_block().context(|| "sigprocmask(SIG_BLOCK)".into())?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context(|| "signalfd()".into())
}

/// Sends the terminal to the console socket when there is one; gives it back otherwise.
///
/// # Errors
/// The failing call.
pub fn hand_over(terminal: Option<OwnedFd>, socket: Option<&Path>) -> Result<Option<OwnedFd>> {
    let (Some(master), Some(path)) = (&terminal, socket) else { return Ok(terminal) };
    let stream = UnixStream::connect(path).context(|| format!("connect({path:?})"))?;
    let fds = [master.as_raw_fd()];
    // The receiver wants at least a byte, and uses it as the terminal's name.
    let name = [IoSlice::new(b"/dev/ptmx")];
    sendmsg::<()>(stream.as_raw_fd(), &name, &[ControlMessage::ScmRights(&fds)], MsgFlags::MSG_NOSIGNAL, None)
        .context(|| format!("sendmsg({path:?})"))?;
    Ok(None)
}

/// A process's terminal, connected to ours.
pub struct Terminal {
    master: OwnedFd,
    raw: Option<RawMode>,
    /// Typed but not taken by the process yet.
    pending: Vec<u8>,
    input_open: bool,
}

impl Terminal {
    /// Puts our terminal, if standard input is one, into raw mode and gives the process its size.
    ///
    /// # Errors
    /// The failing call.
    pub fn enter(master: OwnedFd) -> Result<Terminal> {
        descriptor::set_nonblocking(master.as_fd())?;
        let stdin = std::io::stdin();
        let raw = match crate::utils::sys::terminal::is_terminal(stdin.as_fd()) {
            true => Some(RawMode::enter(stdin.as_fd())?),
            false => None,
        };
        let terminal = Terminal { master, raw, pending: Vec::new(), input_open: true };
        terminal.resize();
        Ok(terminal)
    }

    fn resize(&self) {
        if self.raw.is_some()
            && let Some((rows, columns)) = window_size(std::io::stdin().as_fd())
        {
            let _ = pty::set_size(self.master.as_fd(), rows, columns); // the old size is no reason to stop
        }
    }

    fn read_input(&mut self) {
        let mut buffer = [0u8; 4096];
        match nix::unistd::read(std::io::stdin(), &mut buffer) {
            Ok(0) => self.input_open = false,
            Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
            Err(_) => self.input_open = false, // as good as closed
        }
    }

    fn write_input(&mut self) {
        match nix::unistd::write(&self.master, &self.pending) {
            Ok(n) => drop(self.pending.drain(..n)),
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
            Err(_) => self.pending.clear(), // nobody reads it any more
        }
    }

    /// Shows what the process printed; whether there can be more.
    fn show(&self) -> bool {
        let mut buffer = [0u8; 4096];
        match nix::unistd::read(&self.master, &mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                let mut stdout = std::io::stdout();
                // A reader that left is noticed by the process's next write only when its terminal closes.
                stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush()).is_ok()
            }
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => true,
            Err(_) => false, // EIO: all other ends are closed
        }
    }

    /// Shows what is left after the end.
    fn drain(&self) {
        let mut set = PollSet::default();
        loop {
            set.clear();
            set.add(self.master.as_fd(), POLLIN);
            match set.wait(Some(std::time::Duration::ZERO)) {
                Ok(_) if set.ready(0) & POLLIN != 0 && self.show() => {}
                _ => return,
            }
        }
    }
}

/// Waits for the end of `process`, a child; its exit code, 128 + signal when it was killed.
///
/// # Errors
/// The failing call; the process still runs then.
pub fn wait(process: &Started, signals: &SignalFd, mut terminal: Option<Terminal>) -> Result<u8> {
    let mut set = PollSet::default();
    let mut output_open = terminal.is_some();
    loop {
        set.clear();
        set.add(signals.as_fd(), POLLIN);
        let stdin = std::io::stdin();
        let mut input = None;
        let mut master = None;
        if let Some(t) = &terminal {
            if t.input_open && t.pending.is_empty() {
                input = Some(set.len());
                set.add(stdin.as_fd(), POLLIN);
            }
            if output_open {
                master = Some(set.len());
                set.add(t.master.as_fd(), POLLIN | if t.pending.is_empty() { 0 } else { POLLOUT });
            }
        }
        set.wait(None)?;
        let ready = |index: Option<usize>| index.map_or(0, |index| set.ready(index));
        let (input, master) = (ready(input), ready(master));
        if let Some(t) = &mut terminal {
            if input != 0 {
                t.read_input();
            }
            if master & POLLOUT != 0 {
                t.write_input();
            }
            if master & !POLLOUT != 0 {
                output_open = t.show();
            }
        }
        while let Some(info) = signals.read_signal().context(|| "read(signalfd)".into())? {
            match info.ssi_signo as i32 {
                libc::SIGCHLD => {
                    if let Some(code) = reap(process.pid)? {
                        if let Some(t) = &terminal {
                            t.drain();
                        }
                        return Ok(code);
                    }
                }
                libc::SIGWINCH => {
                    if let Some(t) = &terminal {
                        t.resize();
                    }
                }
                // Those are about our own reading and writing.
                libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU | libc::SIGURG => {}
                number => {
                    let _ = send_signal(process.pid, number); // it may have ended: SIGCHLD is on its way
                }
            }
        }
    }
}

/// The exit code when the child has ended.
fn reap(pid: i32) -> Result<Option<u8>> {
    // Looking first, as the status of a process killed by a real-time signal cannot be had from nix.
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), flags) {
        Ok(WaitStatus::StillAlive) => return Ok(None),
        Ok(_) | Err(nix::Error::EINVAL) => {}
        Err(e) => return Err(Error::os(format!("waitid({pid})"), e as i32)),
    }
    let status = clone::wait(pid).context(|| format!("waitpid({pid})"))?;
    Ok(Some(exit_code(status)))
}

fn exit_code(status: i32) -> u8 {
    match libc::WIFSIGNALED(status) {
        true => 128 + libc::WTERMSIG(status) as u8,
        false => libc::WEXITSTATUS(status) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_need_an_end() {
        let socket = Some(Path::new("/s"));
        assert!(check_terminal(true, true, None).is_err() && check_terminal(false, true, socket).is_err());
        for (terminal, detach, socket) in [(true, true, socket), (true, false, None), (false, true, None)] {
            check_terminal(terminal, detach, socket).unwrap();
        }
    }

    #[test]
    fn the_terminal_reaches_the_socket() {
        let path = std::env::temp_dir().join(format!("console-{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(hand_over(Some(file.into()), Some(&path)).unwrap().is_none());
        let (stream, _) = listener.accept().unwrap();
        let mut byte = [0u8; 16];
        let mut parts = [std::io::IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([i32; 1]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = nix::sys::socket::recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
        assert_eq!(message.cmsgs().unwrap().count(), 1);
        assert!(message.bytes > 0);
        std::fs::remove_file(&path).unwrap();
    }
}
