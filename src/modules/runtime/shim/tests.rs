//! The conversation with a real shim whose containers are plain processes.

use super::*;
use crate::api::oci::runtime::{ConsoleSize, Process};
use crate::api::shim::{Exec, LogFile, StreamEnd, StreamMode, Streams};
use crate::utils::sys::process;
use serde_json::Value;
use std::io::{Seek, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Makes the command run the test binary as a shim without an engine.
pub(super) fn run_fake(command: &mut Command) {
    command.args(["--exact", "cmd::shim::tests::fake_shim", "--nocapture", "--test-threads=1"]);
    command.env("ISULABOX_TEST_SHIM", "1");
    if let Some(path) = GATE.with_borrow(Clone::clone) {
        command.env("ISULABOX_TEST_SHIM_GATE", path);
    }
}

thread_local! {
    /// The file without which shims that this thread starts do nothing.
    static GATE: std::cell::RefCell<Option<PathBuf>> = const { std::cell::RefCell::new(None) };
}

/// A container's directory, and its end when the test ends.
struct Container {
    directory: PathBuf,
    watch: Option<Watch>,
    launched: Launched,
}

impl Drop for Container {
    fn drop(&mut self) {
        if process::is_alive(self.launched.shim_pid, self.launched.shim_start_time) {
            let kill = Request::Signal { exec_id: None, signal: libc::SIGKILL, all: true };
            let _ = request(&self.directory, None, &kill, &[]);
            if let Some(watch) = self.watch.take() {
                watch.release();
            }
        }
        // A shim that nobody watches ends by itself, and writes its exit file here before.
        let deadline = Instant::now() + Duration::from_secs(5);
        while process::is_alive(self.launched.shim_pid, self.launched.shim_start_time) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            reap();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|w| (*w).to_owned()).collect()
}

fn order(name: &str, args: &[&str], terminal: bool) -> Launch {
    let directory = std::env::temp_dir().join(format!("shim-test-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let process = Process { args: words(args), terminal, ..Process::default() };
    let spec = Spec { process: Some(process), ..Spec::default() };
    std::fs::write(directory.join("config.json"), json::to_vec(&spec)).unwrap();
    Launch {
        version: VERSION,
        id: name.into(),
        bundle: directory.clone(),
        state_directory: directory.clone(),
        exit_directory: directory.clone(),
        exit_durable: false,
        overlay: None,
        device: None,
        log: Some(LogFile { path: directory.join("console.log"), max_size: 0, max_files: 1 }),
        syslog_tag: String::new(),
        syslog_facility: 0,
        realtime_period: 0,
        realtime_runtime: 0,
        open_stdin: false,
        stdin_once: false,
        no_pivot: false,
        runtime: Vec::new(),
        start_timeout_ms: 0,
        clients: Vec::new(),
    }
}

fn start(order: Launch, fds: &[BorrowedFd<'_>]) -> Container {
    let (watch, launched) = launch(&order, fds).unwrap();
    Container { directory: order.bundle, watch: Some(watch), launched }
}

fn run(name: &str, script: &str) -> Container {
    start(order(name, &["sh", "-c", script], false), &[])
}

impl Container {
    fn event(&mut self) -> Event {
        let watch = self.watch.as_mut().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(event) = watch.next_event().unwrap() {
                return event;
            }
            assert!(Instant::now() < deadline, "no event");
            wait_readable(&watch.socket, Some(Duration::from_secs(1))).unwrap();
        }
    }

    fn exited(&mut self) -> Exit {
        match self.event() {
            Event::Exited(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    fn finish(mut self) -> Exit {
        let exit = self.exited();
        self.watch.take().unwrap().release();
        assert!(!self.directory.join(SOCKET).exists());
        self.shim_ends();
        exit
    }

    /// It may still have seen off a client when the release returned.
    fn shim_ends(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while process::is_alive(self.launched.shim_pid, self.launched.shim_start_time) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
            reap();
        }
    }

    fn kill(&self) {
        self.ask(&Request::Signal { exec_id: None, signal: libc::SIGKILL, all: false }).unwrap();
    }

    fn ask(&self, what: &Request) -> Result<Reply> {
        request(&self.directory, None, what, &[]).map(|reply| reply.expect("a shim"))
    }

    fn attach(&self, streams: Streams, fds: &[BorrowedFd<'_>]) {
        request(&self.directory, None, &Request::Attach(streams), fds).unwrap();
    }

    fn exec(&self, id: &str, args: &[&str], streams: Option<Streams>, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
        let exec = Exec {
            exec_id: id.into(),
            process: Process { args: words(args), ..Process::default() },
            open_stdin: streams.as_ref().is_some_and(|s| s.stdin),
            privileged: false,
            streams,
            note: format!("note of {id}"),
        };
        request(&self.directory, None, &Request::Exec(Box::new(exec)), fds).map(|reply| reply.expect("a shim"))
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.directory.join("console.log")).unwrap();
        text.lines().map(|l| json::parse::<Value>(l.as_bytes()).unwrap()["log"].as_str().unwrap().to_owned()).collect()
    }
}

fn streams(mode: StreamMode, stdin: bool) -> Streams {
    Streams { mode, stdin, stdout: true, stderr: true, ..Streams::default() }
}

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (a, b)
}

fn read_all(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

/// Takes docker's frames apart: standard output and error.
fn unframe(mut bytes: &[u8]) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes(head[4..].try_into().unwrap()) as usize;
        assert_eq!(head[1..4], [0; 3]);
        streams[head[0] as usize - 1].extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty());
    streams
}

fn end_line(bytes: &[u8]) -> StreamEnd {
    json::parse(bytes.strip_suffix(b"\n").unwrap()).unwrap()
}

/// A daemon that comes after one which was killed in the middle of a start waits for the end of that start.
#[test]
fn a_shim_is_found_before_it_has_done_anything() {
    let order = order("early", &["sleep", "100"], false);
    let (directory, gate) = (order.bundle.clone(), order.bundle.join("gate"));
    let path = gate.clone();
    let starting = std::thread::spawn(move || {
        GATE.set(Some(path));
        start(order, &[])
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while !socket::is_listening(&directory, SOCKET) {
        assert!(Instant::now() < deadline, "nobody listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    let later = std::thread::spawn(move || watch(&directory).unwrap());
    std::fs::write(gate, "").unwrap();
    let container = starting.join().unwrap();
    let (_watch, launched) = later.join().unwrap();
    assert_eq!(launched, container.launched);
    container.kill();
}

#[test]
fn output_is_logged_and_the_exit_is_told_and_written() {
    let container = run("exit", "echo out; echo err >&2; printf tail; exit 3");
    let (directory, started_at) = (container.directory.clone(), container.launched.started_at);
    let keep = order("keep", &["true"], false); // a directory of its own to read from after the end
    let log = directory.join("console.log");
    let mut container = container;
    let exit = container.exited();
    assert_eq!((exit.exit_code, exit.oom_killed, exit.started_at), (3, false, started_at));
    assert_eq!(read_exit(&directory).unwrap(), Some(exit));
    assert!(log.exists());
    let text = container.log();
    assert!(text.contains("out\n") && text.contains("err\n") && text.ends_with("tail"), "{text:?}");
    assert!(request(&directory, None, &Request::Stats, &[]).unwrap().is_none());
    container.watch.take().unwrap().release();
    assert_eq!(watch(&directory).err().unwrap().kind(), Kind::NotFound);
    assert!(read_exit(&keep.bundle).unwrap().is_none());
    std::fs::remove_dir_all(keep.bundle).unwrap();
}

#[test]
fn a_program_that_is_not_there_fails_the_launch() {
    let order = order("missing", &["/no/such/program"], false);
    let e = launch(&order, &[]).err().unwrap();
    assert_eq!(e.kind(), Kind::CommandNotFound);
    assert!(!order.bundle.join(SOCKET).exists());
    std::fs::remove_dir_all(&order.bundle).unwrap();
}

#[test]
fn killed_is_128_and_the_signal_also_beyond_the_named_ones() {
    let container = run("kill", "sleep 100");
    container.kill();
    assert_eq!(container.finish().exit_code, 137);
    let container = run("rt", "sleep 100");
    container.ask(&Request::Signal { exec_id: None, signal: libc::SIGRTMIN() + 3, all: false }).unwrap();
    assert_eq!(i32::from(container.finish().exit_code), 128 + libc::SIGRTMIN() + 3);
}

#[test]
fn a_client_from_before_the_start_gets_everything_in_frames() {
    let (ours, theirs) = pair();
    let mut order = order("frames", &["sh", "-c", "echo one; echo two >&2; echo three"], false);
    order.clients = vec![Streams { preamble: b"HEAD\r\n".to_vec(), ..streams(StreamMode::Multiplexed, false) }];
    let container = start(order, &[theirs.as_fd()]);
    drop(theirs);
    let all = read_all(&ours);
    let [out, err] = unframe(all.strip_prefix(b"HEAD\r\n").unwrap());
    assert_eq!((out, err), (b"one\nthree\n".to_vec(), b"two\n".to_vec()));
    drop(ours);
    assert_eq!(container.finish().exit_code, 0);
}

#[test]
fn standard_input_arrives_with_what_came_early_and_ends_once() {
    let (mut ours, theirs) = pair();
    let mut order = order("stdin", &["cat"], false);
    (order.open_stdin, order.stdin_once) = (true, true);
    order.clients = vec![Streams { early: b"early ".to_vec(), ..streams(StreamMode::Raw, true) }];
    let container = start(order, &[theirs.as_fd()]);
    drop(theirs);
    ours.write_all(b"late").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&ours), b"early late");
    drop(ours);
    assert_eq!(container.finish().exit_code, 0);
}

#[test]
fn without_stdin_once_input_stays_open_for_the_next_client() {
    let mut order = order("stdin-keep", &["head", "-n", "2"], false);
    order.open_stdin = true;
    let container = start(order, &[]);
    for line in ["one\n", "two\n"] {
        let (mut ours, theirs) = pair();
        container.attach(streams(StreamMode::Raw, true), &[theirs.as_fd()]);
        ours.write_all(line.as_bytes()).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        drop(theirs);
    }
    assert_eq!(container.finish().exit_code, 0);
}

#[test]
fn handed_pipes_carry_data_and_the_connection_the_end() {
    let (ours, theirs) = pair();
    let (input, mut to) = std::io::pipe().unwrap();
    let (from, output) = std::io::pipe().unwrap();
    let mut order = order("handed", &["sh", "-c", "cat; echo err >&2; exit 5"], false);
    (order.open_stdin, order.stdin_once) = (true, true);
    order.clients = vec![streams(StreamMode::Handed, true)];
    let container = start(order, &[theirs.as_fd(), input.as_fd(), output.as_fd(), output.as_fd()]);
    drop((theirs, input, output));
    to.write_all(b"through pipes\n").unwrap();
    drop(to);
    assert_eq!(read_all(from), b"through pipes\nerr\n");
    assert_eq!(end_line(&read_all(ours)), StreamEnd { exit_code: Some(5) });
    assert_eq!(container.log(), "through pipes\nerr\n");
    assert_eq!(container.finish().exit_code, 5);
}

#[test]
fn a_handed_file_goes_on_where_it_stands() {
    let (ours, theirs) = pair();
    let mut order = order("file", &["sh", "-c", "echo added"], false);
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(order.bundle.join("f"))
        .unwrap();
    file.write_all(b"before\n").unwrap();
    order.clients = vec![streams(StreamMode::Handed, false)];
    let container = start(order, &[theirs.as_fd(), file.as_fd(), file.as_fd(), file.as_fd()]);
    drop(theirs);
    assert_eq!(end_line(&read_all(ours)), StreamEnd { exit_code: Some(0) });
    file.rewind().unwrap();
    assert_eq!(read_all(file), b"before\nadded\n");
    container.finish();
}

#[test]
fn a_reader_that_leaves_detaches_and_the_container_goes_on() {
    let (ours, theirs) = pair();
    let (from, output) = std::io::pipe().unwrap();
    let mut order = order("head", &["sh", "-c", "while :; do echo line; done"], false);
    order.log = None;
    order.clients = vec![streams(StreamMode::Handed, false)];
    let container = start(order, &[theirs.as_fd(), from.as_fd(), output.as_fd(), output.as_fd()]);
    drop((theirs, output, from)); // `| head -0`
    assert_eq!(end_line(&read_all(ours)), StreamEnd { exit_code: None });
    container.ask(&Request::Stats).unwrap();
    container.kill();
    assert_eq!(container.finish().exit_code, 137);
}

#[test]
fn a_terminal_detaches_resizes_and_is_attached_again() {
    let mut order = order("tty", &["sh", "-c", "stty -echo raw; echo ready; cat"], true);
    order.open_stdin = true;
    let (mut ours, theirs) = pair();
    order.clients = vec![Streams { detach_keys: vec![0x10, 0x11], ..streams(StreamMode::Raw, true) }];
    let container = start(order, &[theirs.as_fd()]);
    drop(theirs);
    let mut ready = [0u8; 6];
    ours.read_exact(&mut ready).unwrap();
    ours.write_all(b"abc\x10\x11xyz").unwrap();
    let rest = read_all(&ours);
    assert!(rest.is_empty() || rest.ends_with(b"abc"), "{rest:?}");
    container.ask(&Request::Resize { exec_id: None, size: ConsoleSize { height: 20, width: 90 } }).unwrap();
    let (mut ours, theirs) = pair();
    container.attach(streams(StreamMode::Raw, true), &[theirs.as_fd()]);
    drop(theirs);
    ours.write_all(b"again").unwrap();
    // What the first client typed may come back only now: cat had not answered yet when it detached.
    let mut seen = vec![0u8; 5];
    ours.read_exact(&mut seen).unwrap();
    if seen.starts_with(b"abc") {
        seen.drain(..3);
        let mut more = [0u8; 3];
        ours.read_exact(&mut more).unwrap();
        seen.extend(more);
    }
    assert_eq!(seen, b"again");
    container.kill();
    assert_eq!(read_all(ours), b"");
    let log = container.log();
    assert!(log.ends_with("abcagain") && !log.contains("xyz"), "{log:?}");
    container.finish();
}

#[test]
fn the_last_words_on_a_terminal_are_not_lost() {
    for round in 0..10 {
        let (ours, theirs) = pair();
        let mut order = order(&format!("words-{round}"), &["sh", "-c", "seq 500; exit 4"], true);
        order.clients = vec![streams(StreamMode::Raw, false)];
        let container = start(order, &[theirs.as_fd()]);
        drop(theirs);
        let all = String::from_utf8(read_all(ours)).unwrap();
        assert_eq!(all.lines().count(), 500);
        assert!(all.ends_with("500\r\n"));
        assert_eq!(container.finish().exit_code, 4);
    }
}

#[test]
fn exec_sessions_in_every_mode() {
    let mut container = run("exec", "sleep 100");
    // Detached.
    assert!(matches!(container.exec("a", &["sh", "-c", "exit 9"], None, &[]), Ok(Reply::Executed { pid: 1.. })));
    assert!(matches!(container.event(), Event::ExecExited { exec_id, exit_code: 9 } if exec_id == "a"));
    // Frames.
    let (ours, theirs) = pair();
    let script = ["sh", "-c", "echo e >&2; echo o"];
    container.exec("b", &script, Some(streams(StreamMode::Multiplexed, false)), &[theirs.as_fd()]).unwrap();
    drop(theirs);
    assert_eq!(unframe(&read_all(ours)), [b"o\n".to_vec(), b"e\n".to_vec()]);
    assert!(matches!(container.event(), Event::ExecExited { exec_id, exit_code: 0 } if exec_id == "b"));
    // The process has the client's pipes themselves.
    let (ours, theirs) = pair();
    let (input, mut to) = std::io::pipe().unwrap();
    let (from, output) = std::io::pipe().unwrap();
    let fds = [theirs.as_fd(), input.as_fd(), output.as_fd(), output.as_fd()];
    container.exec("c", &["cat"], Some(streams(StreamMode::Handed, true)), &fds).unwrap();
    drop((theirs, input, output));
    to.write_all(b"direct").unwrap();
    drop(to);
    assert_eq!(read_all(from), b"direct");
    assert_eq!(end_line(&read_all(ours)), StreamEnd { exit_code: Some(0) });
    container.event();
    // Failing ones leave nothing and may use the id again.
    let e = container.exec("d", &["/no/such"], None, &[]).unwrap_err();
    assert_eq!(e.kind(), Kind::CommandNotFound);
    let e = container.exec("d", &["true"], Some(streams(StreamMode::Handed, true)), &[from_null().as_fd()]);
    assert_eq!(e.unwrap_err().kind(), Kind::Invalid);
    container.exec("d", &["sleep", "100"], None, &[]).unwrap();
    assert_eq!(container.exec("d", &["true"], None, &[]).unwrap_err().kind(), Kind::Conflict);
    container.ask(&Request::Signal { exec_id: Some("d".into()), signal: 15, all: false }).unwrap();
    assert!(matches!(container.event(), Event::ExecExited { exit_code: 143, .. }));
    let signal = Request::Signal { exec_id: Some("d".into()), signal: 15, all: false };
    assert_eq!(container.ask(&signal).unwrap_err().kind(), Kind::NotFound);
    // Its output does not go to the log.
    assert_eq!(container.log(), "");
    // What runs at the end ends with the container, and is told before it.
    container.exec("e", &["sleep", "100"], None, &[]).unwrap();
    container.kill();
    assert!(matches!(container.event(), Event::ExecExited { exec_id, exit_code: 137 } if exec_id == "e"));
    assert_eq!(container.finish().exit_code, 137);
}

fn from_null() -> OwnedFd {
    descriptor::null().unwrap()
}

#[test]
fn a_session_ends_with_its_process_though_a_child_holds_the_pipe() {
    let container = run("daemonised", "sleep 100");
    let (ours, theirs) = pair();
    let script = ["sh", "-c", "sleep 100 & echo started"];
    container.exec("a", &script, Some(streams(StreamMode::Raw, false)), &[theirs.as_fd()]).unwrap();
    drop(theirs);
    let begin = Instant::now();
    assert_eq!(read_all(ours), b"started\n");
    assert!(begin.elapsed() < Duration::from_secs(10));
    container.kill();
}

#[test]
fn fifty_sessions_at_once() {
    let mut container = run("fifty", "sleep 100");
    let mut clients = Vec::new();
    for n in 0..50 {
        let (ours, theirs) = pair();
        let script = ["sh", "-c", &format!("read x; echo {n} $x")];
        let streams = streams(StreamMode::Multiplexed, true);
        container.exec(&n.to_string(), &script, Some(streams), &[theirs.as_fd()]).unwrap();
        clients.push(ours);
    }
    let (_, launched) = watch(&container.directory).unwrap();
    assert_eq!((launched.execs.len(), launched.live_execs.len()), (50, 50));
    assert!(launched.live_execs.iter().all(|e| e.pid > 1 && e.note == format!("note of {}", e.exec_id)));
    container.watch = Some(watch(&container.directory).unwrap().0);
    for (n, mut client) in clients.into_iter().enumerate() {
        client.write_all(b"go\n").unwrap();
        assert_eq!(unframe(&read_all(&client))[0], format!("{n} go\n").into_bytes());
    }
    for _ in 0..50 {
        assert!(matches!(container.event(), Event::ExecExited { exit_code: 0, .. }));
    }
    let (_, launched) = watch(&container.directory).unwrap();
    assert_eq!((launched.execs.len(), launched.ended_execs.len()), (0, 32));
    container.kill();
}

#[test]
fn a_daemon_that_comes_back_loses_nothing() {
    let mut container = run("restart", "sleep 100");
    let first = container.launched.clone();
    // The first daemon dies without a word: its child lives on.
    let mut child = container.watch.take().and_then(orphan).unwrap();
    container.exec("x", &["sh", "-c", "exit 7"], None, &[]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let (again, launched) = watch(&container.directory).unwrap();
    assert_eq!(
        (launched.pid, launched.start_time, launched.started_at),
        (first.pid, first.start_time, first.started_at)
    );
    assert_eq!(launched.ended_execs.len(), 1);
    let ended = &launched.ended_execs[0];
    assert_eq!((ended.exit_code, &*ended.note), (7, "note of x"));
    assert!(ended.untold.is_some_and(|at| at > first.started_at), "no daemon knows of it");
    drop(again);
    let (again, launched) = watch(&container.directory).unwrap();
    assert_eq!((&*launched.ended_execs[0].note, launched.ended_execs[0].untold), ("note of x", None), "told once");
    container.watch = Some(again);
    container.kill();
    assert_eq!(container.exited().exit_code, 137);
    // Also when the exit was told but not recorded: the next daemon hears it again.
    let (again, launched) = watch(&container.directory).unwrap();
    assert_eq!(launched.exit.unwrap().exit_code, 137);
    container.watch = Some(again);
    assert_eq!(container.exited().exit_code, 137);
    container.watch.take().unwrap().release();
    assert!(child.wait().unwrap().success());
}

/// Closes the watch connection as the end of the daemon does.
fn orphan(mut watch: Watch) -> Option<Child> {
    watch.child.take()
}

#[test]
fn nobody_watching_is_no_reason_to_stay() {
    let mut container = run("alone", "read x < /dev/null; sleep 0.3; exit 2");
    let mut child = container.watch.take().and_then(orphan).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(read_exit(&container.directory).unwrap().unwrap().exit_code, 2);
    assert!(!container.directory.join(SOCKET).exists());
}

#[test]
fn a_slow_client_gets_every_byte() {
    let script = "i=0; while [ $i -lt 40 ]; do head -c 100000 /dev/zero | tr '\\0' x; i=$((i+1)); done";
    let (ours, theirs) = pair();
    let mut order = order("slow", &["sh", "-c", script], false);
    order.clients = vec![streams(StreamMode::Multiplexed, false)];
    let container = start(order, &[theirs.as_fd()]);
    drop(theirs);
    std::thread::sleep(Duration::from_millis(300));
    let [out, _] = unframe(&read_all(&ours));
    assert!(out.len() == 4_000_000 && out.iter().all(|&b| b == b'x'), "{}", out.len());
    drop(ours);
    assert_eq!(container.finish().exit_code, 0);
}

#[test]
fn an_exit_does_not_wait_for_a_client_that_does_not_read() {
    let (ours, theirs) = pair();
    let mut order = order("stuck", &["sh", "-c", "yes"], false);
    order.log = None;
    order.clients = vec![streams(StreamMode::Raw, false)];
    let mut container = start(order, &[theirs.as_fd()]);
    drop(theirs);
    std::thread::sleep(Duration::from_millis(300));
    container.kill();
    assert_eq!(container.exited().exit_code, 137);
    container.watch.take().unwrap().release(); // comes back though the shim still has a client
    assert!(!container.directory.join(SOCKET).exists());
    let rest = read_all(ours);
    assert!(rest.len() > 100_000 && rest.chunks_exact(2).all(|c| c == b"y\n"));
    container.shim_ends();
}

#[test]
fn clients_that_vanish_leave_no_trace() {
    let mut order = order("vanish", &["sh", "-c", "while :; do echo x; sleep 0.01; done"], false);
    order.open_stdin = true;
    let container = start(order, &[]);
    let descriptors = format!("/proc/{}/fd", container.launched.shim_pid);
    let count = || std::fs::read_dir(&descriptors).unwrap().count();
    let before = count();
    for round in 0..30 {
        let (ours, theirs) = pair();
        let (from, to) = std::io::pipe().unwrap();
        match round % 3 {
            0 => container.attach(streams(StreamMode::Raw, true), &[theirs.as_fd()]),
            1 => container.attach(streams(StreamMode::Multiplexed, false), &[theirs.as_fd()]),
            _ => {
                let fds = [theirs.as_fd(), from.as_fd(), to.as_fd(), to.as_fd()];
                container.attach(streams(StreamMode::Handed, true), &fds);
            }
        }
        drop((ours, theirs, from, to));
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while count() > before {
        assert!(Instant::now() < deadline, "{} descriptors, {before} before", count());
        std::thread::sleep(Duration::from_millis(20));
    }
    container.ask(&Request::Processes).unwrap();
    container.kill();
    assert_eq!(container.finish().exit_code, 137);
}

#[test]
fn an_idle_shim_does_not_spin() {
    let mut order = order("idle", &["sh", "-c", "exec sleep 100 <&- >&- 2>&-"], false);
    order.open_stdin = true;
    let container = start(order, &[]);
    let (ours, theirs) = pair();
    container.attach(streams(StreamMode::Multiplexed, true), &[theirs.as_fd()]);
    drop(theirs);
    ours.shutdown(Shutdown::Write).unwrap();
    // A client that left before its early bytes found room.
    let mut order = self::order("idle-early", &["sleep", "100"], false);
    order.open_stdin = true;
    let second = start(order, &[]);
    let (gone, theirs) = pair();
    second.attach(Streams { early: vec![b'x'; 300_000], ..streams(StreamMode::Raw, true) }, &[theirs.as_fd()]);
    drop((gone, theirs));
    let (from, to) = std::io::pipe().unwrap();
    let (ours2, theirs) = pair();
    container.attach(streams(StreamMode::Handed, true), &[theirs.as_fd(), from.as_fd(), to.as_fd(), to.as_fd()]);
    drop((to, theirs));
    std::thread::sleep(Duration::from_millis(700));
    let ticks = || {
        [&container, &second].map(|c| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", c.launched.shim_pid)).unwrap();
            let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        })
    };
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ticks(), before, "processor time used");
    drop((ours, ours2));
    container.kill();
    second.kill();
}

#[test]
fn pausing_refuses_sessions_and_dies_by_sigkill() {
    let container = run("pause", "sleep 100");
    container.ask(&Request::Pause).unwrap();
    assert!(watch(&container.directory).unwrap().1.paused);
    assert_eq!(container.exec("a", &["true"], None, &[]).unwrap_err().kind(), Kind::Conflict);
    container.ask(&Request::Resume).unwrap();
    container.exec("a", &["true"], None, &[]).unwrap();
    let e = container.ask(&Request::Update(Box::default())).unwrap_err();
    assert_eq!((e.kind(), e.to_string()), (Kind::Unsupported, "no limits here".into()));
    assert_eq!(container.ask(&Request::Release).unwrap_err().kind(), Kind::Conflict);
    container.kill();
}

#[test]
fn rubbish_is_refused_and_harms_nothing() {
    let container = run("rubbish", "sleep 100");
    for body in
        [&b""[..], b"{}", b"\xff\xff", br#"{"Signal":{"exec_id":null,"signal":-1,"all":false}}"#, br#""NoSuchThing""#]
    {
        let socket = connect(&container.directory).unwrap();
        socket::send(socket.as_fd(), body, &[from_null().as_fd()]).unwrap();
        assert!(matches!(first_reply(&socket, Some(Duration::from_secs(5))), Ok(Reply::Failed(_))));
    }
    drop(connect(&container.directory).unwrap());
    container.kill();
    assert_eq!(container.finish().exit_code, 137);
}

#[test]
fn a_launch_that_takes_too_long_is_undone() {
    // Reading the configuration blocks until somebody writes, which nobody does before the limit.
    let mut order = order("late", &["true"], false);
    let config = order.bundle.join("config.json");
    std::fs::remove_file(&config).unwrap();
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).unwrap();
    order.start_timeout_ms = 300;
    let unblock = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(800));
        // The clean-up looks for the cgroup's path there.
        std::fs::OpenOptions::new().write(true).open(config).map(drop)
    });
    let e = launch(&order, &[]).err().unwrap();
    assert_eq!(e.kind(), Kind::Timeout);
    unblock.join().unwrap().unwrap();
    assert!(!order.bundle.join(SOCKET).exists());
    std::fs::remove_dir_all(&order.bundle).unwrap();
}

/// Messages of version 1 as they were sent when it was made: whatever comes later must read them.
#[test]
fn version_1_is_understood_for_ever() {
    let requests = [
        r#"{"Launch":{"version":1,"id":"c","bundle":"/b","state_directory":"/s","exit_directory":"/e","exit_durable":true,"overlay":{"lower":["/l2","/l1"],"upper":"/u","work":"/w","options":["volatile"]},"log":{"path":"/b/console.log","max_size":1048576,"max_files":7},"open_stdin":true,"stdin_once":false,"no_pivot":false,"start_timeout_ms":30000,"clients":[{"mode":"Multiplexed","stdin":true,"stdout":true,"stderr":true,"preamble":[72],"early":[],"detach_keys":[16,17]}]}}"#,
        r#"{"Watch":{"version":1}}"#,
        r#""Release""#,
        r#"{"Exec":{"exec_id":"e","process":{"args":["ls"],"env":["A=b"],"cwd":"/"},"open_stdin":false,"privileged":false,"streams":{"mode":"Handed","stdin":true,"stdout":true,"stderr":true,"preamble":[],"early":[],"detach_keys":[]}}}"#,
        r#"{"Attach":{"mode":"Raw","stdin":false,"stdout":true,"stderr":false,"preamble":[],"early":[1],"detach_keys":[]}}"#,
        r#"{"Resize":{"exec_id":"e","size":{"height":24,"width":80}}}"#,
        r#"{"Signal":{"exec_id":null,"signal":15,"all":false}}"#,
        r#""Pause""#,
        r#""Resume""#,
        r#"{"Update":{"memory":{"limit":1048576}}}"#,
        r#""Stats""#,
        r#""Processes""#,
        r#""ReopenLog""#,
    ];
    for text in requests {
        let request: Request = json::parse_enum(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let again = json::to_text(&request);
        assert_eq!(json::parse::<Value>(again.as_bytes()).unwrap(), json::parse::<Value>(text.as_bytes()).unwrap());
    }
    let time = "2026-11-24T03:50:19.123456789Z";
    let exit = format!(r#"{{"started_at":"{time}","finished_at":"{time}","exit_code":137,"oom_killed":true}}"#);
    let launched = format!(
        r#"{{"version":1,"pid":10,"start_time":100,"shim_pid":9,"shim_start_time":99,"started_at":"{time}","exit":{exit},"execs":["e"]}}"#
    );
    for text in [
        format!(r#"{{"Launched":{launched}}}"#),
        format!(r#"{{"Watching":{launched}}}"#),
        r#"{"Executed":{"pid":11}}"#.into(),
        r#"{"Stats":{"cpu_usage":1,"memory_stat":{"cache":2}}}"#.into(),
        r#"{"Processes":[10,11]}"#.into(),
        r#""Done""#.into(),
        r#"{"Failed":{"message":"no","class":"CommandNotFound","errno":2}}"#.into(),
    ] {
        json::parse_enum::<Reply>(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        json::parse_enum::<FromShim>(format!(r#"{{"Reply":{text}}}"#).as_bytes())
            .unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    for text in [
        format!(r#"{{"Event":{{"Exited":{exit}}}}}"#),
        r#"{"Event":{"ExecExited":{"exec_id":"e","exit_code":1}}}"#.into(),
        r#"{"Event":"OutOfMemory"}"#.into(),
    ] {
        let event: FromShim = json::parse_enum(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let again = json::parse::<Value>(json::to_text(&event).as_bytes()).unwrap();
        assert_eq!(again, json::parse::<Value>(text.as_bytes()).unwrap());
    }
    let parsed: Exit = json::parse(exit.as_bytes()).unwrap();
    assert_eq!((parsed.exit_code, parsed.oom_killed), (137, true));
    assert_eq!(json::parse::<StreamEnd>(br#"{"exit_code":null}"#).unwrap(), StreamEnd { exit_code: None });
}
