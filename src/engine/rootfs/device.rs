//! Device nodes and links of `/dev` (OCI runtime specification, config-linux.md, Default Devices and Dev symbolic
//! links).

use super::mount::{self as tree, Bind, Source, Target};
use crate::api::oci::runtime::Device;
use crate::error::{Context, Error, Result};
use crate::utils::path::{Links, Root};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Nodes that every container has: name, major, minor.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Links that every container has.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

struct Node<'a> {
    path: &'a Path,
    kind: SFlag,
    device: libc::dev_t,
    mode: u32,
    owner: (u32, u32),
}

/// Checks the devices of the configuration.
///
/// # Errors
/// `Kind::Invalid` naming the device.
pub fn check(devices: &[Device]) -> Result<()> {
    for d in devices {
        let number = |n: i64| u32::try_from(n).is_ok();
        let numbered = d.kind == "p" || number(d.major) && number(d.minor);
        if !matches!(d.kind.as_str(), "c" | "u" | "b" | "p") || !numbered {
            return Err(Error::invalid(format!("device {:?}: type {:?} {}:{}", d.path, d.kind, d.major, d.minor)));
        }
        if !d.path.starts_with('/') || d.path.ends_with('/') || Path::new(&d.path).file_name().is_none() {
            return Err(Error::invalid(format!("device path {:?}", d.path)));
        }
    }
    Ok(())
}

/// Makes nodes and links. Expects an empty file mode creation mask. `bind` shows the host's nodes in place of making
/// new ones, for user namespaces, where the kernel refuses nodes.
///
/// # Errors
/// The failing call with the path.
pub fn make(root: &Root, devices: &[Device], bind: bool) -> Result<()> {
    let dev = root.make_directory(Path::new("/dev"), 0o755).context(|| "mkdir(\"/dev\") in the root".into())?;
    for device in devices {
        let kind = match device.kind.as_str() {
            "b" => SFlag::S_IFBLK,
            "p" => SFlag::S_IFIFO,
            _ => SFlag::S_IFCHR,
        };
        let node = Node {
            path: Path::new(&device.path),
            kind,
            device: libc::makedev(device.major as _, device.minor as _),
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            owner: (device.uid.unwrap_or(0), device.gid.unwrap_or(0)),
        };
        if node.path.parent() == Some(Path::new("/dev")) {
            let name = node.path.file_name().expect("checked");
            make_node(root, dev.as_fd(), name, &node, bind)?;
        } else {
            let (parent, name) = root.make_parent(node.path).context(|| format!("mkdir for {:?}", node.path))?;
            make_node(root, parent.as_fd(), name, &node, bind)?;
        }
    }
    for (name, major, minor) in DEFAULT {
        let path = format!("/dev/{name}");
        if devices.iter().any(|d| d.path == path) {
            continue;
        }
        let device = libc::makedev(major as _, minor as _);
        let node = Node { path: Path::new(&path), kind: SFlag::S_IFCHR, device, mode: 0o666, owner: (0, 0) };
        make_node(root, dev.as_fd(), OsStr::new(name), &node, bind)?;
    }
    for (name, target) in LINKS {
        link(dev.as_fd(), name, target)?;
    }
    if Path::new("/proc/kcore").exists() {
        link(dev.as_fd(), "core", "/proc/kcore")?;
    }
    Ok(())
}

fn make_node(root: &Root, parent: BorrowedFd<'_>, name: &OsStr, node: &Node<'_>, bind: bool) -> Result<()> {
    let call = || format!("mknod({:?}) in the root", node.path);
    let mode = Mode::from_bits_truncate(node.mode as libc::mode_t);
    for attempt in 0..2 {
        let made = if bind && node.kind != SFlag::S_IFIFO {
            Err(Errno::EPERM)
        } else {
            mknodat(parent, name, node.kind, mode, node.device)
        };
        match made {
            Ok(()) if node.owner == (0, 0) => return Ok(()),
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
                return fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
                    .context(|| format!("chown({:?}) in the root", node.path));
            }
            Err(Errno::EPERM) => return show_host_node(root, node),
            // An image's own `/dev`: the right node stays, anything else would be taken for the device.
            Err(Errno::EEXIST) if attempt == 0 => {
                let there = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).context(call)?;
                let kind = SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT;
                if kind == node.kind && (kind == SFlag::S_IFIFO || there.st_rdev == node.device) {
                    return Ok(());
                }
                unlinkat(parent, name, UnlinkatFlags::NoRemoveDir).context(call)?;
            }
            Err(e) => return Err(Error::os(call(), e as i32)),
        }
    }
    Err(Error::os(call(), libc::EEXIST))
}

fn show_host_node(root: &Root, node: &Node<'_>) -> Result<()> {
    let call = || format!("mknod({:?}) in the root", node.path);
    let fd = root.make_file(node.path, 0o644).context(call)?;
    let target = Target { root, path: node.path, fd };
    tree::bind(&Source::Path(node.path), &target, &Bind::default()).context(|| format!("device {:?}", node.path))
}

/// A link that exists stays as it is, but `ptmx` must be the container's own.
fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Result<()> {
    let call = || format!("symlink({target:?}, \"/dev/{name}\") in the root");
    match symlinkat(target, dev, name) {
        Err(Errno::EEXIST) if name == "ptmx" => {
            if readlinkat(dev, name).is_ok_and(|t| t == target) {
                return Ok(());
            }
            unlinkat(dev, name, UnlinkatFlags::NoRemoveDir).context(call)?;
            symlinkat(target, dev, name).context(call)
        }
        Err(Errno::EEXIST) => Ok(()),
        result => result.context(call),
    }
}

/// Shows the terminal `peer` as `/dev/console`.
///
/// # Errors
/// The failing call.
pub fn show_console(root: &Root, peer: &std::os::fd::OwnedFd) -> Result<()> {
    let path = Path::new("/dev/console");
    let fd = match root.resolve(path, Links::Refuse) {
        Err(Errno::ENOENT) => root.make_file(path, 0o600),
        result => result,
    };
    let target = Target { root, path, fd: fd.context(|| "open(\"/dev/console\") in the root".into())? };
    tree::bind(&Source::Handle(peer), &target, &Bind::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_checked() {
        let device =
            |kind: &str, path: &str, major| Device { kind: kind.into(), path: path.into(), major, ..Device::default() };
        check(&[device("c", "/dev/x/y", 1), device("p", "/run/fifo", -1)]).unwrap();
        for bad in [device("d", "/dev/x", 1), device("c", "dev/x", 1), device("b", "/dev/x", -1), device("c", "/", 1)] {
            assert!(check(&[bad]).is_err());
        }
    }
}
