//! Mounts squashfs, always read-only.
//!
//! The mount is in the caller's mount namespace and holds the loop device, so both end with the container, whatever
//! becomes of the processes that made them.

use super::loop_device;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::mount as sys;
use nix::errno::Errno;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A device whose last mount is just going away is busy for a moment.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Mounts the file system in the file or on the block device `source` on the directory `target`.
///
/// # Errors
/// `Kind::Unsupported` for a kernel without squashfs or without loop devices; `Kind::Invalid` for a source that holds
/// none that this kernel reads; the failing call.
pub fn mount(source: &Path, target: &Path) -> Result<()> {
    let kind = source.metadata().context(|| format!("stat({source:?})"))?.file_type();
    if kind.is_block_device() {
        return mount_device(source, source, target);
    }
    if !kind.is_file() {
        return Err(Error::invalid(format!("{source:?} is neither a file nor a block device")));
    }
    let device = loop_device::attach(source)?;
    // Held until it is mounted, or it would let go of the file.
    mount_device(source, &device.path, target)
}

fn mount_device(source: &Path, device: &Path, target: &Path) -> Result<()> {
    let c_string = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (from, to) = c_string(device)
        .and_then(|from| Ok((from, c_string(target)?)))
        .map_err(|_| Error::invalid("a path with a NUL byte"))?;
    for _ in 1..TRIES {
        match sys::mount(Some(&from), &to, Some(c"squashfs"), libc::MS_RDONLY, None) {
            Err(Errno::EBUSY) => std::thread::sleep(PAUSE),
            result => return result.map_err(|e| reason(e, source, device, target)),
        }
    }
    Err(reason(Errno::EBUSY, source, device, target))
}

fn reason(e: Errno, source: &Path, device: &Path, target: &Path) -> Error {
    match e {
        Errno::ENODEV => Error::new(Kind::Unsupported, format!("{source:?}: this kernel has no squashfs")),
        Errno::EINVAL => {
            Error::invalid(format!("{source:?} holds no squashfs with a compression that this kernel has"))
        }
        e => {
            let device = if device == source { PathBuf::new() } else { device.to_owned() };
            let through = if device.as_os_str().is_empty() { String::new() } else { format!(" on {device:?}") };
            Error::os(format!("mount({source:?}{through}, {target:?}, \"squashfs\")"), e as i32)
        }
    }
}
