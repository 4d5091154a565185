//! The daemon may die at any moment: containers, logs, streams and exit codes survive it.

use crate::support::bed::{Bed, engines, json};
use crate::support::pty::Terminal;
use crate::support::{IMAGE, PATIENCE, command, contains, eventually};
use crate::tests;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

tests![
    containers_outlive_a_killed_daemon,
    containers_outlive_a_stopped_daemon,
    exit_while_no_daemon_runs_is_known_later,
    auto_remove_while_no_daemon_runs,
    attached_client_goes_on_without_the_daemon,
    exec_and_logs_after_a_restart,
    sessions_outlive_the_daemon,
    sessions_that_end_while_no_daemon_runs,
    sessions_give_their_exit_code_over_a_restart,
    paused_container_is_restored_paused,
    shim_that_hangs_is_not_waited_for,
    stopped_containers_images_and_names_survive,
    very_long_labels_and_annotations_survive,
    daemon_killed_at_random_moments,
    daemon_killed_in_the_middle_of_starts,
    container_killed_while_no_daemon_runs,
    shim_killed_is_an_exit,
    lost_volatile_state_ends_what_runs,
    corrupt_configuration_is_reported_and_the_rest_served,
    corrupt_host_configuration_is_reported_before_it_is_used,
    running_container_with_a_corrupt_configuration,
    corrupt_state_is_an_unknown_end,
    truncated_files_in_the_graph,
    garbage_in_the_graph_is_ignored,
];

fn containers_outlive_a_killed_daemon(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ticks 1000000 10");
    bed.await_log("aa", "tick 1");
    let pid = bed.container_pid("aa");
    bed.kill();
    std::thread::sleep(Duration::from_millis(200));
    bed.restart();
    assert_eq!(bed.container_pid("aa"), pid);
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
    // What was written meanwhile is in the log, without a hole.
    let text = bed.isula("logs aa").ok();
    assert!(text.lines().enumerate().all(|(n, line)| line == format!("tick {n}")), "{text}");
    bed.isula("stop -t 0 aa").ok();
    assert_eq!(bed.isula("wait aa").ok(), "137");
}

fn containers_outlive_a_stopped_daemon(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let pid = bed.container_pid("aa");
    for _ in 0..3 {
        bed.restart();
        assert_eq!(bed.container_pid("aa"), pid);
    }
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
}

fn exit_while_no_daemon_runs_is_known_later(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "sh -c 'sleep 0.5; echo last words; exit 42'");
    let pid = bed.container_pid("aa");
    bed.kill();
    eventually("the container ended", || !PathBuf::from(format!("/proc/{pid}/root/etc")).exists());
    std::thread::sleep(Duration::from_millis(200));
    bed.restart();
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 42);
    assert_eq!(bed.isula("wait aa").ok(), "42");
    assert_eq!(bed.isula("logs aa").ok(), "last words");
    // And again after another one: it was recorded.
    bed.restart();
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 42);
    assert_ne!(bed.inspect("aa", "/State/FinishedAt"), "0001-01-01T00:00:00Z");
}

fn auto_remove_while_no_daemon_runs(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--rm", "sh -c 'sleep 0.3'");
    bed.kill();
    std::thread::sleep(Duration::from_millis(800));
    bed.restart();
    eventually("it is removed", || bed.isula("ps -aq").ok().is_empty());
    assert_eq!(engines(&bed.graph()), Vec::<String>::new());
}

fn attached_client_goes_on_without_the_daemon(bed: &mut Bed) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tcp = format!("tcp://127.0.0.1:{port}");
    bed.start_with(&["-H", &tcp]);
    goes_on_without_the_daemon(bed, "aa", "");
    goes_on_without_the_daemon(bed, "bb", &format!("-H {tcp}"));
}

fn goes_on_without_the_daemon(bed: &mut Bed, name: &str, host: &str) {
    bed.run_detached(name, "-it", "sh");
    let mut client = bed.applet("isula");
    client.args(command::words(&format!("attach {host} {name}")));
    let mut terminal = Terminal::run(client, 24, 80);
    std::thread::sleep(Duration::from_millis(200));
    terminal.keys("echo one-$((1+1))\r");
    terminal.await_text("one-2");
    bed.kill();
    terminal.keys("echo two-$((2+2))\r");
    terminal.await_text("two-4");
    bed.restart();
    terminal.keys("echo three-$((3+3))\r");
    terminal.await_text("three-6");
    terminal.keys("exit 3\r");
    assert_eq!(terminal.finish(), 3);
    assert_eq!(bed.isula(&format!("wait {name}")).ok(), "3");
    contains(&bed.isula(&format!("logs {name}")).ok(), "three-6");
}

fn exec_and_logs_after_a_restart(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-i", "sh -c 'read x; echo got $x; exit 8'");
    bed.kill();
    bed.restart();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    let o = bed.isula_with("attach aa", b"word\n");
    assert_eq!((o.code, o.out.as_str()), (8, "got word\n"), "{}", o.show());
    bed.await_log("aa", "got word");
}

/// Begins a session that nobody is attached to; its id.
fn begin(bed: &Bed, body: &Value) -> String {
    let id = bed.post("/v1.44/containers/aa/exec", body).expect(201).json()["Id"].as_str().unwrap().to_owned();
    bed.post(&format!("/v1.44/exec/{id}/start"), &json!({"Detach": true, "Tty": body["Tty"]})).expect(200);
    id
}

fn session(bed: &Bed, id: &str) -> Value {
    bed.get(&format!("/v1.44/exec/{id}/json")).expect(200).json()
}

/// The ends of sessions that the daemon tells of, oldest first.
fn ends(bed: &Bed) -> Vec<Value> {
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let until = format!("{}.{:09}", until.as_secs(), until.subsec_nanos());
    let lines = bed.isula(&format!("events -S 0 -U {until} -f event=exec_die --format json")).ok();
    lines.lines().map(|line| json(line.as_bytes())).collect()
}

fn sessions_outlive_the_daemon(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "--health-cmd true --health-interval 1s", "payload ready 1000");
    // One that tells its terminal's size when that changes, and one without a terminal.
    let script =
        "trap 'stty size > /tmp/size' WINCH; echo up > /tmp/up; while ! test -e /tmp/go; do sleep 0.05; done; exit 7";
    let request = json!({
        "Cmd": ["sh", "-c", script], "Tty": true, "AttachStdin": true, "AttachStdout": true, "User": "0:0",
        "DetachKeys": "ctrl-a,b", "Env": ["SECRET=hidden"],
    });
    let on_terminal = begin(bed, &request);
    let plain = begin(bed, &json!({"Cmd": ["sleep", "1000"], "Privileged": true, "AttachStderr": true}));
    eventually("it runs", || bed.isula("exec aa cat /tmp/up").out == "up\n");
    let before = [&on_terminal, &plain].map(|id| session(bed, id));
    for (number, stop) in [Bed::kill, Bed::stop].iter().enumerate() {
        stop(bed);
        bed.restart();
        assert_eq!([&on_terminal, &plain].map(|id| session(bed, id)), before, "{number}");
        let mut listed = bed.inspect("aa", "/ExecIDs").as_array().expect("a list").clone();
        let mut want = vec![Value::from(&*on_terminal), Value::from(&*plain)];
        listed.sort_by_key(Value::to_string);
        want.sort_by_key(Value::to_string);
        assert_eq!(listed, want, "none of the daemon's own");
        let size = format!("{} 99", 40 + number);
        bed.post(&format!("/v1.44/exec/{on_terminal}/resize?h={}&w=99", 40 + number), &json!({})).expect(200);
        eventually("it is told its size", || bed.isula("exec aa cat /tmp/size").out.trim() == size);
    }
    assert_eq!((&before[0]["Running"], &before[0]["ContainerID"]), (&true.into(), &(&*id).into()));
    assert!(before[0]["Pid"].as_i64().is_some_and(|pid| pid > 1), "{}", before[0]);
    let asked = bed.post(&format!("/v1.44/exec/{plain}/start"), &json!({}));
    assert_eq!(asked.status, 409, "it has been started");
    bed.isula("exec aa touch /tmp/go").ok();
    eventually("it ends", || session(bed, &on_terminal)["Running"] == false);
    assert_eq!(session(bed, &on_terminal)["ExitCode"], 7);
    let ends = ends(bed);
    let of = |event: &Value| event["Actor"]["Attributes"]["execID"] == *on_terminal;
    let told: Vec<&Value> = ends.iter().filter(|e| of(e)).collect();
    assert_eq!(told.len(), 1, "{ends:?}");
    assert_eq!(told[0]["Actor"]["Attributes"]["exitCode"], "7");
    // They end with their container.
    bed.isula("stop -t 0 aa").ok();
    assert_eq!(session(bed, &plain)["ExitCode"], 137);
    bed.isula("rm aa").ok();
    assert_eq!(bed.get(&format!("/v1.44/exec/{plain}/json")).status, 404);
}

fn sessions_that_end_while_no_daemon_runs(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "sh -c 'touch /tmp/{1,2,3}; payload ready 1000'");
    let pid = bed.container_pid("aa");
    let end = |n: u32| fs::write(format!("/proc/{pid}/root/tmp/end{n}"), "").unwrap();
    let waiting = |bed: &Bed, n: u32, long: &str| {
        let script = format!("while ! test -e /tmp/end{n}; do sleep 0.02; done; exit {n}");
        begin(bed, &json!({"Cmd": ["sh", "-c", script, long]}))
    };
    let first = waiting(bed, 1, "");
    end(1);
    eventually("the first one ended", || session(bed, &first)["ExitCode"] == 1);
    let (second, third) = (waiting(bed, 2, ""), waiting(bed, 3, &"x".repeat(100_000)));
    let pids = [&second, &third].map(|id| session(bed, id)["Pid"].as_i64().unwrap());
    bed.kill();
    // The later one in the list of sessions is the first to end.
    for (n, pid) in [(3, pids[1]), (2, pids[0])] {
        end(n);
        eventually("it ended", || !PathBuf::from(format!("/proc/{pid}")).exists());
    }
    let back = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    bed.restart();
    let told = ends(bed);
    let of = |event: &Value| {
        assert!(event["timeNano"].as_i64().is_some_and(|at| (at as u128) < back), "told as it happened: {event}");
        let attributes = &event["Actor"]["Attributes"];
        (attributes["execID"].as_str().unwrap().to_owned(), attributes["exitCode"].as_str().unwrap().to_owned())
    };
    let want = [(third.clone(), "3".to_owned()), (second.clone(), "2".to_owned())];
    assert_eq!(told.iter().map(of).collect::<Vec<_>>(), want, "what was told before is not told again");
    for (id, code) in [(&first, 1), (&second, 2), (&third, 3)] {
        let session = session(bed, id);
        assert_eq!((&session["Running"], &session["ExitCode"]), (&false.into(), &code.into()));
        assert_eq!(session["ProcessConfig"]["entrypoint"], "sh");
    }
    // The next daemon has nothing more to tell.
    bed.restart();
    assert_eq!(ends(bed), Vec::<Value>::new());
    assert_eq!(session(bed, &second)["ExitCode"], 2);
    bed.isula("rm -f aa").ok();
    bed.restart();
    assert_eq!(bed.get(&format!("/v1.44/exec/{second}/json")).status, 404);
}

fn sessions_give_their_exit_code_over_a_restart(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    for (n, stop) in [Bed::kill, Bed::stop].iter().enumerate() {
        let script =
            format!("echo up > /tmp/up{n}; while ! test -e /tmp/go{n}; do sleep 0.05; done; echo last; exit 9");
        let client = bed.spawn(&format!("exec aa sh -c '{script}'"));
        eventually("it runs", || bed.isula(&format!("exec aa cat /tmp/up{n}")).out == "up\n");
        stop(bed);
        bed.restart();
        bed.isula(&format!("exec aa touch /tmp/go{n}")).ok();
        assert_eq!(client.finish(PATIENCE).exits(9), "last");
    }
}

fn paused_container_is_restored_paused(bed: &mut Bed) {
    crate::requires!(cgroup_freezer);
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.isula("pause aa").ok();
    bed.kill();
    bed.restart();
    assert_eq!(bed.inspect("aa", "/State/Paused"), true);
    bed.isula("unpause aa").ok();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
}

fn stopped_containers_images_and_names_survive(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa --label k=v {IMAGE} sh -c 'echo kept > /kept; exit 9'")).exits(9);
    bed.isula(&format!("tag {IMAGE} other:tag")).ok();
    let before = (listed(bed), bed.isula("images").ok());
    bed.restart();
    assert_eq!(before, (listed(bed), bed.isula("images").ok()));
    assert_eq!(bed.inspect("aa", "/Config/Labels/k"), "v");
    assert_ne!(bed.isula(&format!("create --name aa {IMAGE} true")).code, 0, "the name is taken");
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("wait aa").ok(), "9");
}

/// Id, name and status of each container, a line each.
fn statuses(bed: &Bed) -> String {
    let rows = bed.isula("ps -a --no-trunc --format json").ok();
    let row = |line: &str| {
        let row = json(line.as_bytes());
        ["ID", "Names", "Status"].map(|field| row[field].as_str().expect("text").to_string()).join(" ")
    };
    rows.lines().map(row).collect::<Vec<_>>().join("\n")
}

/// Id, name and state of each container.
fn listed(bed: &Bed) -> Vec<[String; 3]> {
    let rows = bed.isula("ps -a --no-trunc --format json").ok();
    let row = |line: &str| {
        let row = json(line.as_bytes());
        ["ID", "Names", "State"].map(|field| row[field].as_str().expect("text").to_string())
    };
    rows.lines().map(row).collect()
}

/// A small generator of numbers, so that a failure can be repeated.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn very_long_labels_and_annotations_survive(bed: &mut Bed) {
    bed.start();
    let long = "1".repeat(60_000);
    bed.run_detached("aa", &format!("--label long={long} --annotation long={long}"), "payload ready 1000");
    bed.isula("exec aa echo 1").ok();
    for _ in 0..2 {
        for pointer in ["/Config/Labels/long", "/Config/Annotations/long"] {
            assert!(bed.inspect("aa", pointer) == long.as_str(), "{pointer} is another");
        }
        bed.restart();
    }
    assert_eq!(bed.isula("exec aa echo 1").ok(), "1");
    bed.isula("restart -t 0 aa").ok();
    bed.isula("rm -f aa").ok();
}

fn daemon_killed_at_random_moments(bed: &mut Bed) {
    bed.start();
    bed.run_detached("steady", "", "payload ticks 1000000 20");
    let pid = bed.container_pid("steady");
    let mut seed = 42;
    for round in 0..12 {
        let clients: Vec<_> = [
            format!("run -d --name r{round} {IMAGE} payload ready 1000"),
            format!("run --rm --name q{round} {IMAGE} true"),
            format!("create --name c{round} {IMAGE} true"),
            format!("rm -f r{}", round.max(1) - 1),
            "exec steady true".to_string(),
        ]
        .iter()
        .map(|line| bed.spawn(line))
        .collect();
        std::thread::sleep(Duration::from_micros(random(&mut seed) % 60_000));
        bed.kill();
        for client in clients {
            // Whatever it says, it ends: nothing hangs on a dead daemon.
            client.finish(PATIENCE);
        }
        bed.restart();
        assert_eq!(bed.container_pid("steady"), pid, "round {round}");
        // The listing holds together: each has a name and can be inspected.
        for [id, name, _] in listed(bed) {
            assert_ne!(name, "", "the name of {id}");
            assert_eq!(bed.inspect(&name, "/Id"), id);
        }
    }
    let text = bed.isula("logs steady").ok();
    assert!(text.lines().enumerate().all(|(n, line)| line == format!("tick {n}")), "a hole in the log");
    assert_eq!(bed.run("", "echo well"), "well");
}

fn daemon_killed_in_the_middle_of_starts(bed: &mut Bed) {
    bed.start();
    for n in 0..10 {
        bed.isula(&format!("create --name c{n} {IMAGE} payload ready 1000")).ok();
    }
    let mut seed = 7;
    for n in 0..10 {
        let client = bed.spawn(&format!("start c{n}"));
        std::thread::sleep(Duration::from_micros(random(&mut seed) % 25_000));
        bed.kill();
        client.finish(PATIENCE);
        bed.restart();
        // Either it runs or it does not; then it can be started.
        let o = bed.isula(&format!("start c{n}"));
        assert_eq!(o.code, 0, "{}", o.show());
        assert_eq!(bed.isula(&format!("exec c{n} echo well")).ok(), "well");
    }
}

fn container_killed_while_no_daemon_runs(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let pid = bed.container_pid("aa");
    bed.kill();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    bed.restart();
    assert_eq!(bed.isula("wait aa").ok(), "137");
}

/// The one process that must not die does: the container is ended, and it is known.
fn shim_killed_is_an_exit(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let init = bed.container_pid("aa");
    let shims = crate::support::leaks::children_of(bed.pid());
    assert_eq!(shims.len(), 1, "one process per container");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shims[0] as i32), nix::sys::signal::SIGKILL).unwrap();
    bed.await_state("aa", "exited");
    assert_ne!(bed.inspect("aa", "/State/ExitCode"), 0);
    eventually("its process is gone", || !PathBuf::from(format!("/proc/{init}/exe")).exists());
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
}

fn shim_that_hangs_is_not_waited_for(bed: &mut Bed) {
    bed.start();
    let stop_shim = |name: &str, command: &str| {
        let before = crate::support::leaks::children_of(bed.pid());
        bed.run_detached(name, "", command);
        bed.await_log(name, "ready");
        let shims = crate::support::leaks::children_of(bed.pid());
        let shim = *shims.iter().find(|pid| !before.contains(pid)).expect("a shim");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim as i32), nix::sys::signal::SIGSTOP).unwrap();
        shim
    };
    let within = |seconds: u64, line: &str| {
        let start = std::time::Instant::now();
        let o = bed.isula(line);
        assert!(start.elapsed() < Duration::from_secs(seconds), "{line}: {:?}", start.elapsed());
        o
    };
    let trap = "sh -c 'trap \"echo asked; exit 3\" TERM USR1; echo ready; while true; do sleep 0.1; done'";
    let shim = stop_shim("aa", trap);
    let init = bed.container_pid("aa");
    within(10, "exec aa true").fails(1, &format!("no answer from the shim {shim}, which is stopped"));
    // Its process gets its signals all the same, and the time to heed them.
    within(10, "kill -s USR1 aa").ok();
    eventually("it ends", || {
        let stat = fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    within(25, "stop -t 1 aa").ok();
    assert_eq!(bed.inspect("aa", "/State/Status"), "exited");
    eventually("its shim ends", || !PathBuf::from(format!("/proc/{shim}/exe")).exists());
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    let _ = stop_shim("bb", "payload ready 1000");
    let init = bed.container_pid("bb");
    within(25, "kill bb").ok();
    assert_eq!(bed.inspect("bb", "/State/ExitCode"), 137);
    eventually("its process is gone", || !PathBuf::from(format!("/proc/{init}/exe")).exists());
    // One that goes on in time is left alone.
    let shim = stop_shim("cc", "payload ready 1000");
    let goes_on = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(5));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim as i32), nix::sys::signal::SIGCONT).unwrap();
    });
    within(25, "kill cc").ok();
    goes_on.join().unwrap();
    assert!(!bed.log().contains(&format!("killing its shim {shim}")));
}

/// The directory of a container.
fn directory(bed: &Bed, id: &str) -> PathBuf {
    let runtimes = fs::read_dir(bed.graph().join("engines")).unwrap().flatten();
    runtimes.map(|r| r.path().join(id)).find(|d| d.exists()).expect("the container's directory")
}

fn lost_volatile_state_ends_what_runs(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.run_detached("bb", "--restart always", "sh -c 'sleep 1000 & sleep 2000'");
    let pids = ["aa", "bb"].map(|name| bed.container_pid(name));
    bed.kill();
    // Nobody can talk to the shims any more.
    fs::remove_dir_all(bed.state()).unwrap();
    bed.restart();
    eventually("all have ended", || pids.iter().all(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()));
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 255);
    bed.await_state("bb", "running");
    assert_ne!(bed.container_pid("bb"), pids[1]);
    bed.isula("start aa").ok();
    bed.isula("rm -f aa bb").ok();
}

fn corrupt_configuration_is_reported_and_the_rest_served(bed: &mut Bed) {
    bed.start();
    bed.run_detached("good", "", "payload ready 1000");
    let mut bad = Vec::new();
    for (n, text) in ["", "{", "null", "[]", "{\"CommonConfig\":7}", "\0\0\0\0"].iter().enumerate() {
        let id = bed.isula(&format!("create --name bad{n} {IMAGE} true")).ok();
        bad.push((id, text.to_string()));
    }
    bed.stop();
    for (id, text) in &bad {
        fs::write(directory(bed, id).join("config.v2.json"), text).unwrap();
    }
    bed.restart();
    assert_eq!(bed.isula("exec good echo well").ok(), "well");
    assert_eq!(bed.run("--name bad0", "echo well"), "well", "its name is free again");
    let listed = statuses(bed);
    let dead = bed.isula("ps -q --filter status=dead").ok();
    for (n, (id, text)) in bad.iter().enumerate() {
        contains(&bed.log(), &format!("{id}: its directory is kept but it cannot be used: config.v2.json: "));
        assert!(listed.lines().any(|l| l == format!("{id}  Dead")), "{text:?}:\n{listed}");
        assert!(dead.lines().any(|l| l == id), "{text:?}:\n{dead}");
        refuses_all_but_removal(bed, id, "config.v2.json: ");
        // By a part of its id, with force and without.
        bed.isula(&format!("rm {} {}", if n % 2 == 0 { "-f" } else { "" }, &id[..20])).ok();
    }
    assert_eq!(bed.isula("ps -aq").ok().lines().count(), 1);
}

/// A damaged container that does not run: each verb says what is wrong with which file.
fn refuses_all_but_removal(bed: &Bed, container: &str, file: &str) {
    for verb in ["inspect", "start", "stop", "exec", "attach", "kill", "top"] {
        let o = bed.isula(&format!("{verb} {container} {}", if verb == "exec" { "true" } else { "" }));
        assert_ne!(o.code, 0, "{verb}");
        contains(&o.err, "is damaged and can only be removed: ");
        contains(&o.err, file);
    }
    contains(&bed.get("/v1.44/info").json()["Warnings"].to_string(), file);
}

/// Known soon after the start, although no listing needs the file.
fn corrupt_host_configuration_is_reported_before_it_is_used(bed: &mut Bed) {
    bed.start();
    for (n, text) in ["", "{\"Memory\":", "{\"Memory\":\"much\"}"].iter().enumerate() {
        let id = bed.isula(&format!("create --name bad{n} {IMAGE} true")).ok();
        bed.stop();
        fs::write(directory(bed, &id).join("hostconfig.json"), text).unwrap();
        bed.restart();
        eventually("it is found", || statuses(bed) == format!("{id} bad{n} Dead"));
        contains(&bed.log(), &format!("{id}: its directory is kept but it cannot be used: "));
        refuses_all_but_removal(bed, &format!("bad{n}"), "hostconfig.json");
        bed.isula(&format!("rm bad{n}")).ok();
    }
}

/// It goes on, can be watched and stopped, and only then is of no more use.
fn running_container_with_a_corrupt_configuration(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ticks 1000000 10");
    bed.await_log("aa", "tick 1");
    bed.kill();
    fs::write(directory(bed, &id).join("config.v2.json"), "{").unwrap();
    bed.restart();
    let short = &id[..12];
    contains(&statuses(bed), &format!("{id}  Up "));
    let text = bed.isula(&format!("logs {short}")).ok();
    contains(&text, "tick 1");
    let o = bed.isula(&format!("rm {short}"));
    assert_ne!(o.code, 0);
    contains(&o.err, "You cannot remove a running container");
    bed.isula(&format!("stop -t 0 {short}")).ok();
    contains(&statuses(bed), &format!("{id}  Dead"));
    bed.isula(&format!("rm {short}")).ok();

    let id = bed.run_detached("bb", "", "payload ready 1000");
    bed.kill();
    fs::write(directory(bed, &id).join("config.v2.json"), "").unwrap();
    bed.restart();
    // Nothing of it may go on without a directory that tells of it.
    bed.isula(&format!("rm -f {id}")).ok();
}

/// The state is lost, the container is not.
fn corrupt_state_is_an_unknown_end(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} sh -c 'exit 9'")).exits(9);
    bed.isula(&format!("create --name new {IMAGE} true")).ok();
    let id = bed.inspect("aa", "/Id").as_str().unwrap().to_string();
    bed.stop();
    for text in ["", "{\"ExitCode\":", "{\"Running\":7}"] {
        fs::write(directory(bed, &id).join("container_state.json"), text).unwrap();
        bed.restart();
        contains(&statuses(bed), &format!("{id} aa Exited (255)"));
        contains(&bed.log(), &format!("{id}: what is known of its last run is lost: container_state.json is damaged"));
        contains(bed.inspect("aa", "/State/Error").as_str().unwrap(), "container_state.json is damaged");
        bed.stop();
    }
    bed.restart();
    assert_eq!(bed.inspect("new", "/State/Status"), "inited");
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("wait aa").ok(), "9");
    assert_eq!(bed.inspect("aa", "/State/Error"), "");

    // What still runs is asked; what ended meanwhile left word.
    let id = bed.run_detached("bb", "-i", "sh -c 'read x; exit 7'");
    let spoil = |bed: &Bed| {
        fs::write(directory(bed, &id).join("container_state.json"), "{").unwrap();
        fs::write(bed.state().join("lcr").join(&id).join("container_state.json"), "{").unwrap();
    };
    bed.kill();
    spoil(bed);
    bed.restart();
    assert_eq!(bed.inspect("bb", "/State/Running"), true);
    let pid = bed.container_pid("bb");
    bed.kill();
    spoil(bed);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL).unwrap();
    eventually("it left word", || directory(bed, &id).join("exit.json").exists());
    bed.restart();
    assert_eq!(bed.isula("wait bb").ok(), "137");
}

fn remove_everything_named(graph: &std::path::Path, bad: &[(String, String)]) {
    let ids: Vec<String> = bad.iter().map(|(id, _)| id.clone()).collect();
    for line in crate::support::leaks::named_after(graph, &ids) {
        let path = PathBuf::from(line.trim_start_matches("path "));
        // A link itself, never what it leads to.
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
}

/// Files below `path`.
fn files(path: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.flat_map(|e| if e.path().is_dir() { files(&e.path()) } else { vec![e.path()] }).collect()
}

fn truncated_files_in_the_graph(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("run --name aa {IMAGE} true"));
    assert_eq!(id.code, 0, "{}", id.show());
    let id = bed.inspect("aa", "/Id").as_str().unwrap().to_string();
    bed.stop();
    let documents: Vec<PathBuf> = files(&directory(bed, &id)).into_iter().filter(|p| p.is_file()).collect();
    assert!(!documents.is_empty());
    for path in documents {
        let whole = fs::read(&path).unwrap();
        for cut in [0, whole.len() / 2] {
            fs::write(&path, &whole[..cut]).unwrap();
            bed.restart();
            assert_eq!(bed.isula("images -q").ok().lines().count(), 1, "with {} cut", path.display());
            assert_eq!(bed.run("", "echo well"), "well", "with {} cut", path.display());
            bed.stop();
            if !path.parent().unwrap().exists() {
                break;
            }
            fs::write(&path, &whole).unwrap();
        }
        if !path.parent().unwrap().exists() {
            break;
        }
    }
    bed.restart();
    bed.isula(&format!("rm -f {id}"));
    remove_everything_named(&bed.graph(), &[(id, String::new())]);
}

fn garbage_in_the_graph_is_ignored(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    let id = bed.inspect("aa", "/Id").as_str().unwrap().to_string();
    let engines = directory(bed, &id).parent().unwrap().to_path_buf();
    bed.stop();
    let fake = "f".repeat(64);
    fs::create_dir_all(engines.join(&fake)).unwrap();
    fs::write(engines.join("a-file"), "x").unwrap();
    fs::write(engines.join(&id).join("config.v2.json.tmp-1-2"), "half").unwrap();
    fs::create_dir_all(bed.graph().join("engines/no-such-runtime").join(&fake)).unwrap();
    std::os::unix::fs::symlink("/etc", engines.join("e".repeat(64))).unwrap();
    bed.restart();
    // A directory with the name of a container may have been one; the rest was not.
    let listed = statuses(bed);
    let lines: BTreeSet<&str> = listed.lines().collect();
    assert!(lines.len() == 2 && lines.contains(&*format!("{fake}  Dead")), "{listed}");
    assert!(lines.iter().any(|l| l.starts_with(&id) && l.ends_with(" Created")), "{listed}");
    contains(&bed.isula(&format!("inspect {fake}")).err, "config.v2.json is missing");
    assert_eq!(bed.run("", "echo well"), "well");
    bed.isula(&format!("rm {fake}")).ok();
    assert!(PathBuf::from("/etc/passwd").exists(), "it followed a link out of the graph");
    remove_everything_named(&bed.graph(), &[(fake, String::new()), ("e".repeat(64), String::new())]);
}
