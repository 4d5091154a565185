//! One client's connection: bytes become request heads and bodies. Every wait has a deadline, and no buffer stays
//! larger than what an idle connection may cost.
//!
//! No socket option is set and no mode changed, so that the socket can be handed to a shim as it is.

use crate::error::{Context, Error, Result};
use crate::modules::authorization::Authorizer;
use crate::utils::http::chunked::Decoder;
use crate::utils::http::h1::{self, Length, RequestHead};
use crate::utils::sys::net;
use nix::poll::{PollFd, PollFlags};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use std::fmt;
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A connection without a request.
    pub idle: Duration,
    /// The same when most connections are taken.
    pub idle_when_crowded: Duration,
    /// A head, from its first byte on.
    pub head: Duration,
    /// A body without progress, either way.
    pub progress: Duration,
    /// The whole of a document.
    pub document: Duration,
    /// What does not come forward once the server stops.
    pub stopping: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            idle: Duration::from_secs(60),
            idle_when_crowded: Duration::from_secs(5),
            head: Duration::from_secs(10),
            progress: Duration::from_secs(30),
            // Most are a few kilobytes; the largest come at some 300 kB/s.
            document: Duration::from_secs(60),
            stopping: Duration::from_secs(1),
        }
    }
}

/// What all connections share.
pub struct Shared {
    /// Readable once the server stops.
    pub stop: EventFd,
    /// The same without a system call.
    pub stopping: AtomicBool,
    /// Whether so many connections are open that idle ones should go.
    pub crowded: AtomicBool,
    /// Bytes that large request documents occupy at this time.
    pub document_bytes: AtomicUsize,
    /// Deadlines.
    pub patience: Patience,
    /// Who is asked about requests.
    pub authorizer: Option<Authorizer>,
    /// Requests for metrics so far.
    pub metrics_asked: AtomicUsize,
}

impl Shared {
    /// Nothing open, not stopping.
    ///
    /// # Errors
    /// The failing call.
    pub fn new(patience: Patience) -> Result<Shared> {
        use nix::sys::eventfd::EfdFlags;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = EventFd::from_value_and_flags(0, flags).context(|| "eventfd()".into())?;
        Ok(Shared {
            stop,
            stopping: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            document_bytes: AtomicUsize::new(0),
            patience,
            authorizer: None,
            metrics_asked: AtomicUsize::new(0),
        })
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A process of this host, as the kernel vouches (SO_PEERCRED).
    Local {
        /// User.
        uid: u32,
        /// Process, in the daemon's pid namespace.
        pid: i32,
    },
    /// A network address.
    Remote(std::net::SocketAddr),
    /// Somebody with a certificate.
    Certified {
        /// Common name of the certificate, which an authority of ours vouches for; empty when it has none.
        user: Arc<str>,
        /// A network address, when the kernel told one.
        address: Option<std::net::SocketAddr>,
    },
    /// Somebody on a network who speaks TLS and was asked for no certificate.
    Encrypted(Option<std::net::SocketAddr>),
    /// The kernel did not tell.
    Unknown,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Local { uid, pid } => write!(f, "uid={uid} pid={pid}"),
            Peer::Remote(address) => write!(f, "address={address}"),
            Peer::Certified { user, address: Some(address) } => write!(f, "user={user:?} address={address}"),
            Peer::Certified { user, address: None } => write!(f, "user={user:?}"),
            Peer::Encrypted(Some(address)) => write!(f, "address={address}"),
            Peer::Encrypted(None) | Peer::Unknown => f.write_str("peer unknown"),
        }
    }
}

/// A client's connection.
pub struct Connection {
    socket: OwnedFd,
    /// Who is at the other end.
    pub peer: Peer,
    /// What all connections share.
    pub shared: Arc<Shared>,
    /// What may be asked here.
    pub scope: Scope,
    /// The head of the current request as it came, where an authorizer is to see it.
    pub head: Vec<u8>,
    /// Bytes received and not dealt with: `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    /// Descriptors received since the last request.
    fds: Vec<OwnedFd>,
    body: Body,
    /// When all of the body must have come.
    body_deadline: Option<Instant>,
    /// Whether `100 Continue` is owed before the body comes.
    owes_continue: bool,
    /// Whether another request may follow on this connection.
    keep: bool,
}

/// What may be asked on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Metrics.
    Metrics,
}

#[derive(Debug)]
enum Body {
    Known(u64),
    Chunked(Decoder),
}

/// What came of waiting for a request.
pub enum Next {
    /// A request.
    Request(RequestHead, Vec<OwnedFd>),
    /// Nothing any more: the client closed, was idle for too long, or the server stops.
    End,
    /// Something that is no request; to be answered; the connection ends with the answer.
    Refused(Error),
}

/// The first byte of a greeting in TLS, which may have no end of a line in it to wait for.
const TLS: u8 = 22;
/// Bytes read from the socket at a time.
const READ: usize = 8 * 1024;

impl Connection {
    /// Takes an accepted socket.
    pub fn new(socket: OwnedFd, peer: Peer, shared: Arc<Shared>) -> Connection {
        Connection {
            socket,
            peer,
            shared,
            scope: Scope::All,
            head: Vec::new(),
            buffer: Vec::new(),
            start: 0,
            fds: Vec::new(),
            body: Body::Known(0),
            body_deadline: None,
            owes_continue: false,
            keep: true,
        }
    }

    /// Waits for the next request's head.
    pub fn next(&mut self) -> Next {
        self.forget_leftovers();
        let mut searched = 0;
        let mut deadline = None;
        loop {
            let unread = &self.buffer[self.start..];
            if unread.first() == Some(&TLS) {
                return self.refuse(Error::invalid("this is TLS, which is not spoken on this socket"));
            }
            match h1::head_end(unread, searched) {
                Ok(Some(n)) => {
                    let parsed = h1::parse_request(&unread[..n]);
                    if self.scope == Scope::All && self.shared.authorizer.as_ref().is_some_and(|a| a.has_plugins()) {
                        self.head = unread[..n].to_vec();
                    }
                    self.start += n;
                    return match parsed {
                        Ok(head) => self.begin(head),
                        Err(e) => self.refuse(e),
                    };
                }
                Ok(None) => searched = unread.len(),
                Err(e) => return self.refuse(e),
            }
            if !unread.is_empty() && deadline.is_none() {
                deadline = Some(Instant::now() + self.shared.patience.head);
            }
            if deadline.is_none() && !self.wait_idle() {
                return Next::End;
            }
            match self.fill(deadline) {
                Ok(0) | Err(_) => return Next::End,
                Ok(_) => {}
            }
        }
    }

    fn begin(&mut self, head: RequestHead) -> Next {
        self.body = match head.length {
            Length::Chunked => Body::Chunked(Decoder::default()),
            Length::Known(n) => Body::Known(n),
            Length::UntilClose => Body::Known(0), // requests have none such
        };
        self.body_deadline = None;
        self.owes_continue = head.expect_continue && !self.body_is_done();
        self.keep = head.keep_alive;
        Next::Request(head, std::mem::take(&mut self.fds))
    }

    fn refuse(&mut self, error: Error) -> Next {
        // Nobody knows how much the client still sends: the end of the connection reads some of it away.
        self.body = Body::Known(u64::MAX);
        self.keep = false;
        Next::Refused(error)
    }

    /// Waits for the first byte of a request; `false` when none will come.
    fn wait_idle(&self) -> bool {
        let p = &self.shared.patience;
        let crowded = self.shared.crowded.load(Ordering::Relaxed);
        let deadline = Instant::now() + if crowded { p.idle_when_crowded } else { p.idle };
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN),
        ];
        // Bytes that are there already are served even when the server stops.
        matches!(net::wait_for(&mut fds, Some(deadline)), Ok(true)) && fds[0].any() == Some(true)
    }

    /// Drops what is dealt with; an idle connection keeps no buffer.
    fn forget_leftovers(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
            self.fds.clear(); // they came with a body
        }
    }

    fn fill(&mut self, deadline: Option<Instant>) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ, 0);
        let got = receive(&self.socket, &self.shared, &mut self.buffer[filled..], &mut self.fds, deadline);
        self.buffer.truncate(filled + *got.as_ref().unwrap_or(&0));
        // One more than any request may have, so that too many are noticed and a client cannot pile them up.
        self.fds.truncate(4);
        got
    }

    /// The socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the current request's body has been read to its end.
    pub fn body_is_done(&self) -> bool {
        match &self.body {
            Body::Known(n) => *n == 0,
            Body::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// The number of body bytes still to come, where the client said so.
    pub fn body_left(&self) -> Option<u64> {
        match &self.body {
            Body::Known(n) => Some(*n),
            Body::Chunked(_) => None,
        }
    }

    /// The body is a document, not a stream: there is a time for all of it, however it comes.
    pub fn expect_document(&mut self) {
        self.body_deadline = Some(Instant::now() + self.shared.patience.document);
    }

    /// Gives back a body that was read to its end, for the next who reads it.
    pub fn put_back(&mut self, mut body: Vec<u8>) {
        self.body = Body::Known(body.len() as u64);
        body.extend_from_slice(&self.buffer[self.start..]);
        (self.buffer, self.start) = (body, 0);
    }

    /// Whether another request may follow.
    pub fn keeps(&self) -> bool {
        self.keep
    }

    /// This connection ends after the current response.
    pub fn close_after(&mut self) {
        self.keep = false;
    }

    /// Decides before a response's head whether the connection goes on: only when the whole request is read, which is
    /// tried without waiting.
    pub fn settle(&mut self) -> bool {
        if self.keep {
            let stay = !self.shared.is_stopping() && !self.shared.crowded.load(Ordering::Relaxed);
            self.keep = stay && !self.owes_continue && self.discard_present();
        }
        self.keep
    }

    fn discard_present(&mut self) -> bool {
        let mut scratch = [0; 1024];
        for _ in 0..64 {
            if self.body_is_done() {
                return true;
            }
            if !matches!(self.read_body(&mut scratch, Some(Instant::now())), Ok(1..)) {
                return self.body_is_done();
            }
        }
        self.body_is_done()
    }

    /// Reads some of the body into `out`, straight from the socket where nothing is buffered; 0 at its end.
    fn read_body(&mut self, out: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        loop {
            let inside = match &self.body {
                Body::Known(n) => *n,
                Body::Chunked(decoder) => decoder.in_chunk(),
            };
            if out.is_empty() || self.body_is_done() {
                return Ok(0);
            }
            if inside == 0 {
                self.step_between_chunks(deadline)?;
                continue;
            }
            let room = out.len().min(usize::try_from(inside).unwrap_or(usize::MAX));
            let unread = &self.buffer[self.start..];
            let n = if unread.is_empty() {
                let n = receive(&self.socket, &self.shared, &mut out[..room], &mut Vec::new(), deadline)?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                n
            } else {
                let n = room.min(unread.len());
                out[..n].copy_from_slice(&unread[..n]);
                self.start += n;
                n
            };
            match &mut self.body {
                Body::Known(left) => *left -= n as u64,
                Body::Chunked(decoder) => decoder.skip(n as u64),
            }
            return Ok(n);
        }
    }

    /// Feeds the decoder up to the next chunk's first byte.
    fn step_between_chunks(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let Body::Chunked(decoder) = &mut self.body else { return Ok(()) };
        while !decoder.is_done() && decoder.in_chunk() == 0 {
            let Some(byte) = self.buffer.get(self.start..=self.start) else { break };
            decoder.step(byte).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            self.start += 1;
        }
        if !self.body_is_done() && self.start == self.buffer.len() && self.fill(deadline)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Sends everything, in order.
    ///
    /// # Errors
    /// When the client left or takes nothing for too long; the connection is of no use then.
    pub fn send(&mut self, parts: &mut [IoSlice<'_>]) -> Result<()> {
        let sent = net::send_all(self.socket.as_fd(), parts, &[], Some(self.shared.patience.progress));
        if sent.is_err() {
            self.keep = false;
        }
        sent.context(|| "send to client".into())
    }

    /// Gives the socket away, with the bytes that came behind the current request.
    pub fn into_parts(self) -> (OwnedFd, Vec<u8>, Peer, Arc<Shared>) {
        let early = self.buffer[self.start..].to_vec();
        (self.socket, early, self.peer, self.shared)
    }

    /// Closes so that the client can still read the last response: a socket that is closed with unread bytes resets
    /// the connection (RFC 9112 §9.6).
    pub fn close_gently(mut self) {
        use nix::sys::socket::{Shutdown, shutdown};
        use std::os::fd::AsRawFd;
        if self.body_is_done() || shutdown(self.socket.as_raw_fd(), Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut scratch = vec![0; READ];
        for _ in 0..256 {
            let got = net::receive_by(self.socket.as_fd(), &mut scratch, &mut self.fds, Some(deadline));
            self.fds.clear();
            if !matches!(got, Ok(1..)) {
                return;
            }
        }
    }
}

/// The body of the current request.
impl Read for Connection {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.owes_continue) && self.start == self.buffer.len() {
            let patience = self.shared.patience.progress;
            let head = h1::HeadWriter::response(100).finish();
            net::send_all(self.socket.as_fd(), &mut [IoSlice::new(&head)], &[], Some(patience))?;
        }
        let deadline = Instant::now() + self.shared.patience.progress;
        let deadline = self.body_deadline.map_or(deadline, |whole| whole.min(deadline));
        self.read_body(out, Some(deadline)).map_err(|e| {
            self.keep = false;
            // Whatever it is read for: the client is to blame.
            let text = match e.kind() {
                io::ErrorKind::UnexpectedEof => "the request body ends early".into(),
                io::ErrorKind::TimedOut => "the request body does not come forward".into(),
                _ => format!("the request body: {e}"),
            };
            io::Error::new(e.kind(), Error::invalid(text))
        })
    }
}

/// Receives something, waiting until `deadline`, or a moment once the server stops; 0 at the end.
fn receive(
    socket: &OwnedFd,
    shared: &Shared,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    deadline: Option<Instant>,
) -> io::Result<usize> {
    match net::receive(socket.as_fd(), buffer, fds) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
        other => return other,
    }
    let mut fds_watched = [socket.as_fd(), shared.stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    if !net::wait_for(&mut fds_watched, deadline)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let soon = shared.is_stopping().then(|| Instant::now() + shared.patience.stopping);
    let deadline = soon.map_or(deadline, |soon| Some(deadline.map_or(soon, |deadline| deadline.min(soon))));
    net::receive_by(socket.as_fd(), buffer, fds, deadline)
}

/// Polls readable when a client has left or the server stops, but not when the client sends more bytes.
pub struct Watch(Epoll);

impl Watch {
    /// Watches a connection.
    ///
    /// # Errors
    /// The failing call.
    pub fn new(connection: &Connection) -> Result<Watch> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(|| "epoll_create1()".into())?;
        for (fd, events) in
            [(connection.fd(), EpollFlags::EPOLLRDHUP), (connection.shared.stop.as_fd(), EpollFlags::EPOLLIN)]
        {
            epoll.add(fd, EpollEvent::new(events, 0)).context(|| "epoll_ctl(EPOLL_CTL_ADD)".into())?;
        }
        Ok(Watch(epoll))
    }

    /// What to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
