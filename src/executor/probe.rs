//! A program that is run in a container for the daemon's own sake: no session that a client could see.

use super::Daemon;
use super::container::signal;
use super::container::start::exit_code;
use super::exec;
use crate::api::exec::{ExecCreateRequest, ExecStartRequest};
use crate::api::shim::{Request, Streams};
use crate::error::{Context, Error, Result};
use crate::modules::container::Container;
use crate::utils::id;
use crate::utils::sys::net::wait_for;
use nix::poll::{PollFd, PollFlags};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are kept of what it prints.
const OUTPUT: usize = 4096;
/// What a killed program may take to end.
const DEATH: Duration = Duration::from_secs(5);
/// Exit code of one that took too long.
const TIMED_OUT: i32 = -1;

/// Runs it as the container's user; gives the exit code and the beginning of what it printed. One that cannot be run, or
/// that takes longer than `timeout`, has the reason for its output.
pub(super) fn probe(
    daemon: &Daemon,
    container: &Arc<Container>,
    command: &[String],
    timeout: Duration,
) -> (i32, String) {
    attempt(daemon, container, command, timeout).unwrap_or_else(|e| (exit_code(e.kind()), e.to_string()))
}

fn attempt(
    daemon: &Daemon,
    container: &Arc<Container>,
    command: &[String],
    timeout: Duration,
) -> Result<(i32, String)> {
    let id = id::random_id()?;
    let request = Arc::new(ExecCreateRequest {
        cmd: command.to_vec(),
        attach_stdout: true,
        attach_stderr: true,
        ..ExecCreateRequest::default()
    });
    let (mut ours, theirs) = UnixStream::pair().context(|| "socketpair(AF_UNIX)".into())?;
    ours.set_nonblocking(true).context(|| "fcntl(O_NONBLOCK)".into())?;
    let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
    daemon.execs.add_own(&id, Arc::clone(container), Arc::clone(&request));
    let started =
        exec::run(daemon, &id, container, &request, &ExecStartRequest::default(), Some(streams), &[theirs.as_fd()]);
    drop(theirs);
    let answer = started.and_then(|()| {
        let mut output = Vec::new();
        if read(&mut ours, &mut output, timeout)? {
            daemon.monitor.catch_up();
            let code = daemon.execs.exit_code(&id).ok_or_else(|| Error::internal("the exit code is not known"))?;
            return Ok((code, String::from_utf8_lossy(&output).into_owned()));
        }
        let kill = Request::Signal { exec_id: Some(id.clone()), signal: libc::SIGKILL, all: false };
        if let Err(e) = signal::ask_if_there(daemon, container, &kill) {
            log::debug!("container {}: a probe that took too long is not killed: {e}", container.id);
        }
        read(&mut ours, &mut Vec::new(), DEATH)?;
        Ok((TIMED_OUT, format!("Health check exceeded timeout ({} s)", timeout.as_secs())))
    });
    daemon.execs.forget(&id);
    answer
}

/// Reads to the end, and keeps the beginning; gives whether the end came in time.
fn read(from: &mut UnixStream, out: &mut Vec<u8>, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    let mut block = [0; 1024];
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(true),
            Ok(n) => {
                let room = OUTPUT - out.len();
                out.extend_from_slice(&block[..n.min(room)]);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let fds = &mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                wait_for(fds, Some(deadline)).context(|| "poll()".into())?;
            }
            Err(e) => return Err(Error::io("read(stream of a probe)", e)),
        }
        // One that never stops printing takes too long as well.
        if Instant::now() >= deadline {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_beginning_is_kept_and_time_is_limited() {
        let pair = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            (ours, theirs)
        };
        let (mut ours, mut theirs) = pair();
        let writer = std::thread::spawn(move || theirs.write_all(&vec![b'x'; 100_000]).unwrap());
        let mut out = Vec::new();
        assert!(read(&mut ours, &mut out, Duration::from_secs(60)).unwrap());
        assert_eq!(out, [b'x'; OUTPUT]);
        writer.join().unwrap();
        let (mut ours, _theirs) = pair();
        assert!(!read(&mut ours, &mut Vec::new(), Duration::from_millis(20)).unwrap());
    }
}
