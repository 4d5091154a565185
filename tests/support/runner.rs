//! Runs the tests: a process each, some at a time, with a deadline; counts what was skipped and why.
//!
//! A test's process has its own mount namespace and is the reaper of everything it starts. The runner is the reaper of
//! the tests: what survives a killed one is its child then and gets killed too.

use super::old_kernel::{self, Version};
use super::{bed::Bed, cgroup, leaks, requires, rootfs, sys};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    /// `module::function`.
    pub name: &'static str,
    pub run: fn(&mut Bed),
}

/// The tests of a module, by function name.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[$crate::support::runner::Test] = &[$($crate::support::runner::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: $name,
        }),*];
    };
}

/// How long one test may take.
const DEADLINE: Duration = Duration::from_secs(400);
/// The same of a run with ISULABOX_LOAD=all.
const LOAD_DEADLINE: Duration = Duration::from_secs(3600);
/// Exit code of a test's process that was skipped.
const SKIPPED: i32 = 77;
/// What a test prints before the reason for skipping it.
const SKIP_MARK: &str = "skipped: ";

/// Runs the whole command line.
///
/// `may_skip` is how many may be skipped when nothing is filtered: a suite that skips itself green fails.
pub fn main(tests: &[Test], may_skip: usize) -> ExitCode {
    sys::heed_signals();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, directory, kernel @ ..] = words.as_slice()
        && first == "--one"
    {
        let test = tests.iter().find(|t| t.name == name).expect("the runner knows its tests");
        kernel.first().and_then(|v| Version::parse(v)).into_iter().for_each(old_kernel::pretend);
        return one(test, Path::new(directory));
    }
    let mut jobs = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, 8);
    let mut kernel = None;
    let mut filters = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--jobs" => jobs = words.next().and_then(|n| n.parse().ok()).expect("--jobs N"),
            "--kernel" => {
                kernel = words.next();
                assert!(kernel.as_deref().is_some_and(|v| Version::parse(v).is_some()), "--kernel MAJOR.MINOR");
            }
            "--list" => {
                tests.iter().for_each(|t| println!("{}", t.name));
                return ExitCode::SUCCESS;
            }
            // What cargo and test tools pass on.
            "--quiet" | "-q" | "--nocapture" => {}
            _ if word.starts_with('-') => {
                eprintln!("usage: [--list] [--jobs N] [--kernel MAJOR.MINOR] [PART OF A NAME]...");
                return ExitCode::FAILURE;
            }
            _ => filters.push(word),
        }
    }
    if let Err(reason) = requires::root() {
        eprintln!("the integration tests run real containers: {reason}");
        return ExitCode::FAILURE;
    }
    let chosen: Vec<Test> = tests
        .iter()
        .filter(|t| filters.is_empty() || filters.iter().any(|f| t.name.contains(f.as_str())))
        .copied()
        .collect();
    let summary = Run::new(jobs, kernel).run(&chosen);
    summary.print(&chosen, if filters.is_empty() { Some(may_skip) } else { None })
}

struct Running {
    test: Test,
    child: Child,
    started: Instant,
    output: PathBuf,
    directory: PathBuf,
}

struct Run {
    jobs: usize,
    /// The version to pretend, older than the machine's.
    kernel: Option<String>,
    /// Short, because a socket's path is: everything of all tests lies below.
    directory: PathBuf,
}

#[derive(Default)]
struct Summary {
    failed: Vec<&'static str>,
    skipped: BTreeMap<String, usize>,
    seconds: u64,
}

impl Run {
    fn new(jobs: usize, kernel: Option<String>) -> Run {
        let directory = std::env::temp_dir().join(format!("ib{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for the tests");
        sys::become_subreaper();
        rootfs::make(&directory);
        Run { jobs, kernel, directory }
    }

    fn run(&self, tests: &[Test]) -> Summary {
        let begin = Instant::now();
        let deadline = if load_is_all() { LOAD_DEADLINE } else { DEADLINE };
        let mut summary = Summary::default();
        let mut waiting = tests.iter().enumerate();
        let mut running: Vec<Running> = Vec::new();
        loop {
            while running.len() < self.jobs
                && let Some((n, test)) = waiting.next()
            {
                running.push(self.start(n, *test));
            }
            if running.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            let mut i = 0;
            while i < running.len() {
                match running[i].child.try_wait().expect("our own child") {
                    Some(status) => {
                        let done = running.swap_remove(i);
                        let alive: Vec<u32> = running.iter().map(|r| r.child.id()).collect();
                        self.finish(done, status.code(), &alive, &mut summary);
                    }
                    None => {
                        if running[i].started.elapsed() > deadline {
                            let _ = running[i].child.kill();
                        }
                        i += 1;
                    }
                }
            }
        }
        summary.seconds = begin.elapsed().as_secs();
        summary
    }

    fn start(&self, n: usize, test: Test) -> Running {
        let directory = self.directory.join(n.to_string());
        fs::create_dir(&directory).expect("a test's directory");
        let output = self.directory.join(format!("{n}.out"));
        let file = File::create(&output).expect("a test's output");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--one", test.name])
            .arg(&directory)
            .args(&self.kernel)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second descriptor"))
            .stderr(file)
            .spawn()
            .expect("a test's process");
        Running { test, child, started: Instant::now(), output, directory }
    }

    fn finish(&self, done: Running, code: Option<i32>, alive: &[u32], summary: &mut Summary) {
        let seconds = done.started.elapsed().as_secs_f64();
        let text = String::from_utf8_lossy(&fs::read(&done.output).unwrap_or_default()).into_owned();
        let name = done.test.name.trim_start_matches("integration::");
        match code {
            Some(0) => {
                println!("ok      {name} ({seconds:.1} s)");
                // Numbers, which nothing judges.
                text.lines().filter(|_| load_is_all()).for_each(|line| println!("    {line}"));
            }
            Some(SKIPPED) => {
                let reason = text.rsplit(SKIP_MARK).next().unwrap_or_default().trim().to_string();
                println!("skipped {name}: {reason}");
                *summary.skipped.entry(reason).or_default() += 1;
            }
            _ => {
                let how =
                    if code.is_none() { format!("killed after {seconds:.0} s") } else { format!("{seconds:.1} s") };
                println!("FAILED  {name} ({how})");
                text.lines().for_each(|line| println!("    {line}"));
                show_tail(&done.directory.join("daemon.log"));
                summary.failed.push(name);
            }
        }
        leaks::kill_children_except(alive);
        cgroup::remove_tree(&cgroup_parent(&done.directory));
        let _ = fs::remove_dir_all(&done.directory);
        let _ = fs::remove_file(&done.output);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Summary {
    fn print(&self, tests: &[Test], may_skip: Option<usize>) -> ExitCode {
        let skipped: usize = self.skipped.values().sum();
        let passed = tests.len() - self.failed.len() - skipped;
        println!("\n{passed} passed, {} failed, {skipped} skipped in {} s", self.failed.len(), self.seconds);
        for (reason, n) in &self.skipped {
            println!("  skipped {n}: {reason}");
        }
        for name in &self.failed {
            println!("  FAILED {name}");
        }
        if tests.is_empty() {
            println!("no test has such a name");
            return ExitCode::FAILURE;
        }
        if may_skip.is_some_and(|n| skipped > n) {
            println!("too many were skipped to call this a test");
            return ExitCode::FAILURE;
        }
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Last lines of a daemon's log.
fn show_tail(log: &Path) {
    let Ok(text) = fs::read(log) else { return };
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    println!("    --- the daemon's log, last lines of {}", lines.len());
    lines.iter().skip(lines.len().saturating_sub(25)).for_each(|line| println!("    {line}"));
}

/// The cgroup below which a test's containers live; unique among parallel tests.
pub fn cgroup_parent(directory: &Path) -> String {
    let run = directory.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    format!("/{run}-{}", directory.file_name().unwrap_or_default().to_string_lossy())
}

/// Whether all load is wanted (`load`).
pub fn load_is_all() -> bool {
    std::env::var("ISULABOX_LOAD").is_ok_and(|v| v == "all")
}

/// Ends a test that cannot run here.
pub fn skip(reason: &str) -> ! {
    std::panic::panic_any(Skip(reason.to_string()))
}

struct Skip(String);

/// The process of one test.
fn one(test: &Test, directory: &Path) -> ExitCode {
    sys::become_subreaper();
    leaks::enter_private_mount_namespace();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<Skip>().is_none() {
            report(panic);
        }
    }));
    let mut bed = Bed::new(directory);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (test.run)(&mut bed)));
    match outcome {
        Ok(()) => match bed.close() {
            Ok(()) => ExitCode::SUCCESS,
            Err(left) => {
                println!("the test itself passed, but it left:\n  {}", left.join("\n  "));
                ExitCode::FAILURE
            }
        },
        Err(payload) => match payload.downcast::<Skip>() {
            Ok(skip) => {
                bed.abandon();
                println!("{SKIP_MARK}{}", skip.0);
                ExitCode::from(SKIPPED as u8)
            }
            Err(_) => {
                bed.abandon();
                ExitCode::FAILURE
            }
        },
    }
}
