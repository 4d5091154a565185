//! One request and its response on a connection.

use super::connection::{Connection, Watch};
use super::rest::authorize::Asked;
use super::rest::status::status_of;
use crate::api::error::ErrorBody;
use crate::error::{Context, Error, Kind, Result, shortened};
use crate::executor::{Caller, Handover, Upgrade};
use crate::utils::http::chunked::{self, SizeLine};
use crate::utils::http::h1::{HeadWriter, Length, Method, RequestHead};
use crate::utils::http::media;
use crate::utils::json;
use serde::Serialize;
use std::io::{IoSlice, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Largest JSON document in a request, in bytes.
const MAX_DOCUMENT: usize = 16 << 20;
/// Documents up to this size are not counted.
const SMALL_DOCUMENT: usize = 64 << 10;
/// What all larger documents together may occupy.
const MAX_DOCUMENTS: usize = 32 << 20;

/// Fields of every response, as docker has them.
const SERVER: &str = concat!("isulabox/", env!("CARGO_PKG_VERSION"), " (linux)");

/// A request with everything that answering it needs.
pub struct Exchange {
    /// Where it came from.
    pub connection: Connection,
    /// Its head.
    pub head: RequestHead,
    /// The version of the API it speaks.
    pub version: (u32, u32),
    /// What an authorizer was asked, who is asked about the response too.
    pub asked: Option<Box<Asked>>,
    fds: Vec<OwnedFd>,
}

/// What became of a request.
pub enum Outcome {
    /// A response with this status was sent, or the client left.
    Answered(Connection, u16),
    /// The connection belongs to somebody else now.
    HandedOver,
}

/// Why a request is refused.
#[derive(Debug)]
pub struct Failure {
    /// Status code.
    pub status: u16,
    /// Text and kind.
    pub error: Error,
    /// The methods that the path knows, where it does not know the request's.
    pub allow: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { status: status_of(error.kind()), error, allow: String::new() }
    }
}

/// Whether a stream of docker's frames or of plain bytes is promised to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Bytes as they are: a terminal.
    Raw,
    /// Frames of several streams.
    Multiplexed,
}

impl Exchange {
    /// A request that came on `connection`.
    pub fn new(connection: Connection, head: RequestHead, fds: Vec<OwnedFd>) -> Exchange {
        Exchange { connection, head, version: super::rest::route::NEWEST, asked: None, fds }
    }

    /// Answers with a document.
    pub fn json<T: Serialize + ?Sized>(self, status: u16, value: &T) -> Outcome {
        let mut body = json::to_vec(value);
        body.push(b'\n'); // as docker has it; a terminal's prompt stays on its own line
        self.respond(status, media::JSON, &[], &body)
    }

    /// Answers with a list, a line for each row. A long one is sent as its rows are made, so that neither side has to
    /// have all of it at a time.
    pub fn list<T: Serialize>(mut self, mut rows: impl Iterator<Item = T>) -> Outcome {
        let mut begun = b"[".to_vec();
        let mut before: &[u8] = b"";
        // Whoever is asked about the response sees all of it; nothing of it follows the head alone.
        let whole = self.asked.is_some() || self.head.method == Method::Head;
        while whole || begun.len() < COLLECT {
            let Some(row) = rows.next() else {
                begun.extend_from_slice(if before.is_empty() { b"]\n" } else { b"\n]\n" });
                return self.respond(200, media::JSON, &[], &begun);
            };
            begun.extend_from_slice(before);
            begun.extend_from_slice(&json::to_vec(&row));
            before = b",\n";
        }
        let mut body = self.stream(media::JSON);
        let sent = body.write([&begun, b""]).and_then(|()| {
            rows.try_for_each(|row| body.write([before, &json::to_vec(&row)]))?;
            body.write([b"\n]\n", b""])?;
            body.finish()
        });
        if sent.is_err() {
            self.connection.close_after(); // the client left
        }
        Outcome::Answered(self.connection, 200)
    }

    /// Answers without a body.
    pub fn empty(self, status: u16) -> Outcome {
        self.respond(status, "", &[], b"")
    }

    /// Answers with what went wrong.
    pub fn fail(self, failure: impl Into<Failure>) -> Outcome {
        let Failure { status, error, allow } = failure.into();
        let path = self.head.target.split('?').next().unwrap_or_default();
        let request = format!("{} {} {path:?}", self.connection.peer, self.head.method.as_str());
        match error.kind() {
            // What is invalid may quote the request, and with it an environment.
            Kind::Invalid => log::debug!("{request}: {status}"),
            Kind::Unsupported => log::debug!("{request}: {error}"),
            _ if status >= 500 => log::warn!("{request}: {error}"),
            _ => log::debug!("{request}: {error}"),
        }
        let mut body = json::to_vec(&error_body(&error));
        body.push(b'\n');
        let fields: &[(&str, &str)] = if allow.is_empty() { &[] } else { &[("Allow", &allow)] };
        self.respond(status, media::JSON, fields, &body)
    }

    /// Answers.
    pub fn respond(mut self, status: u16, media_type: &str, fields: &[(&str, &str)], body: &[u8]) -> Outcome {
        if let Some(asked) = self.asked.take()
            && let Err(e) = asked.check_response(status, media_type, body)
            && status < 400
        {
            return self.fail(e);
        }
        let mut head = self.begin(status, media_type);
        for (name, value) in fields {
            head = head.field(name, value);
        }
        if !matches!(status, 204 | 304) {
            head = head.length(Length::Known(body.len() as u64));
        }
        let head = head.finish();
        let body = if self.head.method == Method::Head { b"" } else { body };
        let _ = self.connection.send(&mut [IoSlice::new(&head), IoSlice::new(body)]); // the client left; it ends there
        Outcome::Answered(self.connection, status)
    }

    /// Begins a response of unknown length. Its head is sent with the first bytes, so that an error before them can
    /// still be answered.
    pub fn stream(&mut self, media_type: &'static str) -> BodyWriter<'_> {
        let chunked = self.head.minor > 0;
        BodyWriter { exchange: self, media_type, field: None, chunked, begun: false, pending: Vec::new() }
    }

    fn begin(&mut self, status: u16, media_type: &str) -> HeadWriter {
        let keep = self.connection.settle();
        let (major, minor) = super::rest::route::NEWEST;
        let mut head = HeadWriter::response(status)
            .field("Api-Version", &format!("{major}.{minor}"))
            .field("Docker-Experimental", "false")
            .field("Ostype", "linux")
            .field("Server", SERVER);
        if !media_type.is_empty() {
            head = head.field("Content-Type", media_type);
        }
        match (keep, self.head.minor) {
            (false, _) => head.field("Connection", "close"),
            (true, 0) => head.field("Connection", "keep-alive"),
            (true, _) => head,
        }
    }

    /// Reads the body as a JSON document; an empty one is `T`'s default.
    ///
    /// # Errors
    /// 400 for a malformed one or a client that stops sending or takes too long, 413 beyond [`MAX_DOCUMENT`], 503 when too
    /// many large ones are being read.
    pub fn document<T: json::Member + Default>(&mut self) -> std::result::Result<T, Failure> {
        self.document_by(json::parse)
    }

    /// As [`Exchange::document`], with its own parser.
    ///
    /// # Errors
    /// As there.
    pub fn document_by<T: Default>(&mut self, parse: fn(&[u8]) -> Result<T>) -> std::result::Result<T, Failure> {
        let mut document = T::default();
        self.read_document(&mut |bytes| {
            document = parse(bytes)?;
            Ok(())
        })?;
        Ok(document)
    }

    /// Hands the whole body to `parse`, unless it is empty.
    fn read_document(&mut self, parse: &mut dyn FnMut(&[u8]) -> Result<()>) -> std::result::Result<(), Failure> {
        let announced = self.connection.body_left();
        if announced.is_some_and(|n| n > MAX_DOCUMENT as u64) {
            return Err(too_large());
        }
        self.connection.expect_document();
        let shared = self.connection.shared.clone();
        let mut counted = Counted::new(&shared.document_bytes);
        let mut bytes = Vec::new();
        loop {
            let filled = bytes.len();
            if filled > MAX_DOCUMENT {
                return Err(too_large());
            }
            if filled > SMALL_DOCUMENT {
                counted.grow_to(filled * 2)?;
            }
            // Grown as the bytes come: what a client announces must not make this process allocate.
            let step = (filled.max(4096)).min(announced.map_or(usize::MAX, |n| n as usize + 1 - filled));
            bytes.resize(filled + step, 0);
            let read = self.connection.read(&mut bytes[filled..]).context(|| "read request body".into());
            let n = read.map_err(|e| e.with_kind(Kind::Invalid))?;
            bytes.truncate(filled + n);
            if n == 0 {
                break;
            }
        }
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        // As docker: a web page can make a browser post other types to anywhere, but not this one.
        match self.head.content_type.as_deref() {
            Some(media::JSON) => {}
            other => {
                let other = other.unwrap_or_default();
                let text = format!("unsupported Content-Type header {other:?}: must be {:?}", media::JSON);
                return Err(Error::invalid(text).into());
            }
        }
        Ok(parse(&bytes)?)
    }

    /// Offers the connection to an executor: it becomes a stream, or comes back with an error that is answered. The
    /// response head depends on how the client asked and on what will travel.
    pub fn hand_over(self, framing: Framing, take: impl FnOnce(Upgrade) -> Handover) -> Outcome {
        let stdio = self.offers_stdio();
        if stdio && self.fds.len() != 3 {
            let came = self.fds.len();
            let wanted = media::UPGRADE_STDIO;
            // For want of room the kernel leaves them out without a word.
            let text =
                format!("upgrade to {wanted} needs 3 descriptors, {came} came along, or too many open files here");
            return self.fail(Error::invalid(text));
        }
        // Docker's daemon names the framed type to those that can know it; terminals and older clients get the raw
        // one, whatever travels.
        let asked = self.head.upgrade.is_some();
        let multiplexed_media_type = asked && self.version >= (1, 42) && framing == Framing::Multiplexed;
        let stream_type = if multiplexed_media_type { media::MULTIPLEXED_STREAM } else { media::RAW_STREAM };
        let preamble = HeadWriter::response(if asked { 101 } else { 200 });
        let preamble = match (stdio, asked) {
            (true, _) => preamble.field("Connection", "Upgrade").field("Upgrade", media::UPGRADE_STDIO),
            (_, true) => preamble
                .field("Content-Type", stream_type)
                .field("Connection", "Upgrade")
                .field("Upgrade", media::UPGRADE_TCP),
            (_, false) => preamble.field("Content-Type", stream_type),
        };
        // Of what travels on the stream, and of its end, nobody is asked.
        let Exchange { connection, head, version, fds, asked } = self;
        let scope = connection.scope;
        let (socket, early, peer, shared) = connection.into_parts();
        let handover = take(Upgrade {
            connection: socket,
            preamble: preamble.finish(),
            early,
            handed: if stdio { <[OwnedFd; 3]>::try_from(fds).ok() } else { None },
            multiplexed_media_type,
        });
        match handover {
            Handover::Done => Outcome::HandedOver,
            Handover::Refused(error, upgrade) => {
                let mut connection = Connection::new(upgrade.connection, peer, shared);
                // What came behind the request was meant for the stream.
                connection.close_after();
                connection.scope = scope;
                Exchange { connection, head, version, asked, fds: Vec::new() }.fail(error)
            }
        }
    }

    /// Whether the client offers its own descriptors.
    pub fn offers_stdio(&self) -> bool {
        self.head.upgrade.as_deref() == Some(media::UPGRADE_STDIO)
    }
}

/// Writes a response body of unknown length.
pub struct BodyWriter<'e> {
    exchange: &'e mut Exchange,
    media_type: &'static str,
    /// A further field of the head.
    pub field: Option<(&'static str, String)>,
    chunked: bool,
    begun: bool,
    pending: Vec<u8>,
}

/// Smaller pieces are collected up to this size.
const COLLECT: usize = 16 << 10;

impl BodyWriter<'_> {
    /// Whether the head has been sent.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Adds bytes; `parts` stay together.
    ///
    /// # Errors
    /// When the client left.
    pub fn write(&mut self, parts: [&[u8]; 2]) -> Result<()> {
        let length = parts[0].len() + parts[1].len();
        if self.pending.len() + length <= COLLECT {
            self.pending.extend_from_slice(parts[0]);
            self.pending.extend_from_slice(parts[1]);
            return Ok(());
        }
        self.send(parts, b"")
    }

    /// Sends what is collected, and the head in any case.
    ///
    /// # Errors
    /// When the client left.
    pub fn flush(&mut self) -> Result<()> {
        self.send([b"", b""], b"")
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When the client left.
    pub fn finish(mut self) -> Result<()> {
        let end = if self.chunked { chunked::END } else { b"" };
        self.send([b"", b""], end)
    }

    /// Answers with an error in place of the body; gives that error.
    fn refuse(&mut self, error: Error) -> Result<()> {
        self.exchange.connection.close_after();
        let body = json::to_vec(&error_body(&error));
        let head = self.exchange.begin(status_of(error.kind()), media::JSON);
        let head = head.length(Length::Known(body.len() as u64)).finish();
        self.exchange.connection.send(&mut [IoSlice::new(&head), IoSlice::new(&body)])?;
        Err(error)
    }

    fn send(&mut self, parts: [&[u8]; 2], end: &[u8]) -> Result<()> {
        let head = if std::mem::replace(&mut self.begun, true) {
            Vec::new()
        } else {
            if let Some(asked) = self.exchange.asked.take() {
                asked.check_response(200, self.media_type, b"").or_else(|e| self.refuse(e))?;
            }
            if !self.chunked {
                self.exchange.connection.close_after(); // the end of the connection ends the body
            }
            let length = if self.chunked { Length::Chunked } else { Length::UntilClose };
            let mut head = self.exchange.begin(200, self.media_type);
            if let Some((name, value)) = &self.field {
                head = head.field(name, value);
            }
            head.length(length).finish()
        };
        let length = self.pending.len() + parts[0].len() + parts[1].len();
        let size = SizeLine::new(length);
        let frame = self.chunked && length > 0;
        let (size, after): (&[u8], &[u8]) = if frame { (size.as_bytes(), b"\r\n") } else { (b"", b"") };
        let mut slices = [&head, size, &self.pending, parts[0], parts[1], after, end].map(IoSlice::new);
        let sent = self.exchange.connection.send(&mut slices);
        self.pending.clear();
        sent
    }
}

/// Watches the client of a request that takes long.
pub struct Leaving(Option<Watch>);

impl Leaving {
    /// Begins to watch. Without descriptors left the request is served all the same, to its end.
    pub fn watch(connection: &Connection) -> Leaving {
        Leaving(Watch::new(connection).map_err(|e| log::warn!("cannot watch a client: {e}")).ok())
    }
}

impl Caller for Leaving {
    fn gone(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(Watch::fd)
    }
}

/// The body of an error response.
pub fn error_body(error: &Error) -> ErrorBody {
    let exit_code = match error.kind() {
        Kind::CommandNotFound => Some(127),
        Kind::CommandNotExecutable => Some(126),
        _ => None,
    };
    ErrorBody { message: shortened(error.to_string(), 4096, 4096), exit_code }
}

fn too_large() -> Failure {
    let text = format!("request body is larger than {} MiB", MAX_DOCUMENT >> 20);
    Failure { status: 413, error: Error::invalid(text), allow: String::new() }
}

/// Memory that a request's body takes, among that of all.
pub struct Counted<'a> {
    total: &'a std::sync::atomic::AtomicUsize,
    bytes: usize,
}

impl<'a> Counted<'a> {
    /// Nothing yet.
    pub fn new(total: &'a std::sync::atomic::AtomicUsize) -> Counted<'a> {
        Counted { total, bytes: 0 }
    }

    /// Before so many bytes are taken.
    ///
    /// # Errors
    /// `Kind::Busy` when all together would take too much.
    pub fn grow_to(&mut self, bytes: usize) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.total.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if before + more > MAX_DOCUMENTS && before > 0 {
            return Err(Error::new(Kind::Busy, "too many large requests at a time"));
        }
        Ok(())
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
