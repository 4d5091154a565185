//! The least HTTP/1.1 client that can also send what no client should.

use super::PATIENCE;
use super::bed::json;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer.
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    #[track_caller]
    pub fn json(&self) -> Value {
        json(&self.body)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Fails unless the status is `status`; for errors, unless the body is `{"message": …}`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", self.text());
        if status >= 400 {
            let message = self.json()["message"].as_str().map(str::len);
            assert!(message.is_some_and(|n| n > 0), "an error without a message: {}", self.text());
        }
        self
    }
}

/// A connection to the daemon.
pub struct Connection {
    pub stream: UnixStream,
    /// Read but not used yet.
    pub rest: Vec<u8>,
}

impl Connection {
    #[track_caller]
    pub fn open(socket: &Path) -> Connection {
        let stream = UnixStream::connect(socket).unwrap_or_else(|e| panic!("connect({}): {e}", socket.display()));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Connection { stream, rest: Vec::new() }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon reads");
    }

    /// Reads a response's head.
    pub fn head(&mut self) -> std::io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if !self.more()? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let headers = lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_lowercase(), v.trim().to_string()));
        Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, headers.collect()))
    }

    /// Reads a whole response: by length, by chunks, or to the end of the connection.
    pub fn response(&mut self) -> std::io::Result<Response> {
        let (status, headers) = self.head()?;
        let mut response = Response { status, headers, body: Vec::new() };
        if status == 101 || status == 204 || status == 304 {
            return Ok(response);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
                let chunk = self.take(size + 2)?;
                if size == 0 {
                    break;
                }
                response.body.extend_from_slice(&chunk[..size]);
            }
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
            response.body = self.take(length)?;
        } else {
            while self.more()? {}
            response.body = std::mem::take(&mut self.rest);
        }
        Ok(response)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> std::io::Result<Vec<u8>> {
        while self.rest.len() < n {
            if !self.more()? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.rest.drain(..n).collect())
    }

    /// The next frame of a multiplexed stream: stream number and bytes; nothing at the end.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.take(8).ok()?;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        Some((head[0], self.take(length).ok()?))
    }

    fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(at) = self.rest.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.rest[..at]).into_owned();
                self.rest.drain(..at + 2);
                return Ok(line);
            }
            if !self.more()? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads some more; whether there was any.
    fn more(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        // signal(7): with a timeout set it is not taken up again after a signal.
        let n = loop {
            match self.stream.read(&mut buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.rest.extend_from_slice(&buffer[..n]);
        Ok(n > 0)
    }
}

/// One request, one answer.
#[track_caller]
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Response {
    let body = body.map(isulabox::utils::json::to_vec);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if let Some(body) = &body {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut connection = Connection::open(socket);
    connection.send(head.as_bytes());
    connection.send(&body.unwrap_or_default());
    let answer = if method == "HEAD" {
        // Its length is that of a body which does not come.
        connection.head().map(|(status, headers)| Response { status, headers, body: connection.rest.clone() })
    } else {
        connection.response()
    };
    answer.unwrap_or_else(|e| panic!("{method} {path}: {e}"))
}

/// Raw bytes, whatever the answer is; nothing when the daemon just closed.
pub fn raw(socket: &Path, bytes: &[u8]) -> Option<Response> {
    let mut connection = Connection::open(socket);
    // It may answer and close before it has read everything.
    let _ = connection.stream.write_all(bytes);
    connection.response().ok()
}

/// Whether the daemon answers.
pub fn ping(socket: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(socket) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut connection = Connection { stream, rest: Vec::new() };
    if connection.stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_err() {
        return false;
    }
    connection.response().is_ok_and(|r| r.status == 200)
}
