//! Many clients at once, processes killed at any moment, and a machine that has run out of something: nothing hangs,
//! every refusal has a reason, what is listed is what is there, and afterwards all works again.
//!
//! Random clients and random kills come when they are asked for: ISULABOX_LOAD=short, or ISULABOX_LOAD=all for 50 clients
//! for three minutes and 500 kills; each test may take an hour then. What is done is chosen by a seed that is printed (ISULABOX_LOAD_SEED); threads make of it what they will.

use crate::support::bed::Bed;
use crate::support::crowd::{self, Dice, EXIT_CODES, Tally};
use crate::support::disk::Disk;
use crate::support::truth::{self, await_truth};
use crate::support::usage::private;
use crate::support::world::World;
use crate::support::{IMAGE, PATIENCE, cgroup, contains, eventually, http, leaks, runner, sys};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

tests![
    many_clients,
    killed_at_random,
    a_thousand_stopped,
    descriptors_run_out,
    processes_run_out,
    graph_becomes_read_only,
];

/// Private memory that a daemon may have more after the same load for longer: what its allocator has cut up.
const MORE_MEMORY: u64 = 4 << 20;

/// What a daemon has when nobody asks anything of it.
#[derive(Debug)]
struct Rest {
    descriptors: usize,
    threads: usize,
    memory: u64,
}

impl Rest {
    /// Removes all containers and waits until nothing is going on.
    fn of(bed: &mut Bed) -> Rest {
        bed.isula("volume prune -f -a").ok();
        for id in bed.isula("ps -aq").ok().lines() {
            bed.isula(&format!("rm -f {id}")).ok();
        }
        await_truth(bed);
        let threads = |pid| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let (mut least, mut since) = (usize::MAX, Instant::now());
        // Workers end two seconds after their last work.
        eventually("its threads have ended", || {
            let now = threads(bed.pid());
            if now < least {
                (least, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_secs(3)
        });
        bed.rebase();
        Rest { descriptors: leaks::descriptors(bed.pid()).len(), threads: least, memory: private(bed.pid()) }
    }
}

fn crowd_for(bed: &Bed, clients: usize, time: Duration, dice: &mut Dice, tally: &Tally) {
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        for _ in 0..clients {
            let dice = dice.split();
            scope.spawn(move || {
                crowd::client(bed, dice, tally, || Instant::now() > end);
            });
        }
    });
    tally.check();
}

fn many_clients(bed: &mut Bed) {
    requires!(random_load);
    bed.log_level = "info";
    bed.start();
    fs::write(bed.dir.join("file"), "content").unwrap();
    let (clients, time) = if runner::load_is_all() { (50, 180) } else { (12, 6) };
    let (mut dice, tally) = (Dice::new(), Tally::default());
    crowd_for(bed, clients, Duration::from_secs(4), &mut dice, &tally);
    await_truth(bed);
    let before = Rest::of(bed);
    crowd_for(bed, clients, Duration::from_secs(time), &mut dice, &tally);
    await_truth(bed);
    // Some end, and go, while it is looked.
    eventually("what is there is listed", || World::of(bed).strays(bed).is_empty());
    let after = Rest::of(bed);
    println!("{} commands; refused {:#?}\nbefore {before:?}\nafter {after:?}", tally.done(), tally.refusals());
    assert!(after.descriptors <= before.descriptors, "descriptors: {before:?}, {after:?}");
    assert!(after.threads <= before.threads, "threads: {before:?}, {after:?}");
    assert!(after.memory <= before.memory + MORE_MEMORY, "memory: {before:?}, {after:?}");
    assert_eq!(bed.run("", "echo well"), "well");
}

fn end(pid: u32) {
    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL); // it may have ended meanwhile
}

/// Kills the shim or the first process of a container that runs; what it was.
fn kill_in_a_container(bed: &Bed, dice: &mut Dice) -> String {
    let runners = truth::runners(bed);
    if runners.is_empty() {
        return "nothing".into();
    }
    let runner = &runners[dice.below(runners.len())];
    let (what, pid) = if dice.below(2) == 0 { ("shim", runner.shim) } else { ("init", runner.init) };
    end(pid);
    format!("{what} {pid} of {}", runner.id)
}

/// Tells the clients that it is over, also when the test fails.
struct Whistle<'a>(&'a AtomicBool);

impl Drop for Whistle<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn killed_at_random(bed: &mut Bed) {
    requires!(random_load);
    bed.log_level = "info";
    bed.start();
    fs::write(bed.dir.join("file"), "content").unwrap();
    let rounds = if runner::load_is_all() { 500 } else { 25 };
    let (mut dice, tally) = (Dice::new(), Tally::default());
    tally.daemon_dies.store(true, Ordering::Relaxed);
    for round in 0..rounds {
        let over = AtomicBool::new(false);
        let wait = Duration::from_micros(dice.below(150_000) as u64);
        let what = std::thread::scope(|scope| {
            let _whistle = Whistle(&over);
            for _ in 0..4 {
                let (dice, over, tally, bed) = (dice.split(), &over, &tally, &*bed);
                scope.spawn(move || crowd::client(bed, dice, tally, || over.load(Ordering::Relaxed)));
            }
            std::thread::sleep(wait);
            let victim = dice.below(4);
            let what = match victim {
                0 => kill_in_a_container(bed, &mut dice),
                1 => {
                    end(bed.pid());
                    "daemon".to_owned()
                }
                _ => {
                    // Both, in this order and in a moment: who restores finds one that ends.
                    let runners = truth::runners(bed);
                    end(bed.pid());
                    if let Some(runner) = runners.first().filter(|_| victim == 2) {
                        end(if dice.below(2) == 0 { runner.shim } else { runner.init });
                    }
                    format!("daemon, then one of a container ({})", victim == 2)
                }
            };
            std::thread::sleep(Duration::from_millis(dice.below(20) as u64));
            what
        });
        println!("round {round}: after {wait:?} {what}");
        tally.check();
        if what.starts_with("daemon") {
            bed.kill();
            bed.restart();
        } else {
            assert!(http::ping(&bed.socket()), "the daemon answers");
        }
        await_truth(bed);
        // Some end, and go, while it is looked.
        eventually("what is there is listed", || World::of(bed).strays(bed).is_empty());
        exit_codes_can_be(bed);
    }
    println!("{} commands; told {:#?}", tally.done(), tally.refusals());
    assert_eq!(bed.run("", "echo well"), "well");
}

/// Each exit code is one that the containers' programs can end with.
fn exit_codes_can_be(bed: &Bed) {
    for container in bed.get("/v1.44/containers/json?all=1").expect(200).json().as_array().expect("a list") {
        let id = container["Id"].as_str().expect("an id");
        // It may be a container that its policy ends and starts all the time.
        let state = bed.get(&format!("/v1.44/containers/{id}/json")).json()["State"].clone();
        let code = state["ExitCode"].as_i64().unwrap_or_default();
        assert!(EXIT_CODES.contains(&code), "{id}: {state}");
    }
}

fn a_thousand_stopped(bed: &mut Bed) {
    bed.log_level = "error";
    bed.start();
    let socket = bed.socket();
    let create = |n: usize| {
        let body = serde_json::json!({"Image": IMAGE, "Cmd": ["true"], "Labels": {"n": n.to_string()}});
        let answer = http::request(&socket, "POST", &format!("/v1.44/containers/create?name=s{n}"), Some(&body));
        answer.expect(201).json()["Id"].as_str().expect("an id").to_owned()
    };
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let create = &create;
        let threads: Vec<_> =
            (0..4).map(|t| scope.spawn(move || (t * 250..(t + 1) * 250).map(create).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|t| t.join().expect("all were created")).collect()
    });
    assert_eq!(ids.len(), 1000, "each has an id of its own");
    let listed = |bed: &Bed| bed.isula("ps -aq --no-trunc").ok().lines().map(str::to_owned).collect::<BTreeSet<_>>();
    for kills in [false, true] {
        if kills {
            bed.kill();
        }
        bed.restart();
        assert!(listed(bed) == ids, "after a restart others are listed");
    }
    assert_eq!(bed.inspect("s999", "/Config/Labels/n"), "999");
    // Sent as it is made, to clients of any age.
    let path = "/v1.44/containers/json?all=1";
    for (version, field) in [("1.1", ("transfer-encoding", "chunked")), ("1.0", ("connection", "close"))] {
        let request = format!("GET {path} HTTP/{version}\r\nHost: x\r\n\r\n");
        let answer = http::raw(&socket, request.as_bytes()).expect("a response").expect(200);
        assert_eq!(answer.header(field.0), Some(field.1), "HTTP/{version}");
        let rows = answer.json();
        let seen = rows.as_array().expect("a list").iter().map(|row| row["Id"].as_str().expect("an id").to_owned());
        assert!(seen.collect::<BTreeSet<_>>() == ids, "HTTP/{version} lists others");
        assert_eq!(answer.body.iter().filter(|&&b| b == b'\n').count(), 1001, "a line for each");
    }
    bed.isula("start -a s500").ok();
    for n in 0..10 {
        let names: String = (n * 100..(n + 1) * 100).map(|n| format!(" s{n}")).collect();
        bed.isula(&format!("rm{names}")).ok();
    }
    assert_eq!(bed.isula("ps -aq").ok(), "");
}

/// What clients may be told while there are no descriptors, processes or disk blocks. An empty answer is a connection that
/// was closed.
fn refused_with(bed: &Bed, line: &str, reasons: &[&str]) -> bool {
    let o = bed.spawn(line).finish(PATIENCE);
    let reason = reasons.iter().any(|r| o.err.to_lowercase().contains(&r.to_lowercase()));
    assert!(o.code == 0 || reason, "no reason in {}", o.show());
    o.code != 0
}

fn descriptors_run_out(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.run_detached("steady", "", "payload ready 1000");
    bed.isula(&format!("create --name waits {IMAGE} true")).ok();
    let open = leaks::descriptors(bed.pid()).len();
    // As one libc and the other have it; as it is said of descriptors in a message that find no room; no answer at all.
    let reasons = [
        "no file descriptors available",
        "too many open files",
        "no buffer space available",
        "can not connect with server",
    ];
    let mut refused = 0;
    // From none left to enough for a start.
    for more in 0..24 {
        sys::limit_files_of(bed.pid(), (open + more) as u64);
        for line in ["start waits", "exec steady true", "cp steady:/etc/marker -", "inspect steady", "ps -a"] {
            refused += usize::from(refused_with(bed, line, &reasons));
        }
    }
    assert!(refused > 0, "it never ran out");
    let idle: Vec<_> = (0..60).map(|_| std::os::unix::net::UnixStream::connect(bed.socket())).collect();
    // Not refused: it waits until one of them leaves.
    let waits = bed.spawn("ps");
    std::thread::sleep(Duration::from_millis(300));
    drop(idle);
    waits.finish(PATIENCE).ok();
    sys::limit_files_of(bed.pid(), 1024);
    eventually("it serves again", || http::ping(&bed.socket()));
    await_truth(bed);
    assert_eq!(bed.isula("exec steady echo well").ok(), "well");
    assert_eq!(bed.run("", "echo well"), "well");
}

/// A cgroup for the daemon alone, and the file with the most processes that may be in it.
fn cell(bed: &Bed) -> PathBuf {
    let cell = format!("{}/daemon", bed.cgroup_parent().trim_start_matches('/'));
    let v1 = PathBuf::from("/sys/fs/cgroup/pids");
    if v1.is_dir() {
        fs::create_dir_all(v1.join(&cell)).unwrap();
        return v1.join(cell);
    }
    let root = cgroup::unified().expect("a pids controller");
    let path = root.join(cell);
    fs::create_dir_all(&path).unwrap();
    for above in [root.as_path(), path.parent().unwrap()] {
        fs::write(above.join("cgroup.subtree_control"), "+pids").unwrap();
    }
    path
}

fn processes_run_out(bed: &mut Bed) {
    requires!(cgroup_pids);
    bed.start();
    bed.run_detached("steady", "", "payload ready 1000");
    bed.isula(&format!("create --name waits {IMAGE} payload ready 1000")).ok();
    let cell = cell(bed);
    fs::write(cell.join("cgroup.procs"), bed.pid().to_string()).unwrap();
    let current = || fs::read_to_string(cell.join("pids.current")).unwrap().trim().parse::<usize>().unwrap();
    let reasons = ["resource temporarily unavailable", "try again", "too many", "can not connect with server"];
    let mut refused = 0;
    // Workers end two seconds after their last work.
    std::thread::sleep(Duration::from_millis(2500));
    let idle = current();
    for more in 0..8 {
        eventually("nothing is going on", || current() <= idle);
        fs::write(cell.join("pids.max"), (idle + more).to_string()).unwrap();
        let mut starts = false;
        for line in ["exec steady true", "start waits"] {
            starts = !refused_with(bed, line, &reasons);
            refused += usize::from(!starts);
        }
        fs::write(cell.join("pids.max"), "max").unwrap();
        eventually("it serves again", || http::ping(&bed.socket()));
        if starts {
            bed.isula("kill waits").ok();
            bed.await_state("waits", "exited");
        }
    }
    assert!(refused > 1, "it never ran out");
    let outside = cell.ancestors().nth(2).expect("the hierarchy").join("cgroup.procs");
    fs::write(outside, bed.pid().to_string()).unwrap();
    bed.isula("start waits").ok();
    bed.isula("rm -f waits steady").ok();
    eventually("the cgroup is empty", || fs::remove_dir(&cell).is_ok());
    await_truth(bed);
    assert_eq!(bed.run("", "echo well"), "well");
}

fn graph_becomes_read_only(bed: &mut Bed) {
    requires!(image_tools, loop_ext4);
    let disk = Disk::make("ext4", "", &bed.dir.join("disk.img"), 64, &bed.graph());
    bed.own_mounts();
    bed.start();
    // A log that is open for writing keeps a file system from becoming read-only.
    bed.run_detached("steady", "--log-opt disable-log=true", "payload ready 1000");
    bed.run_detached("ends", "--log-opt disable-log=true", "payload ready 1000");
    bed.isula(&format!("run --name said {IMAGE} echo kept")).ok();
    bed.isula(&format!("create --name waits {IMAGE} true")).ok();
    bed.isula("volume create v0").ok();
    bed.isula(&format!("tag {IMAGE} other:v1")).ok();
    eventually("it is read-only", || disk.remount("ro"));
    assert_eq!(bed.isula("exec steady echo well").ok(), "well");
    assert_eq!(bed.isula("logs said").ok(), "kept");
    assert_eq!(bed.isula("ps -aq").ok().lines().count(), 4);
    assert_eq!(bed.inspect("steady", "/State/Running"), true);
    assert_eq!(bed.isula("cp steady:/etc/marker -").code, 0);
    for line in [
        &format!("create {IMAGE} true"),
        &format!("run --rm {IMAGE} true"),
        "start waits",
        "rename waits other",
        "update --restart always waits",
        "volume create v1",
        "volume rm v0",
        "rm waits",
        &format!("tag {IMAGE} other:tag"),
        "rmi other:v1",
    ] {
        let o = bed.isula(line);
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err.to_lowercase(), "read-only file system");
    }
    assert_eq!(bed.inspect("waits", "/Name"), "waits");
    assert_eq!(bed.inspect("waits", "/HostConfig/RestartPolicy/Name"), "no");
    assert!(!bed.log().contains("in part only"), "nothing was changed in part");
    bed.isula("stop -t 0 ends").ok();
    assert_eq!(bed.inspect("ends", "/State/ExitCode"), 137);
    assert!(disk.remount("rw"));
    bed.isula("start ends").ok();
    bed.isula("stop -t 0 steady").ok();
    bed.isula("rename waits other").ok();
    bed.isula("start -a other").ok();
    bed.isula("volume rm v0").ok();
    await_truth(bed);
    // Some end, and go, while it is looked.
    eventually("what is there is listed", || World::of(bed).strays(bed).is_empty());
    assert_eq!(bed.run("", "echo well"), "well");
    bed.isula("rm -f steady ends said other").ok();
    bed.isula("rmi other:v1").ok();
    bed.stop();
    disk.unmount();
}
