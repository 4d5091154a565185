//! Events: what is told, to whom, and that nothing is forgotten.

use crate::support::bed::{Bed, json};
use crate::support::{IMAGE, contains, eventually, leaks};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

tests![
    a_life_is_told_in_order,
    listeners_hear_at_once,
    filters_and_formats,
    the_apis_form_is_dockers,
    what_happened_while_no_daemon_ran,
    images_have_events,
    volumes_are_told_when_they_are_used,
    copies_are_told,
    kills_for_memory_are_told,
    a_time_to_come_ends_the_stream,
    bad_queries_are_refused,
    the_past_is_bounded,
    labels_are_no_names,
];

fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// The actions of what has happened since then, with `flags`.
fn actions(bed: &Bed, since: &str, flags: &str) -> Vec<String> {
    let lines = bed.isula(&format!("events -S {since} -U {} {flags} --format json", now())).ok();
    lines.lines().map(|line| json(line.as_bytes())["Action"].as_str().expect("an action").to_owned()).collect()
}

fn a_life_is_told_in_order(bed: &mut Bed) {
    bed.start();
    let begin = now();
    let id = bed.run_detached("aa", "--label colour=red", "payload ready 1000");
    bed.isula("exec aa sh -c 'exit 3'").exits(3);
    bed.isula("pause aa").ok();
    bed.isula("unpause aa").ok();
    bed.isula("kill -s USR2 aa").ok();
    bed.isula("restart -t 0 aa").ok();
    bed.isula("stop -t 0 aa").ok();
    bed.isula("rm aa").ok();
    eventually("the removal is told", || actions(bed, &begin, "").last().is_some_and(|a| a == "destroy"));
    let all = actions(bed, &begin, "-n aa");
    let want = [
        "create",
        "start",
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
        "pause",
        "unpause",
        "kill",
        "kill",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "kill",
        "kill",
        "die",
        "stop",
        "destroy",
    ];
    assert_eq!(all, want);
    let text = bed.isula(&format!("events -S {begin} -U {}", now())).ok();
    let first = text.lines().next().unwrap();
    let (time, rest) = first.split_once(' ').unwrap();
    assert!(time.starts_with("20") && time[19..].starts_with('.') && time[29..].starts_with(['+', '-']), "{first}");
    assert_eq!(rest, format!("container create {id} (colour=red, image={IMAGE}, name=aa)"));
    contains(&text, "exitCode=3");
    let die = text.lines().find(|line| line.contains(" container die ")).unwrap();
    assert!(die.contains(&format!(" die {id} (colour=red, execDuration=")), "{die}");
    assert!(die.ends_with(&format!(", exitCode=137, image={IMAGE}, name=aa)")), "{die}");
    assert_eq!(actions(bed, &now(), ""), [""; 0]);
}

fn listeners_hear_at_once(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("heard");
    let file = std::fs::File::create(&path).unwrap();
    let mut command = bed.applet("isula");
    let mut listener = command.arg("events").stdin(Stdio::null()).stdout(file).spawn().unwrap();
    let heard = || std::fs::read_to_string(&path).unwrap();
    // It listens once the first event gets through.
    eventually("an event", || {
        bed.isula(&format!("tag {IMAGE} other:1")).ok();
        heard().contains("image tag")
    });
    bed.run("--name live", "true");
    eventually("the whole life", || heard().contains("container destroy"));
    for action in ["create", "start", "die", "destroy"] {
        contains(&heard(), &format!("container {action} "));
    }
    // One that leaves costs nothing: the end of the test counts descriptors.
    listener.kill().unwrap();
    listener.wait().unwrap();
    bed.isula("rmi other:1").ok();
}

fn filters_and_formats(bed: &mut Bed) {
    bed.start();
    let begin = now();
    bed.run("--name aa --label l=1", "true");
    bed.run("--name bb", "true");
    eventually("both are removed", || actions(bed, &begin, "-f event=destroy").len() == 2);
    assert_eq!(actions(bed, &begin, "-f container=aa -f event=start -f event=die"), ["start", "die"]);
    assert_eq!(actions(bed, &begin, "-f label=l=1 -f event=create").len(), 1);
    assert_eq!(actions(bed, &begin, "-f type=image"), [""; 0]);
    assert_eq!(actions(bed, &begin, &format!("-f image={IMAGE} -f event=create")).len(), 2);
    let line = bed.isula(&format!("events -S {begin} -U {} -n aa -f event=die --format json", now())).ok();
    let event = json(line.as_bytes());
    assert_eq!((&event["Action"], &event["Actor"]["Attributes"]["exitCode"]), (&"die".into(), &"0".into()));
}

fn the_apis_form_is_dockers(bed: &mut Bed) {
    bed.start();
    let begin = now();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    let filters = "%7B%22event%22%3A%5B%22start%22%5D%7D";
    let text = bed.get(&format!("/v1.44/events?since={begin}&until={}&filters={filters}", now())).text();
    let event = json(text.as_bytes());
    for (key, want) in [
        ("Type", Value::from("container")),
        ("Action", "start".into()),
        ("status", "start".into()),
        ("id", id.clone().into()),
        ("from", IMAGE.into()),
        ("scope", "local".into()),
    ] {
        assert_eq!(event[key], want, "{text}");
    }
    assert_eq!(event["Actor"]["ID"], id);
    assert_eq!(event["Actor"]["Attributes"]["name"], "aa");
    assert_eq!(event["timeNano"].as_i64().unwrap() / 1_000_000_000, event["time"].as_i64().unwrap());
}

fn what_happened_while_no_daemon_ran(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "sh -c 'trap \"exit 42\" USR1; echo ready; while :; do sleep 0.05; done'");
    bed.await_log("aa", "ready");
    bed.run_detached("bb", "--restart always", "payload ready 1000");
    let (pid, other) = (bed.container_pid("aa"), bed.container_pid("bb"));
    let shims = leaks::children_of(bed.pid());
    bed.kill();
    let begin = now();
    for (pid, signal) in [(pid, Signal::SIGUSR1), (other, Signal::SIGKILL)] {
        kill(Pid::from_raw(pid as i32), signal).unwrap();
    }
    // The shims, ours now, have written down what became of them when they are gone.
    eventually("both ended", || leaks::children().iter().all(|pid| !shims.contains(pid)));
    let end = now();
    bed.restart();
    bed.await_state("bb", "running");
    // Told with the time at which it happened.
    let lines = bed.isula(&format!("events -S {begin} -U {end}")).ok();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    contains(&lines, "exitCode=42");
    contains(&lines, "exitCode=137");
    assert_eq!(actions(bed, &end, "-n bb"), ["start"]);
}

fn images_have_events(bed: &mut Bed) {
    bed.start();
    let begin = now();
    bed.isula(&format!("tag {IMAGE} other:1")).ok();
    bed.isula("rmi other:1").ok();
    assert_eq!(actions(bed, &begin, "-f type=image"), ["tag", "untag"]);
    let text = bed.isula(&format!("events -S {begin} -U {}", now())).ok();
    contains(&text, "(name=other:1)");
}

fn volumes_are_told_when_they_are_used(bed: &mut Bed) {
    bed.start();
    let begin = now();
    let id = bed.run_detached("aa", "-v named:/n", "payload ready 1000");
    bed.isula("stop -t 0 aa").ok();
    assert_eq!(actions(bed, &begin, "-f type=volume"), ["create", "mount", "unmount"]);
    let text = bed.isula(&format!("events -S {begin} -U {} -f event=unmount", now())).ok();
    contains(&text, &format!("volume unmount named (container={id}, driver=local)"));
}

fn copies_are_told(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    let begin = now();
    let copy = bed.dir.join("copy");
    bed.isula(&format!("cp aa:/etc {}", copy.display())).ok();
    bed.isula(&format!("cp {} aa:/back", copy.display())).ok();
    assert_eq!(actions(bed, &begin, ""), ["archive-path", "extract-to-dir"]);
}

fn kills_for_memory_are_told(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    let begin = now();
    bed.run_detached("aa", "-m 16m --memory-swap 16m", "payload hog 64");
    bed.isula("wait aa").ok();
    let all = actions(bed, &begin, "-n aa");
    assert_eq!(all, ["create", "start", "oom", "die"]);
}

fn a_time_to_come_ends_the_stream(bed: &mut Bed) {
    bed.start();
    let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(6);
    let listener = bed.spawn(&format!("events -S 1s -U {}.{:03}", until.as_secs(), until.subsec_millis()));
    bed.run("--name aa", "true");
    let text = listener.finish(Duration::from_secs(40)).ok();
    contains(&text, "container start");
    assert!(SystemTime::now().duration_since(UNIX_EPOCH).unwrap() >= until);
}

fn bad_queries_are_refused(bed: &mut Bed) {
    bed.start();
    for (line, part) in [
        ("events -f nosuch=1", "Invalid filter 'nosuch'"),
        ("events -S yesterday", "invalid time \"yesterday\""),
        ("events -U x", "invalid time \"x\""),
    ] {
        let o = bed.isula(line);
        assert!(o.code != 0 && o.err.contains(part), "{}", o.show());
    }
    assert_eq!(bed.get("/v1.44/events?filters=%7B%22nosuch%22%3A%5B%22x%22%5D%7D").status, 400);
}

fn the_past_is_bounded(bed: &mut Bed) {
    bed.start();
    let begin = now();
    for n in 0..300 {
        assert_eq!(bed.post("/v1.44/images/box/tag?repo=t&tag=1", &serde_json::json!({})).status, 201, "{n}");
    }
    let count = actions(bed, &begin, "").len();
    assert_eq!(count, 256);
}

/// A label with the key of something that the daemon says itself does not take its place.
fn labels_are_no_names(bed: &mut Bed) {
    bed.start();
    let begin = now();
    bed.run_detached("aa", "--label name=other --label image=none --label exitCode=0", "sh -c 'exit 3'");
    bed.await_state("aa", "exited");
    assert_eq!(actions(bed, &begin, "-f container=aa -f event=die"), ["die"]);
    assert_eq!(actions(bed, &begin, "-f container=other"), [""; 0]);
    let event = json(bed.isula(&format!("events -S {begin} -U {} -f event=die --format json", now())).ok().as_bytes());
    let of = &event["Actor"]["Attributes"];
    assert_eq!((&of["name"], &of["image"], &of["exitCode"]), (&"aa".into(), &IMAGE.into(), &"3".into()), "{event}");
}
