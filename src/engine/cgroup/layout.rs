//! Which hierarchies the host has and where they are mounted, read once from `/proc/self/mountinfo`.
//!
//! Version 1 mounts one hierarchy per controller, or per group of controllers (`cpu,cpuacct`), and named ones without
//! controllers (`name=systemd`). Version 2 is one hierarchy. In the hybrid layout both are there, and a controller
//! belongs to either: version 2 has those that are mounted nowhere else.

use crate::error::{Context, Error, Kind, Result};
use crate::utils::mountinfo::unescape;
use crate::utils::{order, pseudo_file};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Of the control group interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its interface.
    pub version: Version,
    /// Where its root, or the part of it that this mount namespace sees, is.
    pub mount: PathBuf,
    /// Controllers it has; for version 2 those available at the mount.
    pub controllers: Vec<String>,
    /// Version 1: its name when it has one.
    pub name: Option<String>,
    /// The part of the hierarchy that is visible at the mount: `/` unless this is a container itself.
    pub root: PathBuf,
}

impl Hierarchy {
    /// The directory of the cgroup at `path`, which starts with a slash.
    pub fn directory(&self, path: &str) -> PathBuf {
        let mut directory = self.mount.clone().into_os_string();
        directory.push(path);
        PathBuf::from(directory)
    }

    /// Whether it has this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// Options with which mount(2) gives the same hierarchy again; for version 1.
    pub fn options(&self) -> String {
        let mut words = self.controllers.clone();
        if let Some(name) = &self.name {
            if words.is_empty() {
                words.push("none".into());
            }
            words.push(format!("name={name}"));
        }
        words.join(",")
    }
}

/// All hierarchies of the host, version 1 in order of their mounts, then version 2.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// At least one.
    pub hierarchies: Vec<Hierarchy>,
}

/// Controllers of version 1. A hierarchy with none of them and no name is not ours to use.
const V1_CONTROLLERS: [&str; 15] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "perf_event",
    "net_cls",
    "net_prio",
    "rdma",
    "misc",
    "files", // openEuler's
];

impl Layout {
    /// The host's.
    ///
    /// # Errors
    /// `Kind::Unsupported` when none is mounted.
    pub fn host() -> Result<&'static Layout> {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        if let Some(layout) = LAYOUT.get() {
            return Ok(layout);
        }
        let text = pseudo_file::read("/proc/self/mountinfo").context(|| "read(\"/proc/self/mountinfo\")".into())?;
        let layout = Layout::parse(&text, |mount| {
            pseudo_file::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        });
        if layout.hierarchies.is_empty() {
            return Err(Error::new(Kind::Unsupported, "no cgroup hierarchy is mounted on this host"));
        }
        Ok(LAYOUT.get_or_init(|| layout))
    }

    /// From the text of mountinfo (proc_pid_mountinfo(5)); `available` reads `cgroup.controllers` at a mount.
    pub fn parse(mountinfo: &[u8], available: impl Fn(&Path) -> String) -> Layout {
        let mut found: Vec<(&[u8], Hierarchy)> = Vec::new(); // by device number
        for line in mountinfo.split(|&b| b == b'\n') {
            let Some((device, hierarchy)) = hierarchy(line) else { continue };
            match found.iter_mut().find(|(d, _)| *d == device) {
                // Mounted again, for instance inside of a change root: the usual place is the one that others see.
                Some((_, known)) if !known.mount.starts_with("/sys/fs/cgroup") => *known = hierarchy,
                Some(_) => {}
                None => found.push((device, hierarchy)),
            }
        }
        let mut hierarchies: Vec<Hierarchy> = found.into_iter().map(|(_, h)| h).collect();
        order::sort_by_key(&mut hierarchies, |h| h.version == Version::V2);
        if let Some(v2) = hierarchies.last_mut().filter(|h| h.version == Version::V2) {
            v2.controllers = available(&v2.mount).split_ascii_whitespace().map(str::to_owned).collect();
        }
        Layout { hierarchies }
    }

    /// The unified hierarchy.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.last().filter(|h| h.version == Version::V2)
    }

    /// The hierarchy with this controller of version 1 or 2.
    pub fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.has(controller))
    }

    /// As [`Layout::with`], of version 1 only.
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.with(controller).filter(|h| h.version == Version::V1)
    }
}

/// Device number and hierarchy of a line, when it is one.
fn hierarchy(line: &[u8]) -> Option<(&[u8], Hierarchy)> {
    let mut fields = line.split(|&b| b == b' ');
    let device = fields.by_ref().nth(2)?;
    let path = |field| PathBuf::from(OsString::from_vec(unescape(field)));
    let root = path(fields.next()?);
    let mount = path(fields.next()?);
    let mut rest = fields.skip_while(|f| *f != b"-").skip(1);
    let (kind, _source, options) = (rest.next()?, rest.next()?, rest.next()?);
    let version = match kind {
        b"cgroup" => Version::V1,
        b"cgroup2" => Version::V2,
        _ => return None,
    };
    let options = String::from_utf8_lossy(options);
    let mut controllers = Vec::new();
    let mut name = None;
    if version == Version::V1 {
        for option in options.split(',') {
            if V1_CONTROLLERS.contains(&option) {
                controllers.push(option.to_owned());
            } else if let Some(n) = option.strip_prefix("name=") {
                name = Some(n.to_owned());
            }
        }
        if controllers.is_empty() && name.is_none() {
            return None;
        }
    }
    Some((device, Hierarchy { version, mount, controllers, name, root }))
}

/// The cgroup of a process in each hierarchy (cgroups(7), `/proc/PID/cgroup`).
///
/// # Errors
/// The failing call: ENOENT when there is no such process.
pub fn of_process(pid: i32) -> Result<Vec<(&'static Hierarchy, PathBuf)>> {
    of_entry(&pid.to_string())
}

/// As [`of_process`] of the calling process, also in a pid namespace, where its number names another one in the host's
/// `/proc`.
///
/// # Errors
/// The failing call.
pub fn of_self() -> Result<Vec<(&'static Hierarchy, PathBuf)>> {
    of_entry("self")
}

/// All hierarchies of the host, version 1 in order of their mounts, then version 2; none on a host without cgroups.
///
/// # Errors
/// The failing call.
pub fn all() -> Result<&'static [Hierarchy]> {
    match Layout::host() {
        Ok(layout) => Ok(&layout.hierarchies),
        Err(e) if e.kind() == Kind::Unsupported => Ok(&[]),
        Err(e) => Err(e),
    }
}

fn of_entry(entry: &str) -> Result<Vec<(&'static Hierarchy, PathBuf)>> {
    let layout = Layout::host()?;
    let file = format!("/proc/{entry}/cgroup");
    let text = std::fs::read(&file).context(|| format!("read({file:?})"))?;
    Ok(membership(layout, &text))
}

fn membership<'a>(layout: &'a Layout, text: &[u8]) -> Vec<(&'a Hierarchy, PathBuf)> {
    let mut out = Vec::new();
    for line in text.split(|&b| b == b'\n') {
        let mut fields = line.splitn(3, |&b| b == b':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let controllers = String::from_utf8_lossy(controllers);
        let found = layout.hierarchies.iter().find(|h| match h.version {
            Version::V2 => controllers.is_empty(),
            Version::V1 => controllers.split(',').any(|word| match word.strip_prefix("name=") {
                Some(name) => h.name.as_deref() == Some(name),
                None => h.has(word),
            }),
        });
        let Some(hierarchy) = found else { continue };
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        // What lies outside of the visible part has no directory here.
        let Ok(below) = path.strip_prefix(&hierarchy.root) else { continue };
        out.push((hierarchy, hierarchy.mount.join(below)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
23 1 0:22 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
32 31 0:29 / /mnt/a\\040b rw - cgroup cgroup rw,cpu,cpuacct
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
42 31 0:39 / /sys/fs/cgroup/debug rw,relatime - cgroup cgroup rw,debug
broken line
";

    fn hybrid() -> Layout {
        Layout::parse(HYBRID, |mount| {
            assert_eq!(mount, Path::new("/sys/fs/cgroup/unified"));
            "hugetlb misc\n".into()
        })
    }

    #[test]
    fn hybrid_layout() {
        let layout = hybrid();
        let options: Vec<String> = layout.hierarchies.iter().map(Hierarchy::options).collect();
        assert_eq!(options, ["cpu,cpuacct", "memory", "none,name=systemd", "hugetlb,misc"]);
        let cpu = layout.with("cpuacct").unwrap();
        assert_eq!(cpu.directory("/a/b"), Path::new("/sys/fs/cgroup/cpu,cpuacct/a/b"));
        assert_eq!(layout.with("hugetlb"), layout.v2());
        assert!(layout.v1("hugetlb").is_none() && layout.with("pids").is_none());
    }

    #[test]
    fn unified_layout_and_none() {
        let line = b"30 23 0:26 /x /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let layout = Layout::parse(line, |_| "cpu memory pids".into());
        assert_eq!((layout.hierarchies.len(), layout.v2().unwrap().controllers.len()), (1, 3));
        assert!(Layout::parse(b"23 1 0:22 / /proc rw - proc proc rw\n", |_| unreachable!()).hierarchies.is_empty());
    }

    #[test]
    fn cgroups_of_a_process() {
        let mut layout = hybrid();
        layout.hierarchies[1].root = "/docker/1".into();
        let text = b"5:name=systemd:/s\n4:memory:/docker/1/x\n3:cpuacct,cpu:/c:d\n2:pids:/p\n0::/\n";
        let paths: Vec<_> = membership(&layout, text).into_iter().map(|(_, p)| p).collect();
        let want = ["systemd/s", "memory/x", "cpu,cpuacct/c:d", "unified"].map(|p| Path::new("/sys/fs/cgroup").join(p));
        assert_eq!(paths, want);
        assert!(!of_process(std::process::id() as i32).unwrap().is_empty());
    }
}
