//! The container log driver `syslog`, with a syslog of the test's own.

use crate::support::bed::{Bed, refused};
use crate::support::syslog::{Syslog, own_devices};
use crate::support::{IMAGE, PATIENCE, contains, eventually, leaks};
use crate::tests;
use serde_json::json;
use std::fs;
use std::io::Write;

tests![
    lines_of_both_streams,
    the_tag_says_who,
    bad_options_are_refused,
    the_daemons_driver,
    a_terminals_lines,
    long_lines_come_in_pieces,
    a_syslog_that_is_restarted_misses_nothing,
    containers_run_without_a_syslog,
    a_syslog_that_reads_nothing_holds_nobody_up,
    a_flood_is_counted,
    the_daemons_own_log,
];

/// A message without its process id, which it gives too.
#[track_caller]
fn apart(message: &str) -> (String, u32) {
    let (head, text) = message.split_once("]: ").unwrap_or_else(|| panic!("no message of syslog's: {message:?}"));
    let (head, pid) = head.rsplit_once('[').expect("a process id");
    (format!("{head}: {text}"), pid.parse().expect("a process id"))
}

fn texts(messages: &[String]) -> Vec<String> {
    messages.iter().map(|message| apart(message).0).collect()
}

/// A daemon that serves, and who listens.
fn start(bed: &mut Bed) -> Syslog {
    own_devices(bed);
    bed.start();
    // The client's own trail goes there too, so it starts to listen last.
    Syslog::listen()
}

fn lines_of_both_streams(bed: &mut Bed) {
    let syslog = start(bed);
    let options = "--log-driver syslog --log-opt syslog-tag={{.Name}} --log-opt syslog-facility=local3";
    bed.run_detached("aa", options, "sh -c 'echo one; echo bad >&2; echo; printf last'");
    // Which of the streams is read first is left to chance.
    let three = || {
        let mut all = texts(&syslog.next(3));
        all.sort_unstable();
        all
    };
    let all = ["<155>aa: bad", "<158>aa: last", "<158>aa: one"];
    assert_eq!(three(), all);
    bed.isula("wait aa").ok();
    let config = json!({ "Type": "syslog", "Config": { "tag": "{{.Name}}", "syslog-facility": "local3" } });
    assert_eq!(bed.inspect("aa", "/HostConfig/LogConfig"), config);
    let annotations = bed.inspect("aa", "/Config/Annotations");
    for (key, value) in [("driver", "syslog"), ("tag", "aa"), ("facility", "local3")] {
        assert_eq!(annotations[format!("log.console.{key}")], value);
    }
    assert_eq!(bed.inspect("aa", "/LogPath"), "");
    let o = bed.isula("logs aa");
    assert_eq!((o.code, o.out.as_str()), (1, ""), "{}", o.show());
    contains(&o.err, "container aa: configured logging driver syslog does not support reading");
    bed.get("/v1.44/containers/aa/logs?stdout=1").expect(409);
    // Started again, also by another daemon, it goes on as it was.
    bed.restart();
    bed.isula("start aa").ok();
    assert_eq!(three(), all);
    // Clients that are attached get what syslog gets.
    bed.isula("wait aa").ok();
    assert_eq!(bed.isula("start -a aa").out, "one\n\nlast");
    syslog.next(3);
    syslog.is_silent();
}

fn the_tag_says_who(bed: &mut Bed) {
    let syslog = start(bed);
    let id = bed.run_detached("aa", "--log-driver syslog", "echo well");
    assert_eq!(texts(&syslog.next(1)), [format!("<30>{}: well", &id[..15])]);
    // The name that docker's clients have for it.
    let body = json!({ "Image": IMAGE, "Cmd": ["echo", "well"], "HostConfig": { "LogConfig": {
        "Type": "syslog", "Config": { "tag": "{{.DaemonName}}/{{.ImageName}}/{{.ID}}/{{.FullID}}" } } } });
    bed.post("/v1.44/containers/create?name=bb", &body).expect(201);
    let id = bed.inspect("bb", "/Id").as_str().unwrap().to_owned();
    bed.post("/v1.44/containers/bb/start", &json!({})).expect(204);
    assert_eq!(texts(&syslog.next(1)), [format!("<30>iSulad/{IMAGE}/{}/{id}: well", &id[..12])]);
    bed.run_detached("cc", "--log-driver syslog --log-opt syslog-tag=x{{.ImageID}}y{{.ImageFullID}}", "echo well");
    let image = bed.inspect("cc", "/Image").as_str().unwrap().to_owned();
    let image = if image.starts_with("sha256:") { image } else { format!("sha256:{image}") };
    assert_eq!(texts(&syslog.next(1)), [format!("<30>x{}y{image}: well", &image[..12])]);
}

fn bad_options_are_refused(bed: &mut Bed) {
    let _syslog = start(bed);
    for (options, part) in [
        ("syslog-tag={{.xxx}}", "log option tag \"{{.xxx}}\""),
        ("syslog-tag={{", "log option tag \"{{\""),
        ("syslog-tag=aab{{cd", "log option tag \"aab{{cd\""),
        ("syslog-facility=local8", "syslog-facility \"local8\""),
        ("max-size=1m", "container log driver: syslog, unsupport: max-size"),
    ] {
        let o = bed.isula(&format!("run --log-driver syslog --log-opt {options} {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err, part);
    }
    let o = bed.isula(&format!("run --log-opt syslog-tag=x {IMAGE} true"));
    contains(&o.err, "container log driver: json-file, unsupport: syslog-tag");
    assert_eq!(bed.isula("ps -aq").ok(), "", "nothing is left");
}

fn the_daemons_driver(bed: &mut Bed) {
    own_devices(bed);
    let file = bed.dir.join("daemon.json");
    fs::write(&file, r#"{"container-log":{"driver":"syslog","opts":{"syslog-facility":"local0"}}}"#).unwrap();
    let file = file.display().to_string();
    let bad = bed.daemon_words(&["--container-log-driver", "syslog", "--container-log-opts", "syslog-tag={{.x}}"]);
    contains(&refused(bed, &bad), "log option tag \"{{.x}}\"");
    bed.start_with(&["--config", &file, "--container-log-opts", "syslog-tag=xxxx"]);
    let syslog = Syslog::listen();
    contains(&bed.isula("info").ok(), "Logging Driver: syslog");
    bed.run_detached("aa", "", "echo well");
    bed.run_detached("bb", "--log-opt syslog-tag={{.Name}}", "echo well");
    let mut all = texts(&syslog.next(2));
    all.sort();
    assert_eq!(all, ["<134>bb: well", "<134>xxxx: well"]);
    // Another driver has nothing of it.
    bed.run_detached("cc", "--log-driver json-file", "echo well");
    bed.isula("wait cc").ok();
    assert_eq!(bed.isula("logs cc").ok(), "well");
    assert_eq!(bed.inspect("cc", "/HostConfig/LogConfig/Config/max-file"), "7");
    let o = bed.isula(&format!("run --log-opt disable-log=true {IMAGE} echo well"));
    assert_eq!((o.code, o.out.as_str()), (0, "well\n"));
    syslog.is_silent();
}

fn a_terminals_lines(bed: &mut Bed) {
    let syslog = start(bed);
    let options = "-t --log-driver syslog --log-opt syslog-tag=aa";
    bed.run_detached("aa", options, "sh -c 'echo one; echo two >&2; printf prompt'");
    // All of a terminal's output is of one stream, and the returns that it adds are not the container's.
    assert_eq!(texts(&syslog.next(3)), ["<30>aa: one", "<30>aa: two", "<30>aa: prompt"]);
}

fn long_lines_come_in_pieces(bed: &mut Bed) {
    let syslog = start(bed);
    bed.run_detached("aa", "--log-driver syslog --log-opt syslog-tag=aa", "sh -c 'payload long-line 100000; echo end'");
    let mut pieces = syslog.until("the end", |message| message.ends_with("]: end"));
    pieces.pop();
    assert!(pieces.iter().all(|piece| piece.len() <= 8192), "a datagram of more than 8 KiB");
    let length: usize = pieces.iter().map(|piece| piece.split_once("]: ").unwrap().1.len()).sum();
    assert_eq!(length, 100_000);
}

fn a_syslog_that_is_restarted_misses_nothing(bed: &mut Bed) {
    let syslog = start(bed);
    let command = "sh -c 'while read line; do echo $line; echo $line > /dev/shm/last; done'";
    bed.run_detached("aa", "-i --log-driver syslog --log-opt syslog-tag=aa", command);
    let mut attached = bed.spawn("attach aa");
    let mut say = |line: &str| {
        attached.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
        let written = format!("{line}\n");
        eventually("the container has said it", || bed.isula("exec aa cat /dev/shm/last").out == written);
    };
    say("one");
    assert_eq!(texts(&syslog.next(1)), ["<30>aa: one"]);
    drop(syslog);
    say("two");
    say("three");
    let syslog = Syslog::listen();
    assert_eq!(texts(&syslog.next(2)), ["<30>aa: two", "<30>aa: three"]);
    // Ended and there again between two lines.
    drop(syslog);
    let syslog = Syslog::listen();
    say("four");
    assert_eq!(texts(&syslog.next(1)), ["<30>aa: four"]);
    bed.isula("stop -t 0 aa").ok();
    attached.finish(PATIENCE);
    contains(&syslog.next(1)[0], "isulad-client[");
    syslog.is_silent();
}

fn containers_run_without_a_syslog(bed: &mut Bed) {
    drop(start(bed));
    let o = bed.isula(&format!("run --name aa --log-driver syslog {IMAGE} payload both 1000"));
    assert_eq!((o.code, o.out.lines().count()), (0, 1000), "{}", o.show());
    fs::remove_file("/dev/log").unwrap();
    bed.run_detached("bb", "--log-driver syslog --log-opt syslog-tag=bb", "sh -c 'payload lines 3; sleep 1000'");
    bed.await_state("aa", "exited");
    bed.isula("rm aa").ok();
    let syslog = Syslog::listen();
    let kept = syslog.until("the last line", |message| message.ends_with("line 2"));
    assert_eq!(texts(&kept[kept.len() - 3..]), ["<30>bb: line 0", "<30>bb: line 1", "<30>bb: line 2"]);
    bed.isula("stop -t 0 bb").ok();
}

fn a_syslog_that_reads_nothing_holds_nobody_up(bed: &mut Bed) {
    let _syslog = start(bed);
    let options = "--log-driver syslog";
    bed.run_detached("aa", options, "sh -c 'payload lines 3000000; echo end > /dev/shm/end; sleep 1000'");
    eventually("the container wrote everything", || bed.isula("exec aa cat /dev/shm/end").out == "end\n");
    let shims = leaks::children_of(bed.pid());
    assert_eq!(shims.len(), 1, "one process per container");
    let peak = leaks::peak_memory(shims[0]);
    assert!(peak < 16 << 10, "the shim took {peak} KiB");
    bed.isula("stop -t 0 aa").ok();
    // The shim gives up what nobody takes. The daemon notices when the next one ends.
    eventually("the shim has ended", || {
        bed.run("", "true");
        leaks::children_of(bed.pid()).is_empty()
    });
    bed.isula("restart -t 0 aa").ok();
    bed.isula("rm -f aa").ok();
}

fn a_flood_is_counted(bed: &mut Bed) {
    let syslog = start(bed);
    let options = "--log-driver syslog --log-opt syslog-tag=aa";
    bed.run_detached("aa", options, "sh -c 'payload lines 200000; echo end > /dev/shm/end; sleep 1000'");
    eventually("the container wrote everything", || bed.isula("exec aa cat /dev/shm/end").out == "end\n");
    let said = syslog.until("what is missing", |message| message.contains("isulad-shim:"));
    let (notice, lines) = said.split_last().unwrap();
    let lost = apart(notice).0;
    let lost: usize = lost.strip_prefix("<28>aa: isulad-shim: ").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(lines.len() > 1000 && lost > 0, "{} kept", lines.len());
    assert_eq!(lines.len() + lost, 200_000);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(apart(line).0, format!("<30>aa: line {n}"));
    }
}

fn the_daemons_own_log(bed: &mut Bed) {
    own_devices(bed);
    let syslog = Syslog::listen();
    bed.launch(&[]);
    bed.stop();
    let mut words = bed.daemon_words(&[]);
    let driver = words.iter().position(|word| word == "--log-driver").unwrap();
    words[driver + 1] = "syslog".into();
    let mut command = bed.applet("isulad");
    command.args(&words);
    bed.launch_command(command);
    let pid = bed.pid();
    let first = syslog.until("a line of the daemon's", |_| true);
    assert_eq!(apart(&first[0]).1, pid);
    drop(syslog);
    let syslog = Syslog::listen();
    // The client's trail and the daemon's words, each from its own process.
    bed.isula(&format!("rm {}", "0".repeat(64)));
    let trail = syslog.until("the client's trail", |message| message.contains("isulad-client"));
    contains(&apart(&trail[trail.len() - 1]).0, "<14>isulad-client: command ");
    bed.stop();
    syslog.until("the daemon's end", |message| message.starts_with("<30>isulad["));
    // Nobody listens: that is told where somebody may see it, and who comes later hears the rest.
    drop(syslog);
    let mut command = bed.applet("isulad");
    command.args(&words);
    bed.launch_command(command);
    let told = bed.log().matches("nobody listens on /dev/log").count();
    assert_eq!(told, 1, "{}", bed.log());
    let syslog = Syslog::listen();
    bed.stop();
    syslog.until("the daemon's end", |message| message.starts_with("<30>isulad["));
}
