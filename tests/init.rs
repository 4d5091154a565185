//! `--init`: process 1 is ours, the program its child.

use crate::docker_client::docker;
use crate::support::bed::Bed;
use crate::support::pty::Terminal;
use crate::support::{IMAGE, contains, eventually};
use crate::{requires, tests};
use std::fs;

tests![
    an_init_stands_before_the_program,
    it_ends_as_the_program_ends,
    signals_reach_the_program,
    orphans_are_waited_for,
    the_terminal_is_the_programs,
    it_keeps_to_the_containers_user_and_rights,
    it_comes_again_with_every_start,
    none_where_another_one_is,
    the_stock_client_asks_for_one,
];

fn an_init_stands_before_the_program(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--init", "payload ready 1000");
    assert_eq!(bed.inspect("aa", "/HostConfig/Init"), true);
    assert_eq!((bed.inspect("aa", "/Path"), bed.inspect("aa", "/Args/0")), ("payload".into(), "ready".into()));
    let line = bed.isula("exec aa cat /proc/1/cmdline").ok();
    assert_eq!(line, "/sbin/docker-init\0--\0payload\0ready\x001000\0");
    contains(&bed.isula("top aa").ok(), "/sbin/docker-init -- payload ready 1000");
    // Nobody writes to the host's file through it.
    for path in ["/sbin/docker-init", "/proc/1/exe"] {
        // While it runs that comes before EROFS.
        assert_eq!(bed.isula(&format!("exec aa payload open-rw {path}")).out, "ETXTBSY\n", "{path}");
    }
    let mounts = bed.isula("exec aa payload mounts").ok();
    let line = mounts.lines().find(|line| line.contains(" /sbin/docker-init ")).expect("a mount");
    contains(line, " /sbin/docker-init ro,");
    assert_eq!(bed.run("", "cat /proc/1/comm"), "cat");
    assert_eq!(bed.run("--init --read-only", "cat /proc/1/comm"), "docker-init");
}

fn it_ends_as_the_program_ends(bed: &mut Bed) {
    bed.start();
    for code in [0, 1, 77, 255] {
        let o = bed.isula(&format!("run --rm --init {IMAGE} payload exit {code}"));
        assert_eq!((o.code, o.err.as_str()), (code, ""), "{}", o.show());
    }
    for signal in [6, 9, 15] {
        assert_eq!(bed.isula(&format!("run --rm --init {IMAGE} payload raise {signal}")).code, 128 + signal);
    }
    for (command, code, why) in [
        ("nope", 127, "docker-init: exec nope: No such file or directory"),
        ("/nope/at/all", 127, "docker-init: exec /nope/at/all: No such file or directory"),
        ("/etc", 126, "docker-init: exec /etc: Permission denied"),
    ] {
        let o = bed.isula(&format!("run --rm --init {IMAGE} {command}"));
        assert_eq!(o.code, code, "{}", o.show());
        contains(&o.err, why);
    }
    // What the program left behind goes with it.
    assert_eq!(bed.run("--init", "payload orphans 3 1000"), "left 3");
}

fn signals_reach_the_program(bed: &mut Bed) {
    bed.start();
    // As process 1 it would not hear of a signal for which it has no handler.
    bed.run_detached("aa", "--init", "payload ready 1000");
    bed.isula("stop -t 1000 aa").ok();
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 128 + 15);
    // SIGRTMIN of glibc, which musl has no handler for.
    bed.isula("rm -f aa").ok();
    bed.run_detached("aa", "--init", "payload ready 1000");
    bed.isula("kill -s 34 aa").ok();
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 128 + 34);
    let last = 64; // SIGRTMAX
    for signal in [1, 2, 10, 12, 28, 35, last] {
        bed.isula("rm -f aa").ok();
        bed.run_detached("aa", "--init", &format!("payload trap {signal}"));
        bed.await_log("aa", "ready");
        bed.isula(&format!("kill -s {signal} aa")).ok();
        bed.await_log("aa", &format!("signal {signal}"));
        bed.await_state("aa", "exited");
    }
}

fn orphans_are_waited_for(bed: &mut Bed) {
    bed.start();
    let zombies = |name: &str| {
        let list = bed.isula(&format!("exec {name} sh -c 'cat /proc/[0-9]*/stat'")).ok();
        list.lines().filter(|line| line.contains(") Z ")).count()
    };
    for (name, options) in [("with", "--init"), ("without", "")] {
        bed.run_detached(name, options, "payload ready 1000");
        bed.isula(&format!("exec {name} payload orphans 5 0")).ok();
    }
    eventually("five that nobody waits for", || zombies("without") == 5);
    eventually("none", || zombies("with") == 0);
}

fn the_terminal_is_the_programs(bed: &mut Bed) {
    bed.start();
    let run = |command: &[&str]| {
        let mut client = bed.applet("isula");
        client.args(["run", "--rm", "-it", "--init", IMAGE]).args(command);
        Terminal::run(client, 24, 80)
    };
    let mut terminal = run(&["payload", "trap", "2"]);
    terminal.await_text("ready");
    terminal.keys("\x03");
    terminal.await_text("signal 2");
    assert_eq!(terminal.finish(), 0);
    // It reads at once, which only the group in the foreground may.
    let mut terminal = run(&["sh", "-c", "echo up; exec cat"]);
    terminal.await_text("up");
    terminal.keys("word\n");
    terminal.await_text("word\r\nword\r\n");
    terminal.keys("\x03");
    assert_eq!(terminal.finish(), 128 + 2);
}

fn it_keeps_to_the_containers_user_and_rights(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("--init -u 12:34", "payload ids"), "uid=12 gid=34 groups=34");
    let rights = "payload status CapEff CapBnd NoNewPrivs SigBlk SigIgn";
    for options in ["", "-u 12", "--cap-drop all", "--security-opt no-new-privileges", "--privileged"] {
        assert_eq!(bed.run(&format!("--init {options}"), rights), bed.run(options, rights), "{options}");
    }
    let fds = bed.run("--init", "payload fds");
    assert_eq!(fds.lines().map(|line| &line[..1]).collect::<String>(), "012", "{fds}");
}

fn it_comes_again_with_every_start(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "--init", "payload ready 1000");
    bed.restart();
    bed.isula("restart -t 10 aa").ok();
    assert_eq!(bed.isula("exec aa cat /proc/1/comm").ok(), "docker-init");
    bed.isula("stop aa").ok();
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /proc/1/comm").ok(), "docker-init");
    let spec = fs::read_to_string(bed.graph().join("engines/lcr").join(id).join("config.json")).unwrap();
    assert_eq!(spec.matches("\"destination\":\"/sbin/docker-init\"").count(), 1);
}

fn none_where_another_one_is(bed: &mut Bed) {
    bed.start();
    assert!(!bed.run("--init --pid host", "sh -c 'cat /proc/$PPID/comm'").contains("docker-init"));
    bed.run_detached("aa", "--init", "payload ready 1000");
    assert_eq!(bed.run("--init --pid container:aa", "cat /proc/1/comm /proc/self/comm"), "docker-init\ncat");
    assert_eq!(bed.isula("exec aa sh -c 'cat /proc/[0-9]*/comm'").ok().matches("docker-init").count(), 1);
    let o = bed.isula(&format!("create --init --system-container --external-rootfs /tmp {IMAGE} init"));
    contains(&o.err, "a system container boots an init of its own (--init)");
}

fn the_stock_client_asks_for_one(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    assert_eq!(docker(bed, &format!("run --rm --init {IMAGE} cat /proc/1/comm")).ok(), "docker-init");
    assert_eq!(docker(bed, &format!("run --rm --init=false {IMAGE} cat /proc/1/comm")).ok(), "cat");
}
