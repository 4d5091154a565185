//! OCI bundles with the test root file system, for the runtime command line.

use super::bed::{Bed, binary, json};
use super::command::{self, Output};
use super::rootfs;
use crate::requires;
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How long a command of a runtime may take.
const COMMAND: Duration = Duration::from_secs(60);

/// Makes the bundle of the bed anew with the command `args`; its path.
pub fn bundle(bed: &Bed, args: &[&str]) -> String {
    bundle_with(bed, args, |_| ())
}

/// The same with a changed configuration.
pub fn bundle_with(bed: &Bed, args: &[&str], change: impl FnOnce(&mut Value)) -> String {
    requires!(lcr);
    let path = bed.dir.join("bundle");
    fs::create_dir_all(path.join("rootfs")).expect("a directory");
    let (tar, root) = (rootfs::archive(), path.join("rootfs"));
    let unpacked = Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(root).status().expect("tar");
    assert!(unpacked.success());
    // The document of an earlier bundle, which spec would not overwrite.
    let _ = fs::remove_file(path.join("config.json"));
    let spec = Command::new(binary()).args(["lcr", "spec"]).current_dir(&path).output().expect("lcr spec");
    assert!(spec.status.success(), "{}", String::from_utf8_lossy(&spec.stderr));
    let mut config = json(&fs::read(path.join("config.json")).expect("the configuration"));
    config["process"]["args"] = serde_json::json!(args);
    config["process"]["terminal"] = false.into();
    config["root"]["path"] = "rootfs".into();
    config["linux"]["cgroupsPath"] = format!("{}/lcr", bed.cgroup_parent()).into();
    change(&mut config);
    fs::write(path.join("config.json"), isulabox::utils::json::to_vec(&config)).expect("the configuration");
    path.display().to_string()
}

/// `lcr --root …` with these words.
pub fn lcr_command(bed: &Bed, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["lcr", "--root"]).arg(bed.dir.join("lcr")).args(words);
    command
}

/// Runs it to its end.
#[track_caller]
pub fn lcr(bed: &Bed, words: &[&str]) -> Output {
    command::run(lcr_command(bed, words), format!("lcr {}", words.join(" ")), b"", COMMAND)
}

/// The status of a container, or how the question failed.
#[track_caller]
pub fn status(bed: &Bed, id: &str) -> String {
    let state = lcr(bed, &["state", id]);
    if state.code != 0 {
        return format!("code {}", state.code);
    }
    json(state.out.as_bytes())["status"].as_str().expect("a word").to_string()
}
