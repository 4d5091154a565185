//! A daemon gets on with the shims of earlier daemons, and shims with later ones: what both say is kept as it was recorded,
//! `tests/data/shim-1.txt` for version 1 of the conversation, and either side must still understand the other's part.
//!
//! A line of a recording is the number of the connection to the shim's socket, `>` for what the daemon says or `<` for the
//! shim's answers, and the message. ISULABOX_RECORD=1 writes that of the present version anew; a recording of an earlier
//! version stays as it is.

use crate::support::bed::{Bed, json};
use crate::support::{IMAGE, PATIENCE, cgroup, contains, eventually, leaks};
use crate::tests;
use isulabox::api::shim::{SOCKET, VERSION};
use isulabox::utils::json::to_vec;
use isulabox::utils::sys::process::{is_alive, start_time};
use isulabox::utils::sys::socket;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

tests![
    the_conversation_is_as_recorded,
    a_recorded_daemon_is_served,
    a_recorded_shim_is_understood,
    what_is_new_is_passed_over,
    a_shim_that_is_ahead_is_left_alone,
];

/// One message of a recording.
#[derive(Clone)]
struct Line {
    connection: usize,
    by_daemon: bool,
    message: Value,
}

/// Where a recording is written anew.
fn path(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/shim-{version}.txt"))
}

/// The recordings of all versions.
const RECORDINGS: [&str; 1] = [include_str!("data/shim-1.txt")];

fn recording(version: u32) -> Vec<Line> {
    let text = RECORDINGS.get(version as usize - 1).expect("a recording of each version");
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let connection = words.next()?.parse().ok()?;
        let by_daemon = words.next()? == ">";
        Some(Line { connection, by_daemon, message: json(words.next()?.as_bytes()) })
    };
    text.lines().filter(|l| !l.starts_with('#')).map(|l| line(l).unwrap_or_else(|| panic!("{l:?}"))).collect()
}

/// The name of a message: of its variant, and for what comes on the watch socket of the one inside.
fn name(message: &Value) -> String {
    match message {
        Value::String(name) => name.clone(),
        Value::Object(members) => match members.iter().next() {
            Some((name, inner)) if name == "Event" || name == "Reply" => format!("{name} {}", self::name(inner)),
            Some((name, _)) => name.clone(),
            None => String::new(),
        },
        _ => String::new(),
    }
}

/// Where `new` lacks what `old` has, or has it in another form.
fn breaches(old: &Value, new: &Value, at: &str, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                match new.get(key) {
                    Some(other) => breaches(value, other, &format!("{at}.{key}"), found),
                    None => found.push(format!("{at}.{key} is missing")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            if let (Some(old), Some(new)) = (old.first(), new.first()) {
                breaches(old, new, &format!("{at}[0]"), found);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ if std::mem::discriminant(old) != std::mem::discriminant(new) => {
            found.push(format!("{at} was {old} and is {new}"));
        }
        _ => {}
    }
}

/// The shim's directory of a container, where its socket is.
fn directory(bed: &Bed, id: &str) -> PathBuf {
    bed.state().join("lcr").join(id)
}

/// Stands between a daemon that starts from now on and a running shim, and writes down what both say.
fn listen_in(directory: &Path) -> Arc<Mutex<Vec<Line>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let real = "real.sock";
    fs::rename(directory.join(SOCKET), directory.join(real)).unwrap();
    let listener = socket::listen_at(directory, SOCKET, 16).unwrap();
    let (notes, directory) = (Arc::clone(&heard), directory.to_owned());
    std::thread::spawn(move || {
        for connection in 0.. {
            let Ok(daemon) = socket::accept(listener.as_fd()) else { return };
            let Ok(shim) = socket::connect_at(&directory, real) else { return };
            let (daemon, shim) = (Arc::new(daemon), Arc::new(shim));
            for (from, to, by_daemon) in [(&daemon, &shim, true), (&shim, &daemon, false)] {
                let (from, to, notes) = (Arc::clone(from), Arc::clone(to), Arc::clone(&notes));
                std::thread::spawn(move || {
                    while let Ok(Some(message)) = socket::recv(from.as_fd()) {
                        let line = Line { connection, by_daemon, message: json(&message.body) };
                        notes.lock().unwrap().push(line);
                        if socket::send(to.as_fd(), &message.body, &socket::borrow(&message.fds)).is_err() {
                            break;
                        }
                    }
                    end_of(&to);
                });
            }
        }
    });
    heard
}

/// Tells the other end that nothing more comes.
fn end_of(socket: &OwnedFd) {
    use nix::sys::socket::{Shutdown, shutdown};
    let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(socket), Shutdown::Both); // gone: as good
}

/// Everything that a daemon asks of a shim, and the end.
fn converse(bed: &Bed) {
    bed.isula("exec -d aa true").ok();
    let stats = bed.get("/v1.44/containers/aa/stats?stream=0").expect(200).json();
    assert!(stats["pids_stats"]["current"].as_u64().is_some_and(|n| n > 0), "{stats}");
    bed.isula("top aa").ok();
    bed.isula("pause aa").ok();
    assert_eq!(bed.inspect("aa", "/State/Status"), "paused");
    bed.isula("unpause aa").ok();
    bed.isula("update --pids-limit 100 aa").ok();
    bed.post("/v1.44/containers/aa/resize?h=20&w=30", &json!({})).expect(200);
    bed.isula("kill -s USR1 aa").ok();
    let mut attach = UnixStream::connect(bed.socket()).unwrap();
    attach.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v1.44/containers/aa/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";
    attach.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut attach, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    drop(attach);
    bed.isula("kill aa").ok();
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 137);
}

/// A container on a terminal whose daemon was killed.
fn orphaned(bed: &mut Bed) -> String {
    bed.start();
    let id = bed.run_detached("aa", "-t", "payload ready 1000");
    bed.kill();
    id
}

fn the_conversation_is_as_recorded(bed: &mut Bed) {
    let id = orphaned(bed);
    let heard = listen_in(&directory(bed, &id));
    bed.restart();
    converse(bed);
    let has_released = || heard.lock().unwrap().iter().any(|l| name(&l.message) == "Release");
    eventually("the shim is released", has_released);
    let heard = heard.lock().unwrap().clone();
    if std::env::var("ISULABOX_RECORD").is_ok() {
        let mut text =
            format!("# Version {VERSION} of the conversation between daemon and shim: tests/shim_versions.rs.\n");
        for Line { connection, by_daemon, message } in &heard {
            text += &format!("{connection} {} {message}\n", if *by_daemon { '>' } else { '<' });
        }
        // Places of this run.
        fs::write(path(VERSION), text.replace(&bed.dir.display().to_string(), "/bed")).unwrap();
        return; // it is compared by the next build
    }
    let mut found = Vec::new();
    for old in recording(VERSION) {
        let (side, name) = (if old.by_daemon { "daemon" } else { "shim" }, name(&old.message));
        match heard.iter().find(|l| l.by_daemon == old.by_daemon && self::name(&l.message) == name) {
            Some(new) => breaches(&old.message, &new.message, &format!("{side}: {name}"), &mut found),
            None => found.push(format!("{side}: {name} is not said any more")),
        }
    }
    assert!(found.is_empty(), "additions only, or a new version: {found:#?}");
}

/// Says the daemon's part of a recording to the shim of a container, and compares the answers.
fn play_daemon(bed: &Bed, id: &str, recording: &[Line], change: impl Fn(&Value) -> Value) {
    let directory = directory(bed, id);
    let mut watch: Option<OwnedFd> = None;
    for (at, line) in recording.iter().enumerate().filter(|(_, l)| l.by_daemon) {
        let name = name(&line.message);
        let own = (name != "Release").then(|| socket::connect_at(&directory, SOCKET).expect("the shim listens"));
        let connection = own.as_ref().or(watch.as_ref()).expect("watched first");
        if name == "Release" {
            let ended = |message: socket::Message| self::name(&json(&message.body)) == "Event Exited";
            while !ended(socket::recv(connection.as_fd()).unwrap().expect("the end is told")) {}
        }
        let (kept, passed) = UnixStream::pair().unwrap();
        let passed = OwnedFd::from(passed);
        let fds = if name == "Attach" { vec![passed.as_fd()] } else { Vec::new() };
        socket::send(connection.as_fd(), &to_vec(&change(&line.message)), &fds).unwrap();
        drop((kept, passed));
        if name == "Release" {
            assert!(socket::recv(connection.as_fd()).unwrap().is_none(), "the end of the connection is the answer");
            continue;
        }
        let answer = socket::recv(connection.as_fd()).unwrap().expect("an answer");
        let mut rest = recording[at..].iter().filter(|l| !l.by_daemon && l.connection == line.connection);
        let (old, new) = (&rest.next().expect("it was answered").message, json(&answer.body));
        let mut found = Vec::new();
        breaches(old, &new, &name, &mut found);
        assert!(found.is_empty(), "{found:#?}\n{old}\n{new}");
        if name == "Watch" {
            watch = own;
        }
    }
}

fn a_recorded_daemon_is_served(bed: &mut Bed) {
    let id = orphaned(bed);
    play_daemon(bed, &id, &recording(1), Value::clone);
    bed.restart();
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 137);
}

/// A shim that says what was recorded, in place of one that is killed.
struct Fake {
    /// What it takes for its container.
    process: Child,
    talk: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    fn take_place(
        bed: &Bed,
        id: &str,
        recording: Vec<Line>,
        change: impl Fn(&Value) -> Value + Send + 'static,
    ) -> Fake {
        let directory = directory(bed, id);
        let note = json(&fs::read(directory.join("container_state.json")).unwrap());
        for key in ["PPid", "Pid"] {
            let pid = note[key].as_i64().unwrap() as i32;
            let start = note[if key == "Pid" { "StartTime" } else { "PStartTime" }].as_u64().unwrap();
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it goes with its shim
            eventually("it is gone", || {
                leaks::children();
                !is_alive(pid, start)
            });
        }
        eventually("its cgroup is gone", || {
            cgroup::remove_tree(&bed.cgroup_parent());
            leaks::cgroups(&bed.cgroup_parent()).is_empty()
        });
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = process.id() as i32;
        let listener = socket::listen_at(&directory, SOCKET, 16).unwrap();
        let talk = std::thread::spawn(move || {
            let mut watch: Option<OwnedFd> = None;
            while let Ok(connection) = socket::accept(listener.as_fd()) {
                let Ok(Some(message)) = socket::recv(connection.as_fd()) else { continue };
                let said = json(&message.body);
                let name = name(&said);
                let asked = recording.iter().position(|l| l.by_daemon && self::name(&l.message) == name);
                let Some(asked) = asked else { panic!("a shim of that version was never asked: {said}") };
                let same = |l: &&Line| !l.by_daemon && l.connection == recording[asked].connection;
                let mut answer = recording[asked..].iter().find(same).expect("it was answered").message.clone();
                if name == "Attach" {
                    let head: Vec<u8> = said["Attach"]["preamble"].as_array().unwrap().iter().map(byte).collect();
                    nix::unistd::write(&message.fds[0], &head).unwrap();
                }
                if let Some(launched) = answer.get_mut("Watching") {
                    launched["pid"] = pid.into();
                    launched["shim_pid"] = std::process::id().into();
                    launched["start_time"] = start_time(pid).into();
                    launched["shim_start_time"] = start_time(std::process::id() as i32).into();
                }
                socket::send(connection.as_fd(), &to_vec(&change(&answer)), &[]).unwrap();
                match watch.as_ref() {
                    None => watch = Some(connection),
                    Some(watch) if said["Signal"]["signal"] == libc::SIGKILL => {
                        for event in recording.iter().filter(|l| self::name(&l.message).starts_with("Event")) {
                            socket::send(watch.as_fd(), &to_vec(&change(&event.message)), &[]).unwrap();
                        }
                        let released = socket::recv(watch.as_fd()).unwrap().expect("a release");
                        assert_eq!(json(&released.body), "Release");
                        return;
                    }
                    Some(_) => {}
                }
            }
        });
        Fake { process, talk: Some(talk) }
    }

    /// Everything was said as it should be.
    #[track_caller]
    fn was_released(mut self) {
        let talk = self.talk.take().expect("asked once");
        eventually("it is released", || talk.is_finished());
        talk.join().expect("a conversation as recorded");
    }
}

fn byte(number: &Value) -> u8 {
    number.as_u64().and_then(|n| n.try_into().ok()).expect("a byte")
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.process.kill(); // our own child
        let _ = self.process.wait();
    }
}

fn a_recorded_shim_is_understood(bed: &mut Bed) {
    let id = orphaned(bed);
    let fake = Fake::take_place(bed, &id, recording(1), Value::clone);
    bed.restart();
    assert_eq!(bed.container_pid("aa"), i64::from(fake.process.id()));
    converse(bed);
    fake.was_released();
    bed.isula("rm aa").ok();
}

/// The same with members that nobody has heard of. What is a variant's name, and not a member, stays alone.
fn with_news(message: &Value) -> Value {
    match message {
        Value::Object(members) => {
            let mut new: serde_json::Map<String, Value> =
                members.iter().map(|(key, value)| (key.clone(), with_news(value))).collect();
            let is_variant = members.len() == 1 && members.keys().all(|k| k.starts_with(char::is_uppercase));
            if !is_variant {
                new.insert("unheard_of".into(), 1.into());
            }
            Value::Object(new)
        }
        Value::Array(list) => list.iter().map(with_news).collect(),
        other => other.clone(),
    }
}

fn what_is_new_is_passed_over(bed: &mut Bed) {
    let id = orphaned(bed);
    let connection = socket::connect_at(&directory(bed, &id), SOCKET).unwrap();
    socket::send(connection.as_fd(), br#"{"Unheard":{"of":1}}"#, &[]).unwrap();
    let answer = json(&socket::recv(connection.as_fd()).unwrap().expect("an answer").body);
    assert_eq!(answer["Failed"]["class"], "Unsupported");
    contains(answer["Failed"]["message"].as_str().unwrap(), "unknown request");
    play_daemon(bed, &id, &recording(1), with_news);
    bed.restart();
    bed.isula("start aa").ok();
    bed.kill();
    let mut recording = recording(1);
    // Among the events, before the end.
    let news = Line { connection: 0, by_daemon: false, message: json!({"Event": {"Unheard": {"of": 1}}}) };
    recording.insert(2, news);
    let fake = Fake::take_place(bed, &id, recording, with_news);
    bed.restart();
    converse(bed);
    fake.was_released();
    bed.isula("rm aa").ok();
}

fn a_shim_that_is_ahead_is_left_alone(bed: &mut Bed) {
    let id = orphaned(bed);
    let (real, ahead) = (directory(bed, &id).join("real.sock"), directory(bed, &id).join(SOCKET));
    fs::rename(&ahead, &real).unwrap();
    let listener = socket::listen_at(&directory(bed, &id), SOCKET, 16).unwrap();
    let watching = recording(1).into_iter().find(|l| name(&l.message) == "Watching").expect("an answer").message;
    std::thread::spawn(move || {
        while let Ok(connection) = socket::accept(listener.as_fd()) {
            socket::recv(connection.as_fd()).unwrap();
            let mut answer = watching.clone();
            answer["Watching"]["version"] = (VERSION + 1).into();
            socket::send(connection.as_fd(), &to_vec(&answer), &[]).unwrap();
        }
    });
    bed.restart();
    let said = format!("its shim speaks version {} of the conversation, this daemon up to {VERSION}", VERSION + 1);
    contains(&bed.get("/v1.44/info").expect(200).json()["Warnings"].to_string(), &said);
    contains(&bed.isula("ps -a").ok(), IMAGE);
    bed.kill();
    fs::rename(&real, &ahead).unwrap();
    // It went on all the time.
    bed.restart();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
}
