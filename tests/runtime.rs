//! The runtime's command line: containers that one command makes and another starts.

use crate::support::bed::{Bed, json};
use crate::support::bundle::{bundle, bundle_with, lcr, lcr_command, status};
use crate::support::{cgroup, command, contains, eventually, leaks, old_kernel};
use crate::{requires, tests};
use serde_json::{Value, json as value};
use std::fs::{self, File};
use std::io::{IoSliceMut, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

tests![
    created_container_waits_for_one_start,
    created_container_can_be_ended,
    what_cannot_be_created_leaves_nothing,
    limits_change_on_command,
    hooks_run_at_their_commands,
    failing_hook_of_the_start_stops_the_container,
    terminal_goes_to_the_console_socket,
    descriptors_are_preserved_when_asked,
    callers_have_their_options,
    processes_have_one_thread,
    seccomp_agent_answers_from_the_start,
    commands_behave_as_those_of_crun,
];

/// `lcr create` with output to the file `out`; its exit code and what it said.
fn create(bed: &Bed, words: &[&str]) -> (i32, String) {
    let mut command = lcr_command(bed, &[&["create"], words].concat());
    let (out, err) = (File::create(bed.dir.join("out")).unwrap(), bed.dir.join("err"));
    // Files, as the container keeps both and a pipe would not end before it does.
    command.stdin(Stdio::null()).stdout(out).stderr(File::create(&err).unwrap());
    let code = command::code(command.status().unwrap());
    (code, fs::read_to_string(err).unwrap())
}

#[track_caller]
fn created(bed: &Bed, words: &[&str]) {
    let (code, err) = create(bed, words);
    assert_eq!((code, err.as_str()), (0, ""));
}

fn out(bed: &Bed) -> String {
    fs::read_to_string(bed.dir.join("out")).unwrap()
}

fn pid(bed: &Bed, id: &str) -> u32 {
    json(lcr(bed, &["state", id]).ok().as_bytes())["pid"].as_u64().unwrap() as u32
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

fn created_container_waits_for_one_start(bed: &mut Bed) {
    let path = bundle(bed, &["sh", "-c", "echo ran; exec sleep 1000"]);
    created(bed, &["--bundle", &path, "one"]);
    // Whoever only looks does not start it, however often.
    for _ in 0..50 {
        assert_eq!(status(bed, "one"), "created");
    }
    contains(&lcr(bed, &["list"]).ok(), "created");
    assert_eq!(lcr(bed, &["exec", "one", "payload", "args", "inside"]).ok(), "inside");
    assert_eq!(out(bed), "");
    let (code, err) = create(bed, &["--bundle", &path, "one"]);
    assert_ne!(code, 0);
    contains(&err, "exists already");
    assert_eq!(status(bed, "one"), "created", "the id's owner is untouched");
    // Of several starts at a time one wins.
    let starts: Vec<_> =
        (0..8).map(|n| command::start(lcr_command(bed, &["start", "one"]), format!("start {n}"))).collect();
    let codes: Vec<i32> = starts.into_iter().map(|s| s.finish(Duration::from_secs(60)).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    eventually("it runs", || out(bed) == "ran\n");
    assert_eq!(status(bed, "one"), "running");
    lcr(bed, &["start", "one"]).fails(1, "is running, not created");
    lcr(bed, &["delete", "--force", "one"]).ok();
    lcr(bed, &["start", "one"]).fails(1, "does not exist");
}

fn created_container_can_be_ended(bed: &mut Bed) {
    let path = bundle(bed, &["payload", "trap", "15"]);
    created(bed, &["--bundle", &path, "one"]);
    lcr(bed, &["delete", "one"]).fails(1, "created");
    lcr(bed, &["kill", "one", "KILL"]).ok();
    eventually("it stopped", || status(bed, "one") == "stopped");
    lcr(bed, &["start", "one"]).fails(1, "is stopped, not created");
    lcr(bed, &["delete", "one"]).ok();
    created(bed, &["--bundle", &path, "two"]);
    lcr(bed, &["delete", "--force", "two"]).ok();
    assert_eq!(status(bed, "two"), "code 1");
    // A frozen one cannot start, and says so at once.
    created(bed, &["--bundle", &path, "three"]);
    lcr(bed, &["delete", "-f", "three"]).ok();
    assert_eq!(out(bed), "");
}

fn limits_change_on_command(bed: &mut Bed) {
    requires!(cgroup_memory, cgroup_pids);
    let path = bundle(bed, &["payload", "ready", "1000"]);
    let file = bed.dir.join("limits");
    let limits = file.display().to_string();
    fs::write(&file, r#"{"memory":{"limit":67108864},"pids":{"limit":50}}"#).unwrap();
    lcr(bed, &["update", "--resources", &limits, "one"]).fails(1, "does not exist");
    created(bed, &["--bundle", &path, "one"]);
    lcr(bed, &["update", "one"]).fails(1, "a limit is needed");
    lcr(bed, &["update", "-r", &limits, "one"]).ok();
    let pid = i64::from(pid(bed, "one"));
    let read = |names: &[&str]| cgroup::read(pid, names);
    assert_eq!(read(&["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("67108864"));
    lcr(bed, &["start", "one"]).ok();
    // From standard input; what it does not name stays.
    let mut command = lcr_command(bed, &["update", "--resources", "-", "one"]);
    command.stdin(
        File::open({
            fs::write(&file, r#"{"pids":{"limit":60}}"#).unwrap();
            &file
        })
        .unwrap(),
    );
    assert!(command.status().unwrap().success());
    assert_eq!(read(&["pids.max"]).as_deref(), Some("60"));
    // Flags say the same, and more than the document.
    lcr(bed, &["update", "--pids-limit", "30", "-r", &limits, "one"]).ok();
    assert_eq!(read(&["pids.max"]).as_deref(), Some("30"));
    lcr(bed, &["update", "--memory", "48m", "--cpu-share", "512", "--cpu-quota", "20000", "one"]).ok();
    assert_eq!(read(&["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("50331648"));
    assert_eq!(read(&["cpu.cfs_quota_us", "cpu.max"]).unwrap().split(' ').next(), Some("20000"));
    lcr(bed, &["update", "--memory", "much", "one"]).fails(1, "--memory");
    lcr(bed, &["update", "--memory", "64m", "one"]).ok();
    assert_eq!(read(&["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("67108864"));
    for (text, part) in [
        ("{", "invalid JSON"),
        (r#"{"memory":5}"#, "resources"),
        (r#"{"hugepageLimits":[{"pageSize":"../x","limit":5}]}"#, "huge"),
    ] {
        fs::write(&file, text).unwrap();
        lcr(bed, &["update", "-r", &limits, "one"]).fails(1, part);
    }
    lcr(bed, &["kill", "one", "KILL"]).ok();
    eventually("it stopped", || status(bed, "one") == "stopped");
    lcr(bed, &["update", "-r", &limits, "one"]).fails(1, "");
    lcr(bed, &["delete", "one"]).ok();
}

fn what_cannot_be_created_leaves_nothing(bed: &mut Bed) {
    let path = bundle(bed, &["nosuch"]);
    let (code, err) = create(bed, &["--bundle", &path, "one"]);
    assert_eq!(code, 1);
    contains(&err, "executable file not found in $PATH");
    let path = bundle_with(bed, &["sh"], |c| c["process"]["terminal"] = true.into());
    let (code, err) = create(bed, &["--bundle", &path, "one"]);
    assert_eq!(code, 1);
    contains(&err, "--console-socket");
    let path = bundle(bed, &["sh"]);
    let (code, err) = create(bed, &["--bundle", &path, "--pid-file", "/nosuch/pid", "one"]);
    assert_eq!(code, 1);
    contains(&err, "pid file");
    assert_eq!(lcr(bed, &["list", "-q"]).ok(), "");
    // What cannot be executed only execve(2) knows: the start tells, and the container has ended.
    let path = bundle(bed, &["/bin/no-program"]);
    created(bed, &["--bundle", &path, "one"]);
    lcr(bed, &["start", "one"]).fails(1, "exec format error");
    eventually("it stopped", || status(bed, "one") == "stopped");
    lcr(bed, &["delete", "one"]).ok();
}

/// A hook that adds its name and the status that it was told to the host's file `log`.
fn hook(name: &str, log: &str) -> Value {
    let script = format!("echo {name} $(grep -o '\"status\":\"[a-z]*\"' | cut -d'\"' -f4) >> {log}");
    value!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
}

fn hooks_run_at_their_commands(bed: &mut Bed) {
    let log = bed.dir.join("hooks");
    let path = bundle_with(bed, &["payload", "ready", "1000"], |c| {
        for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            c["hooks"][name] = hook(name, &log.display().to_string());
        }
        // This one runs in the container.
        c["hooks"]["startContainer"] = hook("startContainer", "/hooks");
        c["root"]["readonly"] = false.into();
    });
    let inner = PathBuf::from(&path).join("rootfs/hooks");
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    created(bed, &["--bundle", &path, "one"]);
    let until_created = "prestart creating\ncreateRuntime creating\ncreateContainer creating\n";
    assert_eq!((read(&log).as_str(), read(&inner).as_str()), (until_created, ""));
    lcr(bed, &["start", "one"]).ok();
    let until_started = format!("{until_created}poststart running\n");
    assert_eq!((read(&log), read(&inner).as_str()), (until_started.clone(), "startContainer created\n"));
    lcr(bed, &["kill", "one", "KILL"]).ok();
    eventually("it stopped", || status(bed, "one") == "stopped");
    lcr(bed, &["delete", "one"]).ok();
    assert_eq!(read(&log), format!("{until_started}poststop stopped\n"));
}

fn failing_hook_of_the_start_stops_the_container(bed: &mut Bed) {
    let failing = value!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo no; exit 3"] }]);
    let path = bundle_with(bed, &["sh", "-c", "echo ran"], |c| c["hooks"]["startContainer"] = failing.clone());
    created(bed, &["--bundle", &path, "one"]);
    lcr(bed, &["start", "one"]).fails(1, "exit code 3: no");
    eventually("it stopped", || status(bed, "one") == "stopped");
    lcr(bed, &["delete", "one"]).ok();
    assert_eq!(out(bed), "");
    let path = bundle_with(bed, &["sh", "-c", "echo ran"], |c| c["hooks"]["createRuntime"] = failing);
    let (code, err) = create(bed, &["--bundle", &path, "one"]);
    assert_eq!(code, 1);
    contains(&err, "exit code 3: no");
    assert_eq!(status(bed, "one"), "code 1");
}

/// The descriptor that comes with a message.
fn receive(listener: &UnixListener) -> File {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let (stream, _) = listener.accept().unwrap();
    let (mut byte, mut space) = ([0u8; 64], nix::cmsg_space!([i32; 1]));
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
    let fds = message.cmsgs().unwrap().find_map(|c| match c {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    isulabox::utils::sys::fd::received(fds.expect("a descriptor")[0]).into()
}

fn terminal_goes_to_the_console_socket(bed: &mut Bed) {
    let socket = bed.dir.join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let path = bundle_with(bed, &["payload", "tty"], |c| c["process"]["terminal"] = true.into());
    created(bed, &["--bundle", &path, "--console-socket", &socket.display().to_string(), "one"]);
    let mut terminal = receive(&listener);
    assert_eq!(status(bed, "one"), "created");
    lcr(bed, &["start", "one"]).ok();
    let mut text = Vec::new();
    let _ = terminal.read_to_end(&mut text); // EIO is a terminal's end
    contains(&String::from_utf8_lossy(&text), "tty tty tty");
    eventually("it stopped", || status(bed, "one") == "stopped");
    lcr(bed, &["delete", "one"]).ok();
}

fn callers_have_their_options(bed: &mut Bed) {
    let path = bundle(bed, &["payload", "args", "from the bundle"]);
    let other = bed.dir.join("other.json").display().to_string();
    let text = fs::read_to_string(format!("{path}/config.json")).unwrap();
    fs::write(&other, text.replace("from the bundle", "from elsewhere")).unwrap();
    let run = |words: &[&str]| lcr(bed, &[&["run", "--no-subreaper", "--bundle", &path], words, &["one"]].concat());
    assert_eq!(run(&[]).ok(), "from the bundle");
    assert_eq!(run(&["--config", &other]).ok(), "from elsewhere");
    assert_eq!(status(bed, "one"), "code 1");
    assert_eq!(run(&["--keep"]).ok(), "from the bundle");
    assert_eq!(status(bed, "one"), "stopped");
    run(&["--keep"]).fails(1, "exists already");
    lcr(bed, &["delete", "one"]).ok();
    // The session keyring's name is its container's, or that of whoever called.
    let keys = |words: &[&str]| {
        let path = bundle(bed, &["sh", "-c", "grep -c _ses.two /proc/keys || test -e /proc/keys"]);
        lcr(bed, &[&["run", "--bundle", &path], words, &["two"]].concat())
    };
    let own = keys(&[]);
    if own.code == 0 && own.out.trim() == "1" {
        assert_eq!(keys(&["--no-new-keyring"]).out.trim(), "0");
    }
    let path = bundle(bed, &["payload", "ready", "1000"]);
    created(bed, &["--bundle", &path, "three"]);
    lcr(bed, &["start", "three"]).ok();
    let ids = lcr(bed, &["exec", "-g", "77", "--additional-gids", "78", "three", "payload", "ids"]).ok();
    contains(&ids, "77,78");
    lcr(bed, &["exec", "--apparmor", "none-such", "three", "true"]).fails(1, "");
    if crate::support::requires::cgroup_freezer().is_ok() {
        lcr(bed, &["pause", "three"]).ok();
        lcr(bed, &["exec", "-d", "three", "true"]).fails(1, "is paused");
        let mut late = command::start(lcr_command(bed, &["exec", "--ignore-paused", "three", "true"]), "exec".into());
        std::thread::sleep(Duration::from_millis(100));
        assert!(late.child.try_wait().unwrap().is_none(), "it waits with the others");
        lcr(bed, &["resume", "three"]).ok();
        late.finish(Duration::from_secs(60)).ok();
    }
    // Some cgroup below, in every hierarchy.
    lcr(bed, &["exec", "--cgroup", "below", "three", "true"]).fails(1, "--cgroup \"below\"");
    lcr(bed, &["exec", "--cgroup", "../x", "three", "true"]).fails(1, "below the container's own");
    for directory in cgroup::below(&bed.cgroup_parent()).into_iter().filter(|directory| directory.ends_with("lcr")) {
        fs::create_dir(directory.join("below")).unwrap();
    }
    let there = lcr(bed, &["exec", "--cgroup", "below", "three", "cat", "/proc/self/cgroup"]).ok();
    assert!(there.lines().any(|line| line.ends_with("/below")), "{there}");
    lcr(bed, &["delete", "--force", "three"]).ok();
}

fn descriptors_are_preserved_when_asked(bed: &mut Bed) {
    let hook = value!([{ "path": "/bin/ls", "args": ["ls", "/proc/self/fd"] }]);
    let path = bundle_with(bed, &["payload", "fds"], |c| c["hooks"]["createRuntime"] = hook);
    // The shell gives it 3 and 4, and 9 that nobody asks for.
    let with_files = |words: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3</dev/zero 4</dev/null 9</dev/zero; exec \"$@\"", "sh"]);
        let lcr = lcr_command(bed, words);
        shell.arg(lcr.get_program()).args(lcr.get_args());
        command::run(shell, words.join(" "), b"", Duration::from_secs(60))
    };
    let numbers = |text: &str| text.lines().map(|l| l.split(' ').next().unwrap().into()).collect::<Vec<String>>();
    for (count, expected) in
        [("0", &["0", "1", "2"][..]), ("1", &["0", "1", "2", "3"]), ("2", &["0", "1", "2", "3", "4"])]
    {
        let text = with_files(&["run", "--bundle", &path, "--preserve-fds", count, "one"]).ok();
        assert_eq!(numbers(&text), expected, "{text}");
    }
    with_files(&["run", "--bundle", &path, "--preserve-fds", "3", "one"]).fails(1, "descriptor 5 is not open");
    let path = bundle(bed, &["payload", "ready", "1000"]);
    created(bed, &["--bundle", &path, "two"]);
    let text = with_files(&["exec", "--preserve-fds", "2", "two", "payload", "fds"]).ok();
    assert_eq!(numbers(&text), ["0", "1", "2", "3", "4"], "{text}");
    contains(&text, "3 /dev/zero\n4 /dev/null");
    lcr(bed, &["delete", "-f", "two"]).ok();
    // Through a start by another command.
    let path = bundle(bed, &["payload", "fds"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3</dev/zero >$0; exec \"$@\""]).arg(bed.dir.join("out"));
    let words = lcr_command(bed, &["create", "--bundle", &path, "--preserve-fds", "1", "three"]);
    shell.arg(words.get_program()).args(words.get_args());
    assert!(shell.status().unwrap().success());
    lcr(bed, &["start", "three"]).ok();
    eventually("it stopped", || status(bed, "three") == "stopped");
    contains(&out(bed), "3 /dev/zero");
    assert_eq!(numbers(&out(bed)), ["0", "1", "2", "3"]);
    lcr(bed, &["delete", "three"]).ok();
}

/// What clones and enters namespaces must have one thread; both programs are written for that.
fn processes_have_one_thread(bed: &mut Bed) {
    let path = bundle(bed, &["payload", "ready", "1000"]);
    created(bed, &["--bundle", &path, "one"]);
    let init = pid(bed, "one");
    contains(&leaks::describe(init), "lcr --root");
    assert_eq!(threads(init), 1, "the process of lcr that becomes the program");
    lcr(bed, &["delete", "-f", "one"]).ok();
    let running = command::start(lcr_command(bed, &["run", "--bundle", &path, "two"]), "lcr run".into());
    eventually("it runs", || status(bed, "two") == "running");
    assert_eq!(threads(running.child.id()), 1, "lcr run");
    lcr(bed, &["kill", "two", "KILL"]).ok();
    assert_eq!(running.finish(Duration::from_secs(60)).code, 137);

    bed.start();
    bed.run_detached("aa", "-t", "payload ready 1000");
    let attached = bed.spawn("attach aa");
    let other = bed.spawn("exec -i aa cat");
    let init = bed.container_pid("aa");
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
    let shim: u32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    contains(&leaks::describe(shim), "shim");
    eventually("the exec runs", || leaks::children_of(shim).len() == 2);
    assert_eq!(threads(shim), 1, "the shim");
    other.finish(Duration::from_secs(60)).ok();
    bed.isula("rm -f aa").ok();
    attached.finish(Duration::from_secs(60));
}

/// The same words to both runtimes: the same states and the same success.
fn seccomp_agent_answers_from_the_start(bed: &mut Bed) {
    let path = bed.dir.join("agent.sock");
    let seccomp = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "words",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let bundle = bundle_with(bed, &["payload", "syscalls", "swapon"], |c| c["linux"]["seccomp"] = seccomp);
    created(bed, &["--bundle", &bundle, "two"]);
    lcr(bed, &["start", "two"]).fails(1, "to the seccomp agent");
    assert_eq!(status(bed, "two"), "created");
    let state = crate::security::agent(UnixListener::bind(&path).unwrap(), libc::ENODEV);
    let pid = pid(bed, "two");
    lcr(bed, &["start", "two"]).ok();
    eventually("its call is answered", || out(bed) == "swapon ENODEV\n");
    eventually("nobody has the filter any more", || {
        // It is ours to reap, and before Linux 6.11 it keeps the filter until then.
        leaks::children();
        state.is_finished()
    });
    let state = state.join().unwrap();
    assert_eq!((&state["metadata"], &state["pid"]), (&"words".into(), &pid.into()), "{state}");
    assert_eq!((&state["state"]["id"], &state["state"]["bundle"]), (&"two".into(), &bundle.into()), "{state}");
    lcr(bed, &["delete", "--force", "two"]).ok();
}

fn commands_behave_as_those_of_crun(bed: &mut Bed) {
    requires!(crun);
    let ours = transcript(bed, |words| lcr_command(bed, words));
    assert_eq!(leaks::cgroups(&bed.cgroup_parent()), [""; 0]);
    // crun takes a hybrid layout for none. This process has a mount namespace of its own, in which the v2 part is hidden.
    let (place, none) = ("/sys/fs/cgroup/unified", None::<&str>);
    if fs::metadata(place).is_ok() {
        nix::mount::mount(none, place, Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
        bed.own_mounts();
    }
    let mut theirs = transcript(bed, |words| {
        let mut command = Command::new("crun");
        command.arg("--root").arg(bed.dir.join("crun")).args(words);
        command
    });
    if !old_kernel::is_at_least(5, 3) {
        // Without pidfds it takes the entry of a process that has ended for that process. The specification wants an error
        // for a container that does not run (runtime.md, Kill).
        let last = theirs.iter_mut().rfind(|line| line.starts_with("kill ")).unwrap();
        assert_eq!(std::mem::replace(last, "kill one TERM = 1, stopped".into()), "kill one TERM = 0, stopped");
    }
    assert_eq!(ours, theirs);
    // It makes directories where it found the hidden one.
    let _ = fs::remove_dir_all(format!("{place}{}", bed.cgroup_parent()));
}

fn transcript(bed: &Bed, runtime: impl Fn(&[&str]) -> Command) -> Vec<String> {
    let mut lines = Vec::new();
    // A version that any crun takes.
    let path = bundle_with(bed, &["payload", "trap", "15"], |c| c["ociVersion"] = "1.0.2".into());
    let file = bed.dir.join("pid");
    let file = file.display().to_string();
    let state = || {
        let output = command::run(runtime(&["state", "one"]), "state".into(), b"", Duration::from_secs(60));
        (output.code == 0).then(|| json(output.out.as_bytes()))
    };
    let word = |state: Option<Value>| state.map_or("none".to_string(), |s| s["status"].as_str().unwrap().to_string());
    for words in [
        &["start", "one"][..],
        &["create", "--bundle", "/nosuch", "one"],
        &["create", "--bundle", &path, "--pid-file", &file, "one"],
        &["create", "--bundle", &path, "one"],
        &["exec", "one", "payload", "exit", "4"],
        &["start", "one"],
        &["start", "one"],
        &["exec", "one", "payload", "exit", "4"],
        &["delete", "one"],
        &["pause", "one"],
        &["resume", "one"],
        &["kill", "one", "TERM"],
        &["start", "one"],
        &["kill", "one", "TERM"],
        &["exec", "one", "true"],
        &["delete", "one"],
        &["delete", "one"],
        &["delete", "--force", "one"],
    ] {
        let mut command = runtime(words);
        let output = |name: &str| File::create(bed.dir.join(name)).unwrap();
        command.stdin(Stdio::null()).stderr(output("err"));
        command.stdout(output(if words.contains(&"--pid-file") { "out" } else { "other" }));
        let code = command::code(command.status().unwrap());
        if words[0] == "start" && code == 0 {
            // Its program must be far enough to take the signal.
            eventually("it is ready", || out(bed) == "ready\n");
        }
        if words[0] == "kill" && code == 0 {
            // The program ends in its own time.
            eventually("it stopped", || word(state()) == "stopped");
        }
        lines.push(format!("{} = {code}, {}", words.join(" ").replace(&path, "BUNDLE"), word(state())));
        if words.contains(&"--pid-file") {
            assert_eq!(code, 0, "{}", fs::read_to_string(bed.dir.join("err")).unwrap());
            let pid: u64 = fs::read_to_string(&file).unwrap().parse().unwrap();
            assert_eq!(state().unwrap()["pid"].as_u64(), Some(pid));
        }
    }
    lines
}
