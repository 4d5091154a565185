//! The sum, along with the unpacking and by going through a tree.

use super::super::signs::{is_opaque, is_whiteout};
use super::super::tree::{DIRECTORY, lstat, type_of};
use super::Likeness;
use crate::error::{Context, Error, Result};
use crate::utils::checksum::{self, Checksum, mix};
use crate::utils::entry::names;
use crate::utils::file_copy::piece;
use crate::utils::sys::xattr;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

const CAPABILITY: &CStr = c"security.capability";
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;
/// Stands for the sign of an opaque directory.
const OPAQUE: u64 = 1;

/// The number of a tree that is being made.
#[derive(Default)]
pub(in super::super) struct Tally {
    sum: u64,
    /// The sum is not that of the tree any more.
    lost: bool,
    content: Checksum,
    path: Vec<u8>,
    /// The last file that got a further name, by device and inode, and its content.
    linked: Option<((u64, u64), u64)>,
}

impl Tally {
    /// Content of the file that is next.
    pub fn data(&mut self, offset: u64, bytes: &[u8]) {
        self.content.add(offset, bytes);
    }

    /// A file whose content was added.
    pub fn file(&mut self, path: &[&[u8]], size: u64, likeness: Likeness, capability: Option<&[u8]>) {
        let content = with_capability(self.content.finish(size), capability);
        let name = self.name(path);
        self.add(entry(name, likeness, content));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &[&[u8]], target: &[u8], likeness: Likeness) {
        let name = self.name(path);
        self.add(entry(name, likeness, checksum::text(target)));
    }

    /// A directory or device.
    pub fn node(&mut self, path: &[&[u8]], likeness: Likeness) {
        let name = self.name(path);
        self.add(entry(name, likeness, 0));
    }

    /// A directory, or device, that does not look like this any more.
    pub fn forget(&mut self, path: &[&[u8]], likeness: Likeness) {
        let name = self.name(path);
        self.sum = self.sum.wrapping_sub(entry(name, likeness, 0));
    }

    /// What was added in all, for the sum of a tree that is there.
    pub fn change(self) -> u64 {
        self.sum
    }

    /// A directory that was not opaque is.
    pub fn opaque(&mut self, path: &[&[u8]]) {
        let name = self.name(path);
        self.add(mix(name, OPAQUE));
    }

    /// A further name of something, by which it can be found.
    pub fn again(&mut self, path: &[&[u8]], directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let Some(stat) = lstat(directory, name)? else { return Ok(()) };
        let identity = (stat.st_dev, stat.st_ino);
        // Programs with hundreds of names have them one after the other.
        let content = match self.linked.filter(|(known, _)| *known == identity) {
            Some((_, content)) => content,
            None => content(directory, name, &stat, &mut Checksum::default())?,
        };
        self.linked = Some((identity, content));
        let name = self.name(path);
        self.add(entry(name, likeness(&stat), content));
        Ok(())
    }

    /// Something happened that the sum cannot follow.
    pub fn lost(&mut self) {
        self.lost = true;
    }

    /// The number of the tree that is complete.
    pub fn finish(self, root: BorrowedFd<'_>) -> Result<Option<u64>> {
        if self.lost {
            let root = openat(root, ".", DIRECTORY, Mode::empty()).context(|| "openat(\".\")".into())?;
            return of_tree(root).map(Some);
        }
        let stat = fstat(root).context(|| "fstat()".into())?;
        Ok(Some(self.sum.wrapping_add(entry(checksum::text(b""), likeness(&stat), 0))))
    }

    fn add(&mut self, number: u64) {
        self.sum = self.sum.wrapping_add(number);
    }

    fn name(&mut self, path: &[&[u8]]) -> u64 {
        self.path.clear();
        for part in path {
            self.path.extend_from_slice(part);
            self.path.push(b'/');
        }
        checksum::text(&self.path)
    }
}

/// The number of one name.
fn entry(name: u64, likeness: Likeness, content: u64) -> u64 {
    let Likeness { mode, uid, gid, device } = likeness;
    // Every mode of a link is the same, whatever a file system shows.
    let mode = if mode & libc::S_IFMT == libc::S_IFLNK { libc::S_IFLNK } else { mode };
    let owner = u64::from(uid) << 32 | u64::from(gid);
    mix(mix(name, mix(u64::from(mode), owner)), mix(device, content))
}

fn with_capability(content: u64, capability: Option<&[u8]>) -> u64 {
    capability.map_or(content, |value| mix(content, checksum::text(value)))
}

fn likeness(stat: &FileStat) -> Likeness {
    if is_whiteout(stat) {
        // A sign has no owner.
        return Likeness { mode: libc::S_IFCHR, uid: 0, gid: 0, device: 0 };
    }
    let device = matches!(type_of(stat), SFlag::S_IFCHR | SFlag::S_IFBLK);
    Likeness { mode: stat.st_mode, uid: stat.st_uid, gid: stat.st_gid, device: if device { stat.st_rdev } else { 0 } }
}

/// The part of a name's number that is of its content.
fn content(directory: BorrowedFd<'_>, name: &[u8], stat: &FileStat, checksum: &mut Checksum) -> Result<u64> {
    content_and(directory, name, stat, checksum, |_| {})
}

/// The same, with something done with a file that was read.
fn content_and(
    directory: BorrowedFd<'_>,
    name: &[u8],
    stat: &FileStat,
    checksum: &mut Checksum,
    done: impl FnOnce(&File),
) -> Result<u64> {
    match type_of(stat) {
        SFlag::S_IFREG => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
            let file = File::from(openat(directory, name, flags, Mode::empty()).context(|| "openat()".into())?);
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let whole = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) >= size;
            let mut buffer = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER))];
            let mut at = 0;
            while at < size {
                let (start, end) = match whole {
                    true => (0, size),
                    false => match piece(&file, at, size)? {
                        Some(piece) => piece,
                        None => break,
                    },
                };
                at = start;
                while at < end {
                    let most = buffer.len().min(usize::try_from(end - at).unwrap_or(BUFFER));
                    let n = file.read_at(&mut buffer[..most], at).context(|| "pread()".into())?;
                    if n == 0 {
                        return Err(Error::corrupt("a file ends before its size"));
                    }
                    checksum.add(at, &buffer[..n]);
                    at += n as u64;
                }
            }
            done(&file);
            Ok(with_capability(checksum.finish(size), xattr::get(file.as_fd(), CAPABILITY)?.as_deref()))
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(directory, name).context(|| "readlinkat()".into())?;
            Ok(checksum::text(&target.into_vec()))
        }
        _ => Ok(0),
    }
}

/// The number of the tree below `root`. One directory is open at a time, whatever the depth.
///
/// # Errors
/// The failing call with the path.
pub(in super::super) fn of_tree(root: OwnedFd) -> Result<u64> {
    let mut walk = Walk { path: Vec::new(), sum: 0, checksum: Checksum::default() };
    let result = walk.tree(root);
    result.map_err(|e| e.context(format!("{:?}", String::from_utf8_lossy(&walk.path)))).map(|()| walk.sum)
}

struct Walk {
    /// That of the current directory, with a slash behind it, as in [`Tally::name`].
    path: Vec<u8>,
    sum: u64,
    checksum: Checksum,
}

impl Walk {
    fn tree(&mut self, root: OwnedFd) -> Result<()> {
        let mut here = root;
        self.directory(here.as_fd())?;
        // Names that are left in the directories on the way, and the lengths of their paths.
        let mut levels = vec![(names(here.as_fd(), usize::MAX)?, 0)];
        while let Some((left, length)) = levels.last_mut() {
            self.path.truncate(*length);
            let Some(name) = left.pop() else {
                levels.pop();
                if !levels.is_empty() {
                    here = openat(&here, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
                }
                continue;
            };
            self.path.extend_from_slice(&name);
            self.path.push(b'/');
            let stat = lstat(here.as_fd(), &name)?.ok_or_else(|| Error::corrupt("a name of nothing"))?;
            if type_of(&stat) == SFlag::S_IFDIR {
                let length = self.path.len();
                here = openat(&here, name.as_slice(), DIRECTORY, Mode::empty()).context(|| "openat()".into())?;
                self.directory(here.as_fd())?;
                levels.push((names(here.as_fd(), usize::MAX)?, length));
            } else {
                // A whole image is not to push out of the page cache what runs.
                let forget = |file: &File| {
                    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED); // a hint
                };
                let content = content_and(here.as_fd(), &name, &stat, &mut self.checksum, forget)?;
                self.add(entry(checksum::text(&self.path), likeness(&stat), content));
            }
        }
        Ok(())
    }

    fn directory(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        let stat = fstat(fd).context(|| "fstat()".into())?;
        let name = checksum::text(&self.path);
        self.add(entry(name, likeness(&stat), 0));
        // The other form of the sign is a file like any other.
        if is_opaque(fd, false)? {
            self.add(mix(name, OPAQUE));
        }
        Ok(())
    }

    fn add(&mut self, number: u64) {
        self.sum = self.sum.wrapping_add(number);
    }
}
