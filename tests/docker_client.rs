//! The stock docker client, pointed at our socket.

use crate::support::bed::{Bed, json};
use crate::support::command::{self, Output};
use crate::support::pty::Terminal;
use crate::support::{IMAGE, PATIENCE, contains, eventually, old_kernel, rootfs};
use crate::{requires, tests};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

tests![
    docker_version_and_info,
    docker_run_foreground,
    docker_run_on_a_terminal,
    docker_run_detached_ps_logs_stop_rm,
    docker_exec,
    docker_attach,
    docker_import_images_tag_rmi,
    docker_options_arrive,
    docker_inspect_top_wait_pause_kill,
    docker_errors_and_exit_codes,
    docker_detach_keys,
];

fn docker_command(bed: &Bed, line: &str) -> Command {
    let mut command = Command::new("docker");
    command
        .args(command::words(line))
        .env("DOCKER_HOST", format!("unix://{}", bed.socket().display()))
        .env("DOCKER_CONFIG", bed.dir.join("docker"))
        .env_remove("DOCKER_CONTEXT");
    command
}

#[track_caller]
pub fn docker(bed: &Bed, line: &str) -> Output {
    docker_with(bed, line, b"")
}

#[track_caller]
fn docker_with(bed: &Bed, line: &str, input: &[u8]) -> Output {
    command::run(docker_command(bed, line), format!("docker {line}"), input, Duration::from_secs(60))
}

fn docker_version_and_info(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    contains(&docker(bed, "version").ok(), "Server:");
    let text = docker(bed, "version --format '{{json .}}'").ok();
    assert_eq!(json(text.as_bytes())["Server"]["MinAPIVersion"], "1.24");
    let info = docker(bed, "info");
    for part in ["Images: 1", "Swarm: inactive", "Live Restore Enabled: true"] {
        contains(&info.out, part);
    }
    assert_eq!((info.code, info.err.as_str()), (0, ""), "nothing to complain about");
}

fn docker_run_foreground(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    let o = docker(bed, &format!("run --rm --network none {IMAGE} sh -c 'echo out; echo err >&2; exit 3'"));
    assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (3, "out\n", "err\n"), "{}", o.show());
    assert_eq!(docker_with(bed, &format!("run --rm -i --network none {IMAGE} cat"), b"hi\n").ok(), "hi");
    assert_eq!(
        docker_with(bed, &format!("run --rm -i --network host {IMAGE} payload count"), &vec![1; 5_000_000]).ok(),
        "5000000"
    );
    eventually("removed", || bed.isula("ps -aq").ok().is_empty());
}

fn docker_run_on_a_terminal(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    let mut terminal = Terminal::run(docker_command(bed, &format!("run --rm -it --network none {IMAGE} sh")), 31, 97);
    terminal.await_text("# ");
    terminal.keys("stty size; echo sum-$((40+2))\r");
    terminal.await_text("sum-42");
    terminal.await_text("31 97");
    terminal.keys("exit 4\r");
    assert_eq!(terminal.finish(), 4);
    // The size is there from the start.
    for _ in 0..5 {
        let line = format!("run --rm -it --network none {IMAGE} stty size");
        let mut terminal = Terminal::run(docker_command(bed, &line), 31, 97);
        assert_eq!(terminal.finish(), 0);
        eventually("the size", || terminal.screen().contains("31 97"));
    }
    eventually("removed", || bed.isula("ps -aq").ok().is_empty());
}

fn docker_run_detached_ps_logs_stop_rm(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    let id = docker(bed, &format!("run -d --name aa --network none {IMAGE} payload trap 15")).ok();
    eventually("logs", || docker(bed, "logs aa").ok() == "ready");
    let ps = docker(bed, "ps -a").ok();
    contains(&ps, &id[..12]);
    contains(&ps, "\"payload trap 15\"");
    contains(&ps, "Up ");
    let follow = command::start(docker_command(bed, "logs -f aa"), "docker logs -f a".into());
    assert_eq!(docker(bed, "stop aa").ok(), "aa");
    assert_eq!(follow.finish(PATIENCE).ok(), "ready\nsignal 15");
    contains(&docker(bed, "ps -a").ok(), "Exited (0)");
    assert_eq!(docker(bed, "start aa").ok(), "aa");
    assert_eq!(docker(bed, "restart -t 0 aa").ok(), "aa");
    assert_eq!(docker(bed, "rm -f aa").ok(), "aa");
    assert_eq!(docker(bed, "ps -aq").ok(), "");
}

fn docker_exec(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let o = docker(bed, "exec -e A=b -w /tmp aa sh -c 'echo $A $PWD; echo err >&2; exit 6'");
    assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (6, "b /tmp\n", "err\n"), "{}", o.show());
    assert_eq!(docker_with(bed, "exec -i aa cat", b"hi\n").ok(), "hi");
    let mut terminal = Terminal::run(docker_command(bed, "exec -it aa sh"), 24, 80);
    terminal.await_text("# ");
    terminal.keys("echo sum-$((1+2)); exit 7\r");
    assert_eq!(terminal.finish(), 7);
    contains(&terminal.screen(), "sum-3");
    // More than the program reads: what it says is not taken back.
    let input = vec![b'x'; 3_000_000];
    docker_with(bed, "exec -i aa sh -c 'head -c1; exit 3'", &input).exits(3);
    docker_with(bed, &format!("run --rm -i --network none {IMAGE} sh -c 'head -c1; exit 4'"), &input).exits(4);
    docker(bed, "exec -d aa sh -c 'echo x > /tmp/x'").ok();
    eventually("it ran", || docker(bed, "exec aa cat /tmp/x").out == "x\n");
    assert_eq!(docker(bed, "exec aa nosuch").code, 127);
    // Why it did not begin is told on the stream.
    for (words, code, why) in [
        ("-u nosuch aa id", 126, "Unable to find user 'nosuch'"),
        ("-w /nosuch aa pwd", 127, "chdir to cwd (\"/nosuch\")"),
        ("aa /etc", 126, "is a directory"),
    ] {
        for terminal in ["", "-t "] {
            let o = docker(bed, &format!("exec {terminal}{words}"));
            assert_eq!(o.code, code, "{}", o.show());
            contains(&format!("{}{}", o.out, o.err).to_lowercase(), &why.to_lowercase());
        }
    }
}

fn docker_attach(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    docker(bed, &format!("run -d -i --name aa --network none {IMAGE} sh -c 'read x; echo got $x; exit 5'")).ok();
    let mut attach = command::start(docker_command(bed, "attach aa"), "docker attach a".into());
    std::thread::sleep(Duration::from_millis(300));
    attach.child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let o = attach.finish(PATIENCE);
    contains(&o.out, "got word");
    assert_eq!(o.code, 5, "{}", o.show());
}

fn docker_import_images_tag_rmi(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    contains(&docker(bed, &format!("import {} imported:1", rootfs::archive().display())).ok(), "sha256:");
    assert_eq!(docker(bed, "run --rm --network none imported:1 cat /etc/marker").ok(), "inside");
    docker(bed, "tag imported:1 tagged:2").ok();
    let images = docker(bed, "images").ok();
    contains(&images, "imported");
    contains(&images, "tagged");
    contains(&docker(bed, "image inspect tagged:2").ok(), "\"tagged:2\"");
    contains(&docker(bed, "rmi tagged:2").ok(), "Untagged: tagged:2");
    contains(&docker(bed, "rmi imported:1").ok(), "imported:1");
    assert_ne!(docker(bed, "rmi imported:1").code, 0);
    // From standard input, with a change to the configuration.
    let tar = std::fs::read(rootfs::archive()).unwrap();
    docker_with(bed, "import -c 'CMD [\"payload\",\"args\",\"changed\"]' - changed:1", &tar).ok();
    assert_eq!(docker(bed, "run --rm --network none changed:1").ok(), "changed");
    docker(bed, "rmi changed:1").ok();
}

fn docker_options_arrive(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    std::fs::write(bed.dir.join("file"), "outside\n").unwrap();
    let run = |options: &str, command: &str| {
        docker(bed, &format!("run --rm --network none {options} {IMAGE} {command}")).ok()
    };
    assert_eq!(run(&format!("-v {}:/d:ro", bed.dir.display()), "cat /d/file"), "outside");
    assert_eq!(run(&format!("--mount type=bind,src={},dst=/d,readonly", bed.dir.display()), "cat /d/file"), "outside");
    contains(&run("--tmpfs /scratch:size=1m", "grep /scratch /proc/mounts"), "size=1024k");
    assert_eq!(run("-u user -w /etc --hostname h", "sh -c 'id -u; pwd; hostname'"), "1000\n/etc\nh");
    contains(&run("--cap-drop ALL --cap-add CHOWN", "payload status CapEff"), "CapEff=0000000000000001");
    contains(&run("--ulimit nofile=50:60", "payload rlimits"), "Max open files            50                   60");
    assert_eq!(run("--read-only --init=false", "sh -c 'touch /x 2>/dev/null || echo ro'"), "ro");
    assert_eq!(
        run("-m 64m --cpus 1 --pids-limit 50 --security-opt no-new-privileges", "payload status NoNewPrivs"),
        "NoNewPrivs=1"
    );
    assert_eq!(run("--entrypoint payload", "args x"), "x");
    contains(&run("--privileged", "payload status Seccomp"), &old_kernel::unfiltered());
}

fn docker_inspect_top_wait_pause_kill(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    docker(bed, &format!("run -d --name aa --network none --label k=v {IMAGE} payload ready 1000")).ok();
    assert_eq!(docker(bed, "inspect -f '{{.State.Status}} {{.Config.Labels.k}} {{.Name}}' aa").ok(), "running v /aa");
    contains(&docker(bed, "top aa").ok(), "payload ready 1000");
    docker(bed, "pause aa").ok();
    contains(&docker(bed, "ps").ok(), "(Paused)");
    docker(bed, "unpause aa").ok();
    let wait = command::start(docker_command(bed, "wait aa"), "docker wait a".into());
    std::thread::sleep(Duration::from_millis(200));
    docker(bed, "kill -s KILL aa").ok();
    assert_eq!(wait.finish(PATIENCE).ok(), "137");
    assert_eq!(docker(bed, "ps -q --filter status=exited -a").ok().lines().count(), 1);
    assert_eq!(docker(bed, "ps -a --format '{{.Names}} {{.State}}' --filter label=k=v").ok(), "aa exited");
}

fn docker_errors_and_exit_codes(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    docker(bed, &format!("run --rm --network none {IMAGE} nosuch")).exits(127);
    docker(bed, &format!("run --rm --network none {IMAGE} /etc")).exits(126);
    assert_eq!(docker(bed, "inspect nosuch").code, 1);
    assert_eq!(docker(bed, "rm nosuch").code, 1);
    docker(bed, &format!("create --name aa --network none {IMAGE} true")).ok();
    let o = docker(bed, &format!("create --name aa --network none {IMAGE} true"));
    assert_eq!(o.code, 1);
    contains(&o.err, "Conflict");
    eventually("failed runs are removed", || bed.isula("ps -aq").ok().lines().count() == 1);
}

fn docker_detach_keys(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    let mut terminal =
        Terminal::run(docker_command(bed, &format!("run -it --name aa --network none {IMAGE} sh")), 24, 80);
    terminal.await_text("# ");
    terminal.keys("\x10");
    std::thread::sleep(Duration::from_millis(50));
    terminal.keys("\x11"); // Ctrl-P Ctrl-Q
    assert_eq!(terminal.finish(), 0);
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
}
