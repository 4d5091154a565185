//! What users get wrong, and what machines do to them.

use crate::support::bed::{Bed, refused};
use crate::support::{IMAGE, contains, eventually, rootfs};
use crate::tests;
use nix::mount::{MsFlags, mount};
use std::fs;

tests![
    unknown_image,
    empty_command,
    commands_that_do_not_run,
    failed_start_is_no_leftover,
    unknown_flags_and_words,
    flags_of_later_releases_are_refused_by_name,
    bad_names,
    bad_environment_and_labels,
    long_command_lines,
    no_daemon,
    socket_path_too_long,
    root_on_a_read_only_file_system,
    state_on_a_read_only_file_system,
    full_disk_at_create_and_start,
    full_disk_at_import,
    bad_host_options,
    client_ends_when_its_reader_has_left,
];

fn unknown_image(bed: &mut Bed) {
    bed.start();
    // Nobody listens there.
    let o = bed.isula("run --rm localhost:1/nosuchimage true");
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "Unable to find image 'localhost:1/nosuchimage' locally");
    assert_eq!(bed.isula("create --pull never nosuchimage true").code, 1);
    for name in ["UPPER", "a b", "-", "a:b:c", "../../etc", "", "a/../b", ":tag", "@sha256:0"] {
        let o = bed.isula(&format!("run --rm -- '{name}' true"));
        assert_ne!(o.code, 0, "{}", o.show());
    }
}

fn empty_command(bed: &mut Bed) {
    bed.start();
    // The imported image has no command of its own.
    let o = bed.isula(&format!("run --rm {IMAGE}"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err.to_lowercase(), "no command specified");
    let o = bed.isula(&format!("run --rm {IMAGE} ''"));
    assert_ne!(o.code, 0, "{}", o.show());
    assert_eq!(bed.isula(&format!("run --rm --entrypoint payload {IMAGE} args x")).ok(), "x");
    assert_eq!(bed.isula(&format!("run --rm --entrypoint '' {IMAGE} payload args y")).ok(), "y");
}

fn commands_that_do_not_run(bed: &mut Bed) {
    bed.start();
    for (command, code, text) in [
        ("nosuch", 127, "nosuch"),
        ("/nosuch/deep", 127, "/nosuch/deep"),
        ("/bin/no-interpreter", 127, "no-interpreter"),
        ("/etc", 126, "/etc"),
        ("/bin/not-executable", 126, "not-executable"),
        // The search in PATH passes over it.
        ("not-executable", 127, "not-executable"),
        ("/bin/no-program", 126, "no-program"),
        ("/etc/marker/x", 127, "marker/x"),
    ] {
        bed.isula(&format!("run --rm {IMAGE} {command}")).fails(code, text);
        bed.isula(&format!("create --name aa {IMAGE} {command}")).ok();
        let o = bed.isula("start aa");
        assert_ne!(o.code, 0, "{}", o.show());
        assert_eq!(bed.inspect("aa", "/State/ExitCode"), code, "{command}");
        assert_eq!(bed.inspect("aa", "/State/Running"), false);
        bed.isula("rm aa").ok();
    }
    // A user who may not.
    bed.isula(&format!("run --rm -u user {IMAGE} /locked/secret")).fails(126, "secret");
}

fn failed_start_is_no_leftover(bed: &mut Bed) {
    bed.start();
    for options in ["-w /etc/marker", "-v /etc:/etc/marker", "--device /dev/null:/dev/null/x", "-u nosuch"] {
        let o = bed.isula(&format!("run --name aa {options} {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
        bed.isula("rm -f aa");
    }
    eventually("nothing is left", || bed.isula("ps -aq").ok().is_empty());
    assert_eq!(bed.run("--name aa", "echo well"), "well");
}

fn unknown_flags_and_words(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --nosuchflag {IMAGE}")).fails(125, "Unknown flag found:'--nosuchflag'");
    bed.isula("ps --nosuch").fails(125, "Unknown flag found:'--nosuch'");
    bed.isula("create").fails(125, "\"create\" requires a minimum of 1 argument.");
    bed.isula("run").fails(125, "\"run\" requires a minimum of 1 argument.");
    let o = bed.isula("foo");
    assert_eq!(o.code, 1);
    let said = o.out + &o.err;
    contains(&said, "\"foo\" not found");
    contains(&said, "run `isula --help` for a list of sub-commands");
    for line in ["run -m", "run --name", "stop -t x aa", "logs --tail", "kill -s NOSUCH aa", "run -i=maybe box true"] {
        assert_ne!(bed.isula(line).code, 0, "{line}");
    }
    contains(&bed.isula("--help").ok(), "run");
    contains(&bed.isula("run --help").ok(), "--name");
    contains(&bed.isula("--version").ok(), "ersion");
}

fn flags_of_later_releases_are_refused_by_name(bed: &mut Bed) {
    bed.start();
    for flag in ["-p 80:80", "--ip 10.0.0.2"] {
        let name = flag.split(' ').next().unwrap();
        let o = bed.isula(&format!("run --rm {flag} {IMAGE} true"));
        assert!(o.code != 0 && o.err.contains(name.trim_start_matches('-')), "{}", o.show());
    }
}

fn bad_names(bed: &mut Bed) {
    bed.start();
    for name in ["", "-x", "a/b", "..", ".hidden", "a b", "ä", "x", &"n".repeat(1100)] {
        let o = bed.isula(&format!("create --name '{name}' {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
        assert_ne!(bed.isula(&format!("inspect '{name}'")).code, 0);
    }
    for name in ["ab", "a.b_c-d", "0ab"] {
        bed.isula(&format!("create --name {name} {IMAGE} true")).ok();
    }
    for host in ["-x", "a_b", "..", &"h".repeat(65)] {
        assert_ne!(bed.isula(&format!("run --rm --hostname={host} {IMAGE} true")).code, 0, "{host}");
    }
}

fn bad_environment_and_labels(bed: &mut Bed) {
    bed.start();
    assert_ne!(bed.isula(&format!("run --rm -e =x {IMAGE} true")).code, 0);
    assert_ne!(bed.isula(&format!("run --rm --env-file /nosuch {IMAGE} true")).code, 0);
    // A bare name takes the client's value, or is dropped.
    let text = bed.run("-e NOT_SET_ANYWHERE -e PATH", "payload env");
    assert!(!text.contains("NOT_SET"), "{text}");
    contains(&text, &format!("PATH={}", std::env::var("PATH").unwrap()));
    assert_eq!(bed.run("-e 'A=b c\td=\"e\"'", "sh -c 'echo \"$A\"'"), "b c\td=\"e\"");
}

fn long_command_lines(bed: &mut Bed) {
    bed.start();
    let word = "w".repeat(100_000);
    assert_eq!(bed.run("", &format!("payload args {word}")), word);
    let many: String = (0..900).map(|n| format!(" a{n}")).collect();
    assert_eq!(bed.run("", &format!("payload args{many}")).lines().count(), 900);
    let o = bed.isula(&format!("run --rm {IMAGE} payload args {} {}", "x".repeat(131_000), "y".repeat(131_000)));
    assert_eq!(o.code, 0, "two words just below the kernel's limit: {}", o.code);
}

fn no_daemon(bed: &mut Bed) {
    for line in ["ps", "run box true", "version", "exec aa true", "logs aa"] {
        let o = bed.isula(line);
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err, "Can not connect with server.Is the iSulad daemon running on the host?");
    }
}

fn socket_path_too_long(bed: &mut Bed) {
    let path = format!("unix://{}/{}", bed.dir.display(), "s".repeat(120));
    let mut words = bed.daemon_words(&[]);
    words[1] = path.clone();
    let said = refused(bed, &words);
    contains(&said, "sss");
    let o = bed.isula(&format!("ps -H {path}"));
    assert_ne!(o.code, 0, "{}", o.show());
}

fn read_only(path: &std::path::Path) {
    fs::create_dir_all(path).unwrap();
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>).unwrap();
}

fn root_on_a_read_only_file_system(bed: &mut Bed) {
    read_only(&bed.graph());
    bed.own_mounts();
    let said = refused(bed, &bed.daemon_words(&[]));
    contains(&said.to_lowercase(), "read-only file system");
    contains(&said, "graph");
}

fn state_on_a_read_only_file_system(bed: &mut Bed) {
    read_only(&bed.state());
    bed.own_mounts();
    let said = refused(bed, &bed.daemon_words(&[]));
    contains(&said.to_lowercase(), "read-only file system");
}

/// Fills the disk to the last byte.
fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

fn full_disk_at_create_and_start(bed: &mut Bed) {
    rootfs::small_disk(&bed.graph(), 16 << 10);
    bed.own_mounts();
    bed.start();
    bed.isula(&format!("create --name before {IMAGE} payload write /x y")).ok();
    let filler = bed.graph().join("filler");
    fill(&filler);
    for _ in 0..3 {
        let o = bed.isula(&format!("create --name full {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err.to_lowercase(), "no space left on device");
    }
    let o = bed.isula(&format!("run --rm {IMAGE} true"));
    assert_ne!(o.code, 0, "{}", o.show());
    // A start may work where it needs no room; the daemon lives either way.
    bed.isula("start -a before");
    assert_eq!(bed.isula("ps -aq").ok().lines().count(), 1, "a container that could not be made is listed");
    // Removing works on a full disk, or nobody could ever make room.
    bed.isula("rm -f before").ok();
    fs::remove_file(filler).unwrap();
    assert_eq!(bed.run("--name full", "echo well"), "well");
    bed.stop();
    bed.restart();
    assert_eq!(bed.isula("ps -aq").ok(), "");
    bed.isula(&format!("rmi {IMAGE}")).ok();
}

fn full_disk_at_import(bed: &mut Bed) {
    rootfs::small_disk(&bed.graph(), 1 << 10);
    bed.own_mounts();
    bed.launch(&[]);
    let o = bed.isula(&format!("import {} {IMAGE}", rootfs::archive().display()));
    assert_ne!(o.code, 0, "{}", o.show());
    contains(&o.err.to_lowercase(), "no space left on device");
    assert_eq!(bed.isula("images -q").ok(), "");
    // What was unpacked is gone again.
    let free = nix::sys::statvfs::statvfs(&bed.graph()).unwrap();
    let used = free.blocks() - free.blocks_free();
    assert!(used < 50, "{used} blocks of 4 KiB left of a failed import");
}

fn bad_host_options(bed: &mut Bed) {
    bed.start();
    for host in ["nosuch", "unix://", "unix://relative", "http://x", "tcp://", "tcp://localhost:notaport", "fd://"] {
        let o = bed.isula(&format!("ps -H {host}"));
        assert_ne!(o.code, 0, "{}", o.show());
        assert!(!o.err.is_empty());
    }
    bed.isula(&format!("ps -H unix://{}", bed.socket().display())).ok();
    bed.isula(&format!("-H unix://{} ps", bed.socket().display())).ok();
}

fn client_ends_when_its_reader_has_left(bed: &mut Bed) {
    use std::process::Stdio;
    bed.start();
    for words in [vec!["info"], vec!["--help"], vec!["version"], vec!["ps", "-a"]] {
        let mut client = bed.applet("isula");
        let mut client = client.args(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(client.stdout.take());
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    }
}
