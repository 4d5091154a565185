//! Clients that do at random what clients do, on a few names that they share, and what they may be told.

use super::bed::Bed;
use super::command::Output;
use super::http::{self, Connection};
use super::{IMAGE, PATIENCE};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Containers that there may be, besides those without a name.
const NAMES: usize = 8;
const VOLUMES: usize = 4;
/// For how long a client waits for a program when all is over: longer than any of [`Dice::container`] needs to end.
const AFTER_ALL: Duration = Duration::from_secs(5);

/// A small generator of numbers (splitmix64): the same seed gives the same choices.
pub struct Dice(u64);

impl Dice {
    /// The seed is printed; `ISULABOX_LOAD_SEED` to have the same again.
    pub fn new() -> Dice {
        let given = std::env::var("ISULABOX_LOAD_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
            now ^ u64::from(std::process::id()) << 32
        });
        println!("ISULABOX_LOAD_SEED={seed}");
        Dice(seed)
    }

    /// One for a thread of its own.
    pub fn split(&mut self) -> Dice {
        Dice(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn name(&mut self) -> String {
        format!("n{}", self.below(NAMES))
    }

    fn volume(&mut self) -> String {
        format!("v{}", self.below(VOLUMES))
    }

    /// `--name NAME OPTIONS IMAGE PROGRAM`: of all kinds of containers, those that end at once too.
    fn container(&mut self) -> String {
        let mut words = format!("--name {}", self.name());
        words += match self.below(8) {
            0 => " --restart always",
            1 => " --restart on-failure:2",
            2 => " --rm",
            3 => " -m 64m --pids-limit 50",
            _ => "",
        };
        if self.below(3) == 0 {
            words += &format!(" -v {}:/data", self.volume());
        }
        let programs =
            ["payload ready 1000", "payload trap 15", "sleep 0.2", "sh -c 'echo out; exit 3'", "payload lines 2000"];
        format!("{words} {IMAGE} {}", self.of(&programs))
    }
}

/// Exit codes that containers of [`Dice::container`] can have: their own, of signals, of a start that failed, unknown.
pub const EXIT_CODES: &[i64] = &[0, 3, 137, 143, 255];

/// What a crowd has done.
#[derive(Default)]
pub struct Tally {
    done: AtomicUsize,
    refused: Mutex<BTreeMap<String, usize>>,
    /// What no client should see.
    wrong: Mutex<BTreeSet<String>>,
    /// Anybody is told that there is no daemon: it is killed now and then.
    pub daemon_dies: AtomicBool,
}

impl Tally {
    /// How many commands were given.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// What was refused, and how often.
    pub fn refusals(&self) -> BTreeMap<String, usize> {
        self.refused.lock().expect("no holder panics").clone()
    }

    /// Fails with what no client should see.
    #[track_caller]
    pub fn check(&self) {
        let wrong = self.wrong.lock().expect("no holder panics");
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn note(&self, command: &str, text: &str) {
        let daemon_dies = self.daemon_dies.load(Ordering::Relaxed);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let known = REFUSALS.iter().find(|part| line.contains(*part));
            let known = known.or_else(|| BROKEN.iter().filter(|_| daemon_dies).find(|part| line.contains(*part)));
            match known {
                Some(part) => {
                    *self.refused.lock().expect("no holder panics").entry((*part).to_owned()).or_default() += 1
                }
                None => self.complain(format!("`{command}` says {line:?}")),
            }
        }
    }

    fn complain(&self, what: String) {
        self.wrong.lock().expect("no holder panics").insert(what);
    }
}

/// Sensible answers to commands that cross each other. Anything else is a defect.
const REFUSALS: &[&str] = &[
    "No such container",
    "No such image or container or accelerator",
    "No such object",
    "is already in use by container",
    "is not running",
    "is not paused",
    "is paused",
    "is already paused",
    "is marked for removal and cannot be used",
    "its removal is already in progress",
    "You cannot remove a running container",
    "You cannot remove a restarting container",
    "You cannot remove a paused container",
    "Renaming a container with the same name as its current name",
    "the container ended a moment ago",
    "ended while files were copied to it",
    "was removed while it was read",
    "has no terminal",
    "was killed by signal 9 while it was set up",
    "Restart policy cannot be updated because AutoRemove is enabled",
    "volume is used by",
    "No such volume",
    "is restarting, wait until",
    "paused, unpause the container before exec",
    "You cannot attach to a paused container",
    "You cannot attach to a restarting container",
    "Cannot start a paused container",
];

/// What clients say of a daemon that dies under them.
const BROKEN: &[&str] = &[
    "Can not connect with server",
    "connect() to a daemon that is not there",
    "the daemon ended its answer early",
    // Of a shim that was killed: its container may have been started again.
    "lost the connection to the container, which still runs",
    // Of one whose processes have not ended yet.
    "in garbage collector progress",
];

/// Gives commands until `over` says so.
pub fn client(bed: &Bed, mut dice: Dice, tally: &Tally, over: impl Fn() -> bool) {
    let own = bed.dir.join(format!("copy-{}", dice.below(1 << 30)));
    while !over() {
        match dice.below(5) {
            0 => request(&bed.socket(), &mut dice, tally),
            _ => command(bed, &mut dice, tally, &own, &over),
        }
        tally.done.fetch_add(1, Ordering::Relaxed);
    }
    let _ = std::fs::remove_file(own); // when nothing was copied
}

/// One of the client's commands.
fn command(bed: &Bed, dice: &mut Dice, tally: &Tally, own: &Path, over: impl Fn() -> bool) {
    let name = dice.name();
    let own = own.display();
    let line = match dice.below(34) {
        0..4 => format!("run -d {}", dice.container()),
        4..6 => format!("create {}", dice.container()),
        6 => format!("run --rm {IMAGE} echo well"),
        7 => {
            format!("run {}", dice.container().replace("payload ready 1000", "echo").replace("payload trap 15", "true"))
        }
        8..10 => format!("start {name}"),
        10..12 => format!("stop -t {} {name}", dice.below(2)),
        12 => format!("kill {name}"),
        13 => format!("kill -s TERM {name}"),
        14..16 => format!("rm -f {name}"),
        16 => format!("rm {name}"),
        17 => format!("restart -t 0 {name}"),
        18 => format!("pause {name}"),
        19..21 => format!("unpause {name}"),
        21 => format!("exec {name} echo well"),
        22 => format!("exec -d {name} sleep 0.5"),
        23 => format!("logs --tail 5 {name}"),
        24 => dice.of(&["ps -a", "ps", "images", "info", "volume ls", "version"]).to_owned(),
        25 => format!("inspect {name}"),
        26 => format!("rename {name} {}", dice.name()),
        27 => format!("update {} {name}", dice.of(&["--restart no", "--restart always", "-m 80m --memory-swap 80m"])),
        28 => format!("cp {name}:/etc/marker {own}"),
        29 => format!("cp {} {name}:/tmp/payload", bed.dir.join("file").display()),
        30 => format!("volume {} {}", dice.of(&["create", "rm"]), dice.volume()),
        31 => format!("stats --no-stream {}", dice.of(&["", "-a", "n0"])),
        32 => format!("{} {name}", dice.of(&["top", "diff", "port"])),
        _ => "events -S 2020-01-01T00:00:00Z -U 2021-01-01T00:00:00Z".to_owned(),
    };
    let mut client = bed.spawn(&line);
    if ["run ", "exec "].iter().any(|verb| line.starts_with(verb)) {
        leave_when(&mut client.child, over);
    }
    let output: Output = client.finish(PATIENCE);
    // The programs of containers say nothing there.
    tally.note(&line, &output.err);
    if output.code > 128 && output.err.is_empty() && !EXIT_CODES.contains(&i64::from(output.code)) {
        tally.complain(format!("`{line}` ends with {}", output.code));
    }
}

/// Waits for a client in whose container a program runs, which another client may have paused: then there is nobody to
/// unpause it once all is `over`, and this one goes as well.
fn leave_when(client: &mut Child, over: impl Fn() -> bool) {
    let mut left_at = None;
    while client.try_wait().expect("our own child").is_none() {
        if over() && *left_at.get_or_insert_with(|| Instant::now() + AFTER_ALL) < Instant::now() {
            let _ = client.kill(); // it may have ended meanwhile
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One raw request, or a client that leaves too early.
fn request(socket: &Path, dice: &mut Dice, tally: &Tally) {
    let name = dice.name();
    let (method, path) = match dice.below(10) {
        0 => ("GET", "containers/json?all=1".to_owned()),
        1 => ("GET", format!("containers/{name}/json")),
        2 => ("GET", format!("containers/{name}/stats?stream=0")),
        3 => ("POST", format!("containers/{name}/resize?h=20&w=30")),
        4 => ("GET", format!("containers/{name}/logs?stdout=1&follow=1")),
        5 => ("POST", format!("containers/{name}/wait")),
        6 => ("POST", format!("containers/{name}/attach?stream=1&stdout=1")),
        7 => ("GET", format!("containers/{name}/archive?path=/etc")),
        8 => ("GET", "events".to_owned()),
        _ => ("POST", format!("containers/{name}/start")),
    };
    let Ok(stream) = std::os::unix::net::UnixStream::connect(socket) else {
        return tally.note(&path, "connect() to a daemon that is not there");
    };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(1 + dice.below(200) as u64)));
    let mut connection = Connection { stream, rest: Vec::new() };
    let head = format!("{method} /v1.44/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    if std::io::Write::write_all(&mut connection.stream, head.as_bytes()).is_err() {
        return;
    }
    // Leaves when it has waited for as long as it liked.
    if let Ok(http::Response { status: 400.., body, .. }) = connection.response() {
        tally.note(&path, &String::from_utf8_lossy(&body));
    }
}
