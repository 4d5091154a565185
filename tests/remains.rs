//! Processes that no signal ends, for they sleep in the kernel: here on a disk that is frozen.

use crate::support::bed::{Bed, json};
use crate::support::disk::Disk;
use crate::support::{cgroup, contains, eventually, leaks};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

tests![
    a_container_that_does_not_end,
    what_was_asked_for_outlives_a_reboot,
    what_a_lost_shim_leaves,
    a_kill_waits_for_what_a_lost_shim_leaves,
    what_a_shim_leaves
];

/// A disk on which whoever writes sleeps.
struct Frozen(PathBuf);

impl Frozen {
    #[track_caller]
    fn new(at: PathBuf) -> Frozen {
        freeze("--freeze", &at);
        // Before the runner ends a test that hangs, for nobody could thaw it after that.
        let path = at.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(300));
            freeze("--unfreeze", &path);
        });
        Frozen(at)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        freeze("--unfreeze", &self.0);
    }
}

#[track_caller]
fn freeze(how: &str, at: &PathBuf) {
    assert!(Command::new("fsfreeze").arg(how).arg(at).status().unwrap().success());
}

/// Containers that write to a disk of their own, which is frozen then.
fn sleepers(bed: &mut Bed, containers: &[(&str, &str)]) -> (Disk, Frozen) {
    bed.start();
    let at = bed.dir.join("disk");
    let disk = Disk::make("ext4", "", &bed.dir.join("disk.img"), 16, &at);
    for (name, options) in containers {
        let writes = format!("sh -c 'echo ready; while :; do echo x > /m/{name}; sleep 0.05; done'");
        bed.run_detached(name, &format!("{options} -v {}:/m", at.display()), &writes);
        bed.await_log(name, "ready");
    }
    let frozen = Frozen::new(at);
    for (name, _) in containers {
        let stat = format!("/proc/{}/stat", bed.container_pid(name));
        eventually("it sleeps", || std::fs::read_to_string(&stat).unwrap().contains(") D "));
    }
    (disk, frozen)
}

/// Asks for what cannot be done, at once.
#[track_caller]
fn ask(bed: &Bed, verbs: &[(&str, &str)]) {
    let running: Vec<_> = verbs.iter().map(|(line, _)| bed.spawn(line)).collect();
    // Nobody else waits for that.
    assert_eq!(bed.isula("ps -q").ok().lines().count(), verbs.len());
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
    for (verb, (_, then)) in running.into_iter().zip(verbs) {
        let o = verb.finish(Duration::from_secs(100));
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err, "does not end after SIGKILL");
        contains(&o.err, then);
    }
}

const SLEEPS: &str = "uninterruptible sleep";
const PROMISED: &str = "it will be removed when it has ended";

/// The machine goes down before the disk answers.
fn what_was_asked_for_outlives_a_reboot(bed: &mut Bed) {
    requires!(loop_ext4, fsfreeze);
    let policy = "--restart unless-stopped";
    let (_disk, frozen) = sleepers(bed, &[("aa", policy), ("bb", policy), ("cc", policy)]);
    ask(bed, &[("stop -t 0 aa", SLEEPS), ("rm -f bb", PROMISED), ("kill cc", SLEEPS)]);
    let ids = bed.isula("ps -aq --no-trunc").ok();
    let noted = |id: &str| {
        let path = bed.graph().join("engines/lcr").join(id).join("container_state.json");
        json(&std::fs::read(path).unwrap())["HasBeenManuallyStopped"] == true
    };
    eventually("it is noted", || ids.lines().all(noted));
    let shims = leaks::children_of(bed.pid());
    bed.kill();
    end(&shims);
    drop(frozen);
    eventually("nothing runs", || {
        leaks::children();
        cgroup::remove_tree(&bed.cgroup_parent());
        leaks::cgroups(&bed.cgroup_parent()).is_empty()
    });
    std::fs::remove_dir_all(bed.state().join("lcr")).unwrap();
    bed.restart();
    eventually("what was to go is gone", || bed.isula("ps -aq").ok().lines().count() == 2);
    std::thread::sleep(Duration::from_millis(500));
    for name in ["aa", "cc"] {
        assert_eq!(bed.inspect(name, "/State/Status"), "exited");
    }
    bed.isula("rm aa cc").ok();
}

fn end(processes: &[u32]) {
    processes.iter().for_each(|&pid| kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap());
}

fn a_container_that_does_not_end(bed: &mut Bed) {
    requires!(loop_ext4, fsfreeze);
    let (_disk, frozen) = sleepers(bed, &[("aa", "--restart always"), ("bb", "-v /anonymous")]);
    let init = bed.container_pid("aa");
    ask(bed, &[("stop -t 0 aa", SLEEPS), ("rm -f -v bb", PROMISED)]);
    // What is true is what is shown, also by the daemons to come.
    for killed in [true, false] {
        if killed {
            bed.kill();
        }
        bed.restart();
    }
    assert_eq!(bed.container_pid("aa"), init);
    assert_eq!(bed.isula("ps -q").ok().lines().count(), 2);
    drop(frozen);
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 137);
    eventually("the other one is removed", || bed.isula("ps -aq").ok().lines().count() == 1);
    eventually("and its volume", || bed.isula("volume ls -q").ok().is_empty());
    bed.isula("rm aa").ok();
}

#[track_caller]
fn refused(bed: &Bed, line: &str) {
    let o = bed.isula(line);
    assert_ne!(o.code, 0, "{}", o.show());
    contains(&o.err, "in garbage collector progress.");
}

fn what_a_lost_shim_leaves(bed: &mut Bed) {
    requires!(loop_ext4, fsfreeze);
    let all = [("again", "--restart always"), ("own", "--rm"), ("plain", ""), ("wanted", "")];
    let (_disk, frozen) = sleepers(bed, &all);
    let before = bed.container_pid("again");
    // Some with the daemon, so that the next one finds them gone.
    let shims = leaks::children_of(bed.pid());
    assert_eq!(shims.len(), all.len());
    let (first, second) = shims.split_at(2);
    end(first);
    eventually("two are known to have ended", || bed.isula("ps -q").ok().lines().count() == 2);
    bed.kill();
    end(second);
    bed.restart();
    let in_progress = |bed: &Bed| {
        for (verb, name) in [("start", "plain"), ("start", "again"), ("rm", "plain"), ("exec", "plain true")] {
            refused(bed, &format!("{verb} {name}"));
        }
        assert_eq!(bed.isula("ps -aq").ok().lines().count(), 4);
        assert_eq!(bed.isula("ps -q").ok(), "");
    };
    ["again", "plain", "wanted"].iter().for_each(|name| bed.await_state(name, "exited"));
    bed.await_state("own", "removing");
    in_progress(bed);
    let o = bed.isula("rm -f wanted");
    assert!(o.code != 0 && o.err.contains("it will be removed when it has ended"), "{}", o.show());
    assert_eq!(bed.inspect("wanted", "/State/Status"), "removing");
    // Also for the daemons to come.
    for killed in [false, true] {
        if killed {
            bed.kill();
        }
        bed.restart();
        in_progress(bed);
    }
    drop(frozen);
    eventually("they are removed", || bed.isula("ps -aq").ok().lines().count() == 2);
    eventually("it is started again", || bed.inspect("again", "/State/Status") == "running");
    assert_ne!(bed.container_pid("again"), before);
    eventually("it can be started", || bed.isula("start plain").code == 0);
    bed.isula("rm -f again plain").ok();
}

/// It is told what has not ended, not that all has.
fn a_kill_waits_for_what_a_lost_shim_leaves(bed: &mut Bed) {
    requires!(loop_ext4, fsfreeze);
    let (_disk, frozen) = sleepers(bed, &[("aa", "--restart always")]);
    end(&leaks::children_of(bed.pid()));
    bed.isula("kill aa").fails(1, "has a process that does not end after SIGKILL");
    assert_eq!(bed.inspect("aa", "/State/Status"), "exited");
    refused(bed, "start aa");
    drop(frozen);
    eventually("it can be removed", || bed.isula("rm aa").code == 0);
}

/// The first process ends, another one of the same cgroup does not.
fn what_a_shim_leaves(bed: &mut Bed) {
    requires!(loop_ext4, fsfreeze);
    bed.start();
    let at = bed.dir.join("disk");
    let _disk = Disk::make("ext4", "", &bed.dir.join("disk.img"), 16, &at);
    let all = [("own", "--rm"), ("plain", "--restart on-failure")];
    for (name, options) in all {
        let writes = format!("(while :; do echo x > /m/{name}; sleep 0.05; done) & echo ready; sleep 1000");
        let options = format!("{options} --pid host -v {}:/m", at.display());
        bed.run_detached(name, &options, &format!("sh -c '{writes}'"));
        bed.await_log(name, "ready");
    }
    let frozen = Frozen::new(at);
    for (name, _) in all {
        let init = bed.container_pid(name);
        let child = || {
            let children = leaks::children_of(init as u32);
            children.iter().any(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") D "))
        };
        eventually("it sleeps", child);
        kill(Pid::from_raw(init as i32), Signal::SIGKILL).unwrap();
    }
    for (name, state) in [("own", "removing"), ("plain", "exited")] {
        bed.await_state(name, state);
        assert_eq!(bed.inspect(name, "/State/ExitCode"), 137);
    }
    refused(bed, "start plain");
    bed.kill();
    bed.restart();
    refused(bed, "start plain");
    refused(bed, "stop plain"); // and it is not started again
    drop(frozen);
    eventually("it is removed", || bed.isula("ps -aq").ok().lines().count() == 1);
    eventually("it can be removed", || bed.isula("rm plain").code == 0);
}
