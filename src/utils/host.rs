//! Facts about this machine, read each time they are asked for.

use nix::sched::CpuSet;
use std::path::Path;

/// `uname -r`, `-m`, `-n`.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Release.
    pub release: String,
    /// Machine.
    pub machine: String,
    /// Host name.
    pub node: String,
}

/// Which limits the kernel can set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Version 2 is what controllers are in.
    pub unified: bool,
    /// Controller.
    pub memory: bool,
    /// Memory with swap.
    pub swap: bool,
    /// Controller.
    pub cpu: bool,
    /// Controller.
    pub cpuset: bool,
    /// Controller.
    pub pids: bool,
}

/// uname(2).
pub fn kernel() -> Kernel {
    let Ok(name) = nix::sys::utsname::uname() else { return Kernel::default() };
    let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
    Kernel { release: text(name.release()), machine: text(name.machine()), node: text(name.nodename()) }
}

/// GOARCH of this build.
pub fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other, // arm, riscv64 and the rest have one name
    }
}

/// Processors online.
#[allow(clippy::useless_conversion)] // a C long, which has 32 bits on 32-bit targets
pub fn processors() -> i64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten().map_or(1, i64::from)
}

/// Processors that this process may run on. Not the standard library's count, which also reads a quota out of the
/// cgroups and brings 9 KB for that: a quota bounds time, and threads that share it lose nothing.
pub fn usable_processors() -> usize {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    set.map_or(1, |set| (0..CpuSet::count()).filter(|n| set.is_set(*n) == Ok(true)).count().max(1))
}

/// Bytes of memory.
pub fn memory() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&text, "MemTotal:").and_then(|v| v.split_ascii_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0) * 1024
}

/// Size of a huge page as the original prints it, such as `2MB`; empty without huge pages.
pub fn huge_page_size() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match field(&text, "Hugepagesize:").and_then(|v| v.split_ascii_whitespace().next()?.parse::<u64>().ok()) {
        None => String::new(),
        Some(kb) if kb >= 1 << 20 => format!("{}GB", kb >> 20),
        Some(kb) if kb >= 1 << 10 => format!("{}MB", kb >> 10),
        Some(kb) => format!("{kb}KB"),
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim)
}

/// The distribution's own name for itself (os-release(5)).
pub fn operating_system() -> String {
    ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| pretty_name(&std::fs::read_to_string(path).ok()?))
        .unwrap_or_else(|| "Linux".into())
}

fn pretty_name(text: &str) -> Option<String> {
    let value = field(text, "PRETTY_NAME=")?;
    Some(value.trim_matches(['"', '\'']).to_string()).filter(|v| !v.is_empty())
}

/// machine-id(5); empty when there is none.
pub fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").map(|s| s.trim().to_string()).unwrap_or_default()
}

/// The kind of file system below a path, as the original names them.
pub fn filesystem(path: &Path) -> &'static str {
    let Ok(s) = nix::sys::statfs::statfs(path) else { return "unknown" };
    match s.filesystem_type().0 as u32 {
        0xEF53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58F6 => "ramfs",
        0x794C_7630 => "overlayfs",
        0xF2F5_2010 => "f2fs",
        0x2405_1905 => "ubifs",
        0x2FC1_2FC1 => "zfs",
        0x6969 => "nfs",
        0x4D44 => "vfat",
        0x72B6 => "jffs2",
        0x6573_5546 => "fuse",
        _ => "unknown",
    }
}

/// Whether a sync of one file on the file system of `path` takes along every change made on it before: when there is one
/// journal for all. Of ext4, which can be without, sysfs says it since Linux 5.1.
pub fn has_one_journal(path: &Path) -> bool {
    match filesystem(path) {
        "xfs" => true,
        "extfs" => {
            let Ok(number) = nix::sys::stat::stat(path).map(|stat| stat.st_dev) else { return false };
            let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
            let device = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).unwrap_or_default();
            let name = device.file_name().unwrap_or_default();
            Path::new("/sys/fs/ext4").join(name).join("journal_task").exists()
        }
        _ => false,
    }
}

/// Mount options that every overlay of this kernel needs.
pub fn overlay_options() -> Vec<String> {
    // Where the kernel was built to keep an index, it ties upper and lower directories together for ever.
    let index = Path::new("/sys/module/overlay/parameters/index").exists();
    if index { vec!["index=off".into()] } else { Vec::new() }
}

/// The controllers of this host.
pub fn cgroup() -> Cgroup {
    const ROOT: &str = "/sys/fs/cgroup";
    if let Ok(controllers) = std::fs::read_to_string(format!("{ROOT}/cgroup.controllers")) {
        let has = |name: &str| controllers.split_ascii_whitespace().any(|c| c == name);
        let memory = has("memory");
        return Cgroup {
            unified: true,
            memory,
            swap: memory,
            cpu: has("cpu"),
            cpuset: has("cpuset"),
            pids: has("pids"),
        };
    }
    let there = |file: &str| Path::new(&format!("{ROOT}/{file}")).exists();
    Cgroup {
        unified: false,
        memory: there("memory/memory.limit_in_bytes"),
        swap: there("memory/memory.memsw.limit_in_bytes"),
        cpu: there("cpu/cpu.shares"),
        cpuset: there("cpuset/cpuset.cpus"),
        pids: Path::new(&format!("{ROOT}/pids")).is_dir(),
    }
}

/// An environment variable under its upper-case or lower-case name; empty when there is none.
pub fn environment(name: &str) -> String {
    std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).unwrap_or_default()
}

/// A URL with its user and password hidden, as the original shows proxies.
pub fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("//").unwrap_or(("", url));
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) if url.contains("//") => format!("{scheme}//xxxx:xxxx@{}", &rest[at + 1..]),
        Some(at) => format!("xxxx:xxxx@{}", &rest[at + 1..]),
        None => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_show() {
        assert_eq!(masked("http://u:p@proxy:3128/x@y"), "http://xxxx:xxxx@proxy:3128/x@y");
        assert_eq!(masked("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(masked("http://u:p@q@proxy"), "http://xxxx:xxxx@proxy");
        assert_eq!(masked("u:p@proxy"), "xxxx:xxxx@proxy");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn this_machine() {
        assert!(!kernel().release.is_empty() && memory() > 0 && processors() > 0);
        assert_eq!(pretty_name("NAME=x\nPRETTY_NAME=\"A B\"\n").as_deref(), Some("A B"));
        assert!(cgroup().memory, "the tests need the memory controller");
        assert_eq!(filesystem(Path::new("/nosuch")), "unknown");
    }
}
