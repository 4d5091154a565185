//! File systems in files, on loop devices.

use super::registry::run;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device, given back when dropped.
pub struct LoopDevice(PathBuf);

/// The devices that show a file, whatever path they know it by.
pub fn loops_of(file: &Path) -> Vec<String> {
    let said = run(Command::new("losetup").args(["--noheadings", "--output", "NAME", "--associated"]).arg(file));
    String::from_utf8_lossy(&said).lines().map(|line| line.trim().to_owned()).collect()
}

impl LoopDevice {
    /// A device that shows a file.
    #[track_caller]
    pub fn attach(file: &Path) -> LoopDevice {
        let said = run(Command::new("losetup").args(["--find", "--show"]).arg(file));
        LoopDevice(String::from_utf8_lossy(&said).trim().into())
    }

    /// A new file of `size` bytes with an ext4 in it, made with further words for mkfs.ext4.
    #[track_caller]
    pub fn ext4(file: &Path, size: u64, words: &[&str]) -> LoopDevice {
        File::create(file).and_then(|f| f.set_len(size)).expect("a file");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).args(words).arg(file));
        LoopDevice::attach(file)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status(); // goes with its last user then
    }
}
