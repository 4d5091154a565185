//! Health checks: their states, their timing, and what follows.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, eventually};
use crate::{requires, tests};
use serde_json::json;
use std::time::Duration;

tests![
    from_starting_to_healthy_and_back,
    the_start_period_forgives,
    a_probe_that_hangs_is_killed,
    a_program_that_is_missing_is_a_failure,
    unhealthy_may_mean_the_end,
    a_paused_container_is_not_asked,
    a_probe_that_hangs_leaves_a_paused_container_frozen,
    one_prober_whatever_happens,
    the_next_daemon_goes_on_asking,
    images_have_health_checks,
    bad_checks_are_refused,
];

fn status(bed: &Bed, name: &str) -> String {
    bed.inspect(name, "/State/Health/Status").as_str().unwrap_or_default().to_owned()
}

fn await_status(bed: &Bed, name: &str, want: &str) {
    eventually(&format!("{name} is {want}"), || status(bed, name) == want);
}

const OFTEN: &str = "--health-interval 1s";

fn from_starting_to_healthy_and_back(bed: &mut Bed) {
    bed.start();
    let cmd = "'echo probe $HOSTNAME; test -e /ok'";
    let flags = format!("-h me {OFTEN} --health-start-period 1m --health-retries 2 --health-cmd {cmd}");
    bed.run_detached("aa", &flags, "payload ready 1000");
    assert_eq!(status(bed, "aa"), "starting");
    contains(&bed.isula("ps").ok(), "(health: starting)");
    bed.isula("exec aa touch /ok").ok();
    await_status(bed, "aa", "healthy");
    contains(&bed.isula("ps").ok(), "(healthy)");
    assert_eq!(bed.isula("ps -q -f health=healthy").ok().lines().count(), 1);
    assert_eq!(bed.isula("ps -q -f health=unhealthy").ok(), "");
    assert_eq!(bed.inspect("aa", "/State/Health/FailingStreak"), 0);
    let last = |key: &str| bed.inspect("aa", "/State/Health/Log").as_array().unwrap().last().unwrap()[key].clone();
    assert_eq!((last("Output"), last("ExitCode")), ("probe me\n".into(), 0.into()));
    bed.isula("exec aa rm /ok").ok();
    await_status(bed, "aa", "unhealthy");
    assert!(bed.inspect("aa", "/State/Health/FailingStreak").as_u64().unwrap() >= 2);
    assert_eq!(last("ExitCode"), 1);
    assert_eq!(bed.inspect("aa", "/State/Status"), "running");
    bed.isula("exec aa touch /ok").ok();
    await_status(bed, "aa", "healthy");
    eventually("five answers are kept", || bed.inspect("aa", "/State/Health/Log").as_array().unwrap().len() == 5);
    let told = bed.isula("events -S 1h -U 0s -n aa -f event=health_status").ok();
    let told: Vec<&str> = told.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
    assert_eq!(told, ["healthy", "unhealthy", "healthy"]);
    // Probes are nobody's sessions.
    assert_eq!(bed.isula("events -S 1h -U 0s -n aa -f event=exec_die").ok().lines().count(), 3);
    bed.isula("stop -t 0 aa").ok();
    assert_eq!(status(bed, "aa"), "unhealthy");
}

fn the_start_period_forgives(bed: &mut Bed) {
    bed.start();
    let flags = format!("{OFTEN} --health-retries 1 --health-start-period 1m --health-cmd 'test -e /ok'");
    bed.run_detached("aa", &flags, "payload ready 1000");
    eventually("two failures", || bed.inspect("aa", "/State/Health/Log").as_array().unwrap().len() >= 2);
    assert_eq!((status(bed, "aa"), bed.inspect("aa", "/State/Health/FailingStreak")), ("starting".into(), 0.into()));
    // It ends with the first success.
    bed.isula("exec aa touch /ok").ok();
    await_status(bed, "aa", "healthy");
    bed.isula("exec aa rm /ok").ok();
    await_status(bed, "aa", "unhealthy");
    // And by itself.
    let flags = format!("{OFTEN} --health-retries 1 --health-start-period 3s --health-cmd false");
    bed.run_detached("bb", &flags, "payload ready 1000");
    await_status(bed, "bb", "unhealthy");
    // The interval of that time is its own; with the first success it is over.
    let flags = "--health-interval 1h --health-start-interval 1s --health-start-period 1h --health-cmd 'test -e /ok'";
    bed.run_detached("cc", flags, "payload ready 1000");
    eventually("two failures", || bed.inspect("cc", "/State/Health/Log").as_array().unwrap().len() >= 2);
    bed.isula("exec cc touch /ok").ok();
    await_status(bed, "cc", "healthy");
    assert_eq!(bed.inspect("cc", "/Config/Healthcheck/StartInterval"), 1_000_000_000);
}

fn a_probe_that_hangs_is_killed(bed: &mut Bed) {
    bed.start();
    let flags = format!("{OFTEN} --health-timeout 1s --health-retries 1 --health-cmd 'sleep 765; true'");
    bed.run_detached("aa", &flags, "payload ready 1000");
    await_status(bed, "aa", "unhealthy");
    let log = bed.inspect("aa", "/State/Health/Log");
    assert_eq!(
        (log[0]["ExitCode"].clone(), log[0]["Output"].clone()),
        ((-1).into(), "Health check exceeded timeout (1 s)".into())
    );
    // With what it had started; the next one is under way already.
    let probes = || {
        bed.isula("top aa")
            .ok()
            .lines()
            .filter(|line| line.ends_with("] sleep 765") || line.ends_with(" sleep 765"))
            .count()
    };
    eventually("three were killed", || bed.inspect("aa", "/State/Health/Log").as_array().unwrap().len() >= 3);
    assert!(probes() <= 1, "{}", bed.isula("top aa").ok());
}

fn a_program_that_is_missing_is_a_failure(bed: &mut Bed) {
    bed.start();
    let body = json!({"Image": IMAGE, "Cmd": ["payload", "ready", "1000"],
        "Healthcheck": {"Test": ["CMD", "/no/such"], "Interval": 1_000_000_000, "Retries": 1}});
    assert_eq!(bed.post("/v1.44/containers/create?name=aa", &body).status, 201);
    bed.isula("start aa").ok();
    await_status(bed, "aa", "unhealthy");
    let log = bed.inspect("aa", "/State/Health/Log");
    assert_eq!(log[0]["ExitCode"], 127);
    contains(log[0]["Output"].as_str().unwrap(), "/no/such");
    let listed = bed.get("/v1.44/containers/aa/json").json();
    assert_eq!(listed["State"]["Health"]["Status"], "unhealthy");
}

fn unhealthy_may_mean_the_end(bed: &mut Bed) {
    bed.start();
    let flags = format!("{OFTEN} --health-retries 1 --health-exit-on-unhealthy --health-cmd false");
    bed.run_detached("aa", &flags, "payload ready 1000");
    bed.await_state("aa", "exited");
    assert_eq!((bed.inspect("aa", "/State/ExitCode"), status(bed, "aa")), (137.into(), "unhealthy".into()));
    // With a policy it comes again.
    bed.run_detached("bb", &format!("{flags} --restart on-failure"), "payload ready 1000");
    eventually("it was started again", || bed.inspect("bb", "/RestartCount").as_u64().unwrap() >= 2);
    bed.isula("stop -t 0 bb").ok();
}

fn a_paused_container_is_not_asked(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", &format!("{OFTEN} --health-cmd 'echo x >> /asked'"), "payload ready 1000");
    await_status(bed, "aa", "healthy");
    bed.isula("pause aa").ok();
    let before = bed.inspect("aa", "/State/Health/Log").as_array().unwrap().len();
    std::thread::sleep(Duration::from_millis(2500));
    let after = bed.inspect("aa", "/State/Health/Log").as_array().unwrap().len();
    // One may have been under way.
    assert!(after <= before + 1, "{before} {after}");
    contains(&bed.isula("ps").ok(), "(Paused)");
    bed.isula("unpause aa").ok();
    eventually("it is asked again", || bed.inspect("aa", "/State/Health/Log").as_array().unwrap().len() > after.min(4));
}

fn a_probe_that_hangs_leaves_a_paused_container_frozen(bed: &mut Bed) {
    bed.start();
    let flags = format!("{OFTEN} --health-timeout 1s --health-retries 1 --health-cmd 'touch /begun; sleep 765'");
    bed.run_detached("aa", &flags, "sh -c 'while :; do echo x; sleep 0.1; done'");
    eventually("a probe is under way", || bed.isula("exec aa test -e /begun").code == 0);
    bed.isula("pause aa").ok();
    let lines = || bed.isula("logs aa").ok().lines().count();
    // The last that were written before it was frozen get through.
    std::thread::sleep(Duration::from_millis(300));
    let before = lines();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((lines(), bed.inspect("aa", "/State/Status")), (before, "paused".into()));
    // What it could not answer for is not held against it.
    assert_ne!(status(bed, "aa"), "healthy");
    bed.isula("unpause aa").ok();
    await_status(bed, "aa", "unhealthy");
    eventually("and runs", || lines() > before);
}

fn one_prober_whatever_happens(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", &format!("{OFTEN} --health-cmd 'date +%s >> /asked'"), "payload ready 1000");
    for _ in 0..3 {
        bed.isula("restart -t 0 aa").ok();
    }
    bed.isula("stop -t 0 aa").ok();
    bed.isula("start aa").ok();
    bed.restart();
    bed.isula("start aa").ok();
    await_status(bed, "aa", "healthy");
    bed.isula("exec aa rm /asked").ok();
    eventually("four answers", || bed.isula("exec aa cat /asked").out.lines().count() >= 4);
    let text = bed.isula("exec aa cat /asked").ok();
    let seconds: Vec<u64> = text.lines().map(|l| l.parse().unwrap()).collect();
    // The next begins a second after the last has ended; several probers would fill that second.
    assert!(seconds.windows(2).all(|w| w[1] > w[0]), "{seconds:?}");
}

fn the_next_daemon_goes_on_asking(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", &format!("{OFTEN} --health-retries 1 --health-cmd 'test -e /ok'"), "payload ready 1000");
    bed.isula("exec aa touch /ok").ok();
    await_status(bed, "aa", "healthy");
    bed.kill();
    bed.restart();
    await_status(bed, "aa", "healthy");
    bed.isula("exec aa rm /ok").ok();
    await_status(bed, "aa", "unhealthy");
}

fn images_have_health_checks(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let changes = "-c 'HEALTHCHECK --interval=1s --retries=1 CMD test -e /ok'";
    let tar = bed.dir.join("checked.tar");
    bed.isula("create --name donor box true").ok();
    bed.isula(&format!("export -o {} donor", tar.display())).ok();
    bed.isula(&format!("import {changes} {} checked:1", tar.display())).ok();
    bed.isula("run -d --name aa checked:1 payload ready 1000").ok();
    await_status(bed, "aa", "unhealthy");
    // Flags override it field by field, or altogether.
    bed.isula("run -d --name bb --health-cmd true checked:1 payload ready 1000").ok();
    await_status(bed, "bb", "healthy");
    bed.isula("run -d --name cc --no-healthcheck checked:1 payload ready 1000").ok();
    assert_eq!(status(bed, "cc"), "");
    assert!(!bed.isula("ps -f name=cc").ok().contains("health"));
}

fn bad_checks_are_refused(bed: &mut Bed) {
    bed.start();
    for (flags, part) in [
        ("--no-healthcheck --health-cmd true", "--no-healthcheck conflicts with --health-* options"),
        ("--health-cmd true --health-interval x", "Invalid value \"x\" for flag --health-interval"),
        ("--health-cmd true --health-interval 10ms", "interval must be 0 or at least 1 second"),
        ("--health-cmd true --health-timeout 11m", "at most 10 minutes"),
        ("--health-cmd true --health-retries -1", "retries must not be negative"),
        ("--health-cmd ''", "--health-cmd must not be empty"),
    ] {
        let o = bed.isula(&format!("run -d {flags} {IMAGE} true"));
        assert!(o.code == 125 && o.err.contains(part), "{}", o.show());
    }
    let body = json!({"Image": IMAGE, "Cmd": ["true"], "Healthcheck": {"Test": ["SOMETIMES", "x"]}});
    assert_eq!(bed.post("/v1.44/containers/create", &body).status, 400);
    assert_eq!(bed.isula("ps -aq").ok(), "");
}
