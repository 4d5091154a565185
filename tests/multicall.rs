//! One file, many programs.

use crate::support::bed::{Bed, binary, json};
use crate::support::bundle::{bundle, lcr};
use crate::support::command::{self, Output};
use crate::support::contains;
use crate::{requires, tests};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

tests![
    list_install_help_version,
    applet_by_link_or_first_word,
    binary_is_static,
    lcr_runs_a_bundle,
    lcr_follows_the_runtime_command_line,
];

/// The words of `--list` in this build.
const APPLETS: &[&str] = if cfg!(feature = "lcr") {
    &["isula", "isulad", "isulad-shim", "lcr"]
} else {
    &["isula", "isulad", "isulad-shim"]
};

fn run(program: &str, words: &[&str], arg0: Option<&str>) -> Output {
    let mut command = Command::new(program);
    command.args(words);
    if let Some(name) = arg0 {
        command.arg0(name);
    }
    command::run(command, format!("{program} {}", words.join(" ")), b"", Duration::from_secs(30))
}

fn isulabox(words: &[&str]) -> Output {
    run(&binary().display().to_string(), words, None)
}

fn list_install_help_version(bed: &mut Bed) {
    assert_eq!(isulabox(&["--list"]).ok(), APPLETS.join("\n"));
    contains(&isulabox(&["--help"]).ok(), "isulad-shim");
    contains(&isulabox(&[]).ok(), "Usage: isulabox");
    contains(&isulabox(&["--version"]).ok(), env!("CARGO_PKG_VERSION"));
    assert_ne!(isulabox(&["nosuch"]).code, 0);
    assert_ne!(isulabox(&["--install"]).code, 0);
    assert_ne!(isulabox(&["--install", ""]).code, 0);
    let directory = bed.dir.join("usr/bin");
    for _ in 0..2 {
        let line = format!("umask 077; exec {} --install {}", binary().display(), directory.display());
        run("/bin/sh", &["-c", &line], None).ok();
        for made in [bed.dir.join("usr"), directory.clone()] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o7777, 0o755);
        }
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), APPLETS.len());
    for applet in APPLETS {
        assert_eq!(fs::canonicalize(directory.join(applet)).unwrap(), fs::canonicalize(binary()).unwrap());
    }
    fs::write(bed.dir.join("file"), "").unwrap();
    for (place, why) in [("file", "File exists"), ("file/bin", "Not a directory")] {
        let o = isulabox(&["--install", &bed.dir.join(place).display().to_string()]);
        assert_ne!(o.code, 0);
        contains(&o.err, &format!("{place}\"): {why}"));
    }
    contains(&run(&directory.join("isula").display().to_string(), &["--help"], None).ok(), "run");
}

fn applet_by_link_or_first_word(_: &mut Bed) {
    let program = binary().display().to_string();
    let by_word = isulabox(&["isula", "--version"]).ok();
    assert_eq!(run(&program, &["--version"], Some("isula")).ok(), by_word);
    assert_eq!(run(&program, &["--version"], Some("/usr/bin/isula")).ok(), by_word);
    contains(&isulabox(&["isulad", "--version"]).ok(), env!("CARGO_PKG_VERSION"));
    if APPLETS.contains(&"lcr") {
        contains(&isulabox(&["lcr", "--version"]).ok(), env!("CARGO_PKG_VERSION"));
    }
    assert_ne!(isulabox(&["isulad-shim"]).code, 0, "a shim without a daemon");
}

fn binary_is_static(_: &mut Bed) {
    requires!(readelf);
    let bytes = fs::read(binary()).unwrap();
    assert_eq!(&bytes[..4], b"\x7fELF");
    let program = binary().display().to_string();
    let headers = run("readelf", &["-lW", &program], None).ok();
    assert!(!headers.contains("INTERP"), "{headers}");
    let dynamic = run("readelf", &["-dW", &program], None).ok();
    assert!(!dynamic.contains("NEEDED"), "{dynamic}");
    assert!(bytes.len() < 4 << 20, "{} bytes", bytes.len());
}

fn lcr_runs_a_bundle(bed: &mut Bed) {
    let path = bundle(bed, &["payload", "exit", "7"]);
    lcr(bed, &["run", "--bundle", &path, "one"]).exits(7);
    let path = bundle(bed, &["sh", "-c", "echo $$; cat /etc/marker"]);
    assert_eq!(lcr(bed, &["run", "--bundle", &path, "two"]).ok(), "1\ninside");
    assert_eq!(lcr(bed, &["list", "-q"]).ok(), "");
    let path = bundle(bed, &["nosuch"]);
    assert_ne!(lcr(bed, &["run", "--bundle", &path, "three"]).code, 0);
}

fn lcr_follows_the_runtime_command_line(bed: &mut Bed) {
    let path = bundle(bed, &["payload", "trap", "15"]);
    let file = bed.dir.join("pid");
    // Detached, with output to a file: the created process keeps what it was given.
    let root = bed.dir.join("lcr");
    let log = fs::File::create(bed.dir.join("out")).unwrap();
    let mut create = Command::new(binary());
    create.args(["lcr", "--root"]).arg(&root).args(["create", "--bundle", &path, "--pid-file"]).arg(&file).arg("one");
    assert!(create.stdin(std::process::Stdio::null()).stdout(log).status().unwrap().success());
    let state = json(lcr(bed, &["state", "one"]).ok().as_bytes());
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"].as_i64(), fs::read_to_string(&file).unwrap().trim().parse().ok());
    lcr(bed, &["start", "one"]).ok();
    crate::support::eventually("it is ready", || fs::read_to_string(bed.dir.join("out")).unwrap() == "ready\n");
    assert_eq!(json(lcr(bed, &["state", "one"]).ok().as_bytes())["status"], "running");
    assert_eq!(lcr(bed, &["list", "-q"]).ok(), "one");
    assert_eq!(lcr(bed, &["exec", "one", "payload", "args", "inside"]).ok(), "inside");
    lcr(bed, &["exec", "one", "payload", "exit", "4"]).exits(4);
    assert_ne!(lcr(bed, &["delete", "one"]).code, 0, "a running container");
    lcr(bed, &["kill", "one", "TERM"]).ok();
    crate::support::eventually("it stopped", || {
        json(lcr(bed, &["state", "one"]).ok().as_bytes())["status"] == "stopped"
    });
    lcr(bed, &["delete", "one"]).ok();
    assert_ne!(lcr(bed, &["state", "one"]).code, 0);
    assert_ne!(lcr(bed, &["run", "--bundle", "/nosuch", "two"]).code, 0);
}
