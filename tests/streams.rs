//! Attached clients: pipes, terminals, detaching, vanishing, volume.

use crate::support::bed::Bed;
use crate::support::pty::Terminal;
use crate::support::{IMAGE, PATIENCE, command, contains, eventually, leaks, sys};
use crate::tests;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

tests![
    piped_input_reaches_the_container,
    input_ends_when_the_pipe_ends,
    both_streams_stay_apart,
    volume_comes_through_unchanged,
    exec_of_500_megabytes_costs_no_memory,
    slow_reader_loses_nothing,
    attach_joins_a_running_container,
    attach_of_what_does_not_run_is_refused,
    two_clients_see_the_same,
    terminal_is_raw_and_restored,
    terminal_is_restored_when_the_client_is_terminated,
    terminal_is_raw_and_has_its_size_from_the_first_byte,
    terminal_has_its_size_and_follows_it,
    detach_keys_leave_the_container_running,
    exec_with_a_terminal,
    ctrl_c_reaches_a_container_on_a_terminal,
    interrupt_without_a_terminal_is_passed_on,
    signals_end_a_client_whose_daemon_does_not_answer,
    stopped_clients_go_on,
    vanishing_clients_leave_container_and_daemon_well,
    closed_reader_does_not_stop_the_container,
    detached_terminal_container_can_be_attached,
    output_without_room_is_a_failure,
    a_terminal_inside_needs_none_outside,
];

fn piped_input_reaches_the_container(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.isula_with(&format!("run --rm -i {IMAGE} cat"), b"hi\n").ok(), "hi");
    // Without -i nothing does.
    assert_eq!(bed.isula_with(&format!("run --rm {IMAGE} payload count"), b"hi\n").ok(), "0");
}

fn input_ends_when_the_pipe_ends(bed: &mut Bed) {
    bed.start();
    let input = vec![b'x'; 20_000_000];
    assert_eq!(bed.isula_with(&format!("run --rm -i {IMAGE} payload count"), &input).ok(), "20000000");
    assert_eq!(bed.isula_with(&format!("run --rm -i {IMAGE} payload count"), b"").ok(), "0");
}

fn both_streams_stay_apart(bed: &mut Bed) {
    bed.start();
    let o = bed.isula(&format!("run --rm {IMAGE} payload both 2000"));
    let expected = |word: &str| (0..2000).map(|n| format!("{word} {n}\n")).collect::<String>();
    assert_eq!(o.code, 0, "{}", o.show());
    assert!(o.out == expected("out") && o.err == expected("err"), "{}", o.show());
}

/// The payload's `bytes` verb, made here.
fn pattern(n: usize) -> Vec<u8> {
    (0..251u32 * 256).map(|i| b'!' + (i % 251 % 90) as u8).collect::<Vec<u8>>().into_iter().cycle().take(n).collect()
}

fn output_without_room_is_a_failure(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    for words in [&["run", "--rm", IMAGE][..], &["exec", "aa"]] {
        for verb in ["lines", "lines-stderr"] {
            let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
            let mut command = bed.applet("isula");
            command.args(words).args(["payload", verb, "10"]).stdin(Stdio::null());
            let o = if verb == "lines" { command.stdout(full()) } else { command.stdout(Stdio::null()).stderr(full()) };
            let o = o.output().unwrap();
            assert_eq!(o.status.code(), Some(1), "{words:?} {verb}");
            assert!(verb != "lines" || String::from_utf8_lossy(&o.stderr).contains("cannot be written"));
        }
    }
    eventually("removed", || bed.isula("ps -aq").ok().lines().count() == 1);
}

/// As scripts and cron have it.
fn a_terminal_inside_needs_none_outside(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.isula_with(&format!("run --rm -it {IMAGE} sh -c 'tty; exit 3'"), b"").exits(3), "/dev/pts/0\r");
    bed.run_detached("aa", "-it", "sh");
    assert_eq!(
        bed.isula_with("exec -it aa sh -c 'read x; echo got $x'", b"word\n").ok().lines().last(),
        Some("got word\r")
    );
    let o = bed.isula("attach aa");
    contains(&o.err, "the input device is not a TTY");
    assert_eq!(o.code, 1);
}

fn volume_comes_through_unchanged(bed: &mut Bed) {
    bed.start();
    let n = 30_000_017;
    let o = bed.isula(&format!("run --rm --log-opt disable-log=true {IMAGE} payload bytes {n}"));
    assert_eq!(o.code, 0);
    assert!(o.out.as_bytes() == pattern(n), "{} of {n} bytes, or others", o.out.len());
    bed.run_detached("aa", "", "payload ready 1000");
    let o = bed.isula(&format!("exec aa payload bytes {n}"));
    assert!(o.out.as_bytes() == pattern(n), "{} of {n} bytes, or others", o.out.len());
}

fn exec_of_500_megabytes_costs_no_memory(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.isula("exec aa true").ok();
    let shims = leaks::children_of(bed.pid());
    let before: Vec<u64> = shims.iter().chain([&bed.pid()]).map(|pid| leaks::peak_memory(*pid)).collect();
    let mut exec = bed.applet("isula");
    let mut exec = exec.args(["exec", "aa", "payload", "zeros", "524288000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = exec.stdout.take().unwrap();
    let (mut total, mut client, mut buffer) = (0u64, 0, vec![0; 1 << 16]);
    loop {
        let n = out.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        if total < 1 << 20 {
            client = leaks::peak_memory(exec.id());
        }
        total += n as u64;
        if total > 500 << 20 {
            break;
        }
        if total > 490 << 20 && client > 0 {
            let now = leaks::peak_memory(exec.id());
            assert!(now < client + 4096, "the client grew from {client} to {now} KiB");
            client = 0;
        }
    }
    assert_eq!(total, 524_288_000);
    assert!(exec.wait().unwrap().success());
    for (pid, before) in shims.iter().chain([&bed.pid()]).zip(before) {
        let now = leaks::peak_memory(*pid);
        assert!(now < before + 4096, "process {pid} grew from {before} to {now} KiB");
    }
}

fn slow_reader_loses_nothing(bed: &mut Bed) {
    bed.start();
    let mut run = bed.applet("isula");
    let mut run =
        run.args(["run", "--rm", IMAGE, "payload", "lines", "200000"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut text = String::new();
    run.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(run.wait().unwrap().success());
    assert_eq!(text.lines().count(), 200_000);
    assert_eq!(text.lines().last(), Some("line 199999"));
}

fn attach_joins_a_running_container(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-i", "sh -c 'read x; echo got $x; exit 6'");
    let mut attach = bed.spawn("attach aa");
    attach.child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let o = attach.finish(PATIENCE);
    assert_eq!(o.code, 6, "attach returns the container's exit code: {}", o.show());
    contains(&o.out, "got word");
}

fn attach_of_what_does_not_run_is_refused(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    let o = bed.isula("attach aa");
    assert_ne!(o.code, 0);
    contains(&o.err, "You cannot attach to a stopped container, start it first");
    assert_ne!(bed.isula("attach nosuch").code, 0);
}

fn two_clients_see_the_same(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-i", "sh -c 'read x; payload lines 5000; exit 1'");
    let (one, mut two) = (bed.spawn("attach aa"), bed.spawn("attach aa"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    two.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let (two, one) = (two.finish(PATIENCE), one.finish(PATIENCE));
    assert!(one.out == two.out && one.out.lines().count() == 5000, "{}\n{}", one.show(), two.show());
}

fn isula(bed: &Bed, line: &str) -> Command {
    let mut command = bed.applet("isula");
    command.args(command::words(line));
    command
}

fn terminal_is_raw_and_restored(bed: &mut Bed) {
    bed.start();
    let mut terminal = Terminal::run(isula(bed, &format!("run --rm -it {IMAGE} sh")), 24, 80);
    terminal.await_text("# ");
    assert!(!terminal.is_cooked(), "the client's terminal is raw while the container has one");
    terminal.keys("payload tty\r");
    terminal.await_text("tty tty tty");
    terminal.await_text("/dev/pts/0");
    terminal.keys("exit 5\r");
    assert_eq!(terminal.finish(), 5);
    assert!(terminal.is_cooked(), "the terminal stayed raw");
}

fn terminal_is_restored_when_the_client_is_terminated(bed: &mut Bed) {
    bed.start();
    for (n, signal) in [nix::sys::signal::SIGTERM, nix::sys::signal::SIGHUP].into_iter().enumerate() {
        let mut terminal = Terminal::run(isula(bed, &format!("run -it --name aa{n} {IMAGE} sh")), 24, 80);
        terminal.await_text("# ");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(terminal.pid() as i32), signal).unwrap();
        assert_eq!(terminal.finish(), 128 + signal as i32);
        assert!(terminal.is_cooked(), "the terminal stayed raw after {signal}");
        assert_eq!(bed.inspect(&format!("aa{n}"), "/State/Running"), true);
        bed.isula(&format!("rm -f aa{n}")).ok();
    }
    // The container dies under it.
    let mut terminal = Terminal::run(isula(bed, &format!("run -it --name bb {IMAGE} sh")), 24, 80);
    terminal.await_text("# ");
    bed.isula("kill bb").ok();
    assert_eq!(terminal.finish(), 137);
    assert!(terminal.is_cooked(), "the terminal stayed raw after a kill");
    // A refused run leaves it as it was.
    let mut terminal = Terminal::run(isula(bed, &format!("run -it {IMAGE} nosuch")), 24, 80);
    assert_eq!(terminal.finish(), 127);
    assert!(terminal.is_cooked());
}

/// The process writes as soon as it runs: by then the client's terminal must be raw, and its own have a size.
fn terminal_is_raw_and_has_its_size_from_the_first_byte(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    for line in [format!("run --rm -it {IMAGE} stty size"), "exec -it aa stty size".into()] {
        for _ in 0..10 {
            let mut terminal = Terminal::run(isula(bed, &line), 33, 101);
            assert_eq!(terminal.finish(), 0);
            eventually("the size", || terminal.screen().contains('\n'));
            assert_eq!(terminal.screen(), "33 101\r\n", "{line}");
        }
    }
}

fn terminal_has_its_size_and_follows_it(bed: &mut Bed) {
    bed.start();
    let mut terminal = Terminal::run(isula(bed, &format!("run --rm -it {IMAGE} payload winch")), 33, 101);
    terminal.await_text("size 33 101");
    terminal.resize(44, 55);
    terminal.await_text("size 44 55");
    terminal.resize(1, 55);
    assert_eq!(terminal.finish(), 0);
}

fn detach_keys_leave_the_container_running(bed: &mut Bed) {
    bed.start();
    let mut terminal = Terminal::run(isula(bed, &format!("run -it --name aa {IMAGE} sh")), 24, 80);
    terminal.await_text("# ");
    terminal.keys("\x01q"); // Ctrl-A q
    assert_eq!(terminal.finish(), 0);
    assert!(terminal.is_cooked(), "the terminal stayed raw after detaching");
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
    // And back again.
    let mut terminal = Terminal::run(isula(bed, "attach aa"), 24, 80);
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.keys("echo back-$((40+2))\r");
    terminal.await_text("back-42");
    terminal.keys("exit 4\r");
    assert_eq!(terminal.finish(), 4);
}

fn exec_with_a_terminal(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let mut terminal = Terminal::run(isula(bed, "exec -it aa sh"), 30, 90);
    terminal.await_text("# ");
    terminal.keys("payload tty; stty size\r");
    terminal.await_text("tty tty tty");
    terminal.await_text("30 90");
    terminal.keys("exit 9\r");
    assert_eq!(terminal.finish(), 9);
    assert!(terminal.is_cooked());
}

fn ctrl_c_reaches_a_container_on_a_terminal(bed: &mut Bed) {
    bed.start();
    let mut terminal = Terminal::run(isula(bed, &format!("run --rm -it {IMAGE} payload trap 2")), 24, 80);
    terminal.await_text("ready");
    terminal.keys("\x03");
    terminal.await_text("signal 2");
    assert_eq!(terminal.finish(), 0);
}

fn interrupt_without_a_terminal_is_passed_on(bed: &mut Bed) {
    bed.start();
    // As early as can be: what the process writes comes here directly, also before the client knows that it runs.
    for _ in 0..10 {
        let mut run = isula(bed, &format!("run --rm {IMAGE} payload trap 2"));
        sys::die_with_parent(&mut run);
        let mut run = run.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(run.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "ready");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.id() as i32), nix::sys::signal::SIGINT).unwrap();
        assert_eq!(lines.collect::<Vec<_>>(), ["signal 2"]);
        assert_eq!(run.wait().unwrap().code(), Some(0));
    }
}

/// A daemon that does not answer a start: its container's first call waits for an agent that never answers.
fn signals_end_a_client_whose_daemon_does_not_answer(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("agent.sock");
    let options = crate::security::asking_profile(bed, "execve", Some(&path));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let send = |pid: u32, signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
    let handled = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 2 != 0 // SIGINT
    };

    let mut run = isula(bed, &format!("run --rm --name aa {options} {IMAGE} true"));
    sys::die_with_parent(&mut run);
    let mut run = run.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let held = sys::receive_with_descriptor(&stream);
    assert!(handled(run.id()));
    for _ in 0..2 {
        send(run.id(), nix::sys::signal::SIGINT);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(run.try_wait().unwrap().is_none(), "two of them may be for the container");
    send(run.id(), nix::sys::signal::SIGINT);
    let status = command::wait(&mut run, PATIENCE).expect("the client ends");
    assert_eq!(status.code(), Some(130));
    drop(held); // and with that nobody will ever answer: the start fails, and who has the client's descriptors lets go
    let mut said = String::new();
    run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    contains(&said, "the daemon does not answer");

    // On a raw terminal the key is the container's, unless that takes too long.
    let mut terminal = Terminal::run(isula(bed, &format!("run --rm -it --name bb {options} {IMAGE} true")), 24, 80);
    let (stream, _) = listener.accept().unwrap();
    let held = sys::receive_with_descriptor(&stream);
    eventually("the terminal is raw", || !terminal.is_cooked());
    eventually("its keys are heeded", || terminal.heeds_keys());
    terminal.keys("\x03");
    assert_eq!(terminal.finish(), 130);
    assert!(terminal.is_cooked());
    drop(held);
    eventually("nothing is left", || bed.isula("ps -aq").ok().is_empty());
}

/// Whether a process is stopped by a signal.
fn is_stopped(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit(')').next().unwrap().starts_with(" T")
}

fn stopped_clients_go_on(bed: &mut Bed) {
    bed.start();
    let go_on = |pid: u32| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGCONT);
    // Without a terminal of its own the process has none to get ^Z from: the client is stopped.
    let mut terminal = Terminal::run(isula(bed, &format!("run --rm -i {IMAGE} cat")), 24, 80);
    terminal.keys("one\r");
    terminal.await_text("one\r\none\r\n");
    // Its session has no shell, and the kernel lets a key stop nobody there.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(terminal.pid() as i32), nix::sys::signal::SIGSTOP).unwrap();
    eventually("the client is stopped", || is_stopped(terminal.pid()));
    go_on(terminal.pid()).unwrap();
    terminal.keys("two\r");
    terminal.await_text("two\r\ntwo\r\n");
    terminal.keys("\x04");
    assert_eq!(terminal.finish(), 0);

    // With one, the key is for its process.
    bed.run_detached("aa", "", "payload ready 1000");
    for line in [format!("run --rm -it {IMAGE} payload trap 20"), "exec -it aa payload trap 20".into()] {
        let mut terminal = Terminal::run(isula(bed, &line), 24, 80);
        terminal.await_text("ready");
        // A client that was stopped nevertheless finds its terminal as the shell left it.
        let pid = terminal.pid();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGSTOP).unwrap();
        eventually("the client is stopped", || is_stopped(pid));
        terminal.cook();
        assert!(terminal.is_cooked());
        go_on(pid).unwrap();
        eventually("the terminal is raw again", || !terminal.is_cooked() && !terminal.heeds_keys());
        terminal.keys("\x1a");
        terminal.await_text("signal 20");
        assert_eq!(terminal.finish(), 0, "{line}");
        assert!(terminal.is_cooked());
    }
}

fn vanishing_clients_leave_container_and_daemon_well(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-i", "sh -c 'while true; do echo tick; sleep 0.01; done'");
    bed.await_log("aa", "tick");
    for line in ["attach aa", "logs -f aa", "wait aa", "exec -i aa cat", "exec aa payload ticks 100000 10", "events"] {
        let mut client = bed.spawn(line);
        std::thread::sleep(std::time::Duration::from_millis(150));
        client.child.kill().unwrap();
        client.child.wait().unwrap();
    }
    let mut run = bed.spawn(&format!("run --name bb {IMAGE} payload ticks 100000 10"));
    bed.await_log("bb", "tick 3");
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
    assert_eq!(bed.inspect("bb", "/State/Running"), true, "a container outlives its client");
    let lines = |name: &str| bed.isula(&format!("logs {name}")).ok().lines().count();
    for name in ["aa", "bb"] {
        let before = lines(name);
        eventually("it writes on", || lines(name) > before);
    }
}

fn closed_reader_does_not_stop_the_container(bed: &mut Bed) {
    bed.start();
    let mut run = bed.applet("isula");
    let mut run =
        run.args(["run", "--name", "aa", IMAGE, "payload", "lines", "300000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100];
    run.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let _ = run.wait();
    assert_eq!(bed.isula("wait aa").ok(), "0");
}

fn detached_terminal_container_can_be_attached(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-it", "sh");
    assert_eq!(bed.inspect("aa", "/Config/Tty"), true);
    let mut terminal = Terminal::run(isula(bed, "attach aa"), 24, 80);
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.keys("echo sum-$((1+2))\r");
    terminal.await_text("sum-3");
    terminal.keys("exit\r");
    assert_eq!(terminal.finish(), 0);
    contains(&bed.isula("logs aa").ok(), "sum-3");
    // Whoever comes later sees what is drawn once more, though the size is the same.
    bed.run_detached("bb", "-it", "payload winch");
    for _ in 0..2 {
        let mut terminal = Terminal::run(isula(bed, "attach bb"), 24, 80);
        terminal.await_text("size 24 80");
        terminal.keys("\x01q");
        assert_eq!(terminal.finish(), 0);
    }
    bed.isula("rm -f bb").ok();
}
