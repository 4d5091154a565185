//! Giving a tree that lies on the disk with the host's ids to the ids of a user namespace, once and in place.

use super::Remap;
use crate::error::{Context, Error, Result};
use crate::utils::entry::{DIRECTORY, NAMES, is_mounted_on, names, reopen_regular, type_of};
use crate::utils::sys::fd::path_of;
use crate::utils::sys::xattr;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchownat};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Deepest directory; each level holds two descriptors and a piece of a small stack.
const DEEPEST: usize = 200;
/// Attributes with ids in them, or that go with a change of the owner.
const ATTRIBUTES: [&CStr; 3] = [c"security.capability", c"system.posix_acl_access", c"system.posix_acl_default"];

impl Remap {
    /// Gives everything below the directory `root`, on its file system, the ids that it has inside. What has those
    /// already stays: the root itself comes last, so one that was cut short is taken up again.
    ///
    /// # Errors
    /// `Kind::Invalid` for an id that the user namespace has not; the failing call.
    pub fn take_over(&self, root: &Path) -> Result<()> {
        let fd = nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .context(|| format!("open({root:?})"))?;
        let stat = fstat(&fd).context(|| format!("stat({root:?})"))?;
        if self.has(&stat) {
            return Ok(());
        }
        self.give(&fd, &stat, stat.st_dev, 0).context(|| format!("user remap of {root:?}"))
    }

    fn has(&self, stat: &FileStat) -> bool {
        self.uids.inside(stat.st_uid).is_some() && self.gids.inside(stat.st_gid).is_some()
    }

    fn give(&self, fd: &OwnedFd, stat: &FileStat, device: libc::dev_t, depth: usize) -> Result<()> {
        let readable = match type_of(stat) {
            SFlag::S_IFDIR => {
                let directory = openat(fd, ".", DIRECTORY, Mode::empty()).context(|| "open(directory)".into())?;
                self.give_children(&directory, device, depth)?;
                Some(directory)
            }
            SFlag::S_IFREG => reopen_regular(fd.as_fd(), OFlag::O_RDONLY).context(|| "open(file)".into())?,
            _ => None,
        };
        if self.has(stat) {
            return Ok(());
        }
        let id = |what, range: &super::Range, id| range.inside(id).map_or_else(|| range.to_host(what, id), |_| Ok(id));
        let (uid, gid) = (id("user", &self.uids, stat.st_uid)?, id("group", &self.gids, stat.st_gid)?);
        let mut attributes = readable.as_ref().map_or(Ok(Vec::new()), |fd| xattr::all(fd.as_fd()))?;
        attributes.retain(|(name, _)| ATTRIBUTES.contains(&name.as_c_str()));
        // All of it before the first change, which looks like the whole to a second try.
        for (name, value) in &mut attributes {
            *value = self.attribute(name.to_bytes(), value)?;
        }
        fchownat(fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)
            .context(|| format!("fchownat({uid}, {gid})"))?;
        let Some(readable) = readable else { return Ok(()) };
        if stat.st_mode & 0o6000 != 0 {
            let mode = std::fs::Permissions::from_mode(stat.st_mode & 0o7777);
            std::fs::set_permissions(path_of(&readable), mode).context(|| "chmod()".into())?;
        }
        for (name, value) in attributes {
            xattr::set(readable.as_fd(), &name, &value)?;
        }
        Ok(())
    }

    fn give_children(&self, directory: &OwnedFd, device: libc::dev_t, depth: usize) -> Result<()> {
        if depth == DEEPEST {
            return Err(Error::invalid(format!("directories are more than {DEEPEST} deep")));
        }
        for name in names(directory.as_fd(), NAMES)? {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let child = match openat(directory, name.as_slice(), flags, Mode::empty()) {
                Err(nix::Error::ENOENT) => continue, // removed meanwhile
                result => result.context(|| format!("open({:?})", String::from_utf8_lossy(&name)))?,
            };
            let stat = fstat(&child).context(|| "fstat()".into())?;
            // Nor what is of the same file system and bound there.
            if stat.st_dev == device && !is_mounted_on(directory.as_fd(), &name)? {
                let shown = || String::from_utf8_lossy(&name).into_owned();
                self.give(&child, &stat, device, depth + 1).context(shown)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::remap::Range;
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    #[test]
    fn a_tree_is_taken_over_once() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let base = std::env::temp_dir().join(format!("take-over-{}", std::process::id()));
        std::fs::create_dir_all(base.join("root/d")).unwrap();
        let root = base.join("root");
        let outside = base.join("outside");
        for file in [&outside, &root.join("d/file"), &root.join("set")] {
            std::fs::write(file, "").unwrap();
        }
        symlink("../../outside", root.join("d/link")).unwrap();
        std::fs::hard_link(root.join("d/file"), root.join("again")).unwrap();
        chown(root.join("d/file"), Some(7), Some(8)).unwrap();
        std::fs::set_permissions(root.join("set"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        let remap = Remap { uids: Range { first: 100_000, count: 1000 }, gids: Range { first: 200_000, count: 1000 } };
        let ids = |name: &str| {
            let metadata = root.join(name).symlink_metadata().unwrap();
            (metadata.uid(), metadata.gid())
        };
        for _ in 0..2 {
            remap.take_over(&root).unwrap();
            for (name, want) in [
                ("", (100_000, 200_000)),
                ("d", (100_000, 200_000)),
                ("d/link", (100_000, 200_000)),
                ("d/file", (100_007, 200_008)),
                ("again", (100_007, 200_008)),
            ] {
                assert_eq!(ids(name), want, "{name}");
            }
        }
        assert_eq!(root.join("set").metadata().unwrap().mode() & 0o7777, 0o4755);
        assert_eq!(outside.metadata().unwrap().uid(), 0, "links are not followed");
        // One that was cut short.
        chown(root.join("d"), Some(5), Some(5)).unwrap();
        chown(&root, Some(0), Some(0)).unwrap();
        remap.take_over(&root).unwrap();
        assert_eq!((ids(""), ids("d"), ids("d/file")), ((100_000, 200_000), (100_005, 200_005), (100_007, 200_008)));
        chown(root.join("d"), Some(2000), Some(5)).unwrap();
        chown(&root, Some(0), Some(0)).unwrap();
        let text = remap.take_over(&root).unwrap_err().to_string();
        assert!(text.contains("user 2000 is beyond the 1000 ids"), "{text}");
        assert_eq!(ids(""), (0, 0), "the root comes last");
        std::fs::remove_dir_all(&base).unwrap();
    }
}
