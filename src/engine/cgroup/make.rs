//! Making a cgroup's directories in every hierarchy, with all parents, and undoing it when a later step fails.

use crate::engine::cgroup::file;
use crate::engine::cgroup::layout::{Hierarchy, Version};
use crate::engine::cgroup::tree;
use crate::error::{Error, Kind, Result};
use crate::utils::kernel;
use std::path::{Path, PathBuf};

/// Directories made by this process, removed on drop unless kept.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        while let Some(directory) = self.0.pop() {
            let _ = std::fs::remove_dir(directory); // a parent may be in use by another container by now
        }
    }
}

/// Controllers of version 2 that are switched on for every container: its resource use is counted by them. Others are
/// switched on when a limit needs them.
const ALWAYS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// Makes the cgroup `path` (normalised) in each of `hierarchies`.
///
/// # Errors
/// `Kind::Exists` when it exists and has processes; otherwise the failing call. Nothing is left then.
pub fn make<'a>(hierarchies: impl IntoIterator<Item = &'a Hierarchy>, path: &str) -> Result<()> {
    let mut made = Made::default();
    for hierarchy in hierarchies {
        leaf(hierarchy, path, &mut made)?;
        if hierarchy.version == Version::V2
            && let Err(e) = enable(hierarchy, path, &ALWAYS)
        {
            // A limit that needs the controller will fail with this error; without one the container runs uncounted.
            log::debug!("cgroup {path:?}: {e}");
        }
    }
    made.0.clear();
    Ok(())
}

/// Makes all parents of the cgroup `path` (normalised), which stay.
///
/// # Errors
/// The failing call. Nothing is left then.
pub fn make_parents(hierarchy: &Hierarchy, path: &str) -> Result<()> {
    let mut made = Made::default();
    parents(hierarchy, path, &mut made)?;
    made.0.clear();
    Ok(())
}

fn leaf(hierarchy: &Hierarchy, path: &str, made: &mut Made) -> Result<()> {
    let directory = hierarchy.directory(path);
    // The parent can vanish when the last container beside this one fails to start.
    for _ in 0..8 {
        match std::fs::create_dir(&directory) {
            Ok(()) => {
                made.0.push(directory.clone());
                return initialise(hierarchy, &directory, false);
            }
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT) => parents(hierarchy, path, made)?,
                // Left behind by a run that was cut short; its limits must not outlive it.
                Some(libc::EEXIST) => tree::remove(&directory).map_err(|e| match e.errno() {
                    Some(libc::EBUSY) => {
                        Error::new(Kind::Exists, format!("cgroup {directory:?} exists and has processes"))
                    }
                    _ => e,
                })?,
                _ => return Err(Error::io(format!("mkdir({directory:?})"), e)),
            },
        }
    }
    Err(Error::new(Kind::Busy, format!("cgroup {directory:?} is made and removed by somebody else")))
}

fn parents(hierarchy: &Hierarchy, path: &str, made: &mut Made) -> Result<()> {
    for (end, _) in path.match_indices('/').skip(1) {
        let directory = hierarchy.directory(&path[..end]);
        match std::fs::create_dir(&directory) {
            Ok(()) => {
                made.0.push(directory.clone());
                initialise(hierarchy, &directory, true)?;
            }
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            Err(e) => return Err(Error::io(format!("mkdir({directory:?})"), e)),
        }
    }
    Ok(())
}

/// What a new directory needs before a process can enter or a child be made.
fn initialise(hierarchy: &Hierarchy, directory: &Path, parent: bool) -> Result<()> {
    if hierarchy.version == Version::V2 {
        return Ok(());
    }
    if hierarchy.has("cpuset") {
        if parent {
            // Children then start with their parent's processors: nothing to do for each container.
            let _ = file::write(&directory.join("cgroup.clone_children"), "1"); // else they are copied
        }
        cpuset(hierarchy, directory)?;
    }
    if hierarchy.has("memory") && kernel::version() < (5, 11) {
        // Else what the container puts into cgroups of its own would not count. Refused once there are children.
        let _ = file::write(&directory.join("memory.use_hierarchy"), "1");
    }
    Ok(())
}

/// A new cpuset has no processors and no memory, and no process can enter it: copies the nearest parent's.
fn cpuset(hierarchy: &Hierarchy, directory: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        inherit(hierarchy, directory, name)?;
    }
    Ok(())
}

/// The value of `name` in `directory`, taken over from its parent first when it has none.
fn inherit(hierarchy: &Hierarchy, directory: &Path, name: &str) -> Result<String> {
    let own = directory.join(name);
    let value = file::read(&own).unwrap_or_default();
    if !value.trim().is_empty() || directory == hierarchy.mount {
        return Ok(value);
    }
    let parent = directory.parent().unwrap_or(&hierarchy.mount);
    let value = inherit(hierarchy, parent, name)?;
    file::write(&own, value.trim())?;
    Ok(value)
}

/// Switches `wanted` controllers of version 2 on for the cgroup `path`: in `cgroup.subtree_control` of each directory
/// above it. Those that the mount does not have are passed over.
///
/// # Errors
/// The first failing call, after all were tried: EBUSY when a directory above has processes.
pub fn enable(hierarchy: &Hierarchy, path: &str, wanted: &[&str]) -> Result<()> {
    let wanted: Vec<&str> = wanted.iter().copied().filter(|c| hierarchy.has(c)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let missing = |directory: &Path| -> Vec<&str> {
        let on = file::read(&directory.join("cgroup.subtree_control")).unwrap_or_default();
        wanted.iter().copied().filter(|c| !on.split_ascii_whitespace().any(|word| word == *c)).collect()
    };
    let ends: Vec<usize> = path.match_indices('/').map(|(end, _)| end).collect();
    let above = |end: &usize| hierarchy.directory(&path[..*end]);
    // The usual case: somebody was here before.
    if ends.last().is_some_and(|end| missing(&above(end)).is_empty()) {
        return Ok(());
    }
    let mut result = Ok(());
    for end in &ends {
        let directory = above(end);
        let control = directory.join("cgroup.subtree_control");
        // One by one: all in one write fail together.
        for controller in missing(&directory) {
            let done = file::write(&control, &format!("+{controller}"));
            result = result.and(done);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that stands in for version 2: the writes can be read back.
    #[test]
    fn controllers_are_enabled_down_the_path() {
        let mount = std::env::temp_dir().join(format!("enable-{}", std::process::id()));
        std::fs::create_dir_all(mount.join("a/b/c")).unwrap();
        for directory in ["", "a", "a/b"] {
            std::fs::write(mount.join(directory).join("cgroup.subtree_control"), "").unwrap();
        }
        std::fs::write(mount.join("cgroup.subtree_control"), "memory").unwrap();
        let hierarchy = Hierarchy {
            version: Version::V2,
            mount: mount.clone(),
            controllers: vec!["memory".into(), "pids".into()],
            name: None,
            root: "/".into(),
        };
        enable(&hierarchy, "/a/b/c", &["pids", "io"]).unwrap();
        let read = |d: &str| std::fs::read_to_string(mount.join(d).join("cgroup.subtree_control")).unwrap();
        // A plain file keeps what one write did not reach.
        assert_eq!([read(""), read("a"), read("a/b")], ["+pidsy", "+pids", "+pids"]);
        std::fs::remove_file(mount.join("a/cgroup.subtree_control")).unwrap();
        let e = enable(&hierarchy, "/a/b/c", &["memory"]).unwrap_err();
        assert_eq!(e.errno(), Some(libc::ENOENT));
        std::fs::remove_dir_all(&mount).unwrap();
    }
}
