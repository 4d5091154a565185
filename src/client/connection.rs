//! One connection to a daemon: requests out, response heads and bodies in. Blocks as long as the daemon takes.

use super::UNREACHABLE;
use crate::api::error::ErrorBody;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::http::chunked::{self, Decoder, SizeLine};
use crate::utils::http::h1::{self, HeadWriter, Length, Method, ResponseHead};
use crate::utils::http::host::Host;
use crate::utils::http::media;
use crate::utils::http::query::Target;
use crate::utils::json;
use crate::utils::sys::net;
use crate::utils::tls;
use nix::poll::{PollFd, PollFlags};
#[cfg(feature = "image-tools")]
use std::io::Write;
use std::io::{self, IoSlice, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes read at a time.
const READ: usize = 128 * 1024;
/// Largest document that is taken from a daemon.
const MAX_DOCUMENT: u64 = 256 << 20;
/// Bytes that are set aside at once for a document of known length.
const TRUSTED: u64 = 4 << 20;
/// How long a network connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Stack of the thread that speaks TLS.
const STACK: usize = 256 * 1024;

/// A connection.
pub struct Connection {
    socket: OwnedFd,
    /// Why TLS on it ended, once it did.
    trouble: Option<Trouble>,
    host: String,
    /// `buffer[start..end]` is received and not dealt with.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What went wrong on a thread of its own.
type Trouble = Arc<Mutex<Option<Error>>>;

/// What a request carries.
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// A JSON document.
    Document(Vec<u8>),
    /// A tar archive of unknown length.
    Archive(&'a mut dyn Read),
    /// The same from somebody who writes it.
    #[cfg(feature = "image-tools")]
    Made(&'a mut dyn FnMut(&mut dyn Write) -> Result<()>),
}

/// What a request asks beyond a response.
#[derive(Clone, Copy)]
pub enum Ask<'a> {
    /// Nothing.
    Response,
    /// That the connection becomes a stream.
    Stream,
    /// The same for these descriptors: input, output, error.
    Stdio([BorrowedFd<'a>; 3]),
}

/// A response whose body is still to be read.
pub struct Response {
    /// Its head.
    pub head: ResponseHead,
    /// Where the body comes.
    pub connection: Connection,
    left: Left,
}

enum Left {
    Known(u64),
    Chunked(Decoder),
    UntilClose,
}

impl Connection {
    /// Connects, over the network with TLS where there is a way for it.
    ///
    /// # Errors
    /// `Kind::Remote` with the text of [`UNREACHABLE`] or with what is wrong with TLS, `Kind::Denied` without
    /// permission.
    pub fn open(host: &Host, tls: Option<&tls::Client>) -> Result<Connection> {
        let (socket, name): (io::Result<OwnedFd>, &str) = match host {
            Host::Unix(path) => (UnixStream::connect(path).map(Into::into), "localhost"),
            Host::Tcp(address) => (connect_tcp(address).map(Into::into), address),
            Host::Passed => return Err(Error::invalid("a client cannot connect to fd://")),
        };
        match socket {
            Ok(socket) => {
                let (socket, trouble) = match (tls, host) {
                    (Some(tls), Host::Tcp(address)) => {
                        let (plain, trouble) = secure(tls, socket, address).context(|| host.to_string())?;
                        (plain, Some(trouble))
                    }
                    _ => (socket, None),
                };
                Ok(Connection { socket, trouble, host: name.into(), buffer: Vec::new(), start: 0, end: 0 })
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::new(Kind::Denied, format!("permission denied while connecting to the daemon at {host}")))
            }
            Err(_) => Err(unreachable()),
        }
    }

    /// The daemon is not there any more, or TLS says why.
    fn gone(&self) -> Error {
        let trouble = self.trouble.as_ref().and_then(|t| t.lock().unwrap_or_else(PoisonError::into_inner).take());
        trouble.unwrap_or_else(unreachable)
    }

    /// Whether the daemon has closed it, or sent what nobody asked for.
    pub fn is_stale(&self) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        self.start != self.end || net::wait_for(&mut fds, Some(Instant::now())).unwrap_or(true)
    }

    /// The socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The socket and what was received and not dealt with.
    pub fn into_parts(self) -> (OwnedFd, Vec<u8>) {
        let early = self.buffer[self.start..self.end].to_vec();
        (self.socket, early)
    }

    /// Sends a request and reads the response's head.
    ///
    /// # Errors
    /// `Kind::Remote` when the daemon goes away, `Kind::Corrupt` when it speaks something else; what reading the payload
    /// gives. A status that tells of a failure is no error here.
    pub fn request(mut self, method: Method, target: &Target, payload: Payload<'_>, ask: Ask<'_>) -> Result<Response> {
        let mut head = HeadWriter::request(&method, target.as_str(), &self.host)
            .field("User-Agent", concat!("isula/", env!("CARGO_PKG_VERSION")));
        let (upgrade, fds): (&str, &[BorrowedFd<'_>]) = match &ask {
            Ask::Response => ("", &[]),
            Ask::Stream => (media::UPGRADE_TCP, &[]),
            Ask::Stdio(fds) => (media::UPGRADE_STDIO, fds),
        };
        if !upgrade.is_empty() {
            head = head.field("Connection", "Upgrade").field("Upgrade", upgrade);
        }
        let sent = match payload {
            Payload::None if method.mutates() => self.send(head.length(Length::Known(0)), b"", fds),
            Payload::None => self.send(head, b"", fds),
            Payload::Document(body) => {
                let head = head.field("Content-Type", media::JSON).length(Length::Known(body.len() as u64));
                self.send(head, &body, fds)
            }
            Payload::Archive(source) => {
                let head = head.field("Content-Type", media::TAR).length(Length::Chunked);
                match self.send(head, b"", fds) {
                    Ok(()) => self.send_archive(source)?,
                    failed => failed,
                }
            }
            #[cfg(feature = "image-tools")]
            Payload::Made(make) => {
                let head = head.field("Content-Type", media::TAR).length(Length::Chunked);
                match self.send(head, b"", fds) {
                    Ok(()) => self.send_made(make)?,
                    failed => failed,
                }
            }
        };
        // A daemon that refuses early answers and closes: its answer is worth more than the failure to send.
        let head = match (self.read_head(), sent) {
            (Ok(head), _) => head,
            (Err(said), Err(e)) if e.kind() == io::ErrorKind::BrokenPipe => {
                return Err(if self.trouble.is_some() { said } else { unreachable() });
            }
            (Err(e), _) => return Err(e),
        };
        let left = match head.length {
            _ if method == Method::Head => Left::Known(0),
            Length::Known(n) => Left::Known(n),
            Length::Chunked => Left::Chunked(Decoder::default()),
            Length::UntilClose => Left::UntilClose,
        };
        Ok(Response { head, connection: self, left })
    }

    fn send(&self, head: HeadWriter, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let head = head.finish();
        net::send_all(self.socket.as_fd(), &mut [IoSlice::new(&head), IoSlice::new(body)], fds, None)
    }

    /// The outer error is the source's, the inner one the connection's.
    fn send_archive(&self, source: &mut dyn Read) -> Result<io::Result<()>> {
        let mut block = vec![0; READ];
        loop {
            let n = match source.read(&mut block) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read archive", e)),
            };
            let size = SizeLine::new(n);
            let mut parts = if n == 0 {
                [IoSlice::new(chunked::END), IoSlice::new(b""), IoSlice::new(b"")]
            } else {
                [IoSlice::new(size.as_bytes()), IoSlice::new(&block[..n]), IoSlice::new(b"\r\n")]
            };
            let sent = net::send_all(self.socket.as_fd(), &mut parts, &[], None);
            if n == 0 || sent.is_err() || self.is_stale() {
                return Ok(sent);
            }
        }
    }

    /// As [`Connection::send_archive`].
    #[cfg(feature = "image-tools")]
    fn send_made(&self, make: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<io::Result<()>> {
        let mut chunks = io::BufWriter::with_capacity(READ, Chunks { connection: self, failed: None });
        let made = make(&mut chunks).and_then(|()| chunks.flush().context(|| "send archive".into()));
        let (chunks, _) = chunks.into_parts();
        if let Some(e) = chunks.failed {
            return Ok(Err(e));
        }
        made?;
        Ok(net::send_all(self.socket.as_fd(), &mut [IoSlice::new(chunked::END)], &[], None))
    }

    fn read_head(&mut self) -> Result<ResponseHead> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(n) = h1::head_end(unread, searched).map_err(|e| e.with_kind(Kind::Corrupt))? {
                let head = h1::parse_response(&unread[..n])?;
                self.start += n;
                if head.status != 101 && (100..200).contains(&head.status) {
                    searched = 0;
                    continue; // 100 Continue and the like announce the response
                }
                return Ok(head);
            }
            searched = unread.len();
            match self.fill(8 * 1024) {
                Ok(1..) => {}
                // A daemon that dies with bytes unread resets the connection.
                Ok(0) => return Err(self.gone()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(self.gone()),
                Err(e) => return Err(lost(Error::io("read response", e))),
            }
        }
    }

    /// Receives more behind what is there.
    fn fill(&mut self, size: usize) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < self.end + size {
            self.buffer.resize(self.end + size, 0);
        }
        let n = net::receive_by(self.socket.as_fd(), &mut self.buffer[self.end..], &mut Vec::new(), None)?;
        self.end += n;
        Ok(n)
    }
}

/// Sends what is written as the chunks of a request's body.
#[cfg(feature = "image-tools")]
struct Chunks<'a> {
    connection: &'a Connection,
    failed: Option<io::Error>,
}

#[cfg(feature = "image-tools")]
impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0); // an empty chunk would be the end
        }
        let size = SizeLine::new(bytes.len());
        let mut parts = [IoSlice::new(size.as_bytes()), IoSlice::new(bytes), IoSlice::new(b"\r\n")];
        let sent = match net::send_all(self.connection.socket.as_fd(), &mut parts, &[], None) {
            // It answered before it had all, which can only be a refusal.
            Ok(()) if self.connection.is_stale() => Err(io::ErrorKind::BrokenPipe.into()),
            sent => sent,
        };
        sent.map(|()| bytes.len()).map_err(|e| {
            let kind = e.kind();
            self.failed = Some(e);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "image-tools")]
impl Read for Response {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let c = &mut self.connection;
        loop {
            let n = (c.end - c.start).min(out.len());
            let unread = &c.buffer[c.start..c.start + n];
            let (consumed, piece) = match &mut self.left {
                Left::Known(0) => return Ok(0),
                Left::Known(left) => {
                    let n = unread.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= n as u64;
                    (n, &unread[..n])
                }
                Left::Chunked(decoder) if decoder.is_done() => return Ok(0),
                Left::Chunked(decoder) => {
                    let step = decoder.step(unread).map_err(io::Error::other)?;
                    (step.consumed, step.data)
                }
                Left::UntilClose => (unread.len(), unread),
            };
            c.start += consumed;
            if !piece.is_empty() {
                out[..piece.len()].copy_from_slice(piece);
                return Ok(piece.len());
            }
            if consumed == 0 && c.fill(READ)? == 0 {
                return match self.left {
                    Left::UntilClose => Ok(0),
                    _ => Err(io::Error::other(Error::new(Kind::Remote, "the daemon ended its answer early"))),
                };
            }
        }
    }
}

impl Response {
    /// Whether the status tells of success.
    pub fn is_success(&self) -> bool {
        matches!(self.head.status, 101 | 200..=299 | 304)
    }

    /// The daemon's error: its text word by word, and the kind that belongs to its status.
    pub fn into_error(mut self) -> (Error, Response) {
        let status = self.head.status;
        let error = match self.read_document() {
            Ok(body) => match json::parse::<ErrorBody>(&body) {
                Ok(e) => Error::new(kind_of(status, e.exit_code), e.message),
                Err(_) => {
                    let text = String::from_utf8_lossy(&body);
                    Error::new(kind_of(status, None), format!("the daemon answered {status}: {}", text.trim()))
                }
            },
            Err(e) => e,
        };
        (error, self)
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// `Kind::Remote` when it stops early, `Kind::Corrupt` when it is malformed or too large.
    pub fn read_document(&mut self) -> Result<Vec<u8>> {
        let known = if let Left::Known(n) = self.left { n.min(TRUSTED) } else { 0 };
        let mut out = Vec::with_capacity(known as usize);
        self.read_pieces(16 * 1024, &mut |piece| {
            let piece = piece.unwrap_or_default();
            if (out.len() + piece.len()) as u64 > MAX_DOCUMENT {
                return Err(Error::corrupt("the daemon's answer is too large"));
            }
            out.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(out)
    }

    /// Passes a list on as it comes to who says how many bytes of it wait for more.
    ///
    /// # Errors
    /// As [`Response::read_document`]; what `take` gives.
    pub fn read_list(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<usize>) -> Result<()> {
        self.read_pieces(16 * 1024, &mut |piece| match take(piece.unwrap_or_default())? as u64 {
            0..=MAX_DOCUMENT => Ok(()),
            _ => Err(Error::corrupt("the daemon's answer is too large")),
        })
    }

    /// Passes the body on as it comes, in large pieces; `None` before each wait for more.
    ///
    /// # Errors
    /// As [`Response::read_document`]; what `take` gives.
    pub fn read_stream(&mut self, mut take: impl FnMut(Option<&[u8]>) -> Result<()>) -> Result<()> {
        self.read_pieces(READ, &mut take)
    }

    fn read_pieces(&mut self, size: usize, take: &mut dyn FnMut(Option<&[u8]>) -> Result<()>) -> Result<()> {
        let c = &mut self.connection;
        loop {
            let unread = &c.buffer[c.start..c.end];
            let (consumed, piece) = match &mut self.left {
                Left::Known(0) => return Ok(()),
                Left::Known(left) => {
                    let n = unread.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= n as u64;
                    (n, &unread[..n])
                }
                Left::Chunked(decoder) if decoder.is_done() => return Ok(()),
                Left::Chunked(decoder) => {
                    let step = decoder.step(unread).map_err(|e| e.with_kind(Kind::Corrupt))?;
                    (step.consumed, step.data)
                }
                Left::UntilClose => (unread.len(), unread),
            };
            c.start += consumed;
            if !piece.is_empty() {
                take(Some(piece))?;
            }
            if consumed > 0 {
                continue;
            }
            take(None)?;
            if c.fill(size).context(|| "read response".into()).map_err(lost)? == 0 {
                return match self.left {
                    Left::UntilClose => Ok(()),
                    _ => Err(Error::new(Kind::Remote, "the daemon ended its answer early")),
                };
            }
        }
    }

    /// The connection for the next request, when there may be one.
    pub fn into_idle(self) -> Option<Connection> {
        let done = match &self.left {
            Left::Known(n) => *n == 0,
            Left::Chunked(decoder) => decoder.is_done(),
            Left::UntilClose => false,
        };
        (done && self.head.keep_alive && self.head.status != 101).then_some(self.connection)
    }
}

/// Status and exit code of a refusal, as the kind the daemon's own error had.
fn kind_of(status: u16, exit_code: Option<u8>) -> Kind {
    match (exit_code, status) {
        (Some(127), _) => Kind::CommandNotFound,
        (Some(126), _) => Kind::CommandNotExecutable,
        (_, 404) => Kind::NotFound,
        (_, 409) => Kind::Conflict,
        (_, 401 | 403) => Kind::Denied,
        (_, 501) => Kind::Unsupported,
        (_, 503) => Kind::Busy,
        (_, 504) => Kind::Timeout,
        (_, 400..=499) => Kind::Invalid,
        _ => Kind::Internal,
    }
}

fn unreachable() -> Error {
    Error::new(Kind::Remote, UNREACHABLE)
}

/// A connection that breaks is told from failures that the daemon reports.
fn lost(e: Error) -> Error {
    e.with_kind(Kind::Remote)
}

/// Greets the daemon, and gives the plain end of a relay that runs until either side ends, on a thread that leaves all
/// signals to this one.
fn secure(tls: &tls::Client, socket: OwnedFd, address: &str) -> Result<(OwnedFd, Trouble)> {
    use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
    let name = address.rsplit_once(':').map_or(address, |(name, _)| name);
    let session = tls.connect(socket, name, Instant::now() + CONNECT)?;
    let (near, far) = UnixStream::pair().context(|| "socketpair()".into())?;
    // Held until what went wrong is written down: only then does this thread see the end.
    let held = far.try_clone().context(|| "dup()".into())?;
    let trouble = Trouble::default();
    let noted = Arc::clone(&trouble);
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .context(|| "sigprocmask()".into())?;
    let spawned = std::thread::Builder::new().name("tls".into()).stack_size(STACK).spawn(move || {
        if let Err(e) = session.relay(far.into(), None) {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
        }
        drop(held);
    });
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None); // a mask of the kernel's own making
    spawned.context(|| "start the TLS thread".into())?;
    Ok((near.into(), trouble))
}

fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_from_status_and_exit_code() {
        assert_eq!(kind_of(404, None), Kind::NotFound);
        assert_eq!(kind_of(409, None), Kind::Conflict);
        assert_eq!(kind_of(400, None), Kind::Invalid);
        assert_eq!(kind_of(405, None), Kind::Invalid);
        assert_eq!(kind_of(413, None), Kind::Invalid);
        assert_eq!(kind_of(400, Some(127)), Kind::CommandNotFound);
        assert_eq!(kind_of(400, Some(126)), Kind::CommandNotExecutable);
        assert_eq!(kind_of(400, Some(125)), Kind::Invalid);
        assert_eq!(kind_of(403, None), Kind::Denied);
        assert_eq!(kind_of(501, None), Kind::Unsupported);
        assert_eq!(kind_of(503, None), Kind::Busy);
        assert_eq!(kind_of(500, None), Kind::Internal);
    }

    #[test]
    fn unreachable_daemons_have_the_known_text() {
        for host in ["unix:///nonexistent/s.sock", "tcp://127.0.0.1:1"] {
            let e = Connection::open(&Host::parse(host).unwrap(), None).err().unwrap();
            assert_eq!((e.kind(), e.to_string()), (Kind::Remote, UNREACHABLE.to_owned()));
        }
    }
}
