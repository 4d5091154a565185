//! A file system on a block device as the root.

use crate::error::{Context, Error, Result};
use crate::utils::sys::mount as sys;
use nix::errno::Errno;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The types that this kernel has now (proc_filesystems(5)).
const TYPES: &str = "/proc/filesystems";

/// Mounts `device` on the directory `target`. Its type is found by trying, as mount(8) does without one. A device that
/// cannot be written is mounted read-only; one that is mounted to be written elsewhere is the same file system here, so
/// that whoever must not write makes the mount read-only besides.
///
/// # Errors
/// `Kind::Invalid` when it holds no file system that this kernel has; the failing call.
pub fn mount(device: &Path, target: &Path, read_only: bool) -> Result<()> {
    let list = std::fs::read_to_string(TYPES).context(|| format!("read({TYPES:?})"))?;
    let [source, place] = [device, target].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (source, place) = source.and_then(|s| Ok((s, place?))).map_err(|_| Error::invalid("a path with a NUL byte"))?;
    let mut busy = None;
    for kind in types(&list) {
        let kind = CString::new(kind).map_err(|_| Error::internal("a type with a NUL byte"))?;
        let attempt = |flags| sys::mount(Some(&source), &place, Some(&kind), flags, None);
        let result = match (attempt(if read_only { libc::MS_RDONLY } else { 0 }), read_only) {
            (Err(Errno::EACCES | Errno::EROFS | Errno::EBUSY), false) => attempt(libc::MS_RDONLY),
            (Err(Errno::EBUSY), true) => attempt(0),
            (result, _) => result,
        };
        match result {
            // Another type's; EUCLEAN and the like mean that it is this one's and damaged.
            Err(Errno::EINVAL | Errno::ENODEV) => {}
            // In use, maybe by a file system of another type.
            Err(Errno::EBUSY) => busy = Some(Errno::EBUSY),
            result => return result.context(|| format!("mount({device:?}, {target:?}, {kind:?})")),
        }
    }
    if let Some(e) = busy {
        return Err(Error::os(format!("mount({device:?}, {target:?})"), e as i32));
    }
    Err(Error::invalid(format!("{device:?} holds no file system that this kernel has")))
}

/// Those that need a device.
fn types(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_prefix('\t')).map(str::trim).filter(|kind| !kind.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_without_a_device_are_left_out() {
        let list = "nodev\tsysfs\nnodev\ttmpfs\n\text3\n\tsquashfs\nnodev\toverlay\n";
        assert_eq!(types(list).collect::<Vec<_>>(), ["ext3", "squashfs"]);
    }
}
