//! Over socket pairs.

use super::*;
use std::io::Write;
use std::os::unix::net::UnixStream;

fn pair() -> (UnixStream, Connection) {
    let patience = Patience {
        idle: Duration::from_millis(100),
        idle_when_crowded: Duration::from_millis(10),
        head: Duration::from_millis(100),
        progress: Duration::from_millis(100),
        document: Duration::from_millis(300),
        stopping: Duration::from_millis(50),
    };
    let (client, server) = UnixStream::pair().unwrap();
    let shared = Arc::new(Shared::new(patience).unwrap());
    (client, Connection::new(server.into(), Peer::Unknown, shared))
}

fn request(connection: &mut Connection) -> Option<RequestHead> {
    match connection.next() {
        Next::Request(head, _) => Some(head),
        _ => None,
    }
}

fn body(connection: &mut Connection) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    connection.read_to_end(&mut out).map(|_| out)
}

#[test]
fn pipelined_requests_and_bodies_come_one_after_the_other() {
    let (mut client, mut c) = pair();
    client
        .write_all(
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloPOST /b HTTP/1.1\r\nHost: x\r\n\
              Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .unwrap();
    assert_eq!(request(&mut c).unwrap().target, "/a");
    assert_eq!(body(&mut c).unwrap(), b"hello");
    assert_eq!(request(&mut c).unwrap().target, "/b");
    assert_eq!(body(&mut c).unwrap(), b"abcde");
    assert!(c.settle());
    assert_eq!(request(&mut c).unwrap().target, "/c");
    assert_eq!(body(&mut c).unwrap(), b"");
    assert!(request(&mut c).is_none());
}

#[test]
fn bodies_nobody_read_are_skipped_when_they_are_there() {
    let (mut client, mut c) = pair();
    client
        .write_all(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    request(&mut c).unwrap();
    assert!(c.settle());
    assert_eq!(request(&mut c).unwrap().target, "/b");
    client.write_all(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel").unwrap();
    request(&mut c).unwrap();
    assert!(!c.settle());
}

#[test]
fn large_bodies_go_past_the_buffer() {
    let (mut client, mut c) = pair();
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i * 7) as u8).collect();
    let sent = data.clone();
    let writer = std::thread::spawn(move || {
        client.write_all(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for part in sent.chunks(70_001) {
            client.write_all(format!("{:x}\r\n", part.len()).as_bytes()).unwrap();
            client.write_all(part).unwrap();
            client.write_all(b"\r\n").unwrap();
        }
        client.write_all(b"0\r\n\r\n").unwrap();
        client
    });
    request(&mut c).unwrap();
    assert!(body(&mut c).unwrap() == data);
    writer.join().unwrap();
    assert!(c.buffer.capacity() <= 2 * READ);
}

#[test]
fn slow_heads_and_idle_connections_end() {
    let (mut client, mut c) = pair();
    let begin = Instant::now();
    assert!(request(&mut c).is_none());
    assert!(begin.elapsed() >= Duration::from_millis(100));
    // A byte now and then does not prolong the deadline.
    let writer = std::thread::spawn(move || {
        for b in b"GET / HTTP/1.1\r\nHost: a-long-name" {
            if client.write_all(&[*b]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let begin = Instant::now();
    assert!(request(&mut c).is_none());
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    drop(c);
    writer.join().unwrap();
}

#[test]
fn bodies_that_stall_or_end_early_are_errors() {
    for (tail, end) in [("abc", true), ("abc", false)] {
        let (mut client, mut c) = pair();
        client.write_all(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{tail}").as_bytes()).unwrap();
        if end {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        request(&mut c).unwrap();
        let want = if end { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::TimedOut };
        assert_eq!(body(&mut c).unwrap_err().kind(), want);
        assert!(!c.keeps());
    }
    let (mut client, mut c) = pair();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").unwrap();
    request(&mut c).unwrap();
    assert_eq!(body(&mut c).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_document_that_trickles_is_an_error() {
    let (mut client, mut c) = pair();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n").unwrap();
    request(&mut c).unwrap();
    c.expect_document();
    let writer = std::thread::spawn(move || {
        while client.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let begin = Instant::now();
    let e = Error::io("read request body", body(&mut c).unwrap_err());
    assert!(e.kind() == crate::error::Kind::Invalid && e.to_string().contains("does not come forward"), "{e}");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    drop(c);
    writer.join().unwrap();
}

#[test]
fn huge_heads_are_refused_and_garbage_too() {
    for text in [format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(40_000)), "\x16\x03\x01\r\n\r\n".into()] {
        let (mut client, mut c) = pair();
        client.write_all(text.as_bytes()).unwrap();
        assert!(matches!(c.next(), Next::Refused(_)));
    }
}

#[test]
fn continue_is_sent_only_to_those_who_wait() {
    let (mut client, mut c) = pair();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    request(&mut c).unwrap();
    let reader = std::thread::spawn(move || {
        let mut line = [0; 25];
        client.read_exact(&mut line).unwrap();
        client.write_all(b"ok").unwrap();
        line
    });
    assert_eq!(body(&mut c).unwrap(), b"ok");
    assert_eq!(&reader.join().unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn a_body_that_was_promised_after_continue_closes_the_connection() {
    let (mut client, mut c) = pair();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    request(&mut c).unwrap();
    assert!(!c.settle());
}

#[test]
fn watch_sees_leaving_and_stopping_but_not_more_bytes() {
    let ready = |w: &Watch| {
        let mut fds = [PollFd::new(w.fd(), PollFlags::POLLIN)];
        net::wait_for(&mut fds, Some(Instant::now())).unwrap()
    };
    let (mut client, c) = pair();
    let watch = Watch::new(&c).unwrap();
    client.write_all(b"more").unwrap();
    assert!(!ready(&watch));
    c.shared.stop.write(1).unwrap();
    assert!(ready(&watch));
    let (client, c) = pair();
    let watch = Watch::new(&c).unwrap();
    assert!(!ready(&watch));
    drop(client);
    assert!(ready(&watch));
}

#[test]
fn descriptors_do_not_pile_up() {
    let (client, mut c) = pair();
    let null = std::fs::File::open("/dev/null").unwrap();
    for b in b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" {
        net::send_all(client.as_fd(), &mut [IoSlice::new(&[*b])], &[null.as_fd(); 8], None).unwrap();
    }
    let Next::Request(_, fds) = c.next() else { panic!("no request") };
    assert_eq!(fds.len(), 4);
}

#[test]
fn descriptors_belong_to_the_request_they_came_with() {
    let (client, mut c) = pair();
    let null = std::fs::File::open("/dev/null").unwrap();
    let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    net::send_all(client.as_fd(), &mut [IoSlice::new(head)], &[null.as_fd(); 3], None).unwrap();
    let Next::Request(_, fds) = c.next() else { panic!("no request") };
    assert_eq!(fds.len(), 3);
    net::send_all(client.as_fd(), &mut [IoSlice::new(head)], &[], None).unwrap();
    let Next::Request(_, fds) = c.next() else { panic!("no request") };
    assert!(fds.is_empty());
}

#[test]
fn a_greeting_in_tls_is_answered_at_once() {
    let (mut client, mut c) = pair();
    client.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    assert!(matches!(c.next(), Next::Refused(e) if e.to_string().contains("TLS")));
}

#[test]
fn a_body_that_was_read_can_be_read_again() {
    let (mut client, mut c) = pair();
    let second = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
    write!(client, "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{second}")
        .unwrap();
    assert_eq!(request(&mut c).unwrap().target, "/a");
    let read = body(&mut c).unwrap();
    c.put_back(read);
    assert_eq!((c.body_left(), body(&mut c).unwrap()), (Some(3), b"abc".to_vec()));
    c.put_back(Vec::new());
    assert!(c.body_is_done());
    assert_eq!(request(&mut c).unwrap().target, "/b");
}
