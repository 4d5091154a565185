//! Further processes in a running container.

use crate::support::bed::Bed;
use crate::support::{IMAGE, PATIENCE, contains, eventually};
use crate::{requires, tests};
use std::io::Read;
use std::time::Instant;

tests![
    exec_passes_output_and_exit_code_through,
    exec_is_in_the_containers_namespaces,
    exec_has_environment_user_and_directory,
    exec_detached_returns_at_once,
    exec_reads_standard_input,
    exec_has_pipes_of_its_own,
    exec_of_what_does_not_run_is_refused,
    exec_of_a_missing_command_counts_127,
    exec_gets_the_containers_limits_and_capabilities,
    exec_is_in_the_containers_cgroup,
    exec_ends_with_the_container,
    exec_many_at_once,
    exec_as_root_in_a_users_container,
    exec_whose_client_dies_is_not_left_for_ever,
];

fn exec_passes_output_and_exit_code_through(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let o = bed.isula("exec aa sh -c 'echo out; echo err >&2; exit 3'");
    assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (3, "out\n", "err\n"), "{}", o.show());
    bed.isula("exec aa sh -c 'kill -9 $$'").exits(137);
    // Options behind the command belong to it.
    assert_eq!(bed.isula("exec aa payload args -d -it --rm").ok(), "-d\n-it\n--rm");
}

fn exec_is_in_the_containers_namespaces(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "sh -c 'payload namespaces; sleep 1000'");
    bed.await_log("aa", "uts:");
    assert_eq!(bed.isula("exec aa payload namespaces").ok(), bed.isula("logs aa").ok());
    assert_eq!(bed.isula("exec aa cat /etc/marker").ok(), "inside");
    assert_eq!(bed.isula("exec aa cat /proc/1/comm").ok(), "sleep", "what the shell became");
}

fn exec_has_environment_user_and_directory(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-e FROM=container -w /tmp --hostname h", "payload ready 1000");
    let env = bed.isula("exec -e FROM=exec -e NEW=1 aa payload env").ok();
    contains(&env, "FROM=exec");
    contains(&env, "NEW=1");
    contains(&env, "HOSTNAME=h");
    assert!(!env.contains("FROM=container"), "{env}");
    assert_eq!(bed.isula("exec aa payload cwd").ok(), "/tmp");
    assert_eq!(bed.isula("exec --workdir /etc aa payload cwd").ok(), "/etc");
    assert_eq!(bed.isula("exec -u user aa payload ids").ok(), "uid=1000 gid=1000 groups=1000,2000");
    assert_eq!(bed.isula("exec -u 5:6 aa payload ids").ok(), "uid=5 gid=6 groups=6");
    assert_ne!(bed.isula("exec -u nosuch aa true").code, 0);
    contains(&bed.isula("exec -u user aa payload env").ok(), "HOME=/srv/user");
}

fn exec_detached_returns_at_once(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.isula("exec -d aa sh -c 'echo x > /tmp/done; sleep 1000'").ok();
    eventually("the detached command ran", || bed.isula("exec aa cat /tmp/done").out == "x\n");
}

fn exec_reads_standard_input(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    assert_eq!(bed.isula_with("exec -i aa cat", b"hi\n").ok(), "hi");
    assert_eq!(bed.isula_with("exec -i aa payload count", &vec![7; 10_000_000]).ok(), "10000000");
    // Without -i there is nothing to read.
    assert_eq!(bed.isula_with("exec aa payload count", b"hi\n").ok(), "0");
    // A command that ends before it has read everything.
    bed.isula_with("exec -i aa true", &vec![7; 10_000_000]).ok();
}

/// A client's pipe is shared with other commands.
fn exec_has_pipes_of_its_own(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let name = |fd: &str| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().display().to_string();
    let own = name(&std::os::fd::AsRawFd::as_raw_fd(&writer).to_string());
    let mut exec = bed.applet("isula");
    // What stays behind must not keep whoever reads the output waiting.
    exec.args(["exec", "aa", "sh", "-c", "sleep 1000 & readlink /proc/self/fd/1"]).stdout(writer);
    let started = Instant::now();
    assert!(exec.status().unwrap().success());
    drop(exec);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("pipe:[") && text.trim() != own, "{text} is {own}");
    assert!(started.elapsed() < PATIENCE, "it waited for what stays");
}

fn exec_of_what_does_not_run_is_refused(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    bed.isula("exec aa true").fails(1, &format!("Error response from daemon: Container {id} is not running"));
    bed.isula("exec nosuch true")
        .fails(1, "Error response from daemon: No such image or container or accelerator:nosuch");
    assert_ne!(bed.isula("exec aa").code, 0);
}

fn exec_of_a_missing_command_counts_127(bed: &mut Bed) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("tcp://127.0.0.1:{port}");
    bed.start_with(&["-H", &host]);
    bed.run_detached("aa", "", "payload ready 1000");
    let said = bed.isula("exec aa nosuch").err;
    contains(&said, "Error response from daemon: exec: \"nosuch\"");
    let remote = bed.isula(&format!("-H {host} exec aa nosuch"));
    assert_eq!((remote.code, remote.err, remote.out), (127, said, String::new()));
    bed.isula("exec aa nosuch").fails(127, "nosuch");
    bed.isula("exec aa /bin/not-executable").fails(126, "not-executable");
    bed.isula("exec aa /etc").fails(126, "/etc");
    bed.isula("exec --workdir relative aa true").fails(125, "");
    assert_eq!(bed.isula("exec aa echo still").ok(), "still", "the container lives");
}

fn exec_gets_the_containers_limits_and_capabilities(bed: &mut Bed) {
    bed.start();
    bed.run_detached(
        "aa",
        "--cap-drop all --cap-add CHOWN --ulimit nofile=100:200 --security-opt no-new-privileges",
        "sh -c 'payload status CapEff CapBnd Seccomp NoNewPrivs; payload rlimits | grep files; sleep 1000'",
    );
    bed.await_log("aa", "open files");
    let first = bed.isula("logs aa").ok();
    let second =
        bed.isula("exec aa sh -c 'payload status CapEff CapBnd Seccomp NoNewPrivs; payload rlimits | grep files'").ok();
    assert_eq!(first, second);
    contains(&second, "CapEff=0000000000000001");
    let all = bed.isula("exec --privileged aa payload status CapEff");
    if all.code == 0 {
        assert_ne!(all.out.trim(), "CapEff=0000000000000001");
    }
}

fn exec_is_in_the_containers_cgroup(bed: &mut Bed) {
    requires!(cgroup_pids);
    bed.start();
    bed.run_detached("aa", "--pids-limit 12", "payload ready 1000");
    let text = bed.isula("exec aa payload forks 100").ok();
    let forked: u32 = text.strip_prefix("forked ").and_then(|n| n.parse().ok()).expect("a number");
    assert!((1..12).contains(&forked), "{text}");
    assert_eq!(bed.isula("exec aa echo ok").ok(), "ok");
}

fn exec_ends_with_the_container(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let exec = bed.spawn("exec aa sh -c 'echo up > /tmp/up; sleep 1000'");
    eventually("the command runs", || bed.isula("exec aa cat /tmp/up").out == "up\n");
    bed.isula("kill aa").ok();
    exec.finish(PATIENCE).exits(137);
}

fn exec_many_at_once(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let all: Vec<_> = (0..20).map(|n| (n, bed.spawn(&format!("exec aa sh -c 'echo {n}; exit {n}'")))).collect();
    for (n, exec) in all {
        assert_eq!(exec.finish(PATIENCE).exits(n), n.to_string());
    }
}

fn exec_as_root_in_a_users_container(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-u user", "payload ready 1000");
    contains(&bed.isula("exec aa payload ids").ok(), "uid=1000");
    contains(&bed.isula("exec -u 0 aa payload ids").ok(), "uid=0 gid=0");
    assert_eq!(bed.isula("exec aa payload cat /locked/secret").exits(1), "EACCES");
    assert_eq!(bed.isula("exec -u 0 aa payload cat /locked/secret").ok(), "secret");
}

fn exec_whose_client_dies_is_not_left_for_ever(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let mut exec = bed.spawn("exec -i aa cat");
    eventually("cat runs", || bed.isula("exec aa ps").out.contains("cat"));
    exec.child.kill().unwrap();
    exec.child.wait().unwrap();
    // Its standard input ends with the client.
    eventually("cat ends", || !bed.isula("exec aa ps").out.lines().any(|l| l.trim_end().ends_with("cat")));
}
