//! The daemon on the network: TLS, who may come in, and what becomes of those who may not.

use crate::support::authority::{certificate, certificate_for};
use crate::support::bed::{Bed, refused};
use crate::support::command::{self, Output};
use crate::support::pty::Terminal;
use crate::support::registry::free_port;
use crate::support::{IMAGE, PATIENCE, contains, eventually};
use crate::{requires, tests};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

tests![
    our_client_over_tls,
    a_terminal_over_tls,
    sessions_over_tls_end_when_either_side_does,
    the_environment_asks_for_tls,
    docker_over_tls,
    strangers_stay_out,
    other_protocols_and_silence_have_an_end,
    a_daemon_that_is_somebody_else_is_refused,
    without_verification_everybody_is_served_and_that_is_told,
    a_stop_does_not_wait_for_those_who_follow,
    files_that_cannot_be_are_named_at_the_start,
];

/// A daemon that wants certificates, and the certificates: of the daemon (`server`) and of a user (`alice`).
struct Site {
    port: u16,
    dir: PathBuf,
}

impl Site {
    fn open(bed: &mut Bed) -> Site {
        let site = Site { port: free_port(), dir: bed.dir.join("certs") };
        certificate(&site.dir, "server");
        certificate(&site.dir, "alice");
        let words = site.words("--tlsverify");
        bed.start_with(&words.iter().map(String::as_str).collect::<Vec<_>>());
        site
    }

    fn words(&self, how: &str) -> Vec<String> {
        let mut words = vec!["-H".into(), format!("tcp://127.0.0.1:{}", self.port), how.into()];
        for (flag, file) in [("--tlscacert", "ca.pem"), ("--tlscert", "server.pem"), ("--tlskey", "server.key")] {
            words.extend([flag.into(), self.at(file)]);
        }
        words
    }

    fn at(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// Flags of a client with the certificate of `user`.
    fn flags(&self, user: &str) -> String {
        let (port, ca) = (self.port, self.at("ca.pem"));
        let (certificate, key) = (self.at(&format!("{user}.pem")), self.at(&format!("{user}.key")));
        format!("-H tcp://127.0.0.1:{port} --tlsverify --tlscacert {ca} --tlscert {certificate} --tlskey {key}")
    }

    #[track_caller]
    fn isula(&self, bed: &Bed, line: &str) -> Output {
        self.isula_with(bed, line, b"")
    }

    #[track_caller]
    fn isula_with(&self, bed: &Bed, line: &str, input: &[u8]) -> Output {
        bed.isula_with(&format!("{} {line}", self.flags("alice")), input)
    }

    fn docker(&self, bed: &Bed, line: &str) -> Command {
        let mut command = Command::new("docker");
        command
            .args(command::words(&format!("{} {line}", self.flags("alice"))))
            .env("DOCKER_CONFIG", bed.dir.join("docker"))
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_HOST");
        command
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }
}

fn our_client_over_tls(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    contains(&site.isula(bed, "version").ok(), "Server:");
    let o = site.isula(bed, &format!("run --rm {IMAGE} sh -c 'echo out; echo err >&2; exit 3'"));
    assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (3, "out\n", "err\n"), "{}", o.show());
    // Input ends, and output goes on after that.
    let line = format!("run --rm -i {IMAGE} sh -c 'payload count; echo and more'");
    assert_eq!(site.isula_with(bed, &line, &vec![1; 5_000_000]).ok(), "5000000\nand more");
    let line = format!("run --rm {IMAGE} sh -c 'yes 0123456789 | head -c 5000000'");
    assert_eq!(site.isula(bed, &line).out.len(), 5_000_000);
    site.isula(bed, &format!("run -d --name aa {IMAGE} payload trap 15")).ok();
    assert_eq!(site.isula(bed, "exec aa sh -c 'exit 6'").code, 6);
    assert_eq!(site.isula_with(bed, "exec -i aa cat", b"hi\n").ok(), "hi");
    eventually("logs", || site.isula(bed, "logs aa").ok() == "ready");
    let follow = bed.spawn(&format!("{} logs -f aa", site.flags("alice")));
    assert_eq!(site.isula(bed, "stop aa").ok(), "aa");
    assert_eq!(follow.finish(PATIENCE).ok(), "ready\nsignal 15");
    // Who it was is in the log.
    contains(&bed.log(), "user=\"alice\" address=127.0.0.1:");
    let line = bed.log().lines().find(|l| l.contains("/aa/stop") || l.contains("/stop ")).map(str::to_owned);
    contains(&line.expect("a line for the stop"), "user=\"alice\"");
}

fn a_terminal_over_tls(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    let mut command = bed.applet("isula");
    command.args(command::words(&format!("{} run --rm -it {IMAGE} sh", site.flags("alice"))));
    let mut terminal = Terminal::run(command, 31, 97);
    terminal.await_text("# ");
    terminal.keys("stty size; echo sum-$((40+2))\r");
    terminal.await_text("sum-42");
    terminal.await_text("31 97");
    terminal.resize(20, 50);
    eventually("the new size", || {
        terminal.keys("stty size\r");
        terminal.screen().contains("20 50")
    });
    // Interrupts are the process's.
    terminal.keys("sleep 1000\r");
    std::thread::sleep(Duration::from_millis(200));
    terminal.keys("\x03");
    terminal.keys("exit 4\r");
    assert_eq!(terminal.finish(), 4);
    eventually("removed", || bed.isula("ps -aq").ok().is_empty());
}

fn sessions_over_tls_end_when_either_side_does(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    bed.run_detached("aa", "", "payload ready 1000");
    // The client vanishes without a word: the process loses its input.
    let mut exec = bed.spawn(&format!("{} exec -i aa sh -c 'cat; touch /tmp/ended'", site.flags("alice")));
    exec.child.stdin.as_mut().expect("piped").write_all(b"x\n").expect("it reads");
    eventually("the session", || bed.isula("top aa").out.contains("cat"));
    exec.child.kill().expect("our own child");
    let _ = exec.finish(PATIENCE);
    eventually("the end of the input", || bed.isula("exec aa ls /tmp").out.contains("ended"));
    // The container ends: so does the client.
    let attach = bed.spawn(&format!("{} attach aa", site.flags("alice")));
    std::thread::sleep(Duration::from_millis(300));
    bed.isula("kill aa").ok();
    assert_eq!(attach.finish(PATIENCE).code, 137);
    // A signal for the container goes there, whichever thread of the client could have taken it.
    let run = bed.spawn(&format!("{} run --rm --name bb {IMAGE} payload trap 15", site.flags("alice")));
    eventually("it runs", || bed.isula("logs bb").out.contains("ready"));
    let pid = nix::unistd::Pid::from_raw(run.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("our own child");
    let o = run.finish(PATIENCE);
    assert_eq!((o.code, o.out.as_str()), (0, "ready\nsignal 15\n"), "{}", o.show());
}

fn the_environment_asks_for_tls(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    for (from, to) in [("alice.pem", "cert.pem"), ("alice.key", "key.pem")] {
        fs::copy(site.at(from), site.at(to)).expect("a file");
    }
    let run = |variables: &[(&str, &str)]| {
        let mut command = bed.applet("isula");
        command.arg("version").env("ISULAD_HOST", format!("tcp://127.0.0.1:{}", site.port));
        command.envs(variables.iter().copied());
        command::run(command, format!("{variables:?} isula version"), b"", PATIENCE)
    };
    let path = site.dir.display().to_string();
    contains(&run(&[("ISULAD_TLS_VERIFY", "1"), ("ISULAD_CERT_PATH", &path)]).ok(), "Server:");
    contains(&run(&[("ISULAD_TLS", "1"), ("ISULAD_CERT_PATH", &path)]).ok(), "Server:");
    run(&[]).fails(1, "HTTP request to an HTTPS server");
    run(&[("ISULAD_TLS_VERIFY", "1"), ("ISULAD_CERT_PATH", "/nosuch")]).fails(125, "/nosuch/ca.pem");
    // Over a unix socket nobody speaks TLS.
    let mut command = bed.applet("isula");
    command.args(["version", "--tlsverify"]).env("ISULAD_CERT_PATH", "/nosuch");
    contains(&command::run(command, "isula version".into(), b"", PATIENCE).ok(), "Server:");
    bed.isula(&format!("-H tcp://127.0.0.1:{} --tlscacert {} version", site.port, site.at("ca.pem")))
        .fails(125, "--tlsverify");
}

fn docker_over_tls(bed: &mut Bed) {
    requires!(tls, docker);
    let site = Site::open(bed);
    let docker_with = |line: &str, input: &[u8]| {
        command::run(site.docker(bed, line), format!("docker {line}"), input, Duration::from_secs(60))
    };
    let docker = |line: &str| docker_with(line, b"");
    contains(&docker("version").ok(), "Server:");
    assert_eq!(docker_with(&format!("run --rm -i --network none {IMAGE} cat"), b"hi\n").ok(), "hi");
    let line = format!("run --rm -i --network none {IMAGE} payload count");
    assert_eq!(docker_with(&line, &vec![1; 5_000_000]).ok(), "5000000");
    docker(&format!("run -d -i --name aa --network none {IMAGE} sh -c 'echo ready; read x; echo got $x; exit 5'")).ok();
    let o = docker("exec aa sh -c 'echo out; echo err >&2; exit 6'");
    assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (6, "out\n", "err\n"), "{}", o.show());
    assert_eq!(docker_with("exec -i aa cat", b"hi\n").ok(), "hi");
    eventually("logs", || docker("logs aa").ok() == "ready");
    let follow = command::start(site.docker(bed, "logs -f aa"), "docker logs -f aa".into());
    let mut attach = command::start(site.docker(bed, "attach aa"), "docker attach aa".into());
    std::thread::sleep(Duration::from_millis(300));
    attach.child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let o = attach.finish(PATIENCE);
    contains(&o.out, "got word");
    assert_eq!(o.code, 5, "{}", o.show());
    assert_eq!(follow.finish(PATIENCE).ok(), "ready\ngot word");
    let mut terminal = Terminal::run(site.docker(bed, &format!("run --rm -it --network none {IMAGE} sh")), 24, 80);
    terminal.await_text("# ");
    terminal.keys("echo sum-$((1+2)); exit 7\r");
    assert_eq!(terminal.finish(), 7);
}

fn strangers_stay_out(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    let host = format!("-H tcp://127.0.0.1:{} --tlsverify --tlscacert {}", site.port, site.at("ca.pem"));
    bed.isula(&format!("{host} version")).fails(1, "it wants a certificate");
    // Another authority of the same name.
    let other = bed.dir.join("others");
    certificate(&other, "alice");
    let shown = |certificate: &str, key: &str| format!("{host} --tlscert {certificate} --tlskey {key} version");
    let at = |file: &str| other.join(file).display().to_string();
    bed.isula(&shown(&at("alice.pem"), &at("alice.key"))).fails(1, "TLS: it does not");
    certificate_for(&site.dir, "late", -1);
    bed.isula(&shown(&site.at("late.pem"), &site.at("late.key"))).fails(1, "expired");
    bed.isula(&shown(&site.at("late.pem"), &site.at("alice.key"))).fails(125, "is not the key of");
    let log = bed.log();
    for part in [
        "TLS: it shows no certificate",
        "TLS: its certificate is not of the authority",
        "TLS: its certificate has expired",
    ] {
        contains(&log, part);
    }
    assert!(!log.contains("user=\"late\""));
    contains(&site.isula(bed, "version").ok(), "Server:");
}

fn other_protocols_and_silence_have_an_end(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    let mut plain = site.connect();
    plain.write_all(b"GET /_ping HTTP/1.1\r\nHost: a\r\n\r\n").expect("the daemon reads");
    let mut text = String::new();
    plain.read_to_string(&mut text).expect("an end");
    assert!(text.starts_with("HTTP/1.0 400 ") && text.contains("HTTP request to an HTTPS server"), "{text}");
    let mut garbage = site.connect();
    garbage.write_all(b"\x16\x03\x01\x00\x05hello and nothing else").expect("the daemon reads");
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer); // an alert, then the end
    // Many that say nothing, or not all of it. The unix socket is not theirs to take, and their number is bounded.
    let silent: Vec<TcpStream> = (0..80)
        .map(|n| {
            let mut stream = site.connect();
            if n % 2 == 0 {
                stream.write_all(b"\x16\x03\x01\x02\x00\x01").expect("the daemon reads");
            }
            stream
        })
        .collect();
    for _ in 0..10 {
        bed.isula("version").ok();
    }
    let status = fs::read_to_string(format!("/proc/{}/status", bed.pid())).expect("its status");
    let threads = status.lines().find_map(|l| l.strip_prefix("Threads:")).and_then(|n| n.trim().parse().ok());
    assert!(threads.is_some_and(|n: u32| n < 60), "{status}");
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // the daemon ended it; a reset is an end too
    }
    contains(&site.isula(bed, "version").ok(), "Server:");
    contains(&bed.log(), "no greeting came in time");
}

fn a_daemon_that_is_somebody_else_is_refused(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    let other = bed.dir.join("others");
    certificate(&other, "alice");
    let own = format!("--tlscert {} --tlskey {}", site.at("alice.pem"), site.at("alice.key"));
    let host = format!("-H tcp://127.0.0.1:{} {own}", site.port);
    let ca = other.join("ca.pem");
    bed.isula(&format!("{host} --tlsverify --tlscacert {} version", ca.display()))
        .fails(1, "its certificate is not of the authority");
    // Whoever does not care gets in.
    contains(&bed.isula(&format!("{host} --tls version")).ok(), "Server:");
    // A daemon without TLS.
    let port = free_port();
    bed.stop();
    bed.launch(&["-H", &format!("tcp://127.0.0.1:{port}")]);
    bed.isula(&format!("-H tcp://127.0.0.1:{port} --tls version")).fails(1, "it does not speak TLS");
    contains(&bed.isula(&format!("-H tcp://127.0.0.1:{port} version")).ok(), "Server:");
    contains(&bed.log(), &format!("tcp://127.0.0.1:{port} is open to everybody who reaches it, without TLS"));
}

fn without_verification_everybody_is_served_and_that_is_told(bed: &mut Bed) {
    requires!(tls);
    let site = Site { port: free_port(), dir: bed.dir.join("certs") };
    certificate(&site.dir, "server");
    fs::write(
        bed.dir.join("d.json"),
        format!(
            r#"{{"tls": true, "tls-config": {{"CertFile": "{}", "KeyFile": "{}"}}}}"#,
            site.at("server.pem"),
            site.at("server.key")
        ),
    )
    .expect("a file");
    let config = bed.dir.join("d.json").display().to_string();
    let host = format!("tcp://127.0.0.1:{}", site.port);
    bed.launch(&["-H", &host, "--config", &config]);
    contains(&bed.isula(&format!("-H {host} --tls version")).ok(), "Server:");
    contains(&bed.isula(&format!("-H {host} --tlsverify --tlscacert {} version", site.at("ca.pem"))).ok(), "Server:");
    contains(&bed.log(), &format!("{host} is open to everybody who reaches it: clients are not verified"));
    // Nobody is anybody by a certificate that nobody has verified.
    assert!(!bed.log().contains("user="));
}

fn a_stop_does_not_wait_for_those_who_follow(bed: &mut Bed) {
    requires!(tls);
    let site = Site::open(bed);
    bed.run_detached("aa", "", "payload ready 1000");
    let attach = bed.spawn(&format!("{} attach aa", site.flags("alice")));
    let follow = bed.spawn(&format!("{} logs -f aa", site.flags("alice")));
    let idle = site.connect();
    std::thread::sleep(Duration::from_millis(500));
    bed.stop();
    assert!(!bed.log().contains("had not ended"), "{}", bed.log());
    let _ = attach.finish(PATIENCE);
    let _ = follow.finish(PATIENCE);
    drop(idle);
    bed.restart();
    assert_eq!(bed.inspect("aa", "/State/Status"), "running");
    assert_eq!(site.isula(bed, "exec aa echo on").ok(), "on");
}

fn files_that_cannot_be_are_named_at_the_start(bed: &mut Bed) {
    requires!(tls);
    let site = Site { port: free_port(), dir: bed.dir.join("certs") };
    certificate(&site.dir, "server");
    certificate(&site.dir, "alice");
    let host = format!("tcp://127.0.0.1:{}", site.port);
    let (ca, own, key) = (site.at("ca.pem"), site.at("server.pem"), site.at("server.key"));
    let other = site.at("alice.key");
    for (words, part) in [
        (&["--tls", "--tlscert", &own, "--tlskey", "/nosuch/key"][..], "/nosuch/key"),
        (&["--tls", "--tlscert", "/nosuch/cert", "--tlskey", &key], "/nosuch/cert"),
        (&["--tls", "--tlscert", &own, "--tlskey", &other], "is not the key of"),
        (&["--tls", "--tlscert", &own, "--tlskey", &own], "is not the key of"),
        (&["--tls", "--tlscert", &key, "--tlskey", &key], "holds no certificate"),
        (&["--tlsverify", "--tlscacert", "/nosuch/ca", "--tlscert", &own, "--tlskey", &key], "/nosuch/ca"),
        (&["--tlsverify", "--tlscacert", &key, "--tlscert", &own, "--tlskey", &key], "holds no certificate"),
        (&["--tlscacert", &ca], "neither --tls nor --tlsverify"),
        (&["--tlsverify", "--tlscert", "rel"], "absolute"),
    ] {
        let text = refused(bed, &bed.daemon_words(&[&["-H", &host][..], words].concat()));
        assert!(text.contains(part), "{words:?}: {text}");
    }
}
