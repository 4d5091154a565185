//! The container's view of its cgroup: cgroup2, or for v1 and hybrid hosts a directory of all hierarchies.

use super::mount::{self as tree, Bind, Source, Target};
use super::option::Planned;
use crate::error::{Context, Result};
use crate::utils::path::Root;
use crate::utils::sys::mount;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

const HOST: &str = "/sys/fs/cgroup";
const CGROUP2_SUPER_MAGIC: u32 = 0x6367_7270;
const FLAGS: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// One line of `/proc/self/cgroup` (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy<'a> {
    /// `cpu,cpuacct`, `name=systemd`, empty for v2.
    controllers: &'a str,
    /// Where this process is.
    path: &'a str,
}

/// Whether the host has only cgroup v2.
pub fn is_unified() -> bool {
    Root::open(Path::new(HOST))
        .is_ok_and(|r| crate::utils::sys::fd::file_system_of(r.as_fd()) == Ok(CGROUP2_SUPER_MAGIC))
}

/// Mounts the tree for a process that is in its cgroup, and in its cgroup namespace when `namespace`. Changes the
/// working directory.
///
/// # Errors
/// The failing call.
pub fn mount(root: &Root, planned: &Planned<'_>, namespace: bool) -> Result<()> {
    let place = planned.destination;
    mount_tree(root, planned, namespace).context(|| format!("mount of the cgroup tree at {place:?}"))
}

fn mount_tree(root: &Root, planned: &Planned<'_>, namespace: bool) -> Result<()> {
    let (target, _) = Target::directory(root, planned.destination, false)?;
    let flags = planned.flags & !libc::MS_REMOUNT;
    let unified = is_unified();
    if unified && namespace {
        match mount::mount(Some(c"cgroup"), &target.place(), Some(c"cgroup2"), flags, None) {
            // A user namespace whose cgroup namespace is not its own.
            Err(nix::Error::EPERM | nix::Error::EBUSY) => {}
            result => return result.context(|| "mount(\"cgroup\", \"cgroup2\")".into()),
        }
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").context(|| "read(\"/proc/self/cgroup\")".into())?;
    let attributes = planned.attributes;
    if unified {
        let path = hierarchies(&own).find(|h| h.controllers.is_empty()).map_or("/", |h| h.path);
        let bind = Bind { recursive: true, attributes, ..Bind::default() };
        return tree::bind(&Source::Path(Path::new(&format!("{HOST}{path}"))), &target, &bind);
    }
    mount::mount(Some(c"tmpfs"), &target.place(), Some(c"tmpfs"), FLAGS, Some(c"mode=755"))
        .context(|| "mount(\"tmpfs\")".into())?;
    // From here on names are relative to a file system that nobody else has seen yet.
    let fresh = root.resolve(planned.destination, crate::utils::path::Links::Follow);
    let fresh = fresh.context(|| format!("open({:?}) in the root", planned.destination))?;
    nix::unistd::fchdir(&fresh).context(|| "fchdir()".into())?;
    for hierarchy in hierarchies(&own) {
        mount_hierarchy(&hierarchy, flags, namespace)?;
    }
    if planned.flags & libc::MS_RDONLY != 0 {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | FLAGS;
        mount::mount(None, c".", None, flags, None).context(|| "remount read-only".into())?;
    }
    Ok(())
}

/// Mounts one hierarchy at its usual name in the working directory, with a link for each of several controllers.
fn mount_hierarchy(h: &Hierarchy<'_>, flags: libc::c_ulong, namespace: bool) -> Result<()> {
    let (name, kind, data) = match h.controllers {
        "" => ("unified", c"cgroup2", String::new()),
        named if named.starts_with("name=") => (&named[5..], c"cgroup", format!("none,{named}")),
        controllers => (controllers, c"cgroup", controllers.to_string()),
    };
    let host = format!("{HOST}/{name}");
    let c = |text: &str| CString::new(text).expect("read from a text file of the kernel, which has no NUL bytes");
    // A hierarchy that the host has not mounted (or not under this name) is none of the container's.
    let usual = Root::open(Path::new(&host)).is_ok();
    if !usual {
        return Ok(());
    }
    nix::unistd::mkdir(name, nix::sys::stat::Mode::from_bits_truncate(0o755)).context(|| format!("mkdir({name:?})"))?;
    let result = match namespace {
        true => {
            let data = (!data.is_empty()).then(|| c(&data));
            mount::mount(Some(c"cgroup"), &c(name), Some(kind), flags, data.as_deref())
        }
        false => mount::mount(Some(&c(&format!("{host}{}", h.path))), &c(name), None, libc::MS_BIND, None)
            .and_then(|()| mount::mount(None, &c(name), None, libc::MS_BIND | libc::MS_REMOUNT | flags, None)),
    };
    result.context(|| format!("mount({name:?})"))?;
    if h.controllers.contains(',') && !h.controllers.starts_with("name=") {
        for controller in h.controllers.split(',') {
            nix::unistd::symlinkat(name, nix::fcntl::AT_FDCWD, controller)
                .context(|| format!("symlink({name:?}, {controller:?})"))?;
        }
    }
    Ok(())
}

fn hierarchies(text: &str) -> impl Iterator<Item = Hierarchy<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some(Hierarchy { controllers: fields.next()?, path: fields.next()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "4:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/x\nbad\n";
        let list: Vec<_> = hierarchies(text).collect();
        assert_eq!(list.len(), 3);
        assert_eq!(list[0], Hierarchy { controllers: "cpu,cpuacct", path: "/a:b" });
        assert_eq!(list[2], Hierarchy { controllers: "", path: "/x" });
    }
}
