//! One POST on a fresh connection: the document that comes back, within bounds of size and time.

use crate::error::{Context, Error, Kind, Result};
use crate::utils::http::chunked::Decoder;
use crate::utils::http::h1::{self, HeadWriter, Length, Method};
use crate::utils::sys::net;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Bytes read at a time.
const READ: usize = 4096;

/// What to send and to take.
pub struct Post<'a> {
    /// Path.
    pub target: &'a str,
    /// Name of the server.
    pub host: &'a str,
    /// Further header fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// The document.
    pub body: &'a [u8],
    /// Most bytes that are taken of the answer's body.
    pub limit: usize,
    /// When it is over.
    pub deadline: Instant,
}

impl Post<'_> {
    /// Sends it on a connected socket and waits for the answer: status and body.
    ///
    /// # Errors
    /// `Kind::Timeout`, `Kind::Remote` for somebody who goes away, `Kind::Corrupt` for an answer that is none or too
    /// large.
    pub fn send(&self, socket: &OwnedFd) -> Result<(u16, Vec<u8>)> {
        let mut head = HeadWriter::request(&Method::Post, self.target, self.host).field("Connection", "close");
        for (name, value) in self.fields {
            head = head.field(name, value);
        }
        let head = head.length(Length::Known(self.body.len() as u64)).finish();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut parts = [IoSlice::new(&head), IoSlice::new(self.body)];
        // One that answers early and closes is heard all the same.
        let sent = net::send_all(socket.as_fd(), &mut parts, &[], Some(left));
        let mut buffer = Vec::new();
        let mut searched = 0;
        let (answer, mut start) = loop {
            if let Some(n) = h1::head_end(&buffer, searched).map_err(|e| e.with_kind(Kind::Corrupt))? {
                let answer = h1::parse_response(&buffer[..n])?;
                if answer.status >= 200 {
                    break (answer, n);
                }
                buffer.drain(..n); // 100 Continue and the like
                searched = 0;
                continue;
            }
            searched = buffer.len();
            if self.fill(socket, &mut buffer)? == 0 {
                sent.context(|| "send".into()).map_err(|e| e.with_kind(Kind::Remote))?;
                return Err(Error::new(Kind::Remote, "it closed the connection without an answer"));
            }
        };
        let mut decoder = Decoder::default();
        let mut body = Vec::new();
        loop {
            let unread = &buffer[start..];
            let done = match answer.length {
                Length::Known(n) => {
                    body.extend_from_slice(unread);
                    body.truncate(usize::try_from(n).unwrap_or(usize::MAX));
                    start = buffer.len();
                    body.len() as u64 == n
                }
                Length::UntilClose => {
                    body.extend_from_slice(unread);
                    start = buffer.len();
                    false
                }
                Length::Chunked => {
                    while start < buffer.len() && !decoder.is_done() {
                        let step = decoder.step(&buffer[start..]).map_err(|e| e.with_kind(Kind::Corrupt))?;
                        body.extend_from_slice(step.data);
                        start += step.consumed;
                        if step.consumed == 0 {
                            break;
                        }
                    }
                    decoder.is_done()
                }
            };
            if body.len() > self.limit {
                return Err(Error::corrupt(format!("the answer is larger than {} bytes", self.limit)));
            }
            if done {
                return Ok((answer.status, body));
            }
            buffer.drain(..start);
            start = 0;
            if self.fill(socket, &mut buffer)? == 0 {
                return match answer.length {
                    Length::UntilClose => Ok((answer.status, body)),
                    _ => Err(Error::new(Kind::Remote, "the answer ended early")),
                };
            }
        }
    }

    fn fill(&self, socket: &OwnedFd, buffer: &mut Vec<u8>) -> Result<usize> {
        let filled = buffer.len();
        buffer.resize(filled + READ, 0);
        let got = net::receive_by(socket.as_fd(), &mut buffer[filled..], &mut Vec::new(), Some(self.deadline));
        buffer.truncate(filled + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(n) => Ok(n),
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                Err(Error::new(Kind::Timeout, "it did not answer in time"))
            }
            Err(e) => Err(Error::io("receive", e).with_kind(Kind::Remote)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// What comes of an answer in these pieces.
    fn answered(pieces: &[&str], limit: usize) -> Result<(u16, Vec<u8>)> {
        let (a, mut b) = UnixStream::pair().unwrap();
        let pieces: Vec<String> = pieces.iter().map(|p| p.to_string()).collect();
        let thread = std::thread::spawn(move || {
            let mut seen = [0; 1024];
            let n = b.read(&mut seen).unwrap();
            for piece in pieces {
                b.write_all(piece.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
            String::from_utf8_lossy(&seen[..n]).into_owned()
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        let post = Post { target: "/x", host: "h", fields: &[("Accept", "y")], body: b"{}", limit, deadline };
        let got = post.send(&a.into());
        let seen = thread.join().unwrap();
        assert_eq!(
            seen,
            "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAccept: y\r\nContent-Length: 2\r\n\r\n{}"
        );
        got
    }

    #[test]
    fn answers_of_every_length() {
        let got = answered(&["HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r\nhe", "llo"], 100).unwrap();
        assert_eq!(got, (200, b"hello".to_vec()));
        let chunked = [
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n",
            "3\r\nllo\r\n0\r\n\r\n",
        ];
        assert_eq!(answered(&chunked, 100).unwrap(), (403, b"hello".to_vec()));
        assert_eq!(answered(&["HTTP/1.0 200 OK\r\n\r\nhe", "llo"], 100).unwrap(), (200, b"hello".to_vec()));
        assert_eq!(answered(&["HTTP/1.1 204 No Content\r\n\r\n"], 100).unwrap(), (204, Vec::new()));
    }

    #[test]
    fn bad_answers() {
        let kind = |pieces: &[&str]| answered(pieces, 4).unwrap_err().kind();
        assert_eq!(kind(&[]), Kind::Remote);
        assert_eq!(kind(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"]), Kind::Remote);
        assert_eq!(kind(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"]), Kind::Corrupt);
        assert_eq!(kind(&["HTTP/1.0 200 OK\r\n\r\nhello"]), Kind::Corrupt);
        assert_eq!(kind(&["SSH-2.0\r\n\r\n"]), Kind::Corrupt);
        let (a, _b) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let post = Post { target: "/", host: "h", fields: &[], body: b"", limit: 4, deadline };
        assert_eq!(post.send(&a.into()).unwrap_err().kind(), Kind::Timeout);
    }
}
