//! Containers of other OCI runtimes than the built-in one: programs that the shim calls.

use crate::support::bed::{Bed, binary, refused};
use crate::support::pty::Terminal;
use crate::support::{IMAGE, contains, eventually};
use crate::{requires, tests};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

tests![
    runc_has_a_life,
    crun_has_a_life,
    own_command_line_has_a_life,
    runc_has_terminals,
    own_command_line_has_terminals,
    runc_resolves_users_and_says_what_is_missing,
    crun_resolves_users_and_says_what_is_missing,
    own_command_line_resolves_users_and_says_what_is_missing,
    runc_limits_and_counts,
    own_command_line_limits_and_counts,
    they_outlive_the_daemon,
    they_end_with_their_shim,
    they_share_volumes_and_namespaces,
    they_are_remapped,
    they_tell_what_they_cannot,
    names_and_defaults,
    a_runtime_that_hangs_is_ended,
];

/// A daemon whose containers are the runtime's unless they ask for another.
fn start(bed: &mut Bed, runtime: &str, extra: &[&str]) {
    let wrapper = bed.dir.join("hidden-crun");
    // crun takes a hybrid layout for none. The runtime is in a mount namespace of its own when it makes a container.
    script(&wrapper, "exec unshare -m sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"$@\"' crun \"$@\"");
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    let crun = if hybrid { wrapper } else { PathBuf::from("crun") };
    let file = bed.dir.join("daemon.json");
    let content = json!({
        "default-runtime": runtime,
        "runtimes": {"crun": {"path": crun}, "own": {"path": binary(), "runtime-args": ["lcr"]}},
    });
    fs::write(&file, content.to_string()).unwrap();
    let words = [&["--config", file.to_str().unwrap()], extra].concat();
    bed.start_with(&words);
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn runc_has_a_life(bed: &mut Bed) {
    requires!(runc);
    life(bed, "runc");
}

fn crun_has_a_life(bed: &mut Bed) {
    requires!(crun);
    life(bed, "crun");
}

fn own_command_line_has_a_life(bed: &mut Bed) {
    requires!(lcr);
    life(bed, "own");
}

fn life(bed: &mut Bed, runtime: &str) {
    start(bed, runtime, &[]);
    let id = bed.run_detached("aa", "-v vol:/data --hostname h", "sh -c 'payload trap 15 & echo up; wait'");
    bed.await_log("aa", "up");
    assert_eq!(bed.inspect("aa", "/HostConfig/Runtime"), runtime);
    assert_eq!(bed.isula("ps --format '{{.Names}} {{.Runtime}}'").ok(), format!("aa {runtime}"));
    // It is that runtime's container, and the host sees no mount of it.
    let root = bed.state().join("lcr").join(&id).join(runtime);
    assert!(root.join(&id).exists() || root.is_dir(), "{root:?}");
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&id));
    let pid = bed.container_pid("aa");
    assert!(!fs::read_to_string(format!("/proc/{}/mounts", shim_of(pid))).unwrap().contains(&id));
    let o = bed.isula("exec aa sh -c 'echo out; echo err >&2; exit 3'");
    assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (3, "out\n", "err\n"), "{}", o.show());
    assert_eq!(bed.isula_with("exec -i aa payload count", &vec![7; 1_000_000]).ok(), "1000000");
    assert_eq!(bed.isula("exec aa hostname").ok(), "h");
    assert_eq!(bed.isula("exec aa cat /etc/hostname").ok(), "h");
    contains(&bed.isula("top aa").ok(), "payload");
    contains(&bed.isula("stats --no-stream aa").ok(), &id[..12]);
    bed.isula("pause aa").ok();
    assert_eq!(bed.inspect("aa", "/State/Status"), "paused");
    bed.isula("unpause aa").ok();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    fs::write(bed.dir.join("file"), "copied").unwrap();
    bed.isula("cp file aa:/tmp/").ok();
    assert_eq!(bed.isula("exec aa cat /tmp/file").ok(), "copied");
    bed.isula("kill -s KILL aa").ok();
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 137);
    // The same container again: what it wrote is there.
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /tmp/file").ok(), "copied");
    bed.isula("restart -t 1 aa").ok();
    bed.isula("stop -t 1 aa").ok();
    bed.isula("rm -v aa").ok();
    assert_eq!(bed.isula(&format!("run --rm {IMAGE} sh -c 'echo lines; exit 7'")).exits(7), "lines");
    assert_eq!(bed.isula_with(&format!("run --rm -i {IMAGE} payload count"), &vec![7; 100_000]).ok(), "100000");
}

/// The shim of a container's first process.
fn shim_of(pid: i64) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn runc_has_terminals(bed: &mut Bed) {
    requires!(runc);
    terminals(bed, "runc");
}

fn own_command_line_has_terminals(bed: &mut Bed) {
    requires!(lcr);
    terminals(bed, "own");
}

fn terminals(bed: &mut Bed, runtime: &str) {
    start(bed, runtime, &[]);
    let command = |words: &[&str]| {
        let mut command = bed.applet("isula");
        command.args(words);
        command
    };
    let mut terminal = Terminal::run(command(&["run", "-it", "--name", "aa", IMAGE, "sh"]), 31, 77);
    terminal.keys("stty size; test -t 0 && echo is-one\n");
    terminal.await_text("31 77");
    terminal.await_text("is-one");
    terminal.resize(20, 50);
    eventually("the new size arrives", || {
        terminal.keys("stty size\n");
        std::thread::sleep(std::time::Duration::from_millis(100));
        terminal.screen().contains("20 50")
    });
    let mut second = Terminal::run(command(&["exec", "-it", "aa", "sh"]), 15, 66);
    second.keys("stty size; exit 4\n");
    second.await_text("15 66");
    assert_eq!(second.finish(), 4);
    terminal.keys("exit 5\n");
    assert_eq!(terminal.finish(), 5);
}

fn runc_resolves_users_and_says_what_is_missing(bed: &mut Bed) {
    requires!(runc);
    users(bed, "runc");
}

fn crun_resolves_users_and_says_what_is_missing(bed: &mut Bed) {
    requires!(crun);
    users(bed, "crun");
}

fn own_command_line_resolves_users_and_says_what_is_missing(bed: &mut Bed) {
    requires!(lcr);
    users(bed, "own");
}

fn users(bed: &mut Bed, runtime: &str) {
    start(bed, runtime, &[]);
    let ids = bed.isula(&format!("run --rm -u user --group-add more {IMAGE} payload ids")).ok();
    assert_eq!(ids, "uid=1000 gid=1000 groups=1000,2000,3000");
    contains(&bed.isula(&format!("run --rm -u user {IMAGE} payload env")).ok(), "HOME=/srv/user");
    bed.run_detached("aa", "--cap-drop ALL --cap-add CHOWN", "payload ready 1000");
    assert_eq!(bed.isula("exec -u user aa payload ids").ok(), "uid=1000 gid=1000 groups=1000,2000");
    contains(&bed.isula("exec -u user aa payload env").ok(), "HOME=/srv/user");
    let capabilities = |of: &str| {
        let status = bed.isula(&format!("exec aa grep -h Cap {of}")).ok();
        status.lines().filter(|line| !line.starts_with("CapInh")).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(capabilities("/proc/self/status"), capabilities("/proc/1/status"));
    bed.isula("exec -u nosuch aa true").fails(1, "nosuch");
    bed.isula("exec aa nosuch").fails(127, "nosuch");
    bed.isula("exec aa /bin/not-executable").fails(126, "ermission denied");
    assert_eq!(bed.isula("exec aa echo still").ok(), "still", "the container lives");
    bed.isula(&format!("run --rm {IMAGE} nosuch")).fails(127, "nosuch");
    bed.isula(&format!("run --rm {IMAGE} /bin/not-executable")).fails(126, "ermission denied");
    bed.isula(&format!("run --name bb -u nosuch {IMAGE} true")).fails(125, "nosuch");
    assert_eq!(bed.inspect("bb", "/State/ExitCode"), 125);
}

fn runc_limits_and_counts(bed: &mut Bed) {
    requires!(runc);
    limits(bed, "runc");
}

fn own_command_line_limits_and_counts(bed: &mut Bed) {
    requires!(lcr);
    limits(bed, "own");
}

fn limits(bed: &mut Bed, runtime: &str) {
    start(bed, runtime, &[]);
    bed.run_detached("aa", "-m 64m --pids-limit 50 --read-only", "payload ready 1000");
    assert_ne!(bed.isula("exec aa touch /file").code, 0);
    bed.isula("update -m 96m --memory-swap 96m aa").ok();
    let stats = bed.get("/containers/aa/stats?stream=false").expect(200).json();
    assert_eq!(stats["memory_stats"]["limit"], 96 << 20, "{stats}");
    assert_eq!(stats["pids_stats"]["limit"], 50, "{stats}");
    let o = bed.isula(&format!("run --name bb -m 20m --memory-swap 20m {IMAGE} payload hog 100"));
    assert_eq!(o.code, 137, "{}", o.show());
    assert_eq!(bed.inspect("bb", "/State/OOMKilled"), true);
    // Its own limits are its own.
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
}

fn they_outlive_the_daemon(bed: &mut Bed) {
    requires!(lcr);
    start(bed, "own", &[]);
    bed.run_detached("aa", "", "payload ticks 1000000 10");
    bed.run_detached("bb", "", "sh -c 'sleep 0.5; echo last words; exit 42'");
    bed.await_log("aa", "tick 1");
    let pid = bed.container_pid("aa");
    bed.kill();
    std::thread::sleep(std::time::Duration::from_millis(1000));
    bed.restart();
    assert_eq!(bed.container_pid("aa"), pid);
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    let text = bed.isula("logs aa").ok();
    assert!(text.lines().enumerate().all(|(n, line)| line == format!("tick {n}")), "{text}");
    bed.await_state("bb", "exited");
    assert_eq!(bed.inspect("bb", "/State/ExitCode"), 42);
    assert_eq!(bed.isula("logs bb").ok(), "last words");
    assert_eq!(bed.isula("ps -a --format '{{.Names}} {{.Runtime}}' -f name=bb").ok(), "bb own");
    bed.isula("stop -t 0 aa").ok();
    assert_eq!(bed.isula("wait aa").ok(), "137");
}

fn they_end_with_their_shim(bed: &mut Bed) {
    requires!(runc);
    start(bed, "runc", &[]);
    bed.run_detached("aa", "", "payload ready 1000");
    let pid = bed.container_pid("aa");
    let shim = i32::try_from(shim_of(pid)).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 137);
    assert!(!Path::new(&format!("/proc/{pid}/root/etc")).exists());
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa echo again").ok(), "again");
}

fn they_share_volumes_and_namespaces(bed: &mut Bed) {
    requires!(lcr);
    start(bed, "own", &[]);
    let source = bed.dir.join("shared");
    fs::create_dir_all(&source).unwrap();
    nix::mount::mount(Some("tmpfs"), &source, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    nix::mount::mount(None::<&str>, &source, None::<&str>, nix::mount::MsFlags::MS_SHARED, None::<&str>).unwrap();
    let volume =
        format!("-v {}:/shared:rshared --cap-add SYS_ADMIN --security-opt seccomp=unconfined", source.display());
    bed.run_detached("aa", &volume, "payload ready 1000");
    bed.isula("exec aa mkdir /shared/inner").ok();
    bed.isula("exec aa mount -t tmpfs inner /shared/inner").ok();
    assert!(fs::read_to_string("/proc/self/mounts").unwrap().contains("shared/inner"), "the host sees the mount");
    // Other containers join it, of whatever runtime.
    let words = "sh -c 'readlink /proc/self/ns/net; readlink /proc/self/ns/pid'";
    let ours = bed.isula(&format!("exec aa {words}")).ok();
    let join = "--net container:aa --pid container:aa";
    assert_eq!(bed.isula(&format!("run --rm --runtime lcr {join} {IMAGE} {words}")).ok(), ours);
    assert_eq!(bed.isula(&format!("run --rm {join} {IMAGE} {words}")).ok(), ours);
    bed.isula("rm -f aa").ok();
    nix::mount::umount2(&source.join("inner"), nix::mount::MntFlags::MNT_DETACH).unwrap();
    nix::mount::umount2(&source, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

fn they_are_remapped(bed: &mut Bed) {
    requires!(runc);
    start(bed, "runc", &["--userns-remap", "200000:200000:65536"]);
    bed.run_detached("aa", "", "payload ready 1000");
    let pid = bed.container_pid("aa");
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
    assert_eq!(bed.isula("exec aa sh -c 'echo x > /tmp/file; cat /tmp/file; id -u'").ok(), "x\n0");
    assert_eq!(bed.isula(&format!("run --rm {IMAGE} sh -c 'echo to-the-name > /dev/stdout'")).ok(), "to-the-name");
}

fn they_tell_what_they_cannot(bed: &mut Bed) {
    requires!(lcr);
    start(bed, "own", &[]);
    // What is on the file system of the graph would not be shared.
    let source = bed.dir.join("plain");
    fs::create_dir_all(&source).unwrap();
    // The mount it is on.
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let is_mount = |path: &&Path| path.parent().is_none_or(|parent| device(parent) != device(path));
    let top = source.ancestors().find(is_mount).unwrap();
    let propagation = |flags| nix::mount::mount(None::<&str>, top, None::<&str>, flags, None::<&str>).unwrap();
    propagation(nix::mount::MsFlags::MS_SHARED);
    let o = bed.isula(&format!("run --rm -v {}:/shared:rshared {IMAGE} true", source.display()));
    propagation(nix::mount::MsFlags::MS_PRIVATE);
    o.fails(125, "needs the built-in runtime");
}

fn names_and_defaults(bed: &mut Bed) {
    requires!(lcr);
    let own = format!("own={}", bed.dir.join("own").display());
    script(&bed.dir.join("own"), &format!("exec {} lcr \"$@\"", binary().display()));
    bed.start_with(&["--add-runtime", &own, "--add-runtime", "gone=/nosuch/program"]);
    let info = bed.get("/info").expect(200).json();
    assert_eq!((&info["DefaultRuntime"], &info["Runtimes"]["own"]["path"]), (&"lcr".into(), &own[4..].into()));
    assert_eq!(bed.isula(&format!("run --rm --runtime own {IMAGE} echo it")).ok(), "it");
    bed.isula(&format!("run --rm --runtime nosuch {IMAGE} true")).fails(125, "unknown or invalid runtime name: nosuch");
    bed.isula(&format!("run --rm --runtime gone {IMAGE} true")).fails(125, "there is no program \"/nosuch/program\"");
    bed.isula(&format!("run --rm --runtime io.containerd.runc.v2 {IMAGE} true")).fails(125, "io.containerd.runc.v2");
    // A container whose runtime is not configured any more is there, and says so.
    bed.isula(&format!("create --name aa --runtime own {IMAGE} true")).ok();
    bed.stop();
    bed.launch(&[]);
    assert_eq!(bed.isula("ps -a --format '{{.Names}} {{.Runtime}}'").ok(), "aa own");
    bed.isula("start aa").fails(125, "unknown or invalid runtime name: own");
    bed.isula("rm aa").ok();
    bed.stop();
    for (words, part) in [
        (&["--default-runtime", "nosuch"][..], "unknown or invalid runtime name: nosuch"),
        (&["--add-runtime", "lcr=/bin/sh"], "runtimes.lcr"),
        (&["--add-runtime", "own"], "want NAME=PROGRAM"),
        (&["--add-runtime", "a=/x", "--add-runtime", "a=/y"], "given twice"),
    ] {
        contains(&refused(bed, &bed.daemon_words(words)), part);
    }
    let file = bed.dir.join("daemon.json");
    for (content, part) in [
        (r#"{"runtimes":{"a":{"paht":"/x"}}}"#, "runtimes.a.paht"),
        (r#"{"runtimes":{"a":{"path":1}}}"#, "runtimes.a.path"),
        (r#"{"runtimes":[]}"#, "runtimes"),
        (r#"{"default-runtime":"b","runtimes":{"a":{"path":"/x"}}}"#, "runtime name: b"),
    ] {
        fs::write(&file, content).unwrap();
        contains(&refused(bed, &bed.daemon_words(&["--config", file.to_str().unwrap()])), part);
    }
    bed.launch(&[]);
}

fn a_runtime_that_hangs_is_ended(bed: &mut Bed) {
    requires!(lcr);
    let hangs = bed.dir.join("hangs");
    script(&hangs, "sleep 1000 & wait");
    let own = format!("hangs={}", hangs.display());
    bed.start_with(&["--add-runtime", &own, "--start-timeout", "2s"]);
    bed.isula(&format!("run --name aa --runtime hangs {IMAGE} true")).fails(125, "");
    assert_eq!(bed.inspect("aa", "/State/Running"), false);
}
