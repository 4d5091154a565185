//! A server on loopback that answers what a test says, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    /// With the query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An answer.
pub struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    chunked: bool,
    /// Bytes of the body after which the connection is closed.
    cut: Option<usize>,
    /// Bytes of the body after which nothing more comes.
    stall: Option<usize>,
    /// Nothing comes, not even a head.
    silent: bool,
    /// Nothing comes, and the connection is closed.
    absent: bool,
}

impl Reply {
    pub fn new(status: u16, body: &[u8]) -> Reply {
        Reply {
            status,
            headers: String::new(),
            body: body.to_vec(),
            chunked: false,
            cut: None,
            stall: None,
            silent: false,
            absent: false,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Without saying how long it is.
    pub fn chunked(self) -> Reply {
        Reply { chunked: true, ..self }
    }

    pub fn cut(self, after: usize) -> Reply {
        Reply { cut: Some(after), ..self }
    }

    pub fn stall_after(self, after: usize) -> Reply {
        Reply { stall: Some(after), ..self }
    }

    /// Closes the connection in place of an answer.
    pub fn hang_up(self) -> Reply {
        Reply { absent: true, ..self }
    }

    /// Not even the head of it.
    pub fn silent(self) -> Reply {
        Reply { silent: true, ..self }
    }

    /// Whether the connection can be used again.
    fn write(&self, stream: &mut TcpStream) -> std::io::Result<bool> {
        let length = match self.chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", self.body.len()),
        };
        if self.absent {
            return Ok(false);
        }
        if !self.silent {
            write!(stream, "HTTP/1.1 {} Word\r\n{}{length}\r\n\r\n", self.status, self.headers)?;
        }
        if let Some(after) = self.stall.or(self.silent.then_some(0)) {
            stream.write_all(&self.body[..after])?;
            // Until the client has had enough.
            stream.set_read_timeout(Some(Duration::from_secs(600)))?;
            let _ = stream.read(&mut [0]);
            return Ok(false);
        }
        if let Some(after) = self.cut.filter(|after| *after < self.body.len()) {
            stream.write_all(&self.body[..after])?;
            return Ok(false);
        }
        if !self.chunked {
            stream.write_all(&self.body)?;
            return Ok(true);
        }
        for chunk in self.body.chunks(7000) {
            write!(stream, "{:x}\r\n", chunk.len())?;
            stream.write_all(chunk)?;
            stream.write_all(b"\r\n")?;
        }
        stream.write_all(b"0\r\n\r\n")?;
        Ok(true)
    }
}

/// A server; its threads end with the process or with their connections.
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    open: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let open: Arc<AtomicUsize> = Arc::default();
        let (answer, list, count) = (Arc::new(answer), asked.clone(), open.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, list, count) = (answer.clone(), list.clone(), count.clone());
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some(asked) = read(&mut reader) {
                        list.lock().unwrap().push(asked.clone());
                        if !answer(&asked).write(&mut stream).unwrap_or(false) {
                            break;
                        }
                    }
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Server { address, asked, open }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections that clients hold open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// What it was asked so far. An attempt at TLS is nothing.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    const HANDSHAKE: u8 = 0x16;
    if *reader.fill_buf().ok()?.first()? == HANDSHAKE {
        return None;
    }
    let mut line = |text: &mut String| {
        let mut bytes = Vec::new();
        reader.read_until(b'\n', &mut bytes).ok().filter(|n| *n > 0)?;
        *text = String::from_utf8(bytes).ok()?.trim_end().to_owned();
        Some(())
    };
    let mut text = String::new();
    line(&mut text)?;
    let mut words = text.split(' ');
    let mut asked = Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Asked::default() };
    words.next().filter(|version| *version == "HTTP/1.1")?;
    loop {
        let mut text = String::new();
        line(&mut text)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(": ")?;
        asked.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = asked.header("content-length").map_or(0, |n| n.parse().unwrap());
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
