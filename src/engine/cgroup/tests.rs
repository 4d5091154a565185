//! On this host's real hierarchies; as root only.

use super::*;
use crate::api::oci::runtime::{Cpu, Memory, Pids};
use crate::utils::sys::test::fork_child;
use nix::sys::wait::{WaitStatus, waitpid};

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root() && Layout::host().is_ok();
    if !root {
        eprintln!("skipped: needs root and cgroups");
    }
    root
}

/// A cgroup of its own for one test, removed with all in it also when the test fails.
struct Fixture(Option<Cgroup>);

impl Fixture {
    fn new(name: &str) -> Fixture {
        Fixture(Some(Cgroup::create(&format!("/isulabox-test-{}/{name}", std::process::id())).unwrap()))
    }

    fn cgroup(&self) -> &Cgroup {
        self.0.as_ref().unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let Some(cgroup) = self.0.take() else { return };
        let directories: Vec<PathBuf> = cgroup.directories().map(|(_, d)| d).collect();
        let result = cgroup.destroy(PATIENCE);
        for directory in &directories {
            let _ = std::fs::remove_dir(directory.parent().unwrap()); // shared by the tests: the last one succeeds
        }
        if !std::thread::panicking() {
            result.unwrap();
            assert!(directories.iter().all(|d| !d.exists()));
        }
    }
}

/// A child inside that runs `f`. Enters version 2 through the file, as there is no clone3 wrapper here.
fn child(cgroup: &Cgroup, f: impl FnOnce() -> i32) -> Pid {
    let mut entry = cgroup.entry().unwrap();
    if entry.clone_into.is_some() {
        let procs = cgroup.directory(cgroup.v2().unwrap()).join("cgroup.procs");
        entry.join.push(File::options().write(true).open(procs).unwrap().into());
    }
    fork_child(|| {
        let files: Vec<BorrowedFd<'_>> = entry.join.iter().map(AsFd::as_fd).collect();
        if join_self(&files).is_err() { 99 } else { f() }
    })
}

fn sleeper(cgroup: &Cgroup) -> Pid {
    let pid = child(cgroup, || {
        let memory = vec![1u8; 4 << 20];
        std::thread::sleep(Duration::from_secs(60));
        i32::from(memory[1])
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    let inside = || cgroup.present.iter().all(|h| cgroup.processes_in(h).unwrap().contains(&pid.as_raw()));
    while !inside() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(inside());
    pid
}

#[test]
fn paths() {
    for (given, want) in [("/a/b", "/a/b"), ("a", "/a"), ("//a/./b/", "/a/b"), ("/a:b:c", "/a:b:c")] {
        assert_eq!(normalise(given).unwrap(), want);
    }
    for bad in ["", "/", "/../x", "/a/..", "/a\nb", "."] {
        assert_eq!(normalise(bad).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
    }
    assert_eq!(normalise("system.slice:isulad:abc").unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn a_process_enters_every_hierarchy_and_is_seen_frozen_counted_and_killed() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("life");
    let cgroup = fixture.cgroup();
    assert_eq!(cgroup.present.len(), Layout::host().unwrap().hierarchies.len());
    assert!(cgroup.processes().unwrap().is_empty());
    let pid = sleeper(cgroup);
    assert_eq!(cgroup.processes().unwrap(), [pid.as_raw()]);
    let mine = of_process(pid.as_raw()).unwrap();
    let directories: Vec<PathBuf> = cgroup.directories().map(|(_, d)| d).collect();
    assert!(directories.iter().all(|d| mine.iter().any(|(_, m)| m == d)), "{mine:?} {directories:?}");
    let stats = cgroup.stats().unwrap();
    assert!(stats.pids == 1 && stats.memory_limit > 1 << 20, "{stats:?}");
    assert_eq!(stats.pids_limit, 0);
    // The kernel books processor time at a tick or a switch, memory as it is touched: both come later.
    let deadline = Instant::now() + Duration::from_secs(30);
    let booked = |stats: &Stats| stats.cpu_usage > 0 && stats.memory_usage >= 4 << 20;
    while !booked(&cgroup.stats().unwrap()) {
        assert!(Instant::now() < deadline, "{:?}", cgroup.stats());
        std::thread::sleep(Duration::from_millis(1));
    }
    cgroup.freeze().unwrap();
    assert!(Cgroup::create(cgroup.path()).is_err_and(|e| e.kind() == Kind::Exists));
    cgroup.thaw().unwrap();
    cgroup.freeze().unwrap();
    cgroup.kill(Instant::now() + PATIENCE).unwrap();
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert_eq!(cgroup.oom_kills(), 0);
    let again = Cgroup::open(cgroup.path()).unwrap();
    assert_eq!(again.present.len(), cgroup.present.len());
    assert_eq!(Cgroup::open("/no/such/cgroup").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn version_1_freezes_and_kills_without_version_2() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("v1");
    let cgroup = fixture.cgroup();
    let Some(freezer) = cgroup.with("freezer") else { return };
    let pid = sleeper(cgroup);
    let v1 = Cgroup {
        lenient: false,
        unit: None,
        layout: cgroup.layout,
        path: cgroup.path.clone(),
        present: cgroup.present.iter().copied().filter(|h| h.version == Version::V1).collect(),
    };
    v1.freeze().unwrap();
    assert_eq!(file::read(&v1.directory(freezer).join("freezer.state")).unwrap().trim(), "FROZEN");
    v1.kill(Instant::now() + PATIENCE).unwrap();
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert_eq!(file::read(&v1.directory(freezer).join("freezer.state")).unwrap().trim(), "THAWED");
}

#[test]
fn a_fork_bomb_with_cgroups_of_its_own_is_removed() {
    if !is_root() {
        return;
    }
    for only_v1 in [false, true] {
        let fixture = Fixture::new(if only_v1 { "bomb1" } else { "bomb" });
        let cgroup = fixture.cgroup();
        cgroup.apply(&Resources { pids: Some(Pids { limit: Some(64) }), ..Resources::default() }).unwrap();
        let subs: Vec<PathBuf> = cgroup.directories().map(|(_, d)| d.join("x/y/z")).collect();
        for sub in &subs {
            std::fs::create_dir_all(sub).unwrap();
        }
        let pids_sub = cgroup.with("pids").map(|h| cgroup.directory(h).join("x/y/tasks"));
        let bomb = child(cgroup, || {
            if let Some(tasks) = pids_sub {
                let _ = std::fs::write(tasks, "0");
            }
            loop {
                match nix::unistd::getppid().as_raw() {
                    _ if fork_or_nothing() => {}
                    _ => std::thread::yield_now(),
                }
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(cgroup.processes().unwrap().len() > 4);
        if only_v1 {
            let v1 = Cgroup {
                lenient: false,
                unit: None,
                layout: cgroup.layout,
                path: cgroup.path.clone(),
                present: cgroup.present.iter().copied().filter(|h| h.version == Version::V1).collect(),
            };
            v1.kill(Instant::now() + PATIENCE).unwrap();
        }
        drop(fixture); // asserts that everything is gone
        assert!(matches!(waitpid(bomb, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    }
}

/// Forks a child that goes on like its parent; whether it could.
fn fork_or_nothing() -> bool {
    crate::utils::sys::test::raw_fork() >= 0
}

#[test]
fn limits_are_in_force_and_updated() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("limits");
    let cgroup = fixture.cgroup();
    let memory = |limit, swap| Resources {
        memory: Some(Memory { limit: Some(limit), swap: Some(swap), ..Memory::default() }),
        ..Resources::default()
    };
    let cpu = Cpu { quota: Some(50_000), period: Some(100_000), shares: Some(512), cpus: "0".into(), ..Cpu::default() };
    let pids = Some(Pids { limit: Some(7) });
    cgroup.apply(&Resources { cpu: Some(cpu), pids, ..memory(64 << 20, 96 << 20) }).unwrap();
    let stats = cgroup.stats().unwrap();
    assert_eq!((stats.memory_limit, stats.pids_limit), (64 << 20, 7));
    let pid = sleeper(cgroup);
    for (limit, swap) in [(128 << 20, 256 << 20), (16 << 20, 32 << 20), (64 << 20, -1)] {
        cgroup.update(&memory(limit, swap)).unwrap();
        assert_eq!(cgroup.stats().unwrap().memory_limit, limit as u64);
    }
    assert_eq!(cgroup.stats().unwrap().pids_limit, 7, "what is unset stays");
    let bad = Resources { cpu: Some(Cpu { cpus: "4000".into(), ..Cpu::default() }), ..Resources::default() };
    let e = cgroup.update(&bad).unwrap_err().to_string();
    assert!(e.contains("set limit cpu.cpus") && e.contains("cpuset.cpus"), "{e}");
    cgroup.kill(Instant::now() + PATIENCE).unwrap();
    waitpid(pid, None).unwrap();
}

#[test]
fn memory_above_the_limit_is_noticed() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("oom");
    let cgroup = fixture.cgroup();
    if cgroup.with("memory").is_none() {
        return;
    }
    let memory = Memory { limit: Some(8 << 20), swap: Some(64 << 20), ..Memory::default() };
    cgroup.apply(&Resources { memory: Some(memory), ..Resources::default() }).unwrap();
    let notifier = cgroup.oom_notifier().unwrap();
    let pid = child(cgroup, || {
        let mut eaten = Vec::new();
        loop {
            eaten.push(vec![1u8; 1 << 20]);
        }
    });
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert_eq!(cgroup.oom_kills(), 1);
    let flags = nix::poll::PollFlags::POLLIN | nix::poll::PollFlags::POLLPRI;
    let mut fds = [nix::poll::PollFd::new(notifier.as_fd(), flags)];
    assert_eq!(nix::poll::poll(&mut fds, 1000u16).unwrap(), 1);
    assert!(cgroup.stats().unwrap().memory_failcnt > 0);
}

fn opens(device: &'static str, writing: bool) -> impl FnOnce() -> i32 {
    move || match File::options().read(!writing).write(writing).open(device) {
        Ok(_) => 0,
        Err(e) => e.raw_os_error().unwrap_or(-1),
    }
}

fn rule(allow: bool, kind: &str, numbers: Option<(i64, i64)>, access: &str) -> DeviceRule {
    let (major, minor) = (numbers.map(|n| n.0), numbers.map(|n| n.1));
    DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
}

fn exit_code(pid: Pid) -> i32 {
    match waitpid(pid, None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn device_rules_are_in_force_in_both_versions() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("devices");
    let cgroup = fixture.cgroup();
    let v2_only = cgroup.v2().map(|v2| {
        // As if the host had no devices controller: the program decides.
        let layout: &'static Layout = Box::leak(Box::new(Layout { hierarchies: vec![v2.clone()] }));
        Cgroup { layout, path: cgroup.path.clone(), present: vec![&layout.hierarchies[0]], lenient: false, unit: None }
    });
    let try_both = |c: &Cgroup| {
        let kmsg = Some((1, 11));
        let check = |want: [i32; 4]| {
            let found = [
                exit_code(child(cgroup, opens("/dev/null", true))),
                exit_code(child(cgroup, opens("/dev/urandom", false))),
                exit_code(child(cgroup, opens("/dev/kmsg", false))),
                exit_code(child(cgroup, opens("/dev/kmsg", true))),
            ];
            assert_eq!(found, want);
        };
        let deny = rule(false, "a", None, "rwm");
        let with = |more: Vec<DeviceRule>| Resources { devices: more, ..Resources::default() };
        check([0; 4]);
        c.apply(&with(vec![deny.clone()])).unwrap();
        check([0, 0, libc::EPERM, libc::EPERM]);
        c.update(&with(vec![deny.clone(), rule(true, "c", kmsg, "r"), rule(false, "c", Some((1, 9)), "rw")])).unwrap();
        check([0, libc::EPERM, 0, libc::EPERM]);
        c.update(&Resources::default()).unwrap();
        check([0, libc::EPERM, 0, libc::EPERM]);
        c.update(&with(vec![rule(true, "a", None, "rwm")])).unwrap();
        check([0; 4]);
    };
    if cgroup.with("devices").is_some() {
        try_both(cgroup);
    }
    if let Some(v2) = v2_only {
        try_both(&v2);
    }
}

#[test]
fn a_left_over_cgroup_is_made_anew() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("again");
    let cgroup = fixture.cgroup();
    cgroup.apply(&Resources { pids: Some(Pids { limit: Some(7) }), ..Resources::default() }).unwrap();
    std::fs::create_dir_all(cgroup.directories().next().unwrap().1.join("sub/sub")).unwrap();
    let again = Cgroup::create(cgroup.path()).unwrap();
    assert_eq!(again.stats().unwrap().pids_limit, 0);
}
