//! A proxy of a test's own on loopback, which leads every name to one registry.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the proxy is to be like.
#[derive(Default, Clone, Copy)]
pub struct Manner {
    /// The value of `Proxy-Authorization` that it wants to see.
    pub wants: Option<&'static str>,
    /// Whether CONNECT is refused, as many do but for port 443.
    pub refuses_tunnels: bool,
}

/// A running proxy. Its threads end with the test's process.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy all of whose ways lead to the address `to`.
    pub fn start(to: &str, manner: Manner) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (to, list) = (to.to_owned(), asked.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (to, list) = (to.clone(), list.clone());
                // Either side may leave.
                std::thread::spawn(move || serve(client, &to, manner, &list));
            }
        });
        Proxy { host, asked }
    }

    /// Method and target of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no holder panics").clone()
    }
}

/// Serves one request: a tunnel, or one in absolute form.
fn serve(mut client: TcpStream, to: &str, manner: Manner, list: &Mutex<Vec<String>>) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut first, mut fields) = (String::new(), Vec::new());
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(()); // looked whether somebody is here
        }
        if line.trim_end().is_empty() {
            break;
        }
        fields.push(line.trim_end().to_owned());
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    list.lock().expect("no holder panics").push(format!("{method} {target}"));
    let field = |name: &str| {
        let fields = fields.iter().filter_map(|f| f.split_once(": "));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    if manner.wants.is_some() && field("proxy-authorization").as_deref() != manner.wants {
        return client.write_all(b"HTTP/1.1 407 Word\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if method == "CONNECT" {
        if manner.refuses_tunnels {
            return client.write_all(b"HTTP/1.1 403 Word\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let upstream = TcpStream::connect(to)?;
        client.write_all(b"HTTP/1.1 200 Word\r\n\r\n")?;
        return both_ways(client, reader, upstream);
    }
    let path = target.strip_prefix("http://").and_then(|t| t.find('/').map(|at| &t[at..]));
    let Some(path) = path else {
        return client.write_all(b"HTTP/1.1 400 Word\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let mut upstream = TcpStream::connect(to)?;
    write!(upstream, "{method} {path} HTTP/1.1\r\nConnection: close\r\n")?;
    for line in fields.iter().filter(|f| !f.to_ascii_lowercase().starts_with("proxy-")) {
        write!(upstream, "{line}\r\n")?;
    }
    upstream.write_all(b"\r\n")?;
    both_ways(client, reader, upstream)
}

fn both_ways(
    client: TcpStream,
    mut from_client: impl Read + Send + 'static,
    upstream: TcpStream,
) -> std::io::Result<()> {
    let (mut to_client, mut to_upstream) = (client, upstream.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_upstream); // either side may leave
        let _ = to_upstream.shutdown(Shutdown::Both);
    });
    let mut upstream = upstream;
    let _ = std::io::copy(&mut upstream, &mut to_client); // as above
    to_client.shutdown(Shutdown::Both)
}
