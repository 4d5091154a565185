//! Real sockets below a directory of their own, with a fake in the daemon's place.

use super::*;
use crate::entry::exchange::{Exchange, Leaving, Outcome};
use crate::entry::rest::route::Call;
use crate::executor::Caller;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;

/// Answers everything with 204, `info` only when its client leaves or the server stops, and an upload when it has come.
struct Fake {
    left: AtomicUsize,
}

impl Perform for Fake {
    fn perform(&self, call: Call, mut exchange: Exchange) -> Outcome {
        if matches!(call, Call::Info) {
            let leaving = Leaving::watch(&exchange.connection);
            let mut fds = [PollFd::new(leaving.gone().unwrap(), PollFlags::POLLIN)];
            let deadline = Instant::now() + Duration::from_secs(20);
            assert!(net::wait_for(&mut fds, Some(deadline)).unwrap());
            self.left.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(call, Call::ImageLoad { .. }) {
            let _ = std::io::copy(&mut exchange.connection, &mut std::io::sink());
        }
        exchange.empty(204)
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("entry-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s.sock")
    }

    fn options(&self) -> Options {
        Options { hosts: vec![format!("unix://{}", self.socket().display())], ..Options::default() }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Running {
    stopper: Stopper,
    thread: std::thread::JoinHandle<Result<()>>,
    fake: Arc<Fake>,
}

impl Running {
    fn start(options: Options) -> Running {
        let listener = Listener::open(options).unwrap();
        let (stopper, fake) = (listener.stopper(), Arc::new(Fake { left: AtomicUsize::new(0) }));
        let performer = fake.clone();
        let thread = std::thread::spawn(move || listener.run_with(performer, || {}));
        Running { stopper, thread, fake }
    }

    fn stop(self) -> Arc<Fake> {
        self.stopper.stop();
        self.thread.join().unwrap().unwrap();
        self.fake
    }
}

fn ask(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn serves_unix_and_tcp_and_removes_its_file() {
    let d = Directory::new("both");
    let mut options = d.options();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    options.hosts.push(format!("tcp://127.0.0.1:{port}"));
    let running = Running::start(options);
    let mode = std::fs::symlink_metadata(d.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    assert!(ask(UnixStream::connect(d.socket()).unwrap(), "/_ping").ends_with("OK"));
    assert!(ask(TcpStream::connect(("127.0.0.1", port)).unwrap(), "/_ping").ends_with("OK"));
    running.stop();
    assert!(!d.socket().exists());
}

#[test]
fn a_stale_file_is_replaced_and_a_live_one_is_not() {
    let d = Directory::new("stale");
    drop(std::os::unix::net::UnixListener::bind(d.socket()).unwrap());
    let first = Listener::open(d.options()).unwrap();
    let e = Listener::open(d.options()).err().unwrap();
    assert_eq!(e.kind(), Kind::Exists);
    assert!(e.to_string().contains("somebody listens on"), "{e}");
    drop(first);
    assert!(!d.socket().exists());
    std::fs::write(d.socket(), b"precious").unwrap();
    assert_eq!(Listener::open(d.options()).err().unwrap().kind(), Kind::Exists);
    assert_eq!(std::fs::read(d.socket()).unwrap(), b"precious");
}

#[test]
fn a_taken_port_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = vec![format!("tcp://{}", taken.local_addr().unwrap())];
    let e = Listener::open(Options { hosts, ..Options::default() }).err().unwrap();
    assert_eq!(e.kind(), Kind::Exists);
}

#[test]
fn anothers_file_is_left_alone_at_the_end() {
    let d = Directory::new("newer");
    let old = Listener::open(d.options()).unwrap();
    std::fs::remove_file(d.socket()).unwrap();
    let _new = std::os::unix::net::UnixListener::bind(d.socket()).unwrap();
    drop(old);
    assert!(d.socket().exists());
}

#[test]
fn one_bad_host_opens_none() {
    let d = Directory::new("bad");
    for bad in ["tcp://127.0.0.1:x".to_owned(), format!("unix:///{}", "a".repeat(200)), "fd://".into()] {
        let mut options = d.options();
        options.hosts.push(bad);
        assert_eq!(Listener::open(options).err().unwrap().kind(), Kind::Invalid);
        assert!(!d.socket().exists());
    }
}

#[test]
fn passed_sockets_are_served_and_their_file_stays() {
    let d = Directory::new("passed");
    let passed = std::os::unix::net::UnixListener::bind(d.socket()).unwrap();
    let copy = passed.try_clone().unwrap();
    let listener = Listener::open(Options { passed: vec![copy.into()], ..d.options() }).unwrap();
    assert_eq!(listener.sockets.len(), 1);
    drop(listener);
    assert!(d.socket().exists());
    // Another path to it is the same socket.
    std::os::unix::fs::symlink(&d.0, d.0.join("link")).unwrap();
    let hosts = vec![format!("unix://{}", d.0.join("link/s.sock").display())];
    let listener = Listener::open(Options { hosts, passed: vec![passed.into()], ..Options::default() }).unwrap();
    assert_eq!(listener.sockets.len(), 1);
}

#[test]
fn an_upload_that_stalls_does_not_hold_the_stop() {
    let d = Directory::new("stalled");
    let running = Running::start(d.options());
    let mut stalled = UnixStream::connect(d.socket()).unwrap();
    stalled.write_all(b"POST /images/load HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx").unwrap();
    let mut half = UnixStream::connect(d.socket()).unwrap();
    half.write_all(b"GET /info HT").unwrap();
    assert!(ask(UnixStream::connect(d.socket()).unwrap(), "/_ping").ends_with("OK"));
    let begin = Instant::now();
    running.stop();
    assert!(begin.elapsed() < DRAIN / 2, "{:?}", begin.elapsed());
}

#[test]
fn connections_beyond_the_bound_get_503_and_places_come_back() {
    let d = Directory::new("bound");
    let running = Running::start(Options { connections: 2, ..d.options() });
    let connect = || UnixStream::connect(d.socket()).unwrap();
    let held: Vec<UnixStream> = (0..2)
        .map(|_| {
            let mut stream = connect();
            stream.write_all(b"GET /inf").unwrap();
            stream
        })
        .collect();
    let text = ask(connect(), "/_ping");
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("too many connections"), "{text}");
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !ask(connect(), "/_ping").ends_with("OK") {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    running.stop();
}

#[test]
fn a_stop_wakes_requests_that_wait_and_does_not_linger() {
    let d = Directory::new("stop");
    let running = Running::start(d.options());
    let mut waiting = UnixStream::connect(d.socket()).unwrap();
    waiting.write_all(b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let idle = UnixStream::connect(d.socket()).unwrap();
    // Accepted, both of them: the second answers.
    assert!(ask(idle, "/_ping").ends_with("OK"));
    let begin = Instant::now();
    let fake = running.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(fake.left.load(Ordering::Relaxed), 1);
    let mut text = String::new();
    waiting.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 204 "), "{text}");
}

#[test]
fn clients_that_leave_are_noticed() {
    let d = Directory::new("leave");
    let running = Running::start(d.options());
    let mut waiting = UnixStream::connect(d.socket()).unwrap();
    waiting.write_all(b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    drop(waiting);
    let deadline = Instant::now() + Duration::from_secs(5);
    while running.fake.left.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    running.stop();
}

#[test]
fn groups() {
    assert_eq!(group_id("root"), Some(0));
    assert_eq!(group_id("1234"), Some(1234));
    assert_eq!(group_id("no such group"), None);
    assert_eq!(group_id(""), None);
}
