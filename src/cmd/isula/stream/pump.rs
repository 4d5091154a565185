//! Bytes between descriptors and a connection, for daemons that cannot be handed descriptors.
//!
//! Neither side waits for the other: standard input is read only when all of it before was sent, and the connection is
//! only written to when it takes something. Memory is bounded by two buffers.

use super::{End, keys, wait};
use crate::client::Stream;
use crate::error::{Error, Result};
use crate::utils::http::multiplex;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Bytes moved at a time.
const PIECE: usize = 32 * 1024;

/// What bytes are moved between.
pub struct Ends<'a> {
    /// Standard input, if it goes along.
    pub input: Option<BorrowedFd<'a>>,
    /// Standard output.
    pub output: BorrowedFd<'a>,
    /// Standard error.
    pub error: BorrowedFd<'a>,
    /// Keys that detach, as bytes; empty for none.
    pub detach: Vec<u8>,
}

/// Moves bytes until the connection ends. When `signals` is readable, `take_signals` says whether that is the end.
///
/// # Errors
/// A descriptor that cannot be read or written; frames that are none.
pub fn pump(
    stream: Stream,
    ends: Ends<'_>,
    signals: BorrowedFd<'_>,
    take_signals: &mut dyn FnMut() -> Result<Option<End>>,
) -> Result<End> {
    let Stream { connection, early, multiplexed } = stream;
    let mut input = Input {
        buffer: vec![0; PIECE],
        pending: 0..0,
        open: ends.input.is_some(),
        watch: keys::Watch::new(ends.detach),
    };
    let mut output =
        Output { decoder: multiplexed.then(multiplex::Decoder::default), output: ends.output, error: ends.error };
    if !output.put(&early)? {
        return Ok(End::ReaderGone);
    }
    drop(early);
    let mut buffer = vec![0; PIECE];
    loop {
        let sending = !input.pending.is_empty();
        let to_send = if sending { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        // Of standard output nothing is asked: POLLERR comes by itself when the last reader of a pipe has gone.
        let mut fds = [
            PollFd::new(connection.as_fd(), to_send),
            PollFd::new(signals, PollFlags::POLLIN),
            PollFd::new(ends.output, PollFlags::empty()),
            PollFd::new(ends.input.unwrap_or(signals), PollFlags::POLLIN),
        ];
        let used = if input.open && !sending { 4 } else { 3 };
        wait(&mut fds[..used])?;
        let [connected, signalled, writing, typed] = fds.map(|f| f.revents().unwrap_or(PollFlags::empty()));
        if !signalled.is_empty()
            && let Some(end) = take_signals()?
        {
            return Ok(end);
        }
        if writing.contains(PollFlags::POLLERR) {
            return Ok(End::ReaderGone);
        }
        if used == 4
            && !typed.is_empty()
            && let Some(fd) = ends.input
        {
            input.read(fd)?;
        }
        input.send(connection.as_fd())?;
        if connected.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            match nix::unistd::read(&connection, &mut buffer) {
                Ok(0) | Err(Errno::ECONNRESET) => {
                    return Ok(if input.watch.is_complete() { End::Detached } else { End::Closed });
                }
                Ok(n) => {
                    if !output.put(&buffer[..n])? {
                        return Ok(End::ReaderGone);
                    }
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(e) => return Err(Error::os("read(connection)", e as i32)),
            }
        }
    }
}

/// Standard input on its way to the connection.
struct Input {
    /// Empty once the end was said.
    buffer: Vec<u8>,
    /// What of the buffer is not sent yet.
    pending: std::ops::Range<usize>,
    /// More may come.
    open: bool,
    watch: keys::Watch,
}

impl Input {
    fn read(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        match nix::unistd::read(fd, &mut self.buffer) {
            // A terminal that is gone is an end as well.
            Ok(0) | Err(Errno::EIO) => self.open = false,
            Ok(n) => {
                self.pending = 0..n;
                self.watch.typed(&self.buffer[..n]);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(e) => return Err(Error::os("read(standard input)", e as i32)),
        }
        Ok(())
    }

    /// Sends what the connection takes, and the end when all is sent.
    fn send(&mut self, connection: BorrowedFd<'_>) -> Result<()> {
        if !self.pending.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(connection.as_raw_fd(), &self.buffer[self.pending.clone()], flags) {
                Ok(n) => self.pending.start += n,
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // The process reads no more; its output may still come.
                Err(Errno::EPIPE | Errno::ECONNRESET) => (self.pending, self.open) = (0..0, false),
                Err(e) => return Err(Error::os("send(connection)", e as i32)),
            }
        }
        if !self.open && self.pending.is_empty() && !self.buffer.is_empty() {
            self.buffer = Vec::new();
            let _ = shutdown(connection.as_raw_fd(), Shutdown::Write);
        }
        Ok(())
    }
}

/// Bytes of the connection on their way to our descriptors.
struct Output<'a> {
    decoder: Option<multiplex::Decoder>,
    output: BorrowedFd<'a>,
    error: BorrowedFd<'a>,
}

impl Output<'_> {
    /// Writes them; false when the reader has gone.
    fn put(&mut self, mut bytes: &[u8]) -> Result<bool> {
        let Some(mut decoder) = self.decoder.take() else { return self.write(bytes, multiplex::STDOUT) };
        while !bytes.is_empty() {
            let step = decoder.step(bytes)?;
            if !self.write(step.data, step.stream)? {
                return Ok(false);
            }
            bytes = &bytes[step.consumed..];
        }
        self.decoder = Some(decoder);
        Ok(true)
    }

    fn write(&self, mut bytes: &[u8], stream: u8) -> Result<bool> {
        let is_output = stream == multiplex::STDOUT;
        let fd = if is_output { self.output } else { self.error };
        while !bytes.is_empty() {
            match nix::unistd::write(fd, bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::EINTR) => {}
                // Somebody else made the terminal or pipe non-blocking.
                Err(Errno::EAGAIN) => wait(&mut [PollFd::new(fd, PollFlags::POLLOUT)])?,
                Err(Errno::EPIPE) if is_output => return Ok(false),
                // A standard error that is gone does not end the session.
                Err(_) if !is_output => return Ok(true),
                Err(e) => return Err(Error::os("write(standard output)", e as i32)),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::thread;

    struct Rig {
        peer: File,
        input: Option<File>,
        output: Option<File>,
        error: File,
        pump: thread::JoinHandle<End>,
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap()
    }

    fn rig(multiplexed: bool, early: &[u8], detach: &[u8]) -> Rig {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (peer, connection) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
        let (input_read, input) = pipe();
        let (output, output_write) = pipe();
        let (error, error_write) = pipe();
        let (early, detach) = (early.to_vec(), detach.to_vec());
        let pump = thread::spawn(move || {
            let (never, _keep) = pipe();
            let ends = Ends {
                input: Some(input_read.as_fd()),
                output: output_write.as_fd(),
                error: error_write.as_fd(),
                detach,
            };
            pump(Stream { connection, early, multiplexed }, ends, never.as_fd(), &mut || Ok(None)).unwrap()
        });
        let (input, output) = (Some(File::from(input)), Some(File::from(output)));
        Rig { peer: File::from(peer), input, output, error: File::from(error), pump }
    }

    fn shut(file: &File) {
        shutdown(file.as_raw_fd(), Shutdown::Write).unwrap();
    }

    #[test]
    fn much_goes_through_in_both_directions_at_once() {
        let mut r = rig(false, b"early ", b"");
        let mut echo = r.peer.try_clone().unwrap();
        let echo = thread::spawn(move || {
            let mut buffer = vec![0; 10_000];
            loop {
                match echo.read(&mut buffer).unwrap() {
                    0 => return shut(&echo),
                    n => echo.write_all(&buffer[..n]).unwrap(),
                }
            }
        });
        let sent: Vec<u8> = (0..8_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut input = r.input.take().unwrap();
        let copy = sent.clone();
        let writer = thread::spawn(move || input.write_all(&copy).unwrap());
        let mut got = Vec::new();
        r.output.take().unwrap().read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        echo.join().unwrap();
        assert!(got.starts_with(b"early ") && got[6..] == sent[..]);
        assert_eq!(r.pump.join().unwrap(), End::Closed);
    }

    #[test]
    fn frames_are_taken_apart() {
        let mut r = rig(true, &multiplex::head(multiplex::STDOUT, 3), b"");
        r.peer.write_all(b"out").unwrap();
        r.peer.write_all(&multiplex::head(multiplex::STDERR, 3)).unwrap();
        r.peer.write_all(b"err").unwrap();
        shut(&r.peer);
        assert_eq!(r.pump.join().unwrap(), End::Closed);
        let (mut output, mut error) = (String::new(), String::new());
        r.output.unwrap().read_to_string(&mut output).unwrap();
        r.error.read_to_string(&mut error).unwrap();
        assert_eq!((output.as_str(), error.as_str()), ("out", "err"));
    }

    #[test]
    fn an_end_after_the_keys_is_a_detach() {
        let mut r = rig(false, b"", &[1, b'q']);
        r.input.as_mut().unwrap().write_all(&[b'x', 1, b'q']).unwrap();
        let mut got = [0; 3];
        r.peer.read_exact(&mut got).unwrap();
        shut(&r.peer);
        assert_eq!(r.pump.join().unwrap(), End::Detached);
    }

    #[test]
    fn a_reader_that_leaves_ends_it() {
        let mut r = rig(false, b"", b"");
        drop(r.output.take());
        assert_eq!(r.pump.join().unwrap(), End::ReaderGone);
    }

    #[test]
    fn output_goes_on_when_the_process_reads_no_more() {
        let mut r = rig(false, b"", b"");
        shutdown(r.peer.as_raw_fd(), Shutdown::Read).unwrap();
        r.input.as_mut().unwrap().write_all(b"unwanted").unwrap();
        r.peer.write_all(b"still here").unwrap();
        shut(&r.peer);
        let mut got = String::new();
        r.output.take().unwrap().read_to_string(&mut got).unwrap();
        assert_eq!((got.as_str(), r.pump.join().unwrap()), ("still here", End::Closed));
    }
}
