//! The making of a copy of a tree, entry by entry: what a container's copy of its image and what is copied into a new
//! volume have in common.

use super::budget::{Budget, ENTRY};
use super::likeness::{Attributed, imitate_at, imitate_with};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::entry::{DIRECTORY, NAMES, lstat, names, occupied, type_of};
use crate::utils::file_copy::Copier;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Copies what is in the directory `from` into the empty directory `to`, which becomes like it. Nothing is followed.
/// Others may change `from` meanwhile; what vanishes is left out.
///
/// # Errors
/// The failing call with the path, `Kind::Conflict` when a directory was moved away. What was made is to be thrown away
/// then.
pub fn copy_tree(from: OwnedFd, to: OwnedFd, attributed: Attributed) -> Result<()> {
    let mut copy = Copy::new(to, attributed)?;
    let result = walk(from, &mut copy);
    result.map_err(|e| e.context(format!("copying {:?}", String::from_utf8_lossy(&copy.path))))
}

/// A directory that is not done.
struct Level {
    /// Names that are left, last first.
    names: Vec<Vec<u8>>,
    /// What all of them occupied.
    bytes: usize,
    stat: FileStat,
    /// Length of its path.
    length: usize,
}

fn walk(mut here: OwnedFd, copy: &mut Copy) -> Result<()> {
    let mut held = 0;
    let level = |fd: &OwnedFd, length, held: &mut usize| {
        let stat = fstat(fd).context(|| "fstat()".into())?;
        let names = names(fd.as_fd(), NAMES.saturating_sub(*held))?;
        let bytes = occupied(&names);
        *held += bytes;
        Ok::<Level, Error>(Level { names, bytes, stat, length })
    };
    let mut levels = vec![level(&here, 0, &mut held)?];
    while let Some(last) = levels.last_mut() {
        copy.path.truncate(last.length);
        let Some(name) = last.names.pop() else {
            imitate_with(copy.here.as_fd(), here.as_fd(), &last.stat, copy.attributed)?;
            held -= last.bytes;
            levels.pop();
            if let Some(parent) = levels.last() {
                // Whoever can move a directory must not lead this out of the tree.
                let up = openat(&here, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
                let stat = fstat(&up).context(|| "fstat(\"..\")".into())?;
                if (stat.st_dev, stat.st_ino) != (parent.stat.st_dev, parent.stat.st_ino) {
                    return Err(Error::conflict("a directory was moved while it was read"));
                }
                here = up;
                copy.leave()?;
            }
            continue;
        };
        let Some(stat) = lstat(here.as_fd(), &name)? else { continue };
        copy.path.extend_from_slice(&name);
        if type_of(&stat) != SFlag::S_IFDIR {
            copy.entry(here.as_fd(), &name, &stat)?;
            continue;
        }
        let below = match openat(&here, name.as_slice(), DIRECTORY, Mode::empty()) {
            Ok(below) => below,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
            Err(e) => return Err(Error::os("openat(O_DIRECTORY)", e as i32)),
        };
        copy.path.push(b'/');
        copy.enter(&name)?;
        levels.push(level(&below, copy.path.len(), &mut held)?);
        here = below;
    }
    Ok(())
}

/// A copy that is being made.
pub struct Copy {
    /// Its root.
    root: OwnedFd,
    /// Its current directory.
    pub here: OwnedFd,
    /// The current entry's path, or the current directory's with a slash behind it unless it is the root.
    pub path: Vec<u8>,
    /// First names in the copy of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// What their paths occupy.
    linked: usize,
    copier: Copier,
    /// What the file system keeps for others.
    budget: Budget,
    attributed: Attributed,
}

impl Copy {
    /// One in the empty directory `root`.
    pub fn new(root: OwnedFd, attributed: Attributed) -> Result<Copy> {
        let here = root.try_clone().context(|| "dup()".into())?;
        let budget = Budget::new(root.as_fd(), None)?;
        let (links, copier) = (HashMap::new(), Copier::default());
        Ok(Copy { root, here, path: Vec::new(), links, linked: 0, copier, budget, attributed })
    }

    /// Makes a directory and goes there.
    pub fn enter(&mut self, name: &[u8]) -> Result<()> {
        self.budget.write(ENTRY)?;
        mkdirat(&self.here, name, Mode::S_IRWXU).context(|| "mkdirat()".into())?;
        self.here = openat(&self.here, name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())?;
        Ok(())
    }

    /// Goes back to the directory above. Nobody moves directories here.
    pub fn leave(&mut self) -> Result<()> {
        self.here = openat(&self.here, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
        Ok(())
    }

    /// Copies something that is no directory, whose path is the current one.
    pub fn entry(&mut self, from: BorrowedFd<'_>, name: &[u8], stat: &FileStat) -> Result<()> {
        if stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&identity) {
                return self.link(first, name);
            }
            self.linked += self.path.len() + size_of::<((u64, u64), Vec<u8>)>();
            if self.linked > NAMES {
                let text = format!("more than {} files with several names", self.links.len());
                return Err(Error::new(Kind::Unsupported, text));
            }
            self.links.insert(identity, self.path.clone());
        }
        self.budget.write(ENTRY)?;
        let here = self.here.as_fd();
        match type_of(stat) {
            SFlag::S_IFREG => return self.file(from, name, stat),
            SFlag::S_IFLNK => {
                let target = readlinkat(from, name).context(|| "readlinkat()".into())?;
                symlinkat(target.as_os_str(), here, name).context(|| "symlinkat()".into())?;
            }
            kind @ (SFlag::S_IFCHR | SFlag::S_IFBLK | SFlag::S_IFIFO) => {
                let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                mknodat(here, name, kind, mode, stat.st_rdev).context(|| "mknodat()".into())?;
            }
            // A socket is nothing without the process that made it.
            _ => return Ok(()),
        }
        imitate_at(here, from, name, stat, self.attributed)
    }

    fn file(&mut self, from: BorrowedFd<'_>, name: &[u8], stat: &FileStat) -> Result<()> {
        let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let make = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let from = File::from(openat(from, name, read, Mode::empty()).context(|| "openat()".into())?);
        let now = fstat(&from).context(|| "fstat()".into())?;
        if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Error::conflict("a file was replaced while it was read"));
        }
        let to = File::from(openat(&self.here, name, make, mode).context(|| "openat(O_CREAT)".into())?);
        self.copier.copy(&from, &to, &mut |bytes| self.budget.write(bytes))?;
        imitate_with(to.as_fd(), from.as_fd(), stat, self.attributed)
    }

    /// A further name of what was copied before.
    fn link(&self, first: &[u8], name: &[u8]) -> Result<()> {
        let short = linkat(&self.root, first, &self.here, name, AtFlags::empty());
        let result = match short {
            Err(Errno::ENAMETOOLONG) => {
                let mut parts = first.split(|b| *b == b'/');
                let last = parts.next_back().unwrap_or_default();
                let mut directory = self.root.try_clone().context(|| "dup()".into())?;
                for part in parts {
                    directory = openat(&directory, part, DIRECTORY, Mode::empty()).context(|| "openat()".into())?;
                }
                linkat(&directory, last, &self.here, name, AtFlags::empty())
            }
            result => result,
        };
        result.context(|| format!("linkat({:?})", String::from_utf8_lossy(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::remove_tree::remove_tree;
    use crate::utils::sys::xattr;
    use nix::fcntl::AT_FDCWD;
    use std::fs::{self, create_dir_all, write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    struct Two(PathBuf);

    impl Drop for Two {
        fn drop(&mut self) {
            remove_tree(&self.0).unwrap();
        }
    }

    impl Two {
        fn new() -> Two {
            let id = crate::utils::id::random_id().unwrap();
            let two = Two(std::env::temp_dir().join(format!("copying-{}", &id[..12])));
            create_dir_all(two.0.join("from")).unwrap();
            create_dir_all(two.0.join("to")).unwrap();
            two
        }

        fn copy(&self) -> Result<()> {
            let open = |name: &str| openat(AT_FDCWD, &self.0.join(name), DIRECTORY, Mode::empty()).unwrap();
            copy_tree(open("from"), open("to"), Attributed::Fully)
        }
    }

    #[test]
    fn everything_of_a_tree_comes_along_and_nothing_from_outside() {
        let two = Two::new();
        let (from, to) = (two.0.join("from"), two.0.join("to"));
        write(two.0.join("secret"), "no").unwrap();
        create_dir_all(from.join("a/b/c")).unwrap();
        write(from.join("a/file"), "content").unwrap();
        fs::set_permissions(from.join("a/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        fs::hard_link(from.join("a/file"), from.join("a/b/other")).unwrap();
        symlink("../../secret", from.join("out")).unwrap();
        symlink("..", from.join("a/up")).unwrap();
        nix::unistd::mkfifo(&from.join("fifo"), Mode::S_IRUSR).unwrap();
        drop(std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap());
        xattr::set(File::open(from.join("a/b")).unwrap().as_fd(), c"user.note", b"value").unwrap();
        fs::set_permissions(from.join("a/b"), PermissionsExt::from_mode(0o1711)).unwrap();
        fs::set_permissions(&from, PermissionsExt::from_mode(0o750)).unwrap();
        two.copy().unwrap();
        assert_eq!(fs::read(to.join("a/file")).unwrap(), b"content");
        assert_eq!(fs::read_link(to.join("out")).unwrap(), Path::new("../../secret"));
        assert_eq!(fs::read_link(to.join("a/up")).unwrap(), Path::new(".."));
        let stat = |path: &str| to.join(path).symlink_metadata().unwrap();
        assert_eq!((stat("a/file").mode() & 0o7777, stat("a/file").ino()), (0o4751, stat("a/b/other").ino()));
        assert_eq!((stat("a/b").mode() & 0o7777, stat(".").mode() & 0o7777), (0o1711, 0o750));
        assert_eq!(stat("a/b").mtime(), from.join("a/b").metadata().unwrap().mtime());
        assert!(std::os::unix::fs::FileTypeExt::is_fifo(&stat("fifo").file_type()));
        assert!(to.join("a/b/c").is_dir() && !to.join("socket").exists());
        let note = xattr::get(File::open(to.join("a/b")).unwrap().as_fd(), c"user.note").unwrap();
        assert_eq!(note.as_deref(), Some(&b"value"[..]));
    }

    #[test]
    fn a_deep_tree_takes_neither_descriptors_nor_stack() {
        let two = Two::new();
        let mut here = openat(AT_FDCWD, &two.0.join("from"), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3_000 {
            mkdirat(&here, "deeper", Mode::S_IRWXU).unwrap();
            here = openat(&here, "deeper", DIRECTORY, Mode::empty()).unwrap();
        }
        two.copy().unwrap();
        let mut here = openat(AT_FDCWD, &two.0.join("to"), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3_000 {
            here = openat(&here, "deeper", DIRECTORY, Mode::empty()).unwrap();
        }
    }
}
