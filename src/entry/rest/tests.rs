//! The connection loop with a fake in the daemon's place, over socket pairs.

use super::*;
use crate::entry::connection::{Patience, Peer, Shared};
use crate::entry::exchange::Framing;
use crate::error::{Error, Kind};
use crate::executor::Handover;
use crate::utils::sys::net;
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

/// Answers by the container's name.
#[derive(Default)]
struct Fake {
    seen: Mutex<Vec<String>>,
}

impl Perform for Fake {
    fn perform(&self, call: Call, mut exchange: Exchange) -> Outcome {
        self.seen.lock().unwrap().push(format!("{call:?}"));
        match call {
            Call::ContainerCreate { .. } => match exchange.document_by(crate::api::container::CreateRequest::parse) {
                Ok(request) => exchange.json(201, &request.config.image),
                Err(failure) => exchange.fail(failure),
            },
            Call::ImageImport(_) => {
                let mut bytes = Vec::new();
                match exchange.connection.read_to_end(&mut bytes) {
                    Ok(n) => exchange.json(200, &n),
                    Err(e) => exchange.fail(Error::io("read", e)),
                }
            }
            Call::ContainerList(_) => {
                let mut body = exchange.stream(media::JSON);
                let block = vec![b'x'; 100_000];
                let _ = body.write([b"a", b"b"]).and_then(|()| body.flush()).and_then(|()| body.write([b"c", &block]));
                let _ = body.finish();
                Outcome::Answered(exchange.connection, 200)
            }
            Call::Info => exchange.fail(Error::new(Kind::CommandNotFound, "no such program")),
            Call::Exec(ExecCall { id, .. }) => exchange.hand_over(Framing::Multiplexed, |upgrade| {
                if id == "refused" {
                    return Handover::Refused(Error::conflict("it does not run"), upgrade);
                }
                let mut stream = UnixStream::from(upgrade.connection);
                stream.write_all(&upgrade.preamble).unwrap();
                stream.write_all(&upgrade.early).unwrap();
                if let Some([_, out, _]) = upgrade.handed {
                    std::fs::File::from(out).write_all(b"to the descriptor").unwrap();
                }
                Handover::Done
            }),
            _ => exchange.empty(204),
        }
    }
}

fn start() -> (UnixStream, std::thread::JoinHandle<Vec<String>>, Arc<Shared>) {
    let patience = Patience {
        idle: Duration::from_millis(500),
        idle_when_crowded: Duration::from_millis(10),
        head: Duration::from_millis(200),
        progress: Duration::from_millis(500),
        ..Patience::default()
    };
    let (client, server) = UnixStream::pair().unwrap();
    let shared = Arc::new(Shared::new(patience).unwrap());
    let connection = Connection::new(server.into(), Peer::Unknown, shared.clone());
    let thread = std::thread::spawn(move || {
        let fake = Fake::default();
        serve(connection, &fake);
        fake.seen.into_inner().unwrap()
    });
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (client, thread, shared)
}

/// Sends all of `text` and reads until the server closes.
fn talk(text: &str) -> String {
    let (mut client, thread, _) = start();
    client.write_all(text.as_bytes()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut out = Vec::new();
    client.read_to_end(&mut out).unwrap();
    thread.join().unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn ping_as_docker_expects_it() {
    let text = talk("GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nDocker-Experimental: false\r\nOstype: linux\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\nServer: isulabox/") && text.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    assert!(text.ends_with("Content-Length: 2\r\n\r\nOK"), "{text}");
    let text = talk("HEAD /v1.44/_ping HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text.ends_with("Content-Length: 2\r\n\r\n"), "{text}");
}

#[test]
fn errors_are_documents() {
    for (line, status, message) in [
        ("GET /nothing", "404 Not Found", "page not found"),
        ("GET /v1.99/info", "400 Bad Request", "client version 1.99 is too new. Maximum supported API version is 1.44"),
        ("GET /containers/json?since=a", "501 Not Implemented", "parameter since is not supported yet"),
    ] {
        let text = talk(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(text.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{text}");
        assert!(text.contains("\r\nContent-Type: application/json\r\n"), "{text}");
        assert!(text.ends_with(&format!("\r\n\r\n{{\"message\":\"{message}\"}}\n")), "{text}");
    }
    let text = talk("GET /info HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        text.starts_with("HTTP/1.1 400 ") && text.ends_with("{\"message\":\"no such program\",\"exitCode\":127}\n"),
        "{text}"
    );
    let text = talk("PUT /info HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("\r\nAllow: GET\r\n"), "{text}");
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let text = talk(
        "POST /containers/a/pause HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /containers/b/pause HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /_ping HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(text.matches("HTTP/1.1 204 No Content\r\n").count(), 2, "{text}");
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 1, "{text}");
    assert!(!text.split("HTTP/1.1 204").nth(1).unwrap().contains("Content-Length: 0"), "{text}");
    assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
}

#[test]
fn malformed_requests_get_400_and_the_connection_ends() {
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = talk(&format!("{text}GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("Connection: close\r\n") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    }
}

#[test]
fn bodies_become_documents() {
    let post = |body: &str| {
        talk(&format!(
            "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert!(post("{\"Image\":\"busybox\"}").ends_with("\"busybox\"\n"));
    let text = post("{\"Image\":");
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("invalid JSON"), "{text}");
    let long = format!("{{\"Image\":\"{}\"}}", "b".repeat(300_000));
    assert!(post(&long).ends_with("bbb\"\n"));
    let chunked = "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                   9\r\n{\"Image\":\r\n4\r\n\"a\"}\r\n0\r\n\r\n";
    assert!(talk(chunked).ends_with("\"a\"\n"));
    let text = talk(
        "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"Image\":",
    );
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("read request body"), "{text}");
}

#[test]
fn large_documents_are_refused_before_and_while_they_come() {
    let text = talk("POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 16777217\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("16 MiB"), "{text}");
    let (mut client, thread, shared) = start();
    client.write_all(b"POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let part = vec![b' '; 1 << 20];
    for _ in 0..17 {
        let sent = client
            .write_all(b"100000\r\n")
            .and_then(|()| client.write_all(&part))
            .and_then(|()| client.write_all(b"\r\n"));
        if sent.is_err() {
            break;
        }
    }
    let mut head = [0; 12];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
    drop(client);
    thread.join().unwrap();
    assert_eq!(shared.document_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn documents_of_other_types_are_refused() {
    let text =
        talk("POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("text/plain"), "{text}");
    let text = talk("POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 201 "), "{text}");
}

#[test]
fn large_documents_share_a_budget() {
    let long = format!("{{\"Image\":\"{}\"}}", "b".repeat(300_000));
    let head = format!(
        "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        long.len()
    );
    for (others, want) in [(0, "HTTP/1.1 201 "), (32 << 20, "HTTP/1.1 503 ")] {
        let (mut client, thread, shared) = start();
        shared.document_bytes.store(others, std::sync::atomic::Ordering::Relaxed);
        client.write_all(head.as_bytes()).and_then(|()| client.write_all(long.as_bytes())).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(want), "{text}");
        thread.join().unwrap();
        assert_eq!(shared.document_bytes.load(std::sync::atomic::Ordering::Relaxed), others);
    }
}

#[test]
fn json_nested_to_the_limit_needs_little_stack() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let shared = Arc::new(Shared::new(Patience::default()).unwrap());
    let connection = Connection::new(server.into(), Peer::Unknown, shared);
    let thread =
        std::thread::Builder::new().stack_size(128 * 1024).spawn(move || serve(connection, &Fake::default())).unwrap();
    for depth in [100, 125, 2000] {
        let body =
            format!("{{\"HostConfig\":{{\"PortBindings\":{{\"a\":{}{}}}}}}}", "[".repeat(depth), "]".repeat(depth));
        write!(client, "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 ").count(), 3, "{text}");
    thread.join().unwrap();
}

#[test]
fn streamed_responses_are_chunked_or_end_with_the_connection() {
    let text = talk("GET /containers/json HTTP/1.1\r\nHost: a\r\n\r\nGET /_ping HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text.contains("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n186a1\r\ncxxx"), "{}", &text[..400]);
    assert!(text.contains("xxx\r\n0\r\n\r\nHTTP/1.1 200 OK"));
    let text = talk("GET /containers/json HTTP/1.0\r\n\r\n");
    assert!(text.contains("Connection: close\r\n\r\nabcxxx") && text.ends_with('x'), "{}", &text[..400]);
}

#[test]
fn imports_are_read_as_they_come() {
    let (mut client, thread, _) = start();
    client
        .write_all(b"POST /images/create?fromSrc=- HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let mut line = [0; 25];
    client.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    for _ in 0..40 {
        client.write_all(b"f4240\r\n").unwrap();
        client.write_all(&vec![7; 1_000_000]).unwrap();
        client.write_all(b"\r\n").unwrap();
    }
    client.write_all(b"0\r\n\r\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n\r\n40000000\n"), "{text}");
    assert!(thread.join().unwrap()[0].starts_with("ImageImport"));
}

#[test]
fn upgrades_hand_the_connection_over_with_what_was_read() {
    let ask = |extra: &str, version: &str| {
        talk(&format!(
            "POST /{version}/exec/e/start HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{extra}\r\n{{}}early bytes"
        ))
    };
    // The fake does not read the body, so it is still in front of the early bytes.
    let text = ask("Connection: Upgrade\r\nUpgrade: tcp\r\n", "v1.44");
    assert_eq!(
        text,
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\n\
         Upgrade: tcp\r\n\r\n{}early bytes"
    );
    let text = ask("Connection: Upgrade\r\nUpgrade: tcp\r\n", "v1.41");
    assert!(text.contains("Content-Type: application/vnd.docker.raw-stream\r\n"), "{text}");
    let text = ask("", "v1.44");
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n{}early bytes");
}

#[test]
fn a_refused_upgrade_is_answered_and_closed() {
    let text = talk(
        "POST /exec/refused/start HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nGET /_ping HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(text.starts_with("HTTP/1.1 409 Conflict\r\n") && text.contains("Connection: close\r\n"), "{text}");
    assert!(text.ends_with("{\"message\":\"it does not run\"}\n"), "{text}");
}

#[test]
fn descriptors_are_handed_only_with_their_upgrade() {
    let head = |upgrade: &str| {
        format!("POST /exec/e/start HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n")
    };
    for (upgrade, count, answer, arrives) in [
        ("isula-stdio", 3, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: isula-stdio\r\n\r\n", true),
        ("isula-stdio", 2, "HTTP/1.1 400 ", false),
        ("isula-stdio", 4, "HTTP/1.1 400 ", false),
        ("isula-stdio", 0, "HTTP/1.1 400 ", false),
        ("tcp", 3, "HTTP/1.1 101 UPGRADED\r\nContent-Type", false),
    ] {
        let (client, thread, _) = start();
        let (output, mut kept) = UnixStream::pair().unwrap();
        let fds = vec![output.as_fd(); count];
        net::send_all(client.as_fd(), &mut [IoSlice::new(head(upgrade).as_bytes())], &fds, None).unwrap();
        drop(output);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        (&client).read_to_string(&mut text).unwrap();
        assert!(text.starts_with(answer), "{upgrade} {count}: {text}");
        thread.join().unwrap();
        // The end comes only when every copy is closed.
        let mut received = String::new();
        kept.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        kept.read_to_string(&mut received).unwrap();
        assert_eq!(received, if arrives { "to the descriptor" } else { "" }, "{upgrade} {count}");
    }
}

#[test]
fn clients_that_vanish_end_their_thread() {
    for text in [
        "",
        "GET",
        "GET /_ping HTTP/1.1\r\nHost: a\r\n",
        "POST /containers/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        "POST /images/create?fromSrc=- HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "GET /containers/json HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let (mut client, thread, _) = start();
        client.write_all(text.as_bytes()).unwrap();
        drop(client);
        thread.join().unwrap();
    }
}

#[test]
fn slow_and_idle_clients_are_closed() {
    for text in ["", "GET /_p"] {
        let (mut client, thread, _) = start();
        client.write_all(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        client.read_to_end(&mut out).unwrap();
        assert!(out.is_empty(), "{text}");
        thread.join().unwrap();
    }
}

#[test]
fn a_stop_ends_idle_connections_and_finishes_requests() {
    let (mut client, thread, shared) = start();
    shared.stopping.store(true, std::sync::atomic::Ordering::Release);
    client.write_all(b"GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.contains("Connection: close\r\n") && text.ends_with("OK"), "{text}");
    thread.join().unwrap();
    let (mut client, thread, shared) = start();
    shared.stop.write(1).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    thread.join().unwrap();
}
