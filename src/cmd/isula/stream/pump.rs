//! Bytes between our descriptors and a connection, for daemons that cannot be handed descriptors.
//!
//! Neither side waits for the other: standard input is read only when all of it before was sent, and the connection is
//! only written to when it takes something. Memory is bounded by two buffers.

use super::{End, Session, keys, wait};
use crate::client::Stream;
use crate::cmd::isula::output::{self, Stdout};
use crate::error::{Context, Error, Result};
use crate::utils::http::multiplex;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use std::io::{Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Bytes moved at a time.
const PIECE: usize = 32 * 1024;

/// Standard input on its way to the connection.
struct Input {
    buffer: Vec<u8>,
    /// What of the buffer is not sent yet.
    pending: std::ops::Range<usize>,
    /// More may come.
    open: bool,
    watch: keys::Watch,
}

impl Session<'_> {
    /// Moves bytes until the connection ends.
    pub(super) fn pump(&self, stream: Stream) -> Result<End> {
        let detach =
            if self.options.tty && self.options.stdin { keys::parse(self.options.detach_keys)? } else { vec![] };
        let mut input =
            Input { buffer: vec![0; PIECE], pending: 0..0, open: self.options.stdin, watch: keys::Watch::new(detach) };
        let mut output = Output { decoder: stream.multiplexed.then(multiplex::Decoder::default) };
        let connection = stream.connection;
        if !output.put(&stream.early)? {
            return Ok(End::ReaderGone);
        }
        let mut buffer = vec![0; PIECE];
        let (standard_input, standard_output) = (stdin(), stdout());
        loop {
            let sending = !input.pending.is_empty();
            let to_send = if sending { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
            let mut fds = vec![
                PollFd::new(connection.as_fd(), to_send),
                PollFd::new(self.signals.fd(), PollFlags::POLLIN),
                PollFd::new(standard_output.as_fd(), PollFlags::empty()),
            ];
            if input.open && !sending {
                fds.push(PollFd::new(standard_input.as_fd(), PollFlags::POLLIN));
            }
            wait(&mut fds)?;
            let events: Vec<PollFlags> = fds.iter().map(|f| f.revents().unwrap_or(PollFlags::empty())).collect();
            if !events[1].is_empty()
                && let Some(end) = self.take_signals()?
            {
                return Ok(end);
            }
            if events[2].contains(PollFlags::POLLERR) {
                output::note_reader_gone();
                return Ok(End::ReaderGone);
            }
            if events.get(3).is_some_and(|e| !e.is_empty()) {
                input.read(standard_input.as_fd())?;
            }
            input.send(connection.as_fd())?;
            if events[0].intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                match nix::unistd::read(&connection, &mut buffer) {
                    Ok(0) | Err(nix::Error::ECONNRESET) => {
                        return Ok(if input.watch.is_complete() { End::Detached } else { End::Closed });
                    }
                    Ok(n) => {
                        if !output.put(&buffer[..n])? {
                            return Ok(End::ReaderGone);
                        }
                    }
                    Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
                    Err(e) => return Err(Error::os("read(connection)", e as i32)),
                }
            }
        }
    }
}

impl Input {
    fn read(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        match nix::unistd::read(fd, &mut self.buffer) {
            // A terminal that is gone is an end as well.
            Ok(0) | Err(nix::Error::EIO) => self.open = false,
            Ok(n) => {
                self.pending = 0..n;
                self.watch.typed(&self.buffer[..n]);
            }
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
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
                Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
                // The process reads no more; its output may still come.
                Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => (self.pending, self.open) = (0..0, false),
                Err(e) => return Err(Error::os("send(connection)", e as i32)),
            }
        }
        if !self.open && self.pending.is_empty() && !self.buffer.is_empty() {
            self.buffer = Vec::new(); // said once
            let _ = shutdown(connection.as_raw_fd(), Shutdown::Write);
        }
        Ok(())
    }
}

/// Bytes of the connection on their way to our descriptors.
struct Output {
    decoder: Option<multiplex::Decoder>,
}

impl Output {
    /// Writes them; false when the reader has gone.
    fn put(&mut self, mut bytes: &[u8]) -> Result<bool> {
        let Some(decoder) = &mut self.decoder else { return put(bytes, multiplex::STDOUT) };
        while !bytes.is_empty() {
            let step = decoder.step(bytes)?;
            if !put(step.data, step.stream)? {
                return Ok(false);
            }
            bytes = &bytes[step.consumed..];
        }
        Ok(true)
    }
}

fn put(bytes: &[u8], stream: u8) -> Result<bool> {
    if bytes.is_empty() {
        return Ok(true);
    }
    if stream == multiplex::STDOUT {
        match Stdout.write_all(bytes) {
            Err(_) if output::reader_gone() => return Ok(false),
            other => other.context(|| "write(standard output)".into())?,
        }
    } else {
        let _ = stderr().write_all(bytes); // a standard error that is gone does not end the session
    }
    Ok(true)
}
