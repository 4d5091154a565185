//! cgroup hierarchies as the tests see them: v1, v2 and both at once.

use std::fs;
use std::path::{Path, PathBuf};

const MOUNTS: &str = "/sys/fs/cgroup";

/// Roots of all hierarchies: one directory for v2, one per controller for v1.
pub fn hierarchies() -> Vec<PathBuf> {
    if Path::new(MOUNTS).join("cgroup.controllers").exists() {
        return vec![MOUNTS.into()];
    }
    let entries = fs::read_dir(MOUNTS).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// The v2 hierarchy, alone or beside v1.
pub fn unified() -> Option<PathBuf> {
    ["", "unified"].iter().map(|d| Path::new(MOUNTS).join(d)).find(|d| d.join("cgroup.controllers").exists())
}

pub fn v2_controllers() -> Vec<String> {
    let text = unified().and_then(|d| fs::read_to_string(d.join("cgroup.controllers")).ok()).unwrap_or_default();
    text.split_whitespace().map(String::from).collect()
}

/// A file of the cgroup of process `pid`: the first of `names` that exists in any hierarchy (v1 and v2 name them
/// differently), trimmed.
pub fn read(pid: i64, names: &[&str]) -> Option<String> {
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let paths: Vec<&str> = membership.lines().filter_map(|l| l.splitn(3, ':').nth(2)).collect();
    for name in names {
        for root in hierarchies() {
            for path in &paths {
                if let Ok(text) = fs::read_to_string(root.join(path.trim_start_matches('/')).join(name)) {
                    return Some(text.trim().to_string());
                }
            }
        }
    }
    None
}

/// Every cgroup below `parent` (a path from the hierarchies' roots), deepest first, without `parent` itself.
pub fn below(parent: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in hierarchies() {
        let mut open = vec![root.join(parent.trim_start_matches('/'))];
        while let Some(path) = open.pop() {
            let inner = fs::read_dir(&path).into_iter().flatten().flatten();
            for entry in inner.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
                found.push(entry.path());
                open.push(entry.path());
            }
        }
    }
    found.reverse();
    found
}

/// Removes `parent` and everything below; what has processes stays.
pub fn remove_tree(parent: &str) {
    for path in below(parent) {
        let _ = fs::remove_dir(path);
    }
    for root in hierarchies() {
        let _ = fs::remove_dir(root.join(parent.trim_start_matches('/')));
    }
}
