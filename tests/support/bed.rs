//! A test's own machine: root, state and socket of its own, a daemon, a client.

use super::command::{self, Output, Running};
use super::{IMAGE, PATIENCE, eventually, http, leaks, rootfs, runner, sys};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a client's command may take.
const COMMAND: Duration = Duration::from_secs(120);

const NO_PANIC: &str = "no holder panics";

pub struct Bed {
    /// Everything of this test lies below.
    pub dir: PathBuf,
    /// Of the daemons started from now on.
    pub log_level: &'static str,
    daemon: Option<Child>,
    /// Words that the last start had, for restarts.
    extra: Vec<String>,
    baseline: Baseline,
    keeps_socket: bool,
    /// Ids of containers seen, for the search of what is left of them.
    ids: Mutex<BTreeSet<String>>,
}

/// What there was before the test did anything.
#[derive(Default)]
struct Baseline {
    mounts: BTreeSet<String>,
    /// Of the daemon once it served its first requests.
    descriptors: usize,
}

impl Bed {
    pub fn new(dir: &Path) -> Bed {
        rootfs::make_overlay_possible(dir);
        let baseline = Baseline { mounts: leaks::mounts(), descriptors: 0 };
        Bed {
            dir: dir.into(),
            log_level: "debug",
            daemon: None,
            extra: Vec::new(),
            baseline,
            keeps_socket: false,
            ids: Mutex::default(),
        }
    }

    pub fn graph(&self) -> PathBuf {
        self.dir.join("graph")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("daemon.log")).unwrap_or_default()).into_owned()
    }

    /// Parent of the containers' cgroups, from the hierarchies' roots.
    pub fn cgroup_parent(&self) -> String {
        runner::cgroup_parent(&self.dir)
    }

    /// An applet of the binary under test.
    pub fn applet(&self, name: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg0(name).current_dir(&self.dir).env("ISULAD_HOST", format!("unix://{}", self.socket().display()));
        command
    }

    /// Words of a daemon with this bed's directories and `extra` ones.
    pub fn daemon_words(&self, extra: &[&str]) -> Vec<String> {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let mut words: Vec<String> = vec![
            "-H".into(),
            format!("unix://{}", self.socket().display()),
            "--graph".into(),
            at("graph"),
            "--state".into(),
            at("state"),
            "--pidfile".into(),
            at("pid"),
            "--cgroup-parent".into(),
            self.cgroup_parent(),
            "--log-level".into(),
            self.log_level.into(),
            "--log-driver".into(),
            "stderr".into(),
        ];
        words.extend(extra.iter().map(|w| w.to_string()));
        words
    }

    /// A daemon that serves and has the image.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with further words on the daemon's command line.
    pub fn start_with(&mut self, extra: &[&str]) {
        self.launch(extra);
        self.isula(&format!("import {} {IMAGE}", rootfs::archive().display())).ok();
        // What is opened once and kept is opened by the first container.
        self.isula(&format!("run --rm {IMAGE} true")).ok();
        self.rebase();
    }

    /// Starts a daemon and waits until it serves; imports nothing.
    pub fn launch(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|w| w.to_string()).collect();
        let words = self.daemon_words(extra);
        let mut command = self.applet("isulad");
        command.args(&words);
        self.launch_command(command);
    }

    /// Starts a prepared daemon and waits until it serves; how long that took.
    pub fn launch_command(&mut self, mut command: Command) -> Duration {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let log =
            File::options().create(true).append(true).open(self.dir.join("daemon.log")).expect("the daemon's log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second descriptor")).stderr(log);
        let begin = Instant::now();
        let daemon = self.daemon.insert(command.spawn().expect("the binary under test"));
        let socket = self.dir.join("s");
        while !http::ping(&socket) {
            if let Some(status) = daemon.try_wait().expect("our own child") {
                panic!("the daemon ended with {status}");
            }
            assert!(begin.elapsed() < PATIENCE, "the daemon does not answer");
            std::thread::sleep(Duration::from_micros(100));
        }
        let took = begin.elapsed();
        self.rebase();
        took
    }

    /// Takes the number of descriptors that the daemon has now as the one it must return to.
    pub fn rebase(&mut self) {
        // What the requests until now had open is closed when their threads have ended.
        let mut last = usize::MAX;
        eventually("the daemon's descriptors settle", || {
            std::thread::sleep(Duration::from_millis(20));
            let now = leaks::descriptors(self.pid()).len();
            std::mem::replace(&mut last, now) == now
        });
        self.baseline.descriptors = last;
    }

    /// Takes the mounts that there are now as those of the test itself. They end with its mount namespace.
    pub fn own_mounts(&mut self) {
        self.baseline.mounts = leaks::mounts();
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").id()
    }

    /// SIGTERM; the daemon must end with 0.
    pub fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        let pid = nix::unistd::Pid::from_raw(daemon.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("our own child");
        let status = command::wait(&mut daemon, PATIENCE).expect("the daemon ends on SIGTERM");
        assert_eq!(command::code(status), 0, "the daemon's exit code on SIGTERM");
        assert!(self.keeps_socket || !self.socket().exists(), "the socket is left");
    }

    /// Waits for a daemon that was told to end; its exit code.
    pub fn await_exit(&mut self) -> i32 {
        let mut daemon = self.daemon.take().expect("a daemon");
        command::code(command::wait(&mut daemon, PATIENCE).expect("the daemon ends"))
    }

    /// A socket that was passed to the daemon belongs to whoever passed it: it may be left.
    pub fn forget_socket_on_stop(&mut self) {
        self.keeps_socket = true;
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        daemon.kill().expect("our own child");
        daemon.wait().expect("our own child");
    }

    /// A new daemon with the words of the last one, on what that left.
    pub fn restart(&mut self) {
        if self.daemon.is_some() {
            self.stop();
        }
        let extra = std::mem::take(&mut self.extra);
        self.launch(&extra.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Runs the client with a command line (quotes as in [`command::words`]) to its end.
    #[track_caller]
    pub fn isula(&self, line: &str) -> Output {
        self.isula_with(line, b"")
    }

    /// The same with standard input.
    #[track_caller]
    pub fn isula_with(&self, line: &str, input: &[u8]) -> Output {
        self.note_ids();
        let mut command = self.applet("isula");
        command.args(command::words(line));
        command::run(command, format!("isula {line}"), input, COMMAND)
    }

    /// Starts the client and lets it run.
    pub fn spawn(&self, line: &str) -> Running {
        let mut command = self.applet("isula");
        command.args(command::words(line));
        command::start(command, format!("isula {line}"))
    }

    /// `isula run --rm OPTIONS box COMMAND`, which must end with 0: its standard output.
    #[track_caller]
    pub fn run(&self, options: &str, command: &str) -> String {
        self.isula(&format!("run --rm {options} {IMAGE} {command}")).ok()
    }

    /// `isula run -d --name NAME OPTIONS box COMMAND`: the id.
    #[track_caller]
    pub fn run_detached(&self, name: &str, options: &str, command: &str) -> String {
        self.run_detached_of(IMAGE, name, options, command)
    }

    /// The same of another image.
    #[track_caller]
    pub fn run_detached_of(&self, image: &str, name: &str, options: &str, command: &str) -> String {
        let id = self.isula(&format!("run -d --name {name} {options} {image} {command}")).ok();
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "no container id: {id:?}");
        self.ids.lock().expect(NO_PANIC).insert(id.clone());
        id
    }

    /// The same for threads that start several at once.
    #[track_caller]
    pub fn spawn_detached(&self, name: &str, command: &str) -> String {
        self.spawn(&format!("run -d --name {name} {IMAGE} {command}")).finish(COMMAND).ok()
    }

    /// One value of `isula inspect`, by JSON pointer.
    #[track_caller]
    pub fn inspect(&self, container: &str, pointer: &str) -> Value {
        let text = self.isula(&format!("inspect {container}")).ok();
        let all: Value = json(text.as_bytes());
        all[0].pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {text}")).clone()
    }

    /// Process id of a running container's first process.
    #[track_caller]
    pub fn container_pid(&self, container: &str) -> i64 {
        let pid = self.inspect(container, "/State/Pid").as_i64().expect("a number");
        assert!(pid > 1, "pid {pid}");
        pid
    }

    /// Waits until a container is in a state.
    #[track_caller]
    pub fn await_state(&self, container: &str, state: &str) {
        eventually(&format!("{container} is {state}"), || self.inspect(container, "/State/Status") == state);
    }

    /// Waits until a container's log contains a text.
    #[track_caller]
    pub fn await_log(&self, container: &str, part: &str) {
        eventually(&format!("{part:?} in the log of {container}"), || {
            let o = self.isula(&format!("logs {container}"));
            o.out.contains(part) || o.err.contains(part)
        });
    }

    /// A request over the daemon's socket.
    #[track_caller]
    pub fn http(&self, method: &str, path: &str, body: Option<&Value>) -> http::Response {
        http::request(&self.socket(), method, path, body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> http::Response {
        self.http("GET", path, None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> http::Response {
        self.http("POST", path, Some(body))
    }

    /// Remembers which containers there are.
    fn note_ids(&self) {
        for name in engines(&self.graph()) {
            self.ids.lock().expect(NO_PANIC).insert(name);
        }
    }

    /// Removes every container, stops the daemon, returns what is left of the test.
    pub fn close(mut self) -> Result<(), Vec<String>> {
        let mut left = Vec::new();
        if self.daemon.is_some() {
            self.note_ids();
            let list = self.get("/v1.44/containers/json?all=1");
            for container in list.json().as_array().cloned().unwrap_or_default() {
                let id = container["Id"].as_str().unwrap_or_default().to_string();
                let gone = self.http("DELETE", &format!("/v1.44/containers/{id}?force=1&v=1"), None);
                if gone.status != 204 {
                    left.push(format!("container {id}: rm -f says {} {}", gone.status, gone.text()));
                }
                self.ids.lock().expect(NO_PANIC).insert(id);
            }
            let baseline = self.baseline.descriptors;
            let pid = self.pid();
            left.extend(leaks::settle(|| {
                let open = leaks::descriptors(pid);
                match open.len() <= baseline {
                    true => Vec::new(),
                    false => vec![format!("the daemon has {} descriptors, at first {baseline}: {open:?}", open.len())],
                }
            }));
            self.stop();
        }
        left.extend(leaks::settle(|| leaks::children().into_iter().map(leaks::describe).collect()));
        left.extend(leaks::settle(|| {
            leaks::mounts().difference(&self.baseline.mounts).map(|m| format!("mount {m}")).collect()
        }));
        left.extend(leaks::settle(|| leaks::cgroups(&self.cgroup_parent())));
        let ids: Vec<String> = self.ids.lock().expect(NO_PANIC).iter().cloned().collect();
        for directory in [self.graph(), self.state()] {
            left.extend(leaks::named_after(&directory, &ids));
        }
        let log = self.log();
        if let Some(panic) = log.lines().find(|l| l.contains("panicked at")) {
            left.push(format!("in the log: {panic}"));
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    }

    /// Kills whatever runs, after a failure.
    pub fn abandon(mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        leaks::kill_children_except(&[]);
    }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/x86_64-unknown-linux-musl/release/isulabox");
    let path = PathBuf::from(std::env::var_os("ISULABOX_BIN").unwrap_or_else(|| default.into()));
    assert!(path.exists(), "no binary at {}; `make build`, or name one in ISULABOX_BIN", path.display());
    path
}

/// Parses JSON.
#[track_caller]
pub fn json(bytes: &[u8]) -> Value {
    isulabox::utils::json::parse(bytes)
        .unwrap_or_else(|e| panic!("not JSON ({e}):\n{}", String::from_utf8_lossy(bytes)))
}

/// Ids of the containers that the graph directory holds.
pub fn engines(graph: &Path) -> Vec<String> {
    let runtimes = fs::read_dir(graph.join("engines")).into_iter().flatten().flatten();
    let containers = runtimes.flat_map(|r| fs::read_dir(r.path()).into_iter().flatten().flatten());
    containers.map(|c| c.file_name().to_string_lossy().into_owned()).filter(|n| n.len() == 64).collect()
}

/// A daemon that must refuse to start: what it says on standard error, and that it ends with a failure.
#[track_caller]
pub fn refused(bed: &Bed, words: &[String]) -> String {
    let mut command = bed.applet("isulad");
    command.args(words);
    sys::die_with_parent(&mut command);
    let output = command::run(command, format!("isulad {}", words.join(" ")), b"", PATIENCE);
    assert_ne!(output.code, 0, "the daemon should have refused: {}", output.show());
    output.err
}
