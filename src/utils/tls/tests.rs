//! Both sides of the library over socket pairs. The certificates beside this file are their own authorities and last a
//! hundred years; `other` is not that of `cert`.

use super::*;
use crate::error::{Kind, Result};
use nix::sys::eventfd::EventFd;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const OWN: [&str; 2] = ["cert.pem", "key.pem"];
const OTHER: [&str; 2] = ["other.pem", "other.key.pem"];

fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/utils/tls/tests").join(name)
}

fn files(authorities: Option<&str>, own: Option<[&str; 2]>) -> Files {
    Files { authorities: authorities.map(at), own: own.map(|[certificate, key]| (at(certificate), at(key))) }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Both greet: what either says of it.
fn greet(server: &Files, client: &Files, name: &str) -> (Result<Session>, Result<Session>) {
    let (a, b) = UnixStream::pair().unwrap();
    let server = Server::load(server).unwrap();
    let thread = std::thread::spawn(move || server.accept(a.into(), soon()));
    let client = Client::load(client).unwrap().connect(b.into(), name, soon());
    (thread.join().unwrap(), client)
}

/// Two plain sockets with TLS between them: the server's, the client's, and the threads of both relays.
fn connected() -> (UnixStream, UnixStream, [JoinHandle<Result<()>>; 2]) {
    let verified = files(Some("cert.pem"), Some(OWN));
    let (server, client) = greet(&verified, &verified, "localhost");
    let mut ends = [server.unwrap(), client.unwrap()].into_iter().map(|session| {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (near, std::thread::spawn(move || session.relay(far.into(), None)))
    });
    let ((a, first), (b, second)) = (ends.next().unwrap(), ends.next().unwrap());
    (a, b, [first, second])
}

#[test]
fn each_verifies_the_other() {
    let verified = files(Some("cert.pem"), Some(OWN));
    let (server, client) = greet(&verified, &verified, "localhost");
    assert_eq!(server.unwrap().user().as_deref(), Some("alice"));
    assert_eq!(client.unwrap().user().as_deref(), Some("alice"));
    // Nobody is verified.
    let (server, client) = greet(&files(None, Some(OWN)), &files(None, None), "elsewhere");
    assert_eq!(server.unwrap().user(), None);
    client.unwrap();
}

#[test]
fn strangers_are_refused_by_name_of_the_reason() {
    let text = |r: Result<Session>| {
        let e = r.unwrap_err();
        assert_eq!(e.kind(), Kind::Remote, "{e}");
        e.to_string()
    };
    let own = files(Some("cert.pem"), Some(OWN));
    let (server, _) = greet(&own, &files(Some("cert.pem"), None), "localhost");
    assert_eq!(text(server), "TLS: it shows no certificate");
    let (server, _) = greet(&own, &files(Some("cert.pem"), Some(OTHER)), "localhost");
    assert_eq!(text(server), "TLS: its certificate is not of the authority that is trusted here");
    let (_, client) = greet(&own, &files(Some("other.pem"), Some(OWN)), "localhost");
    assert_eq!(text(client), "TLS: its certificate is not of the authority that is trusted here");
    let (_, client) = greet(&own, &own, "elsewhere");
    assert!(text(client).contains("elsewhere"));
}

#[test]
fn settings_that_cannot_be_are_named() {
    let text = |files: &Files| Server::load(files).unwrap_err().to_string();
    assert!(text(&files(None, None)).contains("certificate"));
    assert!(text(&files(None, Some(["nosuch.pem", "key.pem"]))).contains("nosuch.pem"));
    assert!(text(&files(None, Some(["cert.pem", "nosuch.key"]))).contains("nosuch.key"));
    assert!(text(&files(None, Some(["cert.pem", "other.key.pem"]))).contains("is not the key of"));
    assert!(text(&files(None, Some(["key.pem", "key.pem"]))).contains("holds no certificate"));
    assert!(text(&files(Some("key.pem"), Some(OWN))).contains("holds no certificate"));
    let e = Client::load(&files(Some("nosuch.pem"), None)).unwrap_err().to_string();
    assert!(e.contains("nosuch.pem"), "{e}");
}

#[test]
fn other_protocols_and_silence_have_an_end() {
    let server = Server::load(&files(None, Some(OWN))).unwrap();
    let (a, mut b) = UnixStream::pair().unwrap();
    b.write_all(b"GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let thread = std::thread::spawn({
        let server = server.clone();
        move || server.accept(a.into(), soon()).unwrap_err()
    });
    let mut text = String::new();
    b.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 400 ") && text.contains("HTTP request to an HTTPS server"), "{text}");
    drop(b);
    assert!(thread.join().unwrap().to_string().contains("HTTP"));

    let (a, mut b) = UnixStream::pair().unwrap();
    b.write_all(b"\x16\x03garbage that is no greeting").unwrap();
    b.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.accept(a.into(), soon()).unwrap_err().kind(), Kind::Remote);

    for said in [&b""[..], b"\x16\x03\x01\x02\x00"] {
        let (a, mut b) = UnixStream::pair().unwrap();
        b.write_all(said).unwrap();
        let e = server.accept(a.into(), Instant::now() + Duration::from_millis(30)).unwrap_err();
        assert_eq!(e.kind(), Kind::Timeout, "{e}");
    }
    let (a, _) = UnixStream::pair().unwrap();
    assert_eq!(server.accept(a.into(), soon()).unwrap_err().kind(), Kind::Remote);
}

#[test]
fn bytes_go_both_ways_at_once_and_ends_are_passed_on() {
    const MANY: usize = 3_000_000;
    let (a, b, relays) = connected();
    let pattern = |seed: usize| (0..MANY).map(move |n| (n * 31 + seed) as u8).collect::<Vec<u8>>();
    let spawn = |stream: &UnixStream, seed| {
        let (mut from, mut to) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let sends = std::thread::spawn(move || {
            to.write_all(&pattern(seed)).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        });
        let reads = std::thread::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).unwrap();
            all
        });
        (sends, reads)
    };
    let ((send_a, read_a), (send_b, read_b)) = (spawn(&a, 1), spawn(&b, 2));
    send_a.join().unwrap();
    send_b.join().unwrap();
    assert!(read_a.join().unwrap() == pattern(2));
    assert!(read_b.join().unwrap() == pattern(1));
    for relay in relays {
        relay.join().unwrap().unwrap();
    }
}

/// One read of the connection can bring more than one record of plain bytes.
#[test]
fn records_of_odd_sizes_from_one_who_is_ahead() {
    const RECORDS: usize = 600;
    let verified = files(Some("cert.pem"), Some(OWN));
    let (server, client) = greet(&verified, &verified, "localhost");
    let (mut near, far) = UnixStream::pair().unwrap();
    near.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let relay = std::thread::spawn(move || server.unwrap().relay(far.into(), None));
    let mut client = client.unwrap();
    let sender = std::thread::spawn(move || {
        let mut socket = UnixStream::from(client.socket);
        socket.set_nonblocking(false).unwrap();
        for n in 0..RECORDS {
            client.tls.writer().write_all(&vec![n as u8; 18_000]).unwrap();
            while client.tls.wants_write() {
                client.tls.write_tls(&mut socket).unwrap();
            }
        }
        client.tls.send_close_notify();
        while client.tls.wants_write() {
            client.tls.write_tls(&mut socket).unwrap();
        }
        socket.shutdown(Shutdown::Write).unwrap();
        socket
    });
    std::thread::sleep(Duration::from_millis(100));
    let mut all = Vec::new();
    near.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), RECORDS * 18_000);
    assert!(all.chunks(18_000).enumerate().all(|(n, record)| record.iter().all(|b| *b == n as u8)));
    // Open until the end: the relay says goodbye to it.
    let _socket = sender.join().unwrap();
    drop(near);
    relay.join().unwrap().unwrap();
}

#[test]
fn one_way_may_end_long_before_the_other() {
    let (mut a, mut b, relays) = connected();
    b.write_all(b"question").unwrap();
    b.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    a.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"question");
    a.write_all(b"answer").unwrap();
    drop(a);
    let mut all = Vec::new();
    b.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"answer");
    drop(b);
    for relay in relays {
        relay.join().unwrap().unwrap();
    }
}

#[test]
fn a_side_that_does_not_read_stops_the_other_and_not_the_memory() {
    let (a, mut b, relays) = connected();
    b.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let block = vec![0; 1 << 16];
    let mut taken = 0;
    while let Ok(n) = b.write(&block) {
        taken += n;
        assert!(taken < 64 << 20, "somebody keeps it all");
    }
    drop(a);
    drop(b);
    for relay in relays {
        let _ = relay.join().unwrap();
    }
}

#[test]
fn a_cut_connection_ends_both_sides() {
    let verified = files(None, Some(OWN));
    let (a, b) = UnixStream::pair().unwrap();
    let (server, client) = (Server::load(&verified).unwrap(), Client::load(&verified).unwrap());
    let wire = b.try_clone().unwrap();
    let thread = std::thread::spawn(move || server.accept(a.into(), soon()).unwrap());
    let session = client.connect(b.into(), "localhost", soon()).unwrap();
    let server = thread.join().unwrap();
    let (mut near, far) = UnixStream::pair().unwrap();
    let relay = std::thread::spawn(move || server.relay(far.into(), None));
    // No close_notify: the client's session goes without a word.
    drop(session);
    wire.shutdown(Shutdown::Both).unwrap();
    assert!(relay.join().unwrap().unwrap_err().to_string().contains("cut"));
    let mut all = Vec::new();
    near.read_to_end(&mut all).unwrap();
    assert!(all.is_empty());
}

#[test]
fn a_relay_leaves_when_it_is_time() {
    let verified = files(None, Some(OWN));
    let (server, client) = greet(&verified, &verified, "localhost");
    let (near, far) = UnixStream::pair().unwrap();
    let (mut last, end) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || client.unwrap().relay(end.into(), None));
    static TIME: AtomicBool = AtomicBool::new(false);
    let stop = std::sync::Arc::new(EventFd::new().unwrap());
    let relay = std::thread::spawn({
        let stop = std::sync::Arc::clone(&stop);
        move || {
            let leave = Leave { from: stop.as_fd(), now: &|| TIME.load(Ordering::Relaxed) };
            server.unwrap().relay(far.into(), Some(&leave))
        }
    });
    (&near).write_all(b"last words").unwrap();
    stop.write(1).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!relay.is_finished(), "not yet");
    TIME.store(true, Ordering::Relaxed);
    relay.join().unwrap().unwrap();
    let mut text = String::new();
    last.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words");
    drop(last);
    thread.join().unwrap().unwrap();
    drop(near);
}
