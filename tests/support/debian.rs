//! The root file system of a minimal Debian, from the mirror that this machine's apt uses.

use super::runner;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What apt says when it cannot reach a mirror.
const NO_ANSWER: [&str; 5] = ["Temporary failure", "Could not", "Unable to connect", "timed out", "Failed to fetch"];

/// What nobody needs who tests with it.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// The archive: made once for each checkout, and kept. Skips the test where apt has no mirror, or none that answers.
#[track_caller]
pub fn base() -> PathBuf {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/debian-base"));
    let Some((mirror, suite)) = mirror() else { runner::skip("apt has no mirror of Debian") };
    fs::create_dir_all(directory).expect("a directory");
    // One apt at a time, as in targets/deps.
    let lock = File::create("/var/lock/isulabox-deps.lock").expect("a file");
    lock.lock().expect("a lock");
    let path = directory.join(format!("{suite}.tar"));
    if path.exists() {
        return path;
    }
    let part = directory.join(format!(".{suite}.tar"));
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--format=tar", "--dpkgopt=force-unsafe-io"]);
    command.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    let made = command.arg(suite).arg(&part).arg(mirror).env("LC_ALL", "C").output().expect("mmdebstrap");
    let said = String::from_utf8_lossy(&made.stderr);
    if !made.status.success() {
        let _ = fs::remove_file(&part); // there may be none
        if NO_ANSWER.iter().any(|words| said.contains(words)) {
            runner::skip("no mirror of Debian answers");
        }
        panic!("mmdebstrap: {}: {said}", made.status);
    }
    fs::rename(part, &path).expect("the archive");
    path
}

/// Mirror and release, from apt's first source of this machine's release (sources.list(5)).
fn mirror() -> Option<(String, String)> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let suite = release.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME="))?.to_owned();
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = parts.chain(["/etc/apt/sources.list".into()]).collect();
    files.sort();
    let texts = files.iter().filter_map(|f| fs::read_to_string(f).ok());
    texts.flat_map(|t| sources(&t)).find(|(_, s)| *s == suite)
}

/// Mirrors with their suites, in either of the two forms.
fn sources(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("deb ")) {
        // Options have blanks in their brackets.
        let line = line.split_once(']').map_or(line, |(_, rest)| rest);
        let mut words = line.split_whitespace();
        found.extend(words.next().zip(words.next()).map(|(uri, suite)| (uri.to_owned(), suite.to_owned())));
    }
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let value = stanza.lines().find_map(|l| l.strip_prefix(name));
            value.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for uri in field("URIs:") {
            found.extend(field("Suites:").into_iter().map(|suite| (uri.clone(), suite)));
        }
    }
    found
}
