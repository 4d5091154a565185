//! What a process takes: memory, and writes to a disk.

use super::disk::LoopDevice;
use std::fs;
use std::process::Child;
use std::time::Duration;

/// Bytes that a process has written to and shares with nobody (smaps_rollup in proc_pid_smaps(5)). What it has of its
/// executable is private or not by whether a client runs at the moment.
pub fn private(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("Private_Dirty:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() << 10
}

/// Bytes that a process has caused to be written to disks (proc_pid_io(5)).
fn written_by(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).expect("its counts");
    let line = text.lines().find_map(|l| l.strip_prefix("write_bytes: ")).expect("write_bytes");
    line.parse().expect("a number")
}

/// Bytes that a device was given (kernel documentation, block/stat.rst).
fn written_to(device: &LoopDevice) -> u64 {
    let name = device.path().file_name().and_then(|n| n.to_str()).expect("a name");
    let text = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("its counts");
    text.split_whitespace().nth(6).expect("sectors written").parse::<u64>().expect("a number") * 512
}

/// What a daemon took while a client's command ran.
#[derive(Debug)]
pub struct Usage {
    /// The most private memory.
    pub peak: u64,
    /// The same before.
    pub idle: u64,
    /// Bytes written by the daemon.
    pub by: u64,
    /// Bytes that the disk was given until all was on it.
    pub to: u64,
}

impl Usage {
    /// Of the daemon `pid`, whose files are on `device`, until the client that `start` starts has succeeded.
    #[track_caller]
    pub fn during(pid: u32, device: &LoopDevice, start: impl FnOnce() -> Child) -> Usage {
        // What is not on the disk yet would be counted, and stays in the page cache whoever reads it.
        nix::unistd::sync();
        let (idle, by, to) = (private(pid), written_by(pid), written_to(device));
        let mut client = start();
        let mut peak = 0;
        let status = loop {
            if let Some(status) = client.try_wait().expect("our own child") {
                break status;
            }
            peak = peak.max(private(pid));
            std::thread::sleep(Duration::from_millis(1));
        };
        nix::unistd::sync();
        assert!(status.success(), "the client ended with {status}");
        Usage { peak, idle, by: written_by(pid) - by, to: written_to(device) - to }
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Usage { peak, idle, by, to } = self;
        let over = peak.saturating_sub(*idle) >> 10;
        write!(f, "peak {over} KiB over {} idle; {by} bytes by the daemon, {to} to the disk", idle >> 10)
    }
}
