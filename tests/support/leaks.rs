//! Proof that nothing is left: processes, mounts, cgroups, descriptors, directories.
//!
//! Network namespaces live by processes or by mounts, so they are covered by those two.

use super::{PATIENCE, cgroup};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// From here on, mounts of this process and its descendants are nobody else's.
pub fn enter_private_mount_namespace() {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshare(CLONE_NEWNS)");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("private mounts");
}

/// Mount points of this process, with what is mounted.
pub fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    text.lines().map(|l| l.split_once(' ').map_or(l, |(_, rest)| rest).to_string()).collect()
}

/// Our children, dead ones reaped first. What descends from a test ends up here, as it reaps its orphans.
pub fn children() -> Vec<u32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => break,
            Ok(_) => {}
        }
    }
    children_of(std::process::id())
}

/// Children of a process, zombies too.
pub fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after_name.split(' ').nth(1) == Some(&parent.to_string())
    };
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

/// Kills our children, and theirs as they become ours, until there are none but `alive`.
pub fn kill_children_except(alive: &[u32]) {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let left: Vec<u32> = children_of(std::process::id()).into_iter().filter(|pid| !alive.contains(pid)).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            let pid = Pid::from_raw(pid as i32);
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How a process shows in a report.
pub fn describe(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = words.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    let state = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = state.lines().find(|l| l.starts_with("State:")).unwrap_or("State: gone").to_string();
    format!("process {pid} [{}] {state}", words.join(" ").trim())
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .map(|e| format!("{} -> {:?}", e.file_name().display(), fs::read_link(e.path()).unwrap_or_default()))
        .collect()
}

/// Files and directories below `directory` whose name contains one of `ids`.
pub fn named_after(directory: &Path, ids: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if ids.iter().any(|id| name.contains(id.as_str())) {
                found.push(format!("path {}", entry.path().display()));
            } else if entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    found
}

/// Waits for `left` to become empty; returns what stays.
pub fn settle(mut left: impl FnMut() -> Vec<String>) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = left();
        if now.is_empty() || Instant::now() > end {
            return now;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// cgroups below a test's parent.
pub fn cgroups(parent: &str) -> Vec<String> {
    cgroup::below(parent).iter().map(|p| format!("cgroup {}", p.display())).collect()
}

/// Most resident memory that a process ever had, in KiB.
pub fn peak_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
