//! A D-Bus client that blocks, for the few calls that are made to systemd (D-Bus Specification 0.43).
//!
//! A connection leads to a message bus or directly to a service. One call at a time is under way; signals that come
//! meanwhile are kept for [`Connection::signal`]. Everything that is read is bounded, and waits for the deadline of the
//! connection at most.

mod wire;

use crate::error::{Context, Error, Kind, Result};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use wire::{Header, kind};
pub use wire::{Reader, Writer};

/// Longest message that is read, in bytes; what is answered here has some hundred.
const MESSAGE_LIMIT: usize = 1 << 20;
/// Longest line of the authentication.
const LINE_LIMIT: usize = 1024;
/// Most signals that are kept.
const SIGNAL_LIMIT: usize = 4096;

/// An authenticated connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    deadline: Instant,
    serial: u32,
    signals: VecDeque<Message>,
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub struct Method<'a> {
    /// Bus name; empty without a bus.
    pub destination: &'a str,
    /// Path of the object.
    pub path: &'a str,
    /// Interface.
    pub interface: &'a str,
    /// Name.
    pub member: &'a str,
}

/// A message that was received.
#[derive(Debug)]
pub struct Message {
    header: Header,
    body: Vec<u8>,
}

impl Message {
    /// The values in it.
    pub fn body(&self) -> Reader<'_> {
        Reader::new(&self.body, self.header.is_big_endian)
    }

    /// Name of the method or signal.
    pub fn member(&self) -> &str {
        &self.header.member
    }
}

impl Connection {
    /// Connects to the socket `path`, and makes itself known when that is one of a message bus. The connection, with all
    /// that is called on it, may take as long as `patience`.
    ///
    /// # Errors
    /// The failing call; `Kind::Denied` when the other end does not accept this user; `Kind::Timeout`.
    pub fn open(path: &Path, bus: bool, patience: Duration) -> Result<Connection> {
        let stream = UnixStream::connect(path).context(|| format!("connect({path:?})"))?;
        let mut connection =
            Connection { stream, deadline: Instant::now() + patience, serial: 0, signals: VecDeque::new() };
        connection.authenticate().context(|| format!("D-Bus at {path:?}"))?;
        if bus {
            let hello = Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
            };
            connection.call(hello, Writer::new(""))?;
        }
        Ok(connection)
    }

    /// The other end sees by the socket who this is; the number of a user would mean another one where this process is in
    /// a user namespace. The end of it is sent before the answer has come: systemd 252 lets a message lie that it has read
    /// together with the end, until another one comes.
    fn authenticate(&mut self) -> Result<()> {
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = self.read_line()?;
            match line.split(' ').next().unwrap_or_default() {
                "DATA" => {}
                "OK" => return Ok(()),
                "REJECTED" => return Err(Error::new(Kind::Denied, "this user is not accepted")),
                _ => return Err(Error::corrupt(format!("authentication was answered {line:?}"))),
            }
        }
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// What the other end says: `Kind::NotFound`, `Kind::Exists` and `Kind::Denied` for such answers, else
    /// `Kind::Remote`; `Kind::Timeout`; the failing call.
    pub fn call(&mut self, method: Method<'_>, body: Writer) -> Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        self.write(&wire::call(serial, &method, body)).context(|| format!("D-Bus call {}", method.member))?;
        loop {
            let message = self.receive().context(|| format!("D-Bus call {}", method.member))?;
            match message.header.kind {
                kind::RETURN if message.header.reply_serial == serial => return Ok(message),
                kind::ERROR if message.header.reply_serial == serial => return Err(refusal(&method, &message)),
                kind::SIGNAL if self.signals.len() < SIGNAL_LIMIT => self.signals.push_back(message),
                // A call to this end, or the answer to one that nobody waits for.
                _ => {}
            }
        }
    }

    /// The next signal.
    ///
    /// # Errors
    /// `Kind::Timeout`; the failing call.
    pub fn signal(&mut self) -> Result<Message> {
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.receive().context(|| "D-Bus signal".into())?,
            };
            if message.header.kind == kind::SIGNAL {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut start = [0u8; wire::START];
        self.read(&mut start)?;
        let (fields, body) = wire::lengths(&start)?;
        let whole = fields.saturating_add(body);
        if whole > MESSAGE_LIMIT {
            return Err(Error::corrupt(format!("a message of {whole} bytes")));
        }
        let mut rest = vec![0u8; whole];
        self.read(&mut rest)?;
        let body = rest.split_off(fields);
        Ok(Message { header: Header::parse(&start, &rest)?, body })
    }

    fn left(&self) -> Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::new(Kind::Timeout, "no answer in time")),
            left => Ok(Some(left)),
        }
    }

    fn read(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(self.left()?).context(|| "setsockopt(SO_RCVTIMEO)".into())?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(Error::new(Kind::Remote, "the other end hung up")),
                Ok(n) => buffer = &mut buffer[n..],
                // The deadline is looked at again.
                Err(e) if is_temporary(&e) => {}
                Err(e) => return Err(Error::io("read()", e)),
            }
        }
        Ok(())
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0u8; 1];
            self.read(&mut byte)?;
            line.push(byte[0]);
            if line.len() > LINE_LIMIT {
                return Err(Error::corrupt("authentication was answered by an endless line"));
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(self.left()?).context(|| "setsockopt(SO_SNDTIMEO)".into())?;
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if is_temporary(&e) => {}
                Err(e) => return Err(Error::io("write()", e)),
            }
        }
        Ok(())
    }
}

fn is_temporary(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut | std::io::ErrorKind::Interrupted)
}

/// What an error that came back says.
fn refusal(method: &Method<'_>, message: &Message) -> Error {
    let name = message.header.error_name.as_str();
    let kind = match name.rsplit('.').next().unwrap_or_default() {
        "UnitExists" => Kind::Exists,
        "NoSuchUnit" => Kind::NotFound,
        "AccessDenied" | "InteractiveAuthorizationRequired" => Kind::Denied,
        "PropertyReadOnly" | "UnknownProperty" => Kind::Unsupported,
        _ => Kind::Remote,
    };
    let text = match message.header.signature.starts_with('s') {
        true => message.body().text().unwrap_or_default(),
        false => "",
    };
    Error::new(kind, format!("D-Bus call {}: {name}: {text}", method.member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const METHOD: Method<'static> = Method { destination: "", path: "/o", interface: "a.b", member: "M" };

    /// Runs `client` against a service that accepts it, reads what `client` sends and says `answers`.
    fn against<T>(name: &str, answers: Vec<u8>, client: impl FnOnce(&Path) -> T) -> (T, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("dbus-{name}-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let service = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
            stream.write_all(&answers).unwrap();
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        let result = client(&path);
        std::fs::remove_file(&path).unwrap();
        (result, service.join().unwrap())
    }

    fn message(kind: u8, serial: u32, error: &str, body: Writer) -> Vec<u8> {
        wire::message(
            kind,
            9,
            &[(wire::field::REPLY_SERIAL, &serial.to_string()), (wire::field::ERROR_NAME, error)],
            body,
        )
    }

    #[test]
    fn answers_find_their_call_and_signals_wait() {
        let mut answers = wire::message(kind::SIGNAL, 1, &[(wire::field::MEMBER, "Gone")], Writer::new("u").u32(7));
        answers.extend(message(kind::RETURN, 5, "", Writer::new("s").string("another's")));
        answers.extend(message(kind::RETURN, 1, "", Writer::new("s").string("mine")));
        answers.extend(message(kind::ERROR, 2, "org.x.UnitExists", Writer::new("s").string("is there")));
        let (_, heard) = against("calls", answers, |path| {
            let mut c = Connection::open(path, false, Duration::from_secs(10)).unwrap();
            assert_eq!(c.call(METHOD, Writer::new("")).unwrap().body().text().unwrap(), "mine");
            let e = c.call(METHOD, Writer::new("")).unwrap_err();
            assert_eq!((e.kind(), e.to_string().as_str()), (Kind::Exists, "D-Bus call M: org.x.UnitExists: is there"));
            let signal = c.signal().unwrap();
            assert_eq!((signal.member(), signal.body().u32().unwrap()), ("Gone", 7));
        });
        assert!(heard.starts_with(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl\x01"));
    }

    #[test]
    fn silence_and_nonsense_end() {
        let start = Instant::now();
        let (e, _) = against("silence", Vec::new(), |path| {
            Connection::open(path, true, Duration::from_millis(200)).unwrap_err()
        });
        assert_eq!(e.kind(), Kind::Timeout, "{e}");
        assert!(start.elapsed() < Duration::from_secs(5));
        let (e, _) = against("nonsense", vec![b'x'; 100], |path| {
            Connection::open(path, true, Duration::from_secs(10)).unwrap_err()
        });
        assert_eq!(e.kind(), Kind::Corrupt, "{e}");
        let mut long = vec![b'l', kind::RETURN, 0, 1];
        long.extend([0xff; 12]);
        let (e, _) = against("long", long, |path| Connection::open(path, true, Duration::from_secs(10)).unwrap_err());
        assert_eq!(e.kind(), Kind::Corrupt, "{e}");
        assert!(Connection::open(Path::new("/nosuch/socket"), true, Duration::from_secs(1)).is_err());
    }
}
