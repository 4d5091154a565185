//! Hooks of a container and of the daemon.

use crate::support::bed::{Bed, refused};
use crate::support::{IMAGE, contains, eventually};
use crate::tests;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

tests![
    hooks_of_a_container_run_at_their_points,
    hooks_of_the_daemon_run_first,
    failing_hooks,
    hooks_that_hang_end_with_all_they_started,
    hooks_that_are_refused,
];

/// A program that notes its first argument, a variable, its PATH and the container's id in the file `log`.
fn program(bed: &Bed) -> PathBuf {
    let path = bed.dir.join("hook");
    let log = bed.dir.join("log");
    let text = format!(
        "#!/bin/sh\nread -r state\nid=${{state#*'\"id\":\"'}}\necho \"$1 $WORD $PATH ${{id%%\\\"*}}\" >> {}\n",
        log.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn spec(bed: &Bed, name: &str, points: &[(&str, &str)]) -> String {
    let path = program(bed);
    let one = |(point, word): &(&str, &str)| {
        let hook = serde_json::json!([{
            "path": path, "args": ["hook", word], "env": [format!("WORD={name}"), "PATH=/bin:/usr/bin"], "timeout": 60,
        }]);
        (point.to_string(), hook)
    };
    let file = bed.dir.join(name);
    let text = serde_json::Value::Object(points.iter().map(one).collect()).to_string();
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn log(bed: &Bed) -> String {
    fs::read_to_string(bed.dir.join("log")).unwrap_or_default()
}

fn hooks_of_a_container_run_at_their_points(bed: &mut Bed) {
    bed.start();
    let file = spec(bed, "own", &[("prestart", "before"), ("poststart", "after"), ("poststop", "end")]);
    let id = bed.run_detached("aa", &format!("--hook-spec {file}"), "payload ready 1000");
    let line = |word: &str| format!("{word} own /bin:/usr/bin {id}\n");
    eventually("poststart", || log(bed) == line("before") + &line("after"));
    bed.isula("stop -t 0 aa").ok();
    let first = line("before") + &line("after") + &line("end");
    eventually("poststop", || log(bed) == first);
    assert_eq!(bed.inspect("aa", "/HostConfig/HookSpec"), file.as_str());
    // What the file held is the container's, whatever becomes of it.
    fs::remove_file(&file).unwrap();
    bed.restart();
    bed.isula("start aa").ok();
    bed.isula("rm -f aa").ok();
    eventually("all of them again", || log(bed) == format!("{first}{first}"));
    assert_eq!(bed.run("", "echo others have none"), "others have none");
    assert_eq!(log(bed), format!("{first}{first}"));
}

fn hooks_of_the_daemon_run_first(bed: &mut Bed) {
    let file = spec(bed, "all", &[("prestart", "before"), ("poststop", "end")]);
    bed.launch(&["--hook-spec", &file]);
    bed.isula(&format!("import {} {IMAGE}", crate::support::rootfs::archive().display())).ok();
    let own = spec(bed, "own", &[("createRuntime", "create"), ("prestart", "before")]);
    bed.run(&format!("--hook-spec {own}"), "true");
    let words =
        || -> Vec<String> { log(bed).lines().map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect() };
    eventually("the end", || words().len() == 4);
    assert_eq!(words(), ["before all", "before own", "create own", "end all"]);
}

fn failing_hooks(bed: &mut Bed) {
    bed.start();
    let write = |text: &str| {
        let file = bed.dir.join("failing");
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let file = write(r#"{"prestart":[{"path":"/bin/sh","args":["sh","-c","echo reason; exit 3"]}]}"#);
    let o = bed.isula(&format!("run --hook-spec {file} --name aa {IMAGE} touch /ran"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "prestart hook \"/bin/sh\": exit code 3: reason");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 125);
    // One that takes too long is killed.
    let file = write(r#"{"prestart":[{"path":"/bin/sleep","args":["sleep","1000"],"timeout":1}]}"#);
    let o = bed.isula(&format!("run --rm --hook-spec {file} {IMAGE} true"));
    contains(&o.err, "not done in time");
    assert_eq!(o.code, 125, "{}", o.show());
    // What cannot be executed is known at the start alone.
    let program = program(bed);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let file = write(&format!(r#"{{"prestart":[{{"path":"{}"}}]}}"#, program.display()));
    let o = bed.isula(&format!("run --rm --hook-spec {file} {IMAGE} true"));
    assert_eq!(o.code, 126, "{}", o.show());
    contains(&o.err, "permission denied");
    // After the start, and after the end, the container has its own way.
    let file = write(
        r#"{"poststart":[{"path":"/bin/sh","args":["sh","-c","kill -9 $$"]}],
            "poststop":[{"path":"/bin/sh","args":["sh","-c","exit 5"]}]}"#,
    );
    assert_eq!(bed.run(&format!("--hook-spec {file}"), "echo well"), "well");
}

fn hooks_that_hang_end_with_all_they_started(bed: &mut Bed) {
    bed.start_with(&["--start-timeout", "2s"]);
    let (pids, file) = (bed.dir.join("pids"), bed.dir.join("hangs"));
    // One in a session of its own too, one that has lost its parent, and the hook itself.
    let script = format!(
        "exec >> {}; sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!'; setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait",
        pids.display()
    );
    let is_running = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    // The time for the start, and the hook's own.
    for (timeout, all) in [(0, 4), (1, 3)] {
        let _ = fs::remove_file(&pids);
        let mut hook = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        if timeout > 0 {
            hook["timeout"] = timeout.into();
        }
        fs::write(&file, serde_json::json!({"prestart": [hook]}).to_string()).unwrap();
        let o = bed.isula(&format!("run --rm --hook-spec {} {IMAGE} true", file.display()));
        assert_ne!(o.code, 0, "{}", o.show());
        let text = fs::read_to_string(&pids).unwrap();
        let list: Vec<&str> = text.lines().collect();
        assert_eq!(list.len(), 4, "{text}");
        let running = || list.iter().filter(|pid| is_running(pid)).count();
        eventually("they end", || running() <= 4 - all);
        // A session of its own is left alone by the time of a hook.
        for pid in list.iter().filter(|pid| is_running(pid)) {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).unwrap();
        }
    }
}

fn hooks_that_are_refused(bed: &mut Bed) {
    bed.start();
    let program = program(bed);
    let file = bed.dir.join("bad");
    let create = |file: &str| bed.isula(&format!("create --hook-spec {file} {IMAGE} true"));
    create("bad").fails(125, "Hook spec file \"bad\" must be an absolute path");
    create("/nosuch/file").fails(1, "hook spec file \"/nosuch/file\"");
    create("/dev/zero").fails(1, "not a regular file");
    let text = format!(r#"{{"poststop":[{{"path":"{}"}}]}}"#, program.display());
    for (mode, text, part) in [
        (0o755, "{", "invalid JSON"),
        (0o755, r#"{"prestart":[{"path":"true"}]}"#, "must have an absolute path"),
        (0o755, r#"{"poststart":[{"path":"/nosuch/hook"}]}"#, "hook \"/nosuch/hook\" cannot be used"),
        (0o755, r#"{"prestart":[{"path":"/dev/null"}]}"#, "is not a regular file"),
        (0o777, text.as_str(), "must not be writable by others"),
    ] {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(&file, text).unwrap();
        create(&file.display().to_string()).fails(1, part);
    }
    assert_eq!(bed.isula("ps -aq").ok(), "", "a refused container is left");
    bed.stop();
    // Nor does a daemon start with them.
    let words = bed.daemon_words(&["--hook-spec", &file.display().to_string()]);
    contains(&refused(bed, &words), "must not be writable by others");
    let words = bed.daemon_words(&["--hook-spec", "/nosuch/file"]);
    contains(&refused(bed, &words), "/nosuch/file");
}
