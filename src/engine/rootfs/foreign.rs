//! Binds from another process's mount namespace: `/proc/PID/root/…`, as for the `/dev/shm` of a container whose IPC
//! namespace is joined.
//!
//! The kernel copies a mount only for a process in the mount's own namespace. So this process goes there, takes a
//! detached copy, which is bound to no namespace, and comes back. Nothing is looked up by a path over there: what is
//! copied was resolved before, inside the other process's root.

use super::option::{Fs, Planned};
use super::{Opened, Plan};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::path::{Links, Root};
use crate::utils::sys::clone::setns;
use crate::utils::sys::mount as sys;
use libc::CLONE_NEWNS;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Opens the sources of such binds: an entry for each mount.
///
/// # Errors
/// The failing call with the mount; `Kind::Unsupported` before Linux 5.2, which cannot detach a mount.
pub fn open(plan: &Plan<'_>) -> Result<Vec<Option<Opened>>> {
    let mut sources = Vec::with_capacity(plan.mounts.len());
    for planned in &plan.mounts {
        let opened = copy(planned).context(|| format!("mount at {:?}", planned.destination))?;
        sources.push(opened.map(Opened::Tree));
    }
    Ok(sources)
}

fn copy(planned: &Planned<'_>) -> Result<Option<OwnedFd>> {
    let Fs::Bind { source, recursive } = &planned.kind else { return Ok(None) };
    let Some((directory, path)) = split(source) else { return Ok(None) };
    let call = || format!("bind source {source:?}");
    let process = Process::open(&directory).context(call)?;
    let root = process.root().context(call)?;
    let handle = root.resolve(path, Links::Follow).context(call)?;
    let there = process.namespace().context(call)?;
    let here = Here::note()?;
    setns(there.as_fd(), CLONE_NEWNS).context(|| format!("setns({:?})", directory.join("ns/mnt")))?;
    let tree = sys::open_tree(handle.as_fd(), c"", *recursive);
    here.come_back()?;
    match tree {
        Err(nix::Error::ENOSYS) => {
            let text = format!("{}: a mount of another container needs Linux 5.2", call());
            Err(Error::new(Kind::Unsupported, text))
        }
        result => result.map(Some).context(|| format!("open_tree({source:?})")),
    }
}

/// `/proc/PID` and the path in the root of that process.
fn split(source: &Path) -> Option<(PathBuf, &Path)> {
    let mut parts = source.strip_prefix("/proc").ok()?.components();
    let pid: u32 = parts.next()?.as_os_str().to_str()?.parse().ok()?;
    let root = parts.next()?.as_os_str() == "root";
    root.then(|| (PathBuf::from(format!("/proc/{pid}")), parts.as_path()))
}

/// A process by its directory in `/proc`, opened once: what is opened in there later is that process's, or fails with
/// ESRCH when it has ended, and never that of another one with the same number.
struct Process(OwnedFd);

impl Process {
    fn open(directory: &Path) -> nix::Result<Process> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(AT_FDCWD, directory, flags, Mode::empty()).map(Process)
    }

    fn root(&self) -> nix::Result<Root> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(&self.0, "root", flags, Mode::empty()).map(Root::from)
    }

    fn namespace(&self) -> nix::Result<OwnedFd> {
        openat(&self.0, "ns/mnt", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
    }
}

fn open_file(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("open({path:?})"))
}

/// Where this process is: entering a mount namespace sets root and working directory to the root of that.
struct Here {
    namespace: File,
    root: File,
    directory: File,
}

impl Here {
    fn note() -> Result<Here> {
        let open = |path: &str| open_file(Path::new(path));
        Ok(Here { namespace: open("/proc/self/ns/mnt")?, root: open("/")?, directory: open(".")? })
    }

    fn come_back(self) -> Result<()> {
        setns(self.namespace.as_fd(), CLONE_NEWNS).context(|| "setns(own mount namespace)".into())?;
        nix::unistd::fchdir(&self.root).context(|| "fchdir(own root)".into())?;
        nix::unistd::chroot(".").context(|| "chroot(own root)".into())?;
        nix::unistd::fchdir(&self.directory).context(|| "fchdir(own working directory)".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_is_not_taken_for_another() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(Path::new(&format!("/proc/{}", child.id()))).unwrap();
        process.namespace().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        for e in [process.root().map(drop), process.namespace().map(drop)] {
            assert!(matches!(e, Err(nix::Error::ESRCH | nix::Error::ENOENT)), "{e:?}");
        }
    }

    #[test]
    fn sources_elsewhere_are_told_from_others() {
        let found = |path| split(Path::new(path)).map(|(process, path)| (process, path.to_owned()));
        assert_eq!(found("/proc/7/root/dev/shm"), Some(("/proc/7".into(), "dev/shm".into())));
        assert_eq!(found("/proc/7/root"), Some(("/proc/7".into(), "".into())));
        for other in ["/proc/self/root/dev/shm", "/proc/7/cwd", "/proc/7", "/proc", "/dev/shm", "/proc/-7/root/x"] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
