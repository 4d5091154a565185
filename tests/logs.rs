//! The log file and `isula logs`.

use crate::support::bed::{Bed, json};
use crate::support::{IMAGE, PATIENCE, contains, eventually, leaks};
use crate::tests;
use std::fs;
use std::path::PathBuf;

tests![
    log_is_dockers_json_file,
    logs_keeps_the_streams_apart,
    tail_since_until_timestamps,
    follow_ends_with_the_container,
    follow_goes_on_across_rotation,
    rotation_keeps_as_many_files_as_asked,
    a_gigabyte_of_output_stays_bounded,
    lines_longer_than_any_buffer,
    a_last_line_without_an_end,
    binary_output_survives,
    disabled_log_says_so,
    driver_none,
    log_of_a_terminal_container,
    logs_of_nothing,
    full_disk_under_the_log_does_not_stop_the_container,
];

fn log_path(bed: &Bed, container: &str) -> PathBuf {
    bed.inspect(container, "/LogPath").as_str().expect("a path").into()
}

fn log_is_dockers_json_file(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} sh -c 'echo \"quo\\\"te\"; echo err >&2'")).exits(0);
    let text = fs::read_to_string(log_path(bed, "aa")).unwrap();
    let mut seen = Vec::new();
    for line in text.lines() {
        let entry = json(line.as_bytes());
        let time = entry["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() >= 20, "{time}");
        seen.push(format!("{} {}", entry["stream"].as_str().unwrap(), entry["log"].as_str().unwrap()));
    }
    seen.sort();
    assert_eq!(seen, ["stderr err\n", "stdout quo\"te\n"]);
}

fn logs_keeps_the_streams_apart(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} payload both 100")).exits(0);
    let o = bed.isula("logs aa");
    assert_eq!((o.code, o.out.lines().count(), o.err.lines().count()), (0, 100, 100), "{}", o.show());
    assert!(o.out.starts_with("out 0\nout 1\n") && o.err.ends_with("err 99\n"), "{}", o.show());
    // In one file they have the order in which they were written.
    let script = "for i in 1 2 3 4 5; do echo out$i; sleep 0.05; echo err$i >&2; sleep 0.05; done";
    bed.isula(&format!("run --name bb {IMAGE} sh -c '{script}'")).exits(0);
    let all = bed.dir.join("all");
    for words in [&["logs", "bb"][..], &["logs", "-f", "bb"]] {
        let file = fs::File::create(&all).unwrap();
        let mut command = bed.applet("isula");
        command.args(words).stdout(file.try_clone().unwrap()).stderr(file);
        assert!(command.status().unwrap().success());
        let expected: String = (1..=5).map(|n| format!("out{n}\nerr{n}\n")).collect();
        assert_eq!(fs::read_to_string(&all).unwrap(), expected, "{words:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let o = bed.applet("isula").args(["logs", "bb"]).stdout(full).output().unwrap();
    assert_eq!(o.status.code(), Some(1));
    contains(&String::from_utf8_lossy(&o.stderr), "cannot write the log: No space left on device");
}

fn tail_since_until_timestamps(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} payload ticks 20 20")).exits(0);
    assert_eq!(bed.isula("logs --tail 3 aa").ok(), "tick 17\ntick 18\ntick 19");
    assert_eq!(bed.isula("logs --tail 0 aa").ok(), "");
    assert_eq!(bed.isula("logs --tail all aa").ok().lines().count(), 20);
    let stamped = bed.isula("logs -t aa").ok();
    let times: Vec<&str> = stamped.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(times.len(), 20);
    // Lines that the shim reads at once have one time.
    assert!(times.windows(2).all(|w| w[0] <= w[1]), "{stamped}");
    let first_of = |n: usize| times.iter().position(|t| *t == times[n]).unwrap();
    let (from, to) = (first_of(5), first_of(15));
    assert!(from < to, "a burst of ten lines: {stamped}");
    // The line of that very time is in, that of the end too or not.
    let query = |q: &str| bed.get(&format!("/v1.44/containers/aa/logs?stdout=1&{q}")).expect(200).text();
    let text = query(&format!("since={}&until={}", times[from], times[to]));
    for n in 0..20 {
        match (times[from]..times[to]).contains(&times[n]) {
            true => contains(&text, &format!("tick {n}\n")),
            false if times[n] == times[to] => {}
            false => assert!(!text.contains(&format!("tick {n}\n")), "{text}"),
        }
    }
}

fn follow_ends_with_the_container(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ticks 50 10");
    let o = bed.spawn("logs -f aa").finish(PATIENCE);
    assert_eq!(o.code, 0, "{}", o.show());
    assert_eq!(o.out, (0..50).map(|n| format!("tick {n}\n")).collect::<String>());
    // Of a stopped container it ends at once.
    assert_eq!(bed.spawn("logs -f aa").finish(PATIENCE).ok().lines().count(), 50);
}

fn follow_goes_on_across_rotation(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-i --log-opt max-size=64k --log-opt max-file=20", "sh -c 'read x; payload lines 10000'");
    let follow = bed.spawn("logs -f aa");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let attach = bed.spawn("attach aa");
    let mut attach = attach;
    std::io::Write::write_all(attach.child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let o = follow.finish(PATIENCE);
    attach.finish(PATIENCE);
    let lines: Vec<&str> = o.out.lines().collect();
    assert_eq!((lines.first(), lines.last()), (Some(&"line 0"), Some(&"line 9999")), "{}", o.show());
    assert_eq!(lines.len(), 10_000, "lines lost or doubled at a rotation");
}

fn rotation_keeps_as_many_files_as_asked(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa --log-opt max-size=32k --log-opt max-file=3 {IMAGE} payload lines 20000"))
        .exits(0);
    let current = log_path(bed, "aa");
    let directory = current.parent().unwrap();
    let mut sizes: Vec<(String, u64)> = fs::read_dir(directory)
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("console.log"))
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.metadata().unwrap().len()))
        .collect();
    sizes.sort();
    let names: Vec<&str> = sizes.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["console.log", "console.log.1", "console.log.2"]);
    assert!(sizes.iter().all(|(_, n)| *n <= 33 << 10), "{sizes:?}");
    // What is left reads as one log, the newest line last.
    let text = bed.isula("logs aa").ok();
    assert_eq!(text.lines().last(), Some("line 19999"));
    let numbers: Vec<u32> = text.lines().map(|l| l[5..].parse().expect(l)).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "a hole in the log");
}

fn a_gigabyte_of_output_stays_bounded(bed: &mut Bed) {
    bed.start();
    let command = "sh -c 'payload bytes 1073741824; echo; echo done; sleep 1000'";
    bed.run_detached("aa", "--log-opt max-size=1m --log-opt max-file=2", command);
    let shim = leaks::children_of(bed.pid());
    // However long a slow machine takes: the runner's deadline bounds it.
    while !bed.isula("logs --tail 1 aa").out.contains("done") {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let directory = log_path(bed, "aa").parent().unwrap().to_path_buf();
    let size: u64 = fs::read_dir(directory).unwrap().flatten().map(|e| e.metadata().unwrap().len()).sum();
    assert!(size < 4 << 20, "{size} bytes of log");
    assert_eq!(shim.len(), 1, "one process per container");
    let peak = leaks::peak_memory(shim[0]);
    assert!(peak < 8 << 10, "the shim took {peak} KiB for a log of 1 GiB");
}

fn lines_longer_than_any_buffer(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa --log-opt max-size=50m {IMAGE} payload long-line 5000000")).exits(0);
    let o = bed.isula("logs aa");
    assert_eq!((o.out.len(), o.out.matches('\n').count()), (5_000_001, 1));
    // docker's reader takes a line in pieces of 16 KiB, the last of which ends with the line break.
    let text = fs::read_to_string(log_path(bed, "aa")).unwrap();
    assert!(text.lines().all(|l| l.len() < 64 << 10), "an entry of more than 64 KiB");
}

fn a_last_line_without_an_end(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} printf 'one\\ntwo'")).exits(0);
    assert_eq!(bed.isula("logs aa").out, "one\ntwo");
    assert_eq!(bed.isula("logs --tail 1 aa").out, "two");
}

fn binary_output_survives(bed: &mut Bed) {
    bed.start();
    let o = bed.isula(&format!("run --name aa {IMAGE} printf '\\001\\t\\033[1m\\360\\237\\230\\200\\377\\n'"));
    assert_eq!(o.code, 0, "{}", o.show());
    // The bytes that are no UTF-8 cannot be in JSON; everything else must be.
    contains(&bed.isula("logs aa").ok(), "\u{1}\t\u{1b}[1m\u{1f600}");
}

fn disabled_log_says_so(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "--log-opt disable-log=true", "payload lines 10");
    bed.isula("wait aa").ok();
    let o = bed.isula("logs aa");
    assert_eq!(o.code, 0, "{}", o.show());
    let all = o.out + &o.err;
    assert!(all.contains("disable console log!") && all.contains("[WARNING]: Container"), "{all} ({id})");
}

fn driver_none(bed: &mut Bed) {
    bed.start_with(&["--container-log-driver", "none"]);
    contains(&bed.isula("info").ok(), "Logging Driver: none");
    // Whoever is attached gets the output; nobody else does.
    let o = bed.isula(&format!("run --name aa {IMAGE} sh -c 'echo one; echo two >&2'"));
    assert_eq!((o.out.as_str(), o.err.as_str()), ("one\n", "two\n"), "{}", o.show());
    bed.isula(&format!("run --name bb --log-driver none {IMAGE} echo well")).ok();
    bed.isula(&format!("run --name cc --log-driver json-file --log-opt disable-log=true {IMAGE} echo well")).ok();
    for name in ["aa", "bb", "cc"] {
        assert_eq!(bed.inspect(name, "/HostConfig/LogConfig/Type"), "none");
        assert_eq!(bed.inspect(name, "/LogPath"), "");
        let o = bed.isula(&format!("logs {name}"));
        assert_eq!((o.code, o.out.as_str()), (0, ""), "{}", o.show());
        contains(&o.err, &format!("[WARNING]: Container {name} disable console log!"));
        bed.get(&format!("/v1.44/containers/{name}/logs?stdout=1")).expect(501);
        let directory = bed.inspect(name, "/HostnamePath");
        let directory = PathBuf::from(directory.as_str().unwrap());
        assert!(!directory.with_file_name("console.log").exists());
    }
    bed.restart();
    assert_eq!(bed.isula("start -a aa").out, "one\n");
    bed.isula("logs aa").exits(0);
    // The other driver is as it is without a daemon's.
    bed.isula(&format!("run --name dd --log-driver json-file {IMAGE} echo well")).ok();
    assert_eq!(bed.isula("logs dd").ok(), "well");
    bed.isula(&format!("run --log-driver none --log-opt max-size=1m {IMAGE} true"))
        .fails(125, "container log driver: none, unsupport: max-size");
}

fn log_of_a_terminal_container(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-t", "payload lines 3");
    bed.isula("wait aa").ok();
    assert_eq!(bed.isula("logs aa").ok().replace('\r', ""), "line 0\nline 1\nline 2");
}

fn logs_of_nothing(bed: &mut Bed) {
    bed.start();
    assert_ne!(bed.isula("logs nosuch").code, 0);
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    assert_eq!(bed.isula("logs aa").ok(), "");
}

fn full_disk_under_the_log_does_not_stop_the_container(bed: &mut Bed) {
    crate::support::rootfs::small_disk(&bed.graph(), 12 << 10);
    bed.own_mounts();
    bed.start();
    bed.run_detached(
        "aa",
        "--log-opt max-size=1g",
        "sh -c 'payload lines 2000000; echo end > /dev/shm/end; sleep 1000'",
    );
    eventually("the container wrote everything in spite of the full disk", || {
        bed.isula("exec aa cat /dev/shm/end").out == "end\n"
    });
    bed.isula("rm -f aa").ok();
    // There is room again, and so life.
    assert_eq!(bed.run("", "echo well"), "well");
}
