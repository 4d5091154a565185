//! The pump between a TLS connection and a plain socket: one thread, two blocks of memory, and never more on the way than
//! these. A side that takes nothing makes the other one wait.
//!
//! | seen | done |
//! | --- | --- |
//! | the peer's close_notify | sending on the plain side ends, once everything before it is out |
//! | the end of the connection without one | both sides end: somebody may have cut it |
//! | the end of what comes from the plain side | close_notify |
//! | the plain side closed | the rest goes out, then the connection ends |

use super::Leave;
use super::enabled::{Session, failure};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::net;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The largest piece that TLS has.
const BLOCK: usize = 16 * 1024;
/// How long a peer may take nothing when the plain side has nothing more to say.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the end of a peer is awaited that has been sent everything.
const LINGER: Duration = Duration::from_secs(1);
/// Time between two looks at whether a relay is to leave.
const TICK: Duration = Duration::from_millis(100);

/// A socket, without blocking.
pub(super) struct Wire<'a>(pub BorrowedFd<'a>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        net::receive(self.0, buffer, &mut Vec::new())
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        net::send(self.0, &[IoSlice::new(bytes)], &[])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        net::send(self.0, parts, &[])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends sending and reads away what still comes, for a moment: a socket that is closed with unread bytes resets the
/// connection, and the last words are lost with it.
pub(super) fn close_gently(socket: &OwnedFd) {
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write); // the peer was faster
    let deadline = Instant::now() + LINGER;
    let mut scratch = [0; 1024];
    for _ in 0..256 {
        if !matches!(net::receive_by(socket.as_fd(), &mut scratch, &mut Vec::new(), Some(deadline)), Ok(1..)) {
            return;
        }
    }
}

pub(super) fn run(session: &mut Session, plain: &OwnedFd, leave: Option<&Leave<'_>>) -> Result<()> {
    session.tls.set_buffer_limit(Some(2 * BLOCK));
    let mut relay = Relay {
        session,
        plain,
        inbound: vec![0; BLOCK],
        pending: 0..0,
        outbound: vec![0; BLOCK],
        peer: Side::Open,
        plain_in: Side::Open,
        plain_out: Side::Open,
        hung_up: false,
        closed: false,
        cut: false,
    };
    let moved = relay.run(leave);
    // The other end of the plain side learns of it by the descriptor's end; the peer is told.
    if relay.plain_in == Side::Open {
        relay.session.tls.send_close_notify();
        let _ = relay.flush(); // it may be gone
    }
    moved
}

/// What is known of one direction of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Goes on.
    Open,
    /// Its end was seen, and is to be passed on.
    Ended,
    /// It is passed on.
    Done,
}

struct Relay<'a> {
    session: &'a mut Session,
    plain: &'a OwnedFd,
    /// From the peer: `inbound[pending]` is still to be sent to the plain side.
    inbound: Vec<u8>,
    pending: Range<usize>,
    /// Scratch for what comes from the plain side.
    outbound: Vec<u8>,
    /// What comes from the peer; the end is passed on by the end of sending on the plain side.
    peer: Side,
    /// What comes from the plain side; the end is passed on by close_notify and the end of sending.
    plain_in: Side,
    /// Whether the plain side takes anything.
    plain_out: Side,
    /// Nobody is left at the other end of the plain side.
    hung_up: bool,
    /// Nor at that of the connection, where bytes may still be read.
    closed: bool,
    /// Nor are there such bytes.
    cut: bool,
}

fn cut() -> Error {
    Error::new(Kind::Remote, "the connection was cut")
}

impl Relay<'_> {
    fn run(&mut self, leave: Option<&Leave<'_>>) -> Result<()> {
        let mut last = Instant::now();
        let mut leaving = false;
        loop {
            if self.step()? {
                last = Instant::now();
                continue;
            }
            if self.plain_in == Side::Done && (self.peer == Side::Done || self.plain_out == Side::Done) {
                if self.peer != Side::Done {
                    close_gently(&self.session.socket);
                }
                return Ok(());
            }
            if leaving && leave.is_some_and(|leave| (leave.now)()) {
                // Whoever has answered and closed is heard to the end.
                self.wait(Some(Instant::now()), None)?;
                if !self.hung_up && self.plain_in == Side::Open {
                    return Ok(());
                }
            }
            // As long as somebody is on the plain side, waiting is that somebody's affair.
            let patience = (self.hung_up || self.plain_out == Side::Done).then(|| last + PATIENCE);
            let tick = leaving.then(|| Instant::now() + TICK);
            let deadline = patience.into_iter().chain(tick).min();
            let waited = self.wait(deadline, leave.filter(|_| !leaving))?;
            leaving |= waited;
            // Whoever has said its last word may go; what it said before it went may still be on the way.
            if self.closed && self.peer == Side::Done {
                return Ok(());
            }
            if self.cut {
                return Err(cut());
            }
            if patience.is_some_and(|patience| Instant::now() >= patience) {
                return Err(Error::new(Kind::Timeout, "the peer does not take what is sent"));
            }
        }
    }

    /// Does what can be done without waiting; whether that was anything.
    fn step(&mut self) -> Result<bool> {
        let mut moved = self.decrypt()?;
        moved |= self.feed_plain();
        moved |= self.take_plain()?;
        moved |= self.flush()?;
        if self.plain_in == Side::Ended && !self.session.tls.wants_write() {
            let _ = shutdown(self.session.socket.as_raw_fd(), Shutdown::Write); // the peer was faster
            self.plain_in = Side::Done;
            moved = true;
        }
        moved |= self.receive()?;
        Ok(moved)
    }

    fn is_fed(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes the next piece out of the library.
    fn decrypt(&mut self) -> Result<bool> {
        if !self.is_fed() || self.peer != Side::Open {
            return Ok(false);
        }
        match self.session.tls.reader().read(&mut self.inbound) {
            Ok(0) => {
                self.peer = Side::Ended;
                Ok(true)
            }
            Ok(n) => {
                self.pending = 0..n;
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(cut()),
        }
    }

    /// Sends what the peer said to the plain side. Nobody who does not read any more stops the peer.
    fn feed_plain(&mut self) -> bool {
        let mut moved = false;
        if !self.is_fed() && self.plain_out == Side::Open {
            match net::send(self.plain.as_fd(), &[IoSlice::new(&self.inbound[self.pending.clone()])], &[]) {
                Ok(n) => {
                    self.pending.start += n;
                    moved = true;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.plain_out = Side::Done,
            }
        }
        if !self.is_fed() && self.plain_out == Side::Done {
            self.pending = 0..0;
            moved = true;
        }
        if self.is_fed() && self.peer == Side::Ended {
            let _ = shutdown(self.plain.as_raw_fd(), Shutdown::Write); // nobody is left there
            self.peer = Side::Done;
            moved = true;
        }
        moved
    }

    /// Takes the next piece from the plain side, when the one before is out.
    fn take_plain(&mut self) -> Result<bool> {
        if self.plain_in != Side::Open || self.session.tls.wants_write() {
            return Ok(false);
        }
        match net::receive(self.plain.as_fd(), &mut self.outbound, &mut Vec::new()) {
            Ok(n @ 1..) => {
                self.session.tls.writer().write_all(&self.outbound[..n]).context(|| "encrypt".into())?;
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            // An error is that of somebody who left without reading everything.
            Ok(_) | Err(_) => {
                self.session.tls.send_close_notify();
                self.plain_in = Side::Ended;
                Ok(true)
            }
        }
    }

    fn flush(&mut self) -> Result<bool> {
        let mut moved = false;
        while self.session.tls.wants_write() {
            match self.session.tls.write_tls(&mut Wire(self.session.socket.as_fd())) {
                Ok(_) => moved = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(Error::io("send", e).with_kind(Kind::Remote)),
            }
        }
        Ok(moved)
    }

    /// Gets more from the peer, when what it said before is with the plain side.
    fn receive(&mut self) -> Result<bool> {
        if !self.is_fed() || self.peer != Side::Open {
            return Ok(false);
        }
        // One read can bring more than the library gives at a time, and what piles up there is an error in the end.
        if self.decrypt()? {
            return Ok(true);
        }
        match self.session.tls.read_tls(&mut Wire(self.session.socket.as_fd())) {
            Ok(_) => {
                if let Err(e) = self.session.tls.process_new_packets() {
                    let _ = self.flush(); // the alert
                    return Err(failure(&e));
                }
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(Error::io("receive", e).with_kind(Kind::Remote)),
        }
    }

    /// Waits until there is something to do; whether a leave is in sight.
    fn wait(&mut self, deadline: Option<Instant>, leave: Option<&Leave<'_>>) -> Result<bool> {
        let (mut socket, mut plain) = (PollFlags::empty(), PollFlags::empty());
        let stalled = self.session.tls.wants_write();
        socket.set(PollFlags::POLLIN, self.is_fed() && self.peer == Side::Open);
        socket.set(PollFlags::POLLOUT, stalled);
        plain.set(PollFlags::POLLIN, self.plain_in == Side::Open && !stalled);
        plain.set(PollFlags::POLLOUT, !self.is_fed());
        let mut fds = Vec::with_capacity(3);
        let mut add = |fd, wanted| {
            fds.push(PollFd::new(fd, wanted));
            fds.len() - 1
        };
        // With nothing asked of it a descriptor still tells of its end, and after that it would tell of nothing else.
        let is_asked = !self.closed || socket.contains(PollFlags::POLLIN);
        let socket = is_asked.then(|| add(self.session.socket.as_fd(), socket));
        let plain = (!self.hung_up).then(|| add(self.plain.as_fd(), plain));
        let leave = leave.map(|leave| add(leave.from, PollFlags::POLLIN));
        net::wait_for(&mut fds, deadline).context(|| "poll()".into())?;
        let seen = |n: Option<usize>| n.and_then(|n| fds[n].revents()).unwrap_or(PollFlags::empty());
        let (socket, plain, is_leaving) = (seen(socket), seen(plain), !seen(leave).is_empty());
        self.cut |= socket.contains(PollFlags::POLLERR);
        self.closed |= socket.contains(PollFlags::POLLHUP);
        if plain.contains(PollFlags::POLLHUP) {
            self.hung_up = true;
            self.plain_out = Side::Done;
        }
        Ok(is_leaving)
    }
}
