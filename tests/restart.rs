//! Restart policies: who is started again after an exit, when, and what ends it.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, eventually, sys};
use crate::tests;
use std::fs;
use std::time::Duration;

tests![
    always_starts_again_until_it_is_stopped,
    on_failure_counts,
    a_good_exit_is_no_failure,
    on_reboot_starts_again_after_129,
    a_kill_from_outside_is_an_exit_and_one_by_a_person_is_not,
    verbs_on_one_that_waits_for_its_restart,
    a_wait_ends_with_the_next_exit,
    a_start_that_fails_is_tried_again,
    a_start_by_hand_counts_anew,
    policies_are_kept_by_the_next_daemon,
    a_restart_that_was_due_when_the_daemon_died,
    one_that_is_removed_at_its_end,
    bad_policies_are_refused,
];

/// A restart is not its end.
fn one_that_is_removed_at_its_end(bed: &mut Bed) {
    bed.log_level = "warn";
    bed.start();
    bed.run_detached("aa", "--rm -v /anonymous", "payload ready 1000");
    bed.isula("exec aa sh -c 'echo kept > /kept; echo kept > /anonymous/kept'").ok();
    for _ in 0..2 {
        bed.isula("restart -t 0 aa").ok();
        assert_eq!(bed.isula("exec aa cat /kept /anonymous/kept").ok(), "kept\nkept");
    }
    assert!(!bed.log().contains("not recorded"), "{}", bed.log());
    bed.isula("stop -t 0 aa").ok();
    eventually("it is removed", || bed.isula("ps -aq").ok().is_empty());
    eventually("and its volume", || bed.isula("volume ls -q").ok().is_empty());
    // One that cannot be started again has ended.
    bed.run_detached("bb", "--rm --net host", "payload ready 1000");
    bed.run_detached("cc", "--rm --pid container:bb", "payload ready 1000");
    bed.isula("rm -f bb").ok();
    assert_ne!(bed.isula("restart -t 0 cc").code, 0);
    eventually("it is removed", || bed.isula("ps -aq").ok().is_empty());
}

fn count(bed: &Bed, name: &str) -> u64 {
    bed.inspect(name, "/RestartCount").as_u64().expect("a number")
}

fn always_starts_again_until_it_is_stopped(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--restart always", "sh -c 'echo run; exit 0'");
    eventually("three restarts", || count(bed, "aa") >= 3);
    eventually("and what they say", || bed.isula("logs aa").ok().lines().count() > 3);
    // It is listed as one that runs.
    contains(&bed.isula("ps").ok(), "aa");
    assert_eq!(bed.isula("stop aa").ok(), "aa");
    assert_eq!(bed.inspect("aa", "/State/Status"), "exited");
    assert_eq!(bed.inspect("aa", "/State/Restarting"), false);
    let stopped_at = count(bed, "aa");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((count(bed, "aa"), bed.isula("ps -q").ok().as_str()), (stopped_at, ""));
    // One that runs when it is stopped stays down as well.
    bed.run_detached("bb", "--restart unless-stopped", "payload ready 1000");
    bed.isula("stop -t 0 bb").ok();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((bed.inspect("bb", "/State/Status"), count(bed, "bb")), ("exited".into(), 0));
}

fn on_failure_counts(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--restart on-failure:2", "sh -c 'echo run; exit 3'");
    eventually("the last restart", || bed.isula("logs aa").out.lines().count() == 3);
    bed.await_state("aa", "exited");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!((bed.inspect("aa", "/State/Status"), count(bed, "aa")), ("exited".into(), 2));
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 3);
    assert_eq!(bed.inspect("aa", "/HostConfig/RestartPolicy/MaximumRetryCount"), 2);
}

fn a_good_exit_is_no_failure(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--restart on-failure", "sh -c 'test -e /ran && exit 0; touch /ran; exit 1'");
    bed.await_state("aa", "exited");
    eventually("one restart", || count(bed, "aa") == 1 && bed.inspect("aa", "/State/ExitCode") == 0);
}

fn on_reboot_starts_again_after_129(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--restart on-reboot", "sh -c 'test -e /ran && exit 3; touch /ran; exit 129'");
    eventually("one restart", || count(bed, "aa") == 1 && bed.inspect("aa", "/State/Status") == "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 3);
}

fn a_kill_from_outside_is_an_exit_and_one_by_a_person_is_not(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--restart always", "payload ready 1000");
    let pid = bed.container_pid("aa");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("it runs again", || {
        let now = bed.inspect("aa", "/State/Pid");
        now != 0 && now != pid
    });
    // A signal that does not end it leaves the policy alone.
    bed.isula("kill -s WINCH aa").ok();
    let pid = bed.container_pid("aa");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("and again", || count(bed, "aa") == 2 && bed.inspect("aa", "/State/Pid") != 0);
    bed.isula("kill aa").ok();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!((bed.inspect("aa", "/State/Status"), count(bed, "aa")), ("exited".into(), 2));
}

/// Ends at once, and has done so often enough that the next start is three seconds away.
fn waiting(bed: &Bed, name: &str) {
    bed.run_detached(name, "--restart unless-stopped", "true");
    // Of a start that is under way the count is one ahead.
    let ends = || bed.isula(&format!("events -S 1h -U 0s -n {name} -f event=die")).ok().lines().count() as u64;
    eventually("it waits for long", || {
        let starts = count(bed, name) + 1;
        starts >= 6 && ends() == starts && bed.inspect(name, "/State/Status") == "restarting"
    });
}

fn verbs_on_one_that_waits_for_its_restart(bed: &mut Bed) {
    bed.start();
    waiting(bed, "aa");
    assert_eq!(bed.inspect("aa", "/State/Restarting"), true);
    contains(&bed.isula("ps").ok(), "Restarting (0)");
    contains(&bed.isula("ps -f status=restarting").ok(), "aa");
    for (line, part) in [
        ("exec aa true", "is restarting, wait until the container is running"),
        ("pause aa", "is restarting, wait until the container is running"),
        ("top aa", "is restarting, wait until the container is running"),
        ("attach aa", "You cannot attach to a restarting container"),
        ("rm aa", "You cannot remove a restarting container"),
        ("unpause aa", "is not running"),
    ] {
        // On a slow machine the next start comes in between.
        eventually(line, || {
            let o = bed.isula(line);
            o.code != 0 && o.err.contains(part)
        });
    }
    let before = count(bed, "aa");
    bed.isula("kill aa").ok();
    assert_eq!((bed.inspect("aa", "/State/Status"), count(bed, "aa")), ("exited".into(), before));
    waiting(bed, "bb");
    bed.isula("rm -f bb").ok();
    waiting(bed, "cc");
    bed.isula("restart cc").ok();
    std::thread::sleep(Duration::from_millis(50));
    bed.isula("rm -f cc").ok();
    // Nothing starts what is gone.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(bed.isula("ps -aq --no-trunc").ok().lines().count(), 1);
}

/// Whatever the policy makes of it; the code is the one of that run.
fn a_wait_ends_with_the_next_exit(bed: &mut Bed) {
    bed.start();
    let script = "sh -c 'echo ready; trap \"exit 9\" USR1; while :; do sleep 0.05; done'";
    for condition in ["", "?condition=not-running", "?condition=next-exit"] {
        bed.run_detached("aa", "--restart always", script);
        bed.await_log("aa", "ready");
        let answer = std::thread::scope(|scope| {
            let bed = &*bed;
            let waiter =
                scope.spawn(move || bed.http("POST", &format!("/v1.44/containers/aa/wait{condition}"), None).json());
            while !waiter.is_finished() {
                bed.isula("exec aa kill -USR1 1");
                std::thread::sleep(Duration::from_millis(200));
            }
            waiter.join().unwrap()
        });
        assert_eq!(answer["StatusCode"], 9, "{condition}");
        bed.isula("rm -f aa").ok();
    }
    // One that a stop keeps from its next start is waited for no longer.
    waiting(bed, "bb");
    let waiter = bed.spawn("wait bb");
    eventually("it waits", || bed.http("GET", "/v1.44/containers/bb/json", None).status == 200);
    std::thread::sleep(Duration::from_millis(200));
    bed.isula("stop bb").ok();
    assert_eq!(waiter.finish(Duration::from_secs(30)).ok(), "0");
}

fn a_start_that_fails_is_tried_again(bed: &mut Bed) {
    bed.start();
    let source = bed.dir.join("source");
    fs::write(&source, "x").unwrap();
    bed.run_detached("aa", &format!("--restart always -v {}:/f", source.display()), "sh -c 'sleep 0.3; cat /f'");
    // The file becomes a directory, which cannot be mounted on a file.
    let (held, directory) = (bed.dir.join("held"), bed.dir.join("directory"));
    fs::create_dir(&directory).unwrap();
    // Never is there nothing, of which a directory would be made.
    let exchange = |from: &std::path::Path| sys::exchange(from, &source);
    fs::write(&held, "here again").unwrap();
    exchange(&directory);
    eventually("its start fails", || bed.inspect("aa", "/State/Error") != "" && count(bed, "aa") > 0);
    let tries = count(bed, "aa");
    eventually("and is tried again", || count(bed, "aa") > tries);
    exchange(&held);
    bed.await_log("aa", "here again");
    assert_eq!(bed.inspect("aa", "/State/Error"), "");
    // One that a person starts in vain is not.
    bed.isula("stop -t 0 aa").ok();
    // What was exchanged for the file of now.
    exchange(&held);
    assert_ne!(bed.isula("start aa").code, 0);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(bed.inspect("aa", "/State/Restarting"), false);
}

fn a_start_by_hand_counts_anew(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--restart on-failure:2", "sh -c 'echo run; exit 1'");
    eventually("it gave up", || bed.isula("logs aa").out.lines().count() == 3);
    bed.await_state("aa", "exited");
    bed.isula("start aa").ok();
    eventually("it gave up again", || bed.isula("logs aa").out.lines().count() == 6);
    bed.await_state("aa", "exited");
    assert_eq!(count(bed, "aa"), 2);
}

fn policies_are_kept_by_the_next_daemon(bed: &mut Bed) {
    bed.start();
    // Ended while no daemon runs, by nobody's order.
    for (name, policy) in
        [("always", "always"), ("unless", "unless-stopped"), ("failure", "on-failure"), ("none", "no")]
    {
        bed.run_detached(name, &format!("--restart {policy}"), "payload ready 1000");
    }
    // Stopped by a person.
    for (name, policy) in [("always2", "always"), ("unless2", "unless-stopped"), ("failure2", "on-failure")] {
        bed.run_detached(name, &format!("--restart {policy}"), "payload ready 1000");
        bed.isula(&format!("stop -t 0 {name}")).ok();
    }
    bed.isula(&format!("create --name never --restart always {IMAGE} payload ready 1000")).ok();
    let pids: Vec<i64> = ["always", "unless", "failure", "none"].iter().map(|n| bed.container_pid(n)).collect();
    bed.kill();
    for pid in &pids {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    for pid in &pids {
        eventually("it ended", || !std::path::Path::new(&format!("/proc/{pid}/root/etc")).exists());
    }
    std::thread::sleep(Duration::from_millis(300));
    bed.restart();
    for name in ["always", "unless", "failure", "always2"] {
        bed.await_state(name, "running");
    }
    std::thread::sleep(Duration::from_millis(700));
    for (name, state) in [("none", "exited"), ("unless2", "exited"), ("failure2", "exited"), ("never", "inited")] {
        assert_eq!(bed.inspect(name, "/State/Status"), state, "{name}");
    }
    assert_eq!(bed.inspect("none", "/State/ExitCode"), 137);
    // And those that run go on under it.
    let pid = bed.container_pid("always");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("it runs again", || ![0, pid].contains(&bed.inspect("always", "/State/Pid").as_i64().unwrap()));
}

fn a_restart_that_was_due_when_the_daemon_died(bed: &mut Bed) {
    bed.start();
    waiting(bed, "aa");
    waiting(bed, "bb");
    bed.isula("stop bb").ok();
    bed.kill();
    bed.restart();
    let before = count(bed, "aa");
    eventually("the new daemon starts it", || count(bed, "aa") > before);
    bed.isula("stop aa").ok();
    // An order that has been answered holds.
    assert_eq!(
        (bed.inspect("bb", "/State/Status"), bed.inspect("bb", "/State/Restarting")),
        ("exited".into(), false.into())
    );
}

fn bad_policies_are_refused(bed: &mut Bed) {
    bed.start();
    for (flags, part) in [
        ("--rm --restart always", "Conflicting options: --restart and --rm"),
        ("--restart sometimes", "Invalid restart policy"),
        ("--restart always:3", "on-failure only"),
        ("--restart on-failure:x", "must be a number"),
    ] {
        let o = bed.isula(&format!("run -d {flags} {IMAGE} true"));
        assert!(o.code == 125 && o.err.contains(part), "{}", o.show());
    }
    let body = |policy: serde_json::Value| serde_json::json!({"Image": IMAGE, "Cmd": ["true"], "HostConfig": policy});
    for (host, part) in [
        (serde_json::json!({"RestartPolicy": {"Name": "sometimes"}}), "sometimes"),
        (serde_json::json!({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}), "on-failure"),
        (serde_json::json!({"RestartPolicy": {"Name": "always"}, "AutoRemove": true}), "--restart and --rm"),
    ] {
        let answer = bed.post("/v1.44/containers/create", &body(host));
        assert!(answer.status == 400 && answer.text().contains(part), "{} {}", answer.status, answer.text());
    }
    assert_eq!(bed.isula("ps -aq").ok(), "");
}
