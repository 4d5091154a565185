//! `make bench`: what the engine costs, as ratios against crun on the same root file system, and against podman,
//! containerd and skopeo with umoci for images (`image`), measured in turns within one run. Absolute times are of this machine and of this minute; compare the ratios.
//!
//! Words select measurements by name; `--rounds N` sets how often each is taken.

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

mod image;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::bed::{Bed, binary, json};
use support::{IMAGE, eventually, leaks, rootfs, sys};

/// Words of the daemon: the registry of the measurements of images will be there.
const EXTRA: &[&str] = &["--insecure-registry", "127.0.0.0/8"];

struct Bench {
    bed: Bed,
    /// Bundle for crun and for lcr.
    bundle: PathBuf,
    rounds: usize,
    words: Vec<String>,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|w| w != "--bench").collect();
    let mut rounds = 15;
    if let Some(at) = words.iter().position(|w| w == "--rounds") {
        rounds = words.get(at + 1).and_then(|n| n.parse().ok()).expect("--rounds N");
        words.drain(at..at + 2);
    }
    if support::requires::root().is_err() {
        eprintln!("containers need root");
        return ExitCode::FAILURE;
    }
    sys::become_subreaper();
    leaks::enter_private_mount_namespace();
    let directory = std::env::temp_dir().join(format!("ib{}", std::process::id()));
    fs::create_dir_all(directory.join("b")).expect("a directory");
    rootfs::make(&directory);
    let disk = Disk::mount(&directory);
    let mut bed = Bed::new(&directory.join("b"));
    // Logging for tests costs time that a user does not pay.
    bed.log_level = "error";
    // Before the daemon, which must see the same cgroup layout as crun.
    let bundle = make_bundle(&bed);
    bed.start_with(EXTRA);
    let parent = bed.cgroup_parent();
    let mut bench = Bench { bed, bundle, rounds, words };
    // A failed measurement must not leave its containers behind either.
    let measured = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.run()));
    if measured.is_err() {
        bench.bed.abandon();
        support::cgroup::remove_tree(&parent);
        drop(disk);
        let _ = fs::remove_dir_all(&directory);
        return ExitCode::FAILURE;
    }
    let closed = bench.bed.close();
    support::cgroup::remove_tree(&parent);
    drop(disk);
    let _ = fs::remove_dir_all(&directory);
    match closed {
        Ok(()) => ExitCode::SUCCESS,
        Err(left) => {
            eprintln!("left behind:\n  {}", left.join("\n  "));
            ExitCode::FAILURE
        }
    }
}

/// What a board has, whatever this machine has: a journalled file system for what is kept, tmpfs for what is not. On
/// ext4 without a journal each new file costs a search among those that were removed a moment ago.
struct Disk(Vec<PathBuf>);

impl Disk {
    /// Mounts them where the bed of both engines will be.
    fn mount(directory: &Path) -> Disk {
        let (image, bed) = (directory.join("ext4"), directory.join("b"));
        let mut disk = Disk(Vec::new());
        fs::File::create(&image).and_then(|f| f.set_len(8 << 30)).expect("a sparse file");
        let mut run = |program: &str, words: &[&str], at: &Path| {
            let status = Command::new(program).args(words).arg(at).status();
            assert!(status.is_ok_and(|s| s.success()), "{program} {words:?} {at:?}");
            if program == "mount" {
                disk.0.insert(0, at.to_owned());
            }
        };
        run("mkfs.ext4", &["-q", "-F"], &image);
        run("mount", &["-o", "loop", &image.display().to_string()], &bed);
        for name in ["state", "crun", "lcr"] {
            fs::create_dir(bed.join(name)).expect("a directory");
            run("mount", &["-t", "tmpfs", "-o", "mode=0700", "tmpfs"], &bed.join(name));
        }
        disk
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for at in &self.0 {
            if let Err(e) = nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH) {
                eprintln!("umount2({at:?}): {e}");
            }
        }
    }
}

impl Bench {
    fn run(&mut self) {
        println!("{:<34} {:>11} {:>11} {:>7}", "median", "ours", "crun", "ratio");
        if self.wants("run") {
            self.run_true();
        }
        if self.wants("lcr") {
            self.lcr_run();
        }
        if self.wants("exec") {
            self.exec_true();
        }
        if self.wants("life") {
            self.whole_life();
        }
        if self.wants("parallel") {
            self.fifty_at_once();
        }
        if self.wants("stream") {
            self.exec_cat();
            self.lines();
        }
        if self.wants("memory") {
            self.memory();
        }
        if self.wants("stopped") {
            self.many_stopped();
        }
        if self.wants("image") {
            // Archives and registry lie outside the disk that is measured.
            let outside = self.bed.dir.parent().expect("it is below").to_owned();
            image::measure(&self.bed, &outside);
        }
        let size = fs::metadata(binary()).expect("the binary").len();
        println!("{:<34} {:>7.2} MiB", "binary", size as f64 / 1_048_576.0);
    }

    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|w| name.contains(w.as_str()))
    }

    fn isula(&self, line: &str) -> Command {
        let mut command = self.bed.applet("isula");
        command.args(support::command::words(line));
        command
    }

    fn crun(&self, words: &[&str]) -> Command {
        let mut command = Command::new("crun");
        command.arg("--root").arg(self.bed.dir.join("crun")).args(words).current_dir(&self.bundle);
        command
    }

    fn lcr(&self, words: &[&str]) -> Command {
        let mut command = self.bed.applet("lcr");
        command.arg("--root").arg(self.bed.dir.join("lcr")).args(words).current_dir(&self.bundle);
        command
    }

    /// Sets what the bundle runs.
    fn bundle_runs(&self, args: &[&str]) {
        let path = self.bundle.join("config.json");
        let mut config = json(&fs::read(&path).expect("the bundle"));
        config["process"]["args"] = serde_json::json!(args);
        fs::write(&path, isulabox::utils::json::to_vec(&config)).expect("the bundle");
    }

    /// Takes both in turns and prints the medians.
    fn compare(&self, name: &str, rounds: usize, mut ours: impl FnMut(usize), mut theirs: impl FnMut(usize)) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for n in 0..rounds + 1 {
            let (one, two) = (time(|| ours(n)), time(|| theirs(n)));
            // The first round warms caches.
            if n > 0 {
                a.push(one);
                b.push(two);
            }
        }
        let (a, b) = (median(a), median(b));
        println!("{name:<34} {:>8.2} ms {:>8.2} ms {:>7.2}", ms(a), ms(b), ms(a) / ms(b));
    }

    fn run_true(&self) {
        self.bundle_runs(&["true"]);
        self.compare(
            "isula run --rm true / crun run",
            self.rounds,
            |_| drain(self.isula(&format!("run --rm {IMAGE} true"))),
            |_| drain(self.crun(&["run", "x"])),
        );
    }

    fn lcr_run(&self) {
        self.bundle_runs(&["true"]);
        self.compare(
            "lcr run true / crun run",
            self.rounds,
            |_| drain(self.lcr(&["run", "y"])),
            |_| drain(self.crun(&["run", "x"])),
        );
    }

    fn exec_true(&self) {
        self.with_both_running("", || {
            self.compare(
                "isula exec true / crun exec",
                self.rounds * 2,
                |_| drain(self.isula("exec aa true")),
                |_| drain(self.crun(&["exec", "x", "true"])),
            );
        });
    }

    /// One sleeping container of each, ours with `flags`.
    fn with_both_running(&self, flags: &str, body: impl FnOnce()) {
        self.bundle_runs(&["sleep", "10000"]);
        drain(self.isula(&format!("run -d --name aa {flags}{IMAGE} sleep 10000")));
        quiet(self.crun(&["run", "-d", "x"]));
        body();
        drain(self.isula("rm -f aa"));
        quiet(self.crun(&["delete", "-f", "x"]));
    }

    fn whole_life(&self) {
        self.bundle_runs(&["sleep", "10000"]);
        self.compare(
            "create start exec stop rm",
            self.rounds,
            |_| {
                drain(self.isula(&format!("create --name aa --stop-signal KILL {IMAGE} sleep 10000")));
                drain(self.isula("start aa"));
                drain(self.isula("exec aa true"));
                drain(self.isula("stop aa"));
                drain(self.isula("rm aa"));
            },
            |_| {
                quiet(self.crun(&["create", "x"]));
                drain(self.crun(&["start", "x"]));
                drain(self.crun(&["exec", "x", "true"]));
                drain(self.crun(&["kill", "x", "KILL"]));
                eventually("crun's container stopped", || {
                    self.crun(&["delete", "x"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
                });
            },
        );
    }

    fn fifty_at_once(&self) {
        self.bundle_runs(&["sleep", "10000"]);
        let together = |commands: Vec<Command>| {
            let children: Vec<_> = commands
                .into_iter()
                .map(|mut c| c.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a program"))
                .collect();
            for mut child in children {
                assert!(child.wait().expect("our own child").success(), "one of fifty failed");
            }
        };
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let ours = (0..50).map(|n| self.isula(&format!("run -d --name p{n} {IMAGE} sleep 10000"))).collect();
            a.push(time(|| together(ours)));
            let all: String = (0..50).map(|n| format!(" p{n}")).collect();
            drain(self.isula(&format!("rm -f{all}")));
            let theirs = (0..50).map(|n| self.crun(&["run", "-d", &format!("p{n}")])).collect();
            b.push(time(|| together(theirs)));
            for n in 0..50 {
                quiet(self.crun(&["delete", "-f", &format!("p{n}")]));
            }
        }
        let (a, b) = (median(a), median(b));
        println!("{:<34} {:>8.0} ms {:>8.0} ms {:>7.2}", "50 run -d at once", ms(a), ms(b), ms(a) / ms(b));
    }

    /// Reader and writer on one processor: what they cost. Which of several the kernel gives them decides else, and makes
    /// up to six times as much for the same program on the host.
    fn exec_cat(&self) {
        let all = sched_getaffinity(Pid::from_raw(0)).expect("sched_getaffinity()");
        let mut one = CpuSet::new();
        let first = (0..CpuSet::count()).find(|n| all.is_set(*n).unwrap_or(false)).expect("a processor");
        one.set(first).expect("a processor");
        sched_setaffinity(Pid::from_raw(0), &one).expect("sched_setaffinity()");
        self.with_both_running(&format!("--cpuset-cpus {first} "), || {
            let fill = "dd if=/dev/zero of=/tmp/big bs=1M count=256";
            quiet(self.isula(&format!("exec aa {fill}")));
            let words: Vec<&str> = ["exec", "x"].into_iter().chain(fill.split(' ')).collect();
            quiet(self.crun(&words));
            // Else the disk is still being written to, and takes a processor for it, while one of both is measured.
            nix::unistd::sync();
            self.compare(
                "exec cat of 256 MiB",
                self.rounds.min(9),
                |_| drain(self.isula("exec aa cat /tmp/big")),
                |_| drain(self.crun(&["exec", "x", "cat", "/tmp/big"])),
            );
        });
        sched_setaffinity(Pid::from_raw(0), &all).expect("sched_setaffinity()");
    }

    fn lines(&self) {
        self.bundle_runs(&["payload", "lines", "1000000"]);
        self.compare(
            "run of 1e6 lines, ours with log",
            3,
            // Not all kept: a fresh page of this machine's memory can cost more than what is written to it.
            |_| drain(self.isula(&format!("run --rm --log-opt max-size=1g {IMAGE} payload lines 1000000"))),
            |_| drain(self.crun(&["run", "x"])),
        );
        drain(self.isula(&format!("run --name l0 --log-opt max-size=1g {IMAGE} payload lines 1000000")));
        let mut bytes = 0;
        let took = median((0..3).map(|_| time(|| bytes = count(self.isula("logs l0")))).collect());
        println!("{:<34} {:>6.0} MB/s", "logs of them", bytes as f64 / 1e6 / took.as_secs_f64());
        drain(self.isula("rm -f l0"));
    }

    fn memory(&self) {
        let daemon = self.bed.pid();
        let settled = || {
            nix::unistd::sync();
            // Longer than all of them wait before they give back what they do not need.
            std::thread::sleep(Duration::from_millis(1200));
            private(daemon)
        };
        let idle = settled();
        println!("{:<34} {:>7} KiB", "daemon, private memory, idle", idle);
        let mut running = 0;
        for goal in [1, 10, 50] {
            for n in running..goal {
                drain(self.isula(&format!("run -d --name m{n} {IMAGE} sleep 10000")));
            }
            running = goal;
            let now = settled();
            let shims = leaks::children_of(daemon);
            let total: u64 = shims.iter().map(|pid| private(*pid)).sum();
            let each = (total + now.saturating_sub(idle)) as f64 / goal as f64;
            println!(
                "{:<34} {:>7.1} KiB  (shim {:.1}, daemon {now} in all)",
                format!("per container, {goal} running"),
                each,
                total as f64 / shims.len() as f64
            );
        }
        let all: String = (0..running).map(|n| format!(" m{n}")).collect();
        drain(self.isula(&format!("rm -f{all}")));
        println!("{:<34} {:>7} KiB", "daemon, after all were removed", settled());
    }

    fn many_stopped(&mut self) {
        let mut there = 0;
        for stopped in [0, 100, 500, 1000] {
            for n in there..stopped {
                drain(self.isula(&format!("create --name s{n} {IMAGE} true")));
            }
            there = stopped;
            let mut starts = Vec::new();
            for _ in 0..5 {
                self.bed.stop();
                let words = self.bed.daemon_words(EXTRA);
                let mut command = self.bed.applet("isulad");
                command.args(words);
                starts.push(self.bed.launch_command(command));
            }
            println!("{:<34} {:>8.2} ms", format!("daemon's start, {stopped} stopped"), ms(median(starts)));
            let list = median((0..15).map(|_| time(|| drain(self.isula("ps -a")))).collect());
            println!("{:<34} {:>8.2} ms", format!("isula ps -a, {stopped} stopped"), ms(list));
            // After the look at what the start did not need.
            std::thread::sleep(Duration::from_millis(2500));
            let memory = private(self.bed.pid());
            println!("{:<34} {memory:>7} KiB", format!("daemon's memory, {stopped} stopped"));
        }
        for chunk in (0..there).collect::<Vec<_>>().chunks(100) {
            let names: String = chunk.iter().map(|n| format!(" s{n}")).collect();
            drain(self.isula(&format!("rm{names}")));
        }
        self.bed.rebase();
    }
}

/// A bundle for both runtimes: crun's own default document on the test root file system. Where crun does not accept
/// a hybrid cgroup layout, the v2 part is hidden from this process and all it starts.
fn make_bundle(bed: &Bed) -> PathBuf {
    let path = bed.dir.join("bundle");
    fs::create_dir_all(path.join("rootfs")).expect("a bundle");
    let unpacked = Command::new("tar").arg("-xf").arg(rootfs::archive()).arg("-C").arg(path.join("rootfs")).status();
    assert!(unpacked.is_ok_and(|s| s.success()), "tar");
    let spec = Command::new("crun").arg("spec").current_dir(&path).status();
    assert!(spec.is_ok_and(|s| s.success()), "crun spec; `make deps-bench` installs crun");
    let mut config = json(&fs::read(path.join("config.json")).expect("crun wrote it"));
    config["process"]["args"] = serde_json::json!(["true"]);
    config["process"]["terminal"] = false.into();
    config["root"]["readonly"] = false.into();
    // Without a path each container has its own by its id, which fifty at once need.
    config["linux"].as_object_mut().expect("an object").remove("cgroupsPath");
    fs::write(path.join("config.json"), isulabox::utils::json::to_vec(&config)).expect("the bundle");
    let works = |path: &Path| {
        let root = bed.dir.join("crun-probe");
        Command::new("crun")
            .arg("--root")
            .arg(root)
            .args(["run", "probe"])
            .current_dir(path)
            .status()
            .is_ok_and(|s| s.success())
    };
    if !works(&path) {
        let hidden = nix::mount::umount2("/sys/fs/cgroup/unified", nix::mount::MntFlags::MNT_DETACH).is_ok();
        assert!(hidden && works(&path), "crun does not run here");
        println!("(crun refuses the hybrid cgroup layout: v2 is hidden for this run)");
    }
    path
}

/// Private memory of a process in KiB.
fn private(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|l| l.starts_with("Private_"));
    lines.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Runs a program to its end and reads what it says; it must succeed.
fn drain(command: Command) {
    count(command);
}

/// The same; how many bytes it said.
fn count(mut command: Command) -> u64 {
    let shown = format!("{command:?}");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a program");
    let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
    let mut out = child.stdout.take().expect("piped");
    while let Ok(n) = out.read(&mut buffer)
        && n > 0
    {
        total += n as u64;
    }
    assert!(child.wait().expect("our own child").success(), "{shown} failed");
    total
}

/// Runs a program whose output outlives it: a detached container holds it open.
fn quiet(mut command: Command) {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.is_ok_and(|s| s.success()), "{command:?} failed");
}

fn time(body: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    body();
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
