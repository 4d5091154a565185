//! Against servers that play a written part.

use super::*;
use crate::utils::sys::net;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A server that answers each request with the next text of its part; a new connection for each inner list.
struct Server {
    path: PathBuf,
    thread: JoinHandle<Vec<String>>,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

impl Server {
    fn start(part: &[&[&str]]) -> (Server, Client) {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("client-{}-{number}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let part: Vec<Vec<String>> = part.iter().map(|c| c.iter().map(|s| s.to_string()).collect()).collect();
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for answers in part {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let (request, fds) = read_request(&stream);
                    seen.push(format!("{request}|{}", fds.len()));
                    if let Some(fd) = fds.into_iter().nth(1) {
                        std::fs::File::from(fd).write_all(b"handed").unwrap();
                    }
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
            seen
        });
        let client = Client::connect(&format!("unix://{}", path.display()), None).unwrap();
        (Server { path, thread }, client)
    }

    fn finish(self) -> Vec<String> {
        let seen = self.thread.join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
        seen
    }
}

/// A request with a body of known length or none, or in chunks.
fn read_request(stream: &UnixStream) -> (String, Vec<OwnedFd>) {
    let (mut text, mut fds) = (Vec::new(), Vec::new());
    loop {
        let mut block = [0; 4096];
        let n = net::receive_by(stream.as_fd(), &mut block, &mut fds, None).unwrap();
        assert!(n > 0, "the client left: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&block[..n]);
        let all = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        let done = if head.contains("chunked") { body.ends_with("0\r\n\r\n") } else { body.len() >= length };
        if done {
            return (all, fds);
        }
    }
}

fn json_answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn requests_share_a_connection() {
    let version = json_answer("200 OK", "{\"Version\":\"9\",\"New\":1}");
    let (server, client) = Server::start(&[&[
        "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 2\r\n\r\n",
        &version,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[{\r\n2\r\n}]\r\n0\r\n\r\n",
    ]]);
    assert_eq!(client.ping().unwrap(), "1.44");
    assert_eq!(client.version().unwrap().version, "9");
    assert!(client.container_start("a b").unwrap());
    assert!(!client.container_stop("a", Some(-1), Some("INT")).unwrap());
    let mut listed = 0;
    client.container_list(&ListRequest { all: true, limit: Some(3), ..Default::default() }, |_| listed += 1).unwrap();
    assert_eq!(listed, 1);
    let seen = server.finish();
    let lines: Vec<&str> = seen.iter().map(|r| r.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "HEAD /_ping HTTP/1.1",
            "GET /v1.44/version HTTP/1.1",
            "POST /v1.44/containers/a%20b/start HTTP/1.1",
            "POST /v1.44/containers/a/stop?t=-1&signal=INT HTTP/1.1",
            "GET /v1.44/containers/json?all=1&limit=3 HTTP/1.1",
        ]
    );
    assert!(seen[2].contains("\r\nContent-Length: 0\r\n"));
}

#[test]
fn a_connection_that_the_daemon_closed_is_replaced() {
    let version = json_answer("200 OK", "{}");
    let closing = version.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let (server, client) = Server::start(&[&[&version], &[&closing], &[&version]]);
    for _ in 0..3 {
        client.version().unwrap();
        // The server closes after its answer, whether it said so or not.
        while client.idle.lock().unwrap().as_ref().is_some_and(|c| !c.is_stale()) {
            std::thread::yield_now();
        }
    }
    assert_eq!(server.finish().len(), 3);
}

#[test]
fn failures_keep_text_and_kind() {
    for (status, body, kind, text) in [
        ("404 Not Found", "{\"message\":\"No such container: a\"}", Kind::NotFound, "No such container: a"),
        ("400 Bad Request", "{\"message\":\"m\",\"exitCode\":127}", Kind::CommandNotFound, "m"),
        ("500 Oops", "plain text\n", Kind::Internal, "the daemon answered 500: plain text"),
    ] {
        let answer = json_answer(status, body);
        let (server, client) = Server::start(&[&[&answer]]);
        let e = client.container_start("a").unwrap_err();
        assert_eq!((e.kind(), e.to_string().as_str()), (kind, text));
        server.finish();
    }
}

#[test]
fn a_daemon_that_goes_away_is_told_from_one_that_refuses() {
    let (server, client) =
        Server::start(&[&[""], &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"], &["SSH-2.0\r\n\r\n"]]);
    let e = client.info().unwrap_err();
    assert_eq!((e.kind(), e.to_string().as_str()), (Kind::Remote, UNREACHABLE));
    assert_eq!(client.info().unwrap_err().kind(), Kind::Remote);
    assert_eq!(client.info().unwrap_err().kind(), Kind::Corrupt);
    server.finish();
}

#[test]
fn a_wait_begins_before_it_ends() {
    let (server, client) = Server::start(&[
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"StatusCode\":7}\r\n0\r\n\r\n"],
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ]);
    let wait = client.container_wait("a", WaitCondition::NextExit).unwrap();
    assert_eq!(wait.finish().unwrap().status_code, 7);
    let wait = client.container_wait("a", WaitCondition::Removed).unwrap();
    assert_eq!(wait.finish().unwrap_err().kind(), Kind::Remote);
    let seen = server.finish();
    assert!(seen[0].starts_with("POST /v1.44/containers/a/wait?condition=next-exit HTTP/1.1\r\n"), "{}", seen[0]);
}

#[test]
fn logs_are_taken_apart() {
    let frames = "\u{1}\0\0\0\0\0\0\u{3}out\u{2}\0\0\0\0\0\0\u{4}err\n\u{1}\0\0\0\0\0\0\u{1}!";
    let (a, b) = frames.split_at(13);
    let head = |media: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    };
    let chunks = format!("{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n", a.len(), b.len());
    let whole = format!("{}{chunks}0\r\n\r\n", head("application/vnd.docker.multiplexed-stream"));
    let raw = format!("{}{chunks}0\r\n\r\n", head("application/vnd.docker.raw-stream"));
    let cut = format!("{}{chunks}", head("application/vnd.docker.multiplexed-stream"));
    let (server, client) = Server::start(&[&[&whole], &[&raw], &[&cut]]);
    let request = LogsRequest { stdout: true, stderr: true, since: "10m".into(), ..Default::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    client.container_logs("a", &request, &mut out, &mut err).unwrap();
    assert_eq!((&out[..], &err[..]), (&b"out!"[..], &b"err\n"[..]));
    out.clear();
    client.container_logs("a", &request, &mut out, &mut err).unwrap();
    assert_eq!(out, frames.as_bytes());
    let e = client.container_logs("a", &request, &mut out, &mut err).unwrap_err();
    assert_eq!(e.kind(), Kind::Remote);
    assert!(server.finish()[0].starts_with("GET /v1.44/containers/a/logs?stdout=1&stderr=1&since=10m HTTP/1.1"));
}

#[test]
fn descriptors_go_along_and_the_end_comes_back() {
    let upgraded = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: isula-stdio\r\n\r\n";
    let ended = format!("{upgraded}{{\"exit_code\":3}}\n");
    let refused = json_answer("409 Conflict\r\nConnection: close", "{\"message\":\"it does not run\"}");
    let (server, client) = Server::start(&[&[&ended], &[upgraded], &[&refused], &["HTTP/1.1 200 OK\r\n\r\n"]]);
    let (output, mut kept) = UnixStream::pair().unwrap();
    let fds = [output.as_fd(); 3];
    let request = AttachRequest { stdin: true, stdout: true, detach_keys: "ctrl-x,x".into(), ..Default::default() };
    assert_eq!(client.attach_handed("a", &request, fds).unwrap().finish().unwrap().exit_code, Some(3));
    let mut text = [0; 6];
    kept.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"handed");
    let start = crate::api::exec::ExecStartRequest { detach: true, tty: true, ..Default::default() };
    assert_eq!(client.exec_start_handed("e", &start, fds).unwrap().finish().unwrap_err().kind(), Kind::Remote);
    assert_eq!(client.exec_start_handed("e", &start, fds).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(client.exec_start_handed("e", &start, fds).unwrap_err().kind(), Kind::Unsupported);
    let seen = server.finish();
    let want = "POST /v1.44/containers/a/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x,x HTTP/1.1\r\n";
    assert!(seen[0].starts_with(want) && seen[0].ends_with("|3"), "{}", seen[0]);
    assert!(seen[0].contains("\r\nConnection: Upgrade\r\nUpgrade: isula-stdio\r\n"));
    assert!(seen[1].contains("\"Detach\":false,\"Tty\":true"), "{}", seen[1]);
}

#[test]
fn streams_come_with_their_first_bytes() {
    let raw = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst";
    let (server, client) = Server::start(&[&[raw]]);
    let stream = client.attach_stream("a", &AttachRequest::default()).unwrap();
    assert!(!stream.multiplexed);
    let mut all = stream.early;
    UnixStream::from(stream.connection).read_to_end(&mut all).unwrap();
    assert_eq!(all, b"first");
    assert!(server.finish()[0].contains("\r\nUpgrade: tcp\r\n"));
}

#[test]
fn imports_are_sent_in_chunks_and_an_early_answer_counts() {
    let done = json_answer("200 OK", "{\"status\":\"sha256:1\"}\n");
    let (server, client) = Server::start(&[&[&done]]);
    let request = ImportRequest {
        repo: "r/a".into(),
        changes: vec!["CMD [\"a\"]".into(), "USER x".into()],
        ..Default::default()
    };
    let data = vec![b'd'; 300_000];
    assert_eq!(client.image_import(&request, &mut &data[..]).unwrap(), "sha256:1");
    let seen = server.finish();
    let line = seen[0].lines().next().unwrap();
    assert_eq!(
        line,
        "POST /v1.44/images/create?fromSrc=-&repo=r/a&changes=CMD%20%5B%22a%22%5D&changes=USER%20x HTTP/1.1"
    );
    assert!(seen[0].contains("\r\n20000\r\nddd") && seen[0].contains("d\r\n0\r\n\r\n"));

    // A server that answers after the head and closes, while the client would send for ever.
    let path = std::env::temp_dir().join(format!("client-early-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let refusal = json_answer("400 Bad Request", "{\"message\":\"not a tar archive\"}");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 10_000]).unwrap();
        stream.write_all(refusal.as_bytes()).unwrap();
    });
    let client = Client::connect(&format!("unix://{}", path.display()), None).unwrap();
    let e = client.image_import(&request, &mut std::io::repeat(0)).unwrap_err();
    assert_eq!((e.kind(), e.to_string().as_str()), (Kind::Invalid, "not a tar archive"));
    thread.join().unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_source_that_cannot_be_read_is_its_own_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(libc::EIO))
        }
    }
    let path = std::env::temp_dir().join(format!("client-broken-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let _listener = UnixListener::bind(&path).unwrap();
    let client = Client::connect(&format!("unix://{}", path.display()), None).unwrap();
    let e = client.image_import(&ImportRequest::default(), &mut Broken).unwrap_err();
    assert_eq!(e.kind(), Kind::Os(libc::EIO));
    std::fs::remove_file(&path).unwrap();
}
