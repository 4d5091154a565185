//! The daemon's flags, its configuration file, its life as a process.

use crate::support::bed::{Bed, binary, refused};
use crate::support::{IMAGE, cgroup, contains, eventually, http};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

tests![
    two_daemons_on_one_root_are_refused,
    stops_cleanly_on_both_signals,
    pid_file_holds_the_pid,
    configuration_file_is_read,
    configuration_file_is_strict,
    flag_and_file_in_conflict,
    graph_and_state_are_two_directories,
    bad_flags_are_refused,
    log_file_is_reopened,
    tells_systemd_that_it_is_ready,
    tells_systemd_that_it_stops,
    serves_a_socket_that_was_passed,
    a_passed_socket_has_several_paths,
    what_was_not_passed_is_not_taken,
    what_a_parent_left_open_is_closed,
    stale_socket_is_replaced,
    stale_pid_file_is_replaced,
    default_ulimit_and_umask,
    operators_templates,
    few_descriptors_do_not_end_it,
    repeated_host_flags,
    default_parent_cgroup_goes_with_the_daemon,
    the_variable_for_a_temporary_directory,
];

fn two_daemons_on_one_root_are_refused(bed: &mut Bed) {
    bed.start();
    let mut words = bed.daemon_words(&[]);
    words[1] = format!("unix://{}/other", bed.dir.display());
    let pidfile = words.iter().position(|w| w == "--pidfile").unwrap();
    words[pidfile + 1] = bed.dir.join("other.pid").display().to_string();
    let said = refused(bed, &words);
    contains(&said, &bed.graph().display().to_string());
    assert_eq!(bed.run("", "echo well"), "well", "the first one serves on");
}

fn stops_cleanly_on_both_signals(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    bed.stop();
    bed.restart();
    assert_eq!(bed.inspect("aa", "/State/Running"), true, "containers keep running");
    kill(Pid::from_raw(bed.pid() as i32), Signal::SIGINT).unwrap();
    eventually("the socket is gone", || !bed.socket().exists());
    assert_eq!(bed.await_exit(), 0);
    assert!(!bed.dir.join("pid").exists(), "the pid file is left");
    bed.restart();
    assert_eq!(bed.inspect("aa", "/Id"), id);
}

fn pid_file_holds_the_pid(bed: &mut Bed) {
    bed.start();
    assert_eq!(fs::read_to_string(bed.dir.join("pid")).unwrap().trim(), bed.pid().to_string());
}

fn configured(bed: &Bed, text: &str) -> Vec<String> {
    let path = bed.dir.join("daemon.json");
    fs::write(&path, text).unwrap();
    vec![CONFIG_FLAG.into(), path.display().to_string()]
}

/// The flag that names another configuration file, as docker's daemon has it.
const CONFIG_FLAG: &str = "--config";

fn configuration_file_is_read(bed: &mut Bed) {
    let text = format!(
        r#"{{"graph":"{0}/graph","state":"{0}/state","hosts":["unix://{0}/s"],"pidfile":"{0}/pid","log-driver":"stderr",
            "log-level":"DEBUG","cgroup-parent":"{1}","default-ulimits":{{"nofile":{{"Name":"nofile","Hard":77,"Soft":66}}}}}}"#,
        bed.dir.display(),
        bed.cgroup_parent()
    );
    let words = configured(bed, &text);
    let mut command = bed.applet("isulad");
    command.args(words);
    bed.launch_command(command);
    bed.isula(&format!("import {} {IMAGE}", crate::support::rootfs::archive().display())).ok();
    bed.rebase();
    contains(&bed.run("", "payload rlimits"), "Max open files            66                   77");
    contains(&bed.run("--ulimit nofile=5:6", "sh -c 'ulimit -n'"), "5");
}

fn operators_templates(bed: &mut Bed) {
    // The machine's /etc with more in it, for this test alone.
    let (upper, work) = (bed.dir.join("etc"), bed.dir.join("work"));
    fs::create_dir_all(upper.join("default/isulad")).unwrap();
    fs::create_dir_all(upper.join("isulad")).unwrap();
    fs::create_dir(&work).unwrap();
    let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("overlay"), "/etc", Some("overlay"), flags, Some(options.as_str())).unwrap();
    bed.own_mounts();
    let template = Path::new("/etc/default/isulad/config.json");
    let text = r#"{"process":{"env":["PATH=/bin:/sbin","SITE=here"],"user":{"umask":63},
        "capabilities":{"bounding":["CAP_KILL"],"effective":["CAP_KILL"],"permitted":["CAP_KILL"]},
        "rlimits":[{"type":"RLIMIT_NOFILE","soft":33,"hard":44}]},
        "linux":{"maskedPaths":["/proc/uptime"],"readonlyPaths":["/proc/irq"],"sysctl":{"net.ipv4.ip_forward":"1"}}}"#;
    fs::write(template, text).unwrap();
    bed.start();
    contains(&bed.log(), "template \"/etc/default/isulad/config.json\"");
    let seen =
        "echo $SITE; umask; ulimit -n; cat /proc/uptime /proc/sys/net/ipv4/ip_forward; grep CapBnd /proc/self/status";
    let said = bed.run("", &format!("sh -c '{seen}'"));
    assert_eq!(said, "here\n0077\n33\n1\nCapBnd:\t0000000000000020");
    let said = bed.run("-e SITE=there --ulimit nofile=5:6 --cap-add chown --cap-drop kill", &format!("sh -c '{seen}'"));
    assert_eq!(said, "there\n0077\n5\n1\nCapBnd:\t0000000000000001");
    bed.run_detached("aa", "", "payload ready 1000");
    bed.stop();

    // One that is wrong is for the daemon to tell, and for whoever makes containers.
    fs::write(template, r#"{"process":{"rlimits":7}}"#).unwrap();
    bed.restart();
    let want = "template \"/etc/default/isulad/config.json\": invalid JSON: process: rlimits: invalid type";
    contains(&bed.log(), want);
    bed.isula(&format!("create {IMAGE} true")).fails(1, want);
    assert_eq!(bed.isula("exec aa echo well").ok().trim(), "well");
    bed.isula("rm -f aa").ok();
    bed.stop();

    // The default profile.
    fs::remove_file(template).unwrap();
    let profile = Path::new("/etc/isulad/seccomp_default.json");
    let rules = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO","errnoRet":77}]}"#;
    fs::write(profile, rules).unwrap();
    bed.restart();
    contains(&bed.log(), "seccomp_default.json");
    assert_eq!(bed.run("", "payload syscalls sethostname"), "sethostname errno 77");
    assert_eq!(bed.run("--security-opt seccomp=builtin", "payload syscalls sethostname"), "sethostname EPERM");
    fs::write(profile, r#"{"syscalls":7}"#).unwrap();
    let said = bed.isula(&format!("create {IMAGE} true"));
    contains(&said.err, "profile \"/etc/isulad/seccomp_default.json\": decoding seccomp profile failed");
    contains(&said.err, "syscalls");
    bed.run("--security-opt seccomp=unconfined", "true");
}

fn configuration_file_is_strict(bed: &mut Bed) {
    for (text, word) in [
        ("", "daemon.json"),
        ("{", "daemon.json"),
        ("[]", "daemon.json"),
        (r#"{"nosuch-key":1}"#, "nosuch-key"),
        (r#"{"graph":7}"#, "graph"),
        (r#"{"hosts":"x"}"#, "hosts"),
        (r#"{"hosts":[7]}"#, "hosts"),
        (r#"{"log-level":"NOSUCH"}"#, "log-level"),
        (r#"{"default-ulimits":{"nofile":{"Soft":2,"Hard":1}}}"#, "nofile"),
        (r#"{"native.umask":"nosuch"}"#, "native.umask"),
        (r#"{"graph":"/a","graph":"/a"}"#, "graph"),
        (r#"{"tls-verify":true,"tlsverify":false}"#, "\"tls-verify\" and \"tlsverify\""),
        (r#"{"selinux-enabled":""}"#, "selinux-enabled"),
        (r#"{"use-decrypted-key":false}"#, "use-decrypted-key"),
    ] {
        let mut words = configured(bed, text);
        words.extend(
            ["--graph", "--state", "--pidfile"]
                .into_iter()
                .flat_map(|flag| [flag.to_string(), bed.dir.join(flag.trim_start_matches('-')).display().to_string()]),
        );
        if text.contains("graph") {
            words.truncate(2);
        }
        let said = refused(bed, &words);
        assert!(said.contains(word), "{text}: {said}");
    }
    let mut words = configured(bed, "{}");
    words[1] = "/nosuch/daemon.json".into();
    contains(&refused(bed, &words), "/nosuch/daemon.json");
}

fn flag_and_file_in_conflict(bed: &mut Bed) {
    for (text, flag, key) in [
        (r#"{"graph":"/x"}"#, None, "graph"),
        (r#"{"hosts":["unix:///x"]}"#, None, "hosts"),
        (
            r#"{"default-ulimits":{"core":{"Name":"core","Soft":1,"Hard":1}}}"#,
            Some("--default-ulimit=nofile=1:1"),
            "default-ulimit",
        ),
        (r#"{"image-layer-check":true}"#, Some("--image-layer-check=false"), "image-layer-check"),
        (r#"{"insecure-skip-verify-enforce":true}"#, Some("--insecure-skip-verify-enforce=false"), "skip-verify"),
    ] {
        let mut words = bed.daemon_words(&[]);
        words.extend(configured(bed, text));
        words.extend(flag.map(String::from));
        let said = refused(bed, &words);
        assert!(said.contains(key), "{text}: {said}");
    }
}

fn graph_and_state_are_two_directories(bed: &mut Bed) {
    let mut words = bed.daemon_words(&[]);
    let state = words.iter().position(|w| w == "--state").unwrap();
    let graph = bed.graph();
    fs::create_dir(&graph).unwrap();
    std::os::unix::fs::symlink("graph", bed.dir.join("link")).unwrap();
    for path in [graph.clone(), bed.dir.join("link")] {
        words[state + 1] = path.display().to_string();
        contains(&refused(bed, &words), "are one directory");
    }
    assert_eq!(fs::read_dir(&graph).unwrap().count(), 0, "something is left behind");
}

fn bad_flags_are_refused(bed: &mut Bed) {
    for flag in [
        "--nosuch",
        "--log-level=nosuch",
        "--log-driver=nosuch",
        "--default-ulimit=nosuch=1",
        "--default-ulimit=nofile=2:1",
        "--native.umask=nosuch",
        "--group=nosuchgroup",
        "-H=nosuch://x",
        "-H=tcp://127.0.0.1:99999",
        "-Hnosuch://x",
        "-Dx",
        "--insecure-skip-verify-enforce=perhaps",
        "--graph=relative",
    ] {
        let said = refused(bed, &bed.daemon_words(&[flag]));
        assert!(!said.is_empty() && !said.contains("panicked"), "{flag}: {said}");
    }
    let said = refused(bed, &bed.daemon_words(&["word"]));
    contains(&said, "word");
    let mut help = bed.applet("isulad");
    let output = help.arg("--help").output().unwrap();
    assert!(output.status.success());
    contains(&String::from_utf8_lossy(&output.stdout), "--cgroup-parent");
}

fn log_file_is_reopened(bed: &mut Bed) {
    let mut words = bed.daemon_words(&[]);
    let at = words.iter().position(|w| w == "--log-driver").unwrap();
    words[at + 1] = "file".into();
    let directory = bed.dir.join("logs");
    words.push("--log-opt".into());
    words.push(format!("log-path={}", directory.display()));
    words.push("--log-opt=log-file-mode=0666".into());
    let mut command = bed.applet("isulad");
    command.args(words);
    bed.launch_command(command);
    let file = directory.join("isulad.log");
    eventually("the log file", || file.exists());
    let moved = directory.join("moved");
    fs::rename(&file, &moved).unwrap();
    kill(Pid::from_raw(bed.pid() as i32), Signal::SIGHUP).unwrap();
    eventually("a new log file", || {
        http::ping(&bed.socket());
        file.exists()
    });
    for path in [&file, &moved] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o666, "whatever its mask is");
    }
    bed.get("/_ping").expect(200);
}

fn tells_systemd_that_it_is_ready(bed: &mut Bed) {
    let path = bed.dir.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let words = bed.daemon_words(&[]);
    let mut command = bed.applet("isulad");
    command.args(words).env("NOTIFY_SOCKET", &path);
    bed.launch_command(command);
    let mut buffer = [0; 512];
    let n = socket.recv(&mut buffer).expect("a message");
    contains(&String::from_utf8_lossy(&buffer[..n]), "READY=1");
    bed.isula(&format!("import {} {IMAGE}", crate::support::rootfs::archive().display())).ok();
    // Containers do not inherit the address.
    assert!(!bed.run("", "payload env").contains("NOTIFY"));
}

/// While requests that take long are still served.
fn tells_systemd_that_it_stops(bed: &mut Bed) {
    let path = bed.dir.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let words = bed.daemon_words(&[]);
    let mut command = bed.applet("isulad");
    command.args(words).env("NOTIFY_SOCKET", &path);
    bed.launch_command(command);
    let mut slow = http::Connection::open(&bed.socket());
    slow.send(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    kill(Pid::from_raw(bed.pid() as i32), Signal::SIGTERM).unwrap();
    let mut buffer = [0; 512];
    loop {
        slow.send(b"x");
        if socket.recv(&mut buffer).is_ok_and(|n| buffer[..n].starts_with(b"STOPPING=1")) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(8), "no message before the last request ended");
    }
    drop(slow);
    assert_eq!(bed.await_exit(), 0);
}

/// A daemon's words behind a shell that gives the descriptor its number and its own pid to the variable, as systemd does.
fn passing(socket: &impl AsFd, count: u32, words: Vec<String>) -> Command {
    // The copy is open across exec, which the descriptor itself is not.
    let fd = nix::unistd::dup(socket).unwrap().into_raw_fd();
    let script = format!("exec 3<&{fd} {fd}<&-; export LISTEN_FDS={count} LISTEN_PID=$$; exec \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("sh").arg(binary()).arg("isulad").args(words).arg0("sh");
    command
}

fn serves_a_socket_that_was_passed(bed: &mut Bed) {
    let listener = UnixListener::bind(bed.socket()).unwrap();
    let mut words = bed.daemon_words(&[]);
    words[1] = "fd://".into();
    let mut command = passing(&listener, 1, words);
    command.env("ISULAD_HOST", format!("unix://{}", bed.socket().display()));
    bed.launch_command(command);
    bed.get("/_ping").expect(200);
    bed.forget_socket_on_stop();
}

fn a_passed_socket_has_several_paths(bed: &mut Bed) {
    let listener = UnixListener::bind(bed.socket()).unwrap();
    std::os::unix::fs::symlink(&bed.dir, bed.dir.join("link")).unwrap();
    let mut words = bed.daemon_words(&[]);
    words[1] = format!("unix://{}", bed.dir.join("link/s").display());
    bed.launch_command(passing(&listener, 1, words));
    bed.get("/_ping").expect(200);
    bed.forget_socket_on_stop();
}

fn what_was_not_passed_is_not_taken(bed: &mut Bed) {
    let listener = UnixListener::bind(bed.dir.join("passed")).unwrap();
    let datagrams = UnixDatagram::unbound().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let refused = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    contains(&refused(passing(&listener, 2, bed.daemon_words(&[]))), "descriptor 4: ");
    contains(&refused(passing(&datagrams, 1, bed.daemon_words(&[]))), "descriptor 3: is no stream socket");
    contains(&refused(passing(&null, 1, bed.daemon_words(&[]))), "descriptor 3: is no socket");
}

fn what_a_parent_left_open_is_closed(bed: &mut Bed) {
    let (_left, end) = std::io::pipe().unwrap();
    let copy = nix::unistd::dup(&end).unwrap(); // open across exec, which the other is not
    let pipe = fs::read_link(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap();
    bed.launch(&[]);
    let open = fs::read_dir(format!("/proc/{}/fd", bed.pid())).unwrap().flatten();
    let held: Vec<_> = open.filter(|e| fs::read_link(e.path()).is_ok_and(|target| target == pipe)).collect();
    assert!(held.is_empty(), "{held:?}");
}

fn stale_socket_is_replaced(bed: &mut Bed) {
    drop(UnixListener::bind(bed.socket()).unwrap());
    bed.start();
    bed.kill();
    assert!(bed.socket().exists(), "left by a killed daemon");
    bed.restart();
    assert_eq!(bed.run("", "echo well"), "well");
    bed.stop();
    // A file that is no socket is somebody else's.
    fs::write(bed.socket(), "precious").unwrap();
    refused(bed, &bed.daemon_words(&[]));
    assert_eq!(fs::read_to_string(bed.socket()).unwrap(), "precious");
    fs::remove_file(bed.socket()).unwrap();
}

fn stale_pid_file_is_replaced(bed: &mut Bed) {
    for text in ["1", "999999999", "nonsense", ""] {
        fs::write(bed.dir.join("pid"), text).unwrap();
        bed.launch(&[]);
        bed.stop();
    }
}

fn default_ulimit_and_umask(bed: &mut Bed) {
    // Of flags for one limit the last one counts.
    let limits = ["--default-ulimit", "nofile=50:60", "--default-ulimit", "nofile=100:200"];
    bed.start_with(&[&limits[..], &["--native.umask", "secure"]].concat());
    contains(&bed.run("", "payload rlimits"), "Max open files            100                  200");
    contains(&bed.run("--ulimit nofile=5:6", "payload rlimits"), "Max open files            5                    6");
    assert_eq!(bed.run("", "payload umask"), "0027");
    bed.stop();
    bed.launch(&["--native.umask", "normal"]);
    assert_eq!(bed.run("", "payload umask"), "0022");
}

/// A daemon that cannot open anything more says so to the client and serves the next one.
fn few_descriptors_do_not_end_it(bed: &mut Bed) {
    bed.start();
    crate::support::sys::limit_files_of(bed.pid(), 40);
    let open: Vec<_> = (0..60).map(|_| std::os::unix::net::UnixStream::connect(bed.socket())).collect();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(open);
    crate::support::sys::limit_files_of(bed.pid(), 1024);
    eventually("it serves again", || http::ping(&bed.socket()));
    assert_eq!(bed.run("", "echo well"), "well");
}

fn repeated_host_flags(bed: &mut Bed) {
    let other = format!("unix://{}/other", bed.dir.display());
    bed.start_with(&["-DH", &other]);
    contains(&bed.isula(&format!("version -H {other}")).ok(), "Server:");
    bed.get("/_ping").expect(200);
    bed.stop();
    assert!(!bed.dir.join("other").exists(), "the second socket is left");
}

fn default_parent_cgroup_goes_with_the_daemon(bed: &mut Bed) {
    requires!(no_other_daemon);
    const PARENT: &str = "isulad";
    let parents = || cgroup::hierarchies().iter().filter(|root| root.join(PARENT).exists()).count();
    let mut words = bed.daemon_words(&[]);
    let at = words.iter().position(|w| w == "--cgroup-parent").unwrap();
    words.drain(at..at + 2);
    let launch = |bed: &mut Bed| {
        let mut command = bed.applet("isulad");
        command.args(&words);
        bed.launch_command(command);
    };
    launch(bed);
    bed.isula(&format!("import {} {IMAGE}", crate::support::rootfs::archive().display())).ok();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.stop();
    assert!(parents() > 0, "the container goes on in its cgroup");
    launch(bed);
    bed.isula("rm -f aa").ok();
    bed.stop();
    assert_eq!(parents(), 0, "empty cgroups are left");
}

fn the_variable_for_a_temporary_directory(bed: &mut Bed) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let dir = bed.dir.clone();
    let at = |name: &str| dir.join(name);
    let daemon = |bed: &Bed, value: &std::path::Path| {
        let mut command = bed.applet("isulad");
        command.args(bed.daemon_words(&[])).env("ISULAD_TMPDIR", value);
        command
    };
    // Made when missing, with the daemon's own in it.
    let mut command = daemon(bed, &at("deep/er"));
    bed.launch_command(command);
    bed.stop();
    let own = at("deep/er/isulad_tmpdir");
    assert_eq!(own.metadata().unwrap().mode() & 0o7777, 0o700);
    // A link to a directory will do; what is left in it goes, what lies beside it stays.
    symlink(at("deep/er"), at("link")).unwrap();
    fs::create_dir_all(own.join("tar-chroot-1/left")).unwrap();
    fs::write(own.join("file"), "left").unwrap();
    fs::write(at("deep/er/beside"), "").unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    command = daemon(bed, &at("link"));
    bed.launch_command(command);
    bed.stop();
    assert_eq!((own.metadata().unwrap().mode() & 0o7777, fs::read_dir(&own).unwrap().count()), (0o700, 0));
    assert!(at("deep/er/beside").exists());
    // Nothing is made without the variable, and an empty one is none.
    command = daemon(bed, std::path::Path::new(""));
    bed.launch_command(command);
    bed.stop();
    assert!(!bed.graph().join("isulad_tmpdir").exists());
    // Refused.
    symlink(at("nosuch"), at("dangling")).unwrap();
    symlink("/tmp", at("public")).unwrap();
    fs::write(at("file"), "").unwrap();
    fs::create_dir_all(at("hostile")).unwrap();
    symlink("/etc", at("hostile/isulad_tmpdir")).unwrap();
    for (value, part) in [
        (at("dangling"), "File exists"),
        (at("public"), "want another directory than /tmp"),
        ("/tmp".into(), "want another directory than /tmp"),
        ("/tmp/../tmp/".into(), "want another directory than /tmp"),
        (at("file"), "not a directory"),
        (at("file/below"), "ISULAD_TMPDIR"),
        ("relative".into(), "want an absolute path"),
        (at("hostile"), "is not a directory of root's own"),
    ] {
        let words = bed.daemon_words(&[]).join(" ");
        let o = crate::support::command::run(daemon(bed, &value), words, b"", crate::support::PATIENCE);
        assert_ne!(o.code, 0, "{value:?}: {}", o.show());
        contains(&o.err.to_lowercase(), &part.to_lowercase());
    }
}
