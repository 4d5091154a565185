//! Heads of HTTP/1 messages (RFC 9112): bytes in, a head or an error out.
//!
//! Stricter than the standard where two readers could differ about where a message ends: one Content-Length at most,
//! none beside Transfer-Encoding, `chunked` as the only coding, no folded lines.

use crate::error::{Error, Kind, Result};
use std::fmt::Write;

/// Longest head in bytes, start line and last empty line included.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most header fields.
pub const MAX_HEADERS: usize = 100;
/// Longest request target in bytes.
pub const MAX_TARGET: usize = 16 * 1024;

/// The methods that are served; others are kept by name for the error text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// Anything else.
    Other(String),
}

impl Method {
    /// All that are served.
    pub const ALL: [Method; 5] = [Method::Get, Method::Head, Method::Post, Method::Put, Method::Delete];

    /// As it stands in a request line.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Other(name) => name,
        }
    }

    /// Whether a request with it may change something.
    pub fn mutates(&self) -> bool {
        !matches!(self, Method::Get | Method::Head)
    }

    fn parse(word: &str) -> Method {
        Method::ALL.into_iter().find(|m| m.as_str() == word).unwrap_or_else(|| Method::Other(word.into()))
    }
}

/// How long a message's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// This many bytes; 0 when there is no body.
    Known(u64),
    /// In chunks.
    Chunked,
    /// To the end of the connection; responses only.
    UntilClose,
}

/// A request's head: what a server needs of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Path and query as sent, without the scheme and the host that a target may begin with.
    pub target: String,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// The body that follows.
    pub length: Length,
    /// Whether the client wants the connection to go on.
    pub keep_alive: bool,
    /// The protocol of `Upgrade`, when `Connection` names it.
    pub upgrade: Option<String>,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// Media type of the body in lower case, without parameters.
    pub content_type: Option<String>,
    /// The value of `X-Registry-Auth`, which nothing prints.
    pub registry_auth: Option<Secret>,
}

/// A header's value that `Debug` hides.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A response's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// The body that follows, for a request other than HEAD.
    pub length: Length,
    /// Whether the connection can take another request.
    pub keep_alive: bool,
    headers: Vec<(String, String)>,
}

impl ResponseHead {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Where the head at the start of `buffer` ends, if it is whole. `searched` is the number of bytes that an earlier call
/// has seen, so that a head that comes byte by byte is looked at once.
///
/// # Errors
/// `Kind::Invalid` when the head is longer than [`MAX_HEAD`].
pub fn head_end(buffer: &[u8], searched: usize) -> Result<Option<usize>> {
    let from = searched.saturating_sub(3);
    let mut at = from;
    while let Some(newline) = buffer.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'\n')) {
        let next = at + newline + 1;
        let empty_line = match buffer.get(next..) {
            Some([b'\n', ..]) => Some(1),
            Some([b'\r', b'\n', ..]) => Some(2),
            _ => None,
        };
        if let Some(n) = empty_line {
            return if next + n <= MAX_HEAD { Ok(Some(next + n)) } else { Err(too_long()) };
        }
        at = next;
    }
    if buffer.len() > MAX_HEAD { Err(too_long()) } else { Ok(None) }
}

fn too_long() -> Error {
    Error::invalid(format!("request head is longer than {MAX_HEAD} bytes"))
}

/// Parses a whole request head, as [`head_end`] delimits it.
///
/// # Errors
/// `Kind::Invalid` naming the rule that is broken; `Kind::Unsupported` for a transfer coding other than chunked.
pub fn parse_request(head: &[u8]) -> Result<RequestHead> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Error::invalid("malformed HTTP request: incomplete head")),
        Err(e) => return Err(Error::invalid(format!("malformed HTTP request: {}", describe(e)))),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Error::invalid("malformed HTTP request: incomplete request line"));
    };
    if target.len() > MAX_TARGET {
        return Err(Error::invalid(format!("request target is longer than {MAX_TARGET} bytes")));
    }
    let target = origin_form(target)
        .ok_or_else(|| Error::invalid(format!("malformed HTTP request: target {target:?} is not a path")))?;
    let seen = Fields::read(request.headers, minor)?;
    if minor == 1 && seen.hosts == 0 {
        return Err(Error::invalid("malformed HTTP request: missing required Host header"));
    }
    if seen.hosts > 1 {
        return Err(Error::invalid("malformed HTTP request: more than one Host header"));
    }
    Ok(RequestHead {
        method: Method::parse(method),
        target,
        minor,
        length: seen.length.unwrap_or(Length::Known(0)),
        keep_alive: seen.keep_alive(minor),
        upgrade: if seen.connection_upgrade { seen.upgrade } else { None },
        expect_continue: seen.expect_continue && minor == 1,
        content_type: seen.content_type,
        registry_auth: seen.registry_auth,
    })
}

/// Path and query of a target that is a path, or a whole `http` or `https` URI, which a server must accept (RFC 9112
/// §3.2.2). This one has all hosts alike.
fn origin_form(target: &str) -> Option<String> {
    if target.starts_with('/') {
        return Some(target.to_owned());
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match (authority.is_empty(), path.starts_with('/')) {
        (true, _) => None,
        (false, true) => Some(path.to_owned()),
        (false, false) => Some(format!("/{path}")),
    }
}

/// All fields of a whole request head, in order; none of one that [`parse_request`] refuses for its form.
pub fn fields(head: &[u8]) -> Vec<(String, String)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => owned(request.headers),
        _ => Vec::new(),
    }
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    headers.iter().map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned())).collect()
}

/// Parses a whole response head, as [`head_end`] delimits it.
///
/// # Errors
/// `Kind::Corrupt` naming the rule that is broken.
pub fn parse_response(head: &[u8]) -> Result<ResponseHead> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(head) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Error::corrupt("malformed HTTP response: incomplete head")),
        Err(e) => return Err(Error::corrupt(format!("malformed HTTP response: {}", describe(e)))),
    }
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(Error::corrupt("malformed HTTP response: incomplete status line"));
    };
    let seen = Fields::read(response.headers, minor).map_err(|e| e.with_kind(Kind::Corrupt))?;
    let length = match status {
        100..=199 | 204 | 304 => Length::Known(0),
        _ => seen.length.unwrap_or(Length::UntilClose),
    };
    let headers = owned(response.headers);
    let keep_alive = seen.keep_alive(minor) && length != Length::UntilClose;
    Ok(ResponseHead { status, length, keep_alive, headers })
}

/// The fields that decide about the connection.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<Length>,
    close: bool,
    connection_keep_alive: bool,
    connection_upgrade: bool,
    upgrade: Option<String>,
    expect_continue: bool,
    content_type: Option<String>,
    registry_auth: Option<Secret>,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>], minor: u8) -> Result<Fields> {
        let mut f = Fields::default();
        for h in headers {
            let is = |name: &str| h.name.eq_ignore_ascii_case(name);
            if is("host") {
                f.hosts += 1;
            } else if is("content-length") {
                let n = parse_length(h.value)?;
                f.set_length(Length::Known(n))?;
            } else if is("transfer-encoding") {
                if minor == 0 {
                    return Err(Error::invalid("malformed HTTP message: Transfer-Encoding in HTTP/1.0"));
                }
                if !h.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    let text = String::from_utf8_lossy(h.value);
                    return Err(Error::new(Kind::Unsupported, format!("transfer coding {text:?} is not supported")));
                }
                f.set_length(Length::Chunked)?;
            } else if is("connection") {
                for word in h.value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                    f.close |= word.eq_ignore_ascii_case(b"close");
                    f.connection_keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                    f.connection_upgrade |= word.eq_ignore_ascii_case(b"upgrade");
                }
            } else if is("upgrade") {
                f.upgrade = Some(String::from_utf8_lossy(h.value).trim().to_ascii_lowercase());
            } else if is("content-type") {
                let text = String::from_utf8_lossy(h.value).to_ascii_lowercase();
                f.content_type = Some(text.split(';').next().unwrap_or_default().trim().to_owned());
            } else if is("x-registry-auth") {
                f.registry_auth = Some(Secret(String::from_utf8_lossy(h.value).trim().to_owned()));
            } else if is("expect") {
                f.expect_continue |= h.value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
            }
        }
        Ok(f)
    }

    fn set_length(&mut self, length: Length) -> Result<()> {
        if self.length.is_some() {
            return Err(Error::invalid("malformed HTTP message: its length is given more than once"));
        }
        self.length = Some(length);
        Ok(())
    }

    fn keep_alive(&self, minor: u8) -> bool {
        !self.close && (minor == 1 || self.connection_keep_alive)
    }
}

fn parse_length(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).unwrap_or("");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        let shown = String::from_utf8_lossy(value);
        return Err(Error::invalid(format!("malformed HTTP message: Content-Length {shown:?}")));
    }
    text.parse().map_err(|_| Error::invalid(format!("malformed HTTP message: Content-Length {text:?}")))
}

fn describe(e: httparse::Error) -> &'static str {
    match e {
        httparse::Error::HeaderName => "invalid header name",
        httparse::Error::HeaderValue => "invalid header value",
        httparse::Error::NewLine => "invalid end of line",
        httparse::Error::Status => "invalid status line",
        httparse::Error::Token => "invalid request line",
        httparse::Error::TooManyHeaders => "too many headers",
        httparse::Error::Version => "invalid HTTP version",
    }
}

/// Writes heads.
pub struct HeadWriter(String);

impl HeadWriter {
    /// Begins a response.
    pub fn response(status: u16) -> HeadWriter {
        let mut text = String::with_capacity(384);
        let _ = write!(text, "HTTP/1.1 {status} {}\r\n", reason(status)); // a String takes everything
        HeadWriter(text)
    }

    /// Begins a request. `target` must be encoded ([`super::query::Target`]).
    pub fn request(method: &Method, target: &str, host: &str) -> HeadWriter {
        let mut text = String::with_capacity(256 + target.len());
        let _ = write!(text, "{} {target} HTTP/1.1\r\nHost: {host}\r\n", method.as_str());
        HeadWriter(text)
    }

    /// Adds a field. Control characters in the value, which could end the field, become spaces.
    pub fn field(mut self, name: &str, value: &str) -> HeadWriter {
        self.0.push_str(name);
        self.0.push_str(": ");
        self.0.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
        self.0.push_str("\r\n");
        self
    }

    /// Adds the field that tells the body's length; none for [`Length::UntilClose`].
    pub fn length(self, length: Length) -> HeadWriter {
        match length {
            Length::Known(n) => {
                let mut head = self;
                let _ = write!(head.0, "Content-Length: {n}\r\n");
                head
            }
            Length::Chunked => self.field("Transfer-Encoding", "chunked"),
            Length::UntilClose => self,
        }
    }

    /// The whole head.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push_str("\r\n");
        self.0.into_bytes()
    }
}

/// The reason phrase of a status code.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "UPGRADED",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<RequestHead> {
        parse_request(text.as_bytes())
    }

    fn refused(text: &str) -> String {
        let e = request(text).unwrap_err();
        assert_eq!(e.kind(), Kind::Invalid, "{text:?}");
        e.to_string()
    }

    #[test]
    fn a_request_of_docker() {
        let head = request(
            "POST /v1.44/containers/a/attach?stdin=1 HTTP/1.1\r\nHost: api.moby.localhost\r\nUser-Agent: Docker-Client/28\r\n\
             Content-Length: 0\r\nConnection: Upgrade\r\nContent-Type: Text/Plain; charset=x\r\nUpgrade: tcp\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.target, "/v1.44/containers/a/attach?stdin=1");
        assert_eq!((head.length, head.keep_alive, head.minor), (Length::Known(0), true, 1));
        assert_eq!((head.upgrade.as_deref(), head.content_type.as_deref()), (Some("tcp"), Some("text/plain")));
    }

    #[test]
    fn a_whole_uri_is_its_path() {
        for (target, want) in [
            ("http://a/_ping", "/_ping"),
            ("HTTP://[::1]:2375/v1.44/x?y=http://z/", "/v1.44/x?y=http://z/"),
            ("https://a", "/"),
            ("http://a?b", "/?b"),
            ("/x://y", "/x://y"),
        ] {
            assert_eq!(request(&format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n")).unwrap().target, want);
        }
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        let keep = |text: &str| request(text).unwrap().keep_alive;
        assert!(keep("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn upgrade_needs_connection() {
        let head = request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\n\r\n").unwrap();
        assert_eq!(head.upgrade, None);
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        for fields in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length : 1\r\n",
            "Content-Length: 1\r\n 2\r\n",
            "Content-Length: 1\r\n\t2\r\n",
        ] {
            refused(&with(fields));
        }
        let e = request(&with("Transfer-Encoding: gzip, chunked\r\n")).unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported);
        assert_eq!(request(&with("Transfer-Encoding: Chunked\r\n")).unwrap().length, Length::Chunked);
        assert_eq!(request(&with("Content-Length: 12\r\n")).unwrap().length, Length::Known(12));
        refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    #[test]
    fn broken_heads_are_refused() {
        refused("GET / HTTP/1.1\r\n\r\n"); // no Host
        refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        refused("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n");
        refused("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n");
        refused("GET a HTTP/1.1\r\nHost: a\r\n\r\n");
        refused("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
        refused("GET /\r\n\r\n");
        refused("PRI * HTTP/2.0\r\n\r\n");
        refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n");
        assert!(refused(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(MAX_TARGET))).contains("target"));
        let many: String = (0..=MAX_HEADERS).map(|i| format!("x{i}: 1\r\n")).collect();
        assert!(refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).contains("too many headers"));
    }

    #[test]
    fn the_end_of_a_head_is_found_at_any_split() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..text.len() {
            let first = head_end(&text[..cut], 0).unwrap();
            assert_eq!(first.is_some(), cut >= 27, "{cut}");
            assert_eq!(head_end(text, cut.min(26)).unwrap(), Some(27), "{cut}");
        }
        assert_eq!(head_end(b"a\n\nb", 0).unwrap(), Some(3));
        assert!(head_end(&vec![b'a'; MAX_HEAD + 1], 0).is_err());
        assert!(head_end(&vec![b'a'; MAX_HEAD], 0).unwrap().is_none());
    }

    #[test]
    fn responses() {
        let parse = |text: &str| parse_response(text.as_bytes());
        let head = parse("HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 2\r\n\r\n").unwrap();
        assert_eq!((head.status, head.length, head.keep_alive), (200, Length::Known(2), true));
        assert_eq!(head.header("api-version"), Some("1.44"));
        let head = parse("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n").unwrap();
        assert_eq!((head.status, head.length), (101, Length::Known(0)));
        let head = parse("HTTP/1.0 200\r\n\r\n").unwrap();
        assert_eq!((head.length, head.keep_alive), (Length::UntilClose, false));
        let e = parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt);
    }

    #[test]
    fn written_heads_parse_and_values_cannot_end_a_field() {
        let bytes = HeadWriter::response(404).field("X", "a\r\nSet-Cookie: b").length(Length::Known(3)).finish();
        let head = parse_response(&bytes).unwrap();
        assert_eq!((head.status, head.length), (404, Length::Known(3)));
        assert_eq!(head.header("x"), Some("a  Set-Cookie: b"));
        let bytes = HeadWriter::request(&Method::Put, "/a?b=c", "docker").length(Length::Chunked).finish();
        let head = parse_request(&bytes).unwrap();
        assert_eq!((head.method, head.length), (Method::Put, Length::Chunked));
    }
}
