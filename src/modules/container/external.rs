//! A root file system that is not the daemon's: a directory or a block device that the user names in place of an image.
//! It is used in place, and stays when the container goes.

use crate::error::{Context, Error, Result};
use crate::utils::path::{Links, Root};
use nix::fcntl::AtFlags;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Longest path that a request may have.
const LONGEST: usize = libc::PATH_MAX as usize - 1;

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// A directory, without links in its path.
    Directory(PathBuf),
    /// A block device.
    Device(PathBuf),
}

impl External {
    /// Looks at what `path` names.
    ///
    /// # Errors
    /// `Kind::Invalid` for a path that is not absolute, names nothing or something else.
    pub fn find(path: &str) -> Result<External> {
        let fault = |text: &str| Error::invalid(format!("external root file system {path:?}: {text}"));
        if !path.starts_with('/') || path.contains('\0') || path.len() > LONGEST {
            return Err(fault("want an absolute path"));
        }
        let real = Path::new(path).canonicalize().map_err(|e| fault(&e.to_string()))?;
        let kind = real.metadata().map_err(|e| fault(&e.to_string()))?.file_type();
        match (kind.is_dir(), kind.is_block_device()) {
            (true, _) => Ok(External::Directory(real)),
            (_, true) => Ok(External::Device(real)),
            _ => Err(fault("neither a directory nor a block device")),
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        match self {
            External::Directory(path) | External::Device(path) => path,
        }
    }
}

/// Makes the link `/etc/mtab`, which programs expect and every image's container has, where a root has the directory
/// and no such name in it. It belongs to `owner`.
///
/// # Errors
/// The failing call.
pub fn complete(root: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    let found = Root::open(root).context(|| format!("open({root:?})"))?;
    let Ok(etc) = found.resolve(Path::new("/etc"), Links::Follow) else { return Ok(()) };
    let made = symlinkat("/proc/mounts", etc.as_fd(), "mtab").and_then(|()| {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fchownat(etc.as_fd(), "mtab", uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
    });
    match made {
        Ok(()) | Err(nix::Error::EEXIST | nix::Error::EROFS | nix::Error::ENOTDIR) => Ok(()),
        Err(e) => Err(Error::os(format!("symlinkat(\"etc/mtab\" in {root:?})"), e as i32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn directories_are_found_and_the_rest_is_refused() {
        let base = std::env::temp_dir().join(format!("external-{}", std::process::id()));
        fs::create_dir_all(base.join("root/etc")).unwrap();
        let base = base.canonicalize().unwrap();
        std::os::unix::fs::symlink("root", base.join("link")).unwrap();
        fs::write(base.join("file"), "").unwrap();
        let at = |name: &str| base.join(name).display().to_string();
        assert_eq!(External::find(&at("link")).unwrap(), External::Directory(base.join("root")));
        for (path, part) in [
            (at("file"), "neither a directory nor a block device"),
            (at("missing"), "No such file"),
            ("root".into(), "want an absolute path"),
            (String::new(), "want an absolute path"),
            ("/dev/null".into(), "neither"),
        ] {
            let e = External::find(&path).unwrap_err();
            assert!(e.kind() == crate::error::Kind::Invalid && e.to_string().contains(part), "{path}: {e}");
        }
        let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        complete(&base.join("root"), owner).unwrap();
        complete(&base.join("root"), owner).unwrap();
        assert_eq!(fs::read_link(base.join("root/etc/mtab")).unwrap(), Path::new("/proc/mounts"));
        fs::remove_dir_all(&base).unwrap();
    }
}
