//! A tree as a tar archive.
//!
//! One directory is open at a time, whatever the depth; nothing is followed. Names come in order, so that the same tree
//! gives the same archive. Somebody may change the tree meanwhile: what vanishes is left out, what is moved ends the
//! archive with an error, and nothing outside of the tree is ever read.

use super::tar::{Member, Type};
use super::tar_writer::Writer;
use crate::error::{Context, Error, Result};
use crate::utils::entry::{DIRECTORY, NAMES, identity, lstat, names, occupied, open_regular, type_of};
use crate::utils::order;
use crate::utils::sys::xattr;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// What becomes of a tree's entries on their way into the archive.
pub trait View {
    /// Changes a member: its ids, its attributes.
    fn adapt(&self, member: &mut Member);

    /// Whether an entry is a sign that another one is gone, which archives write as `.wh.NAME`.
    fn is_whiteout(&self, stat: &FileStat) -> bool {
        let _ = stat;
        false
    }

    /// Whether a directory hides all below it, which archives write as `.wh..wh..opq`.
    ///
    /// # Errors
    /// The failing call.
    fn is_opaque(&self, directory: BorrowedFd<'_>) -> Result<bool> {
        let _ = directory;
        Ok(false)
    }

    /// The same for the directory that is packed.
    fn root_is_opaque(&self) -> bool {
        false
    }

    /// Whether the content of a directory on another file system than the one above it belongs to the tree.
    fn enters(&self, directory: BorrowedFd<'_>) -> bool {
        let _ = directory;
        true
    }

    /// Most bytes that the names on the way to one entry, and those of all files with several names, may take.
    fn memory(&self) -> usize {
        NAMES
    }
}

/// What is packed.
pub enum Source<'a> {
    /// A directory with all below it.
    Directory(OwnedFd),
    /// An entry of an open directory that is none itself.
    Entry(BorrowedFd<'a>, &'a [u8]),
}

/// Writes an archive of `source`, whose name in it is `path`: for a directory with a slash behind it, or empty for `./`
/// and members that do not begin with it.
///
/// # Errors
/// What reading the tree or writing the archive gives; `Kind::Conflict` for a directory that was moved meanwhile.
pub fn pack(source: Source<'_>, path: &[u8], view: &dyn View, out: &mut dyn Write) -> Result<()> {
    let mut packing = Packing { view, out: Writer::new(out), links: HashMap::new(), linked: 0, path: path.to_vec() };
    match source {
        Source::Directory(root) => {
            let stat = fstat(&root).context(|| "fstat(root)".into())?;
            packing.directory(root.as_fd(), &stat, view.root_is_opaque())?;
            packing.tree(root, &stat)?;
        }
        Source::Entry(parent, name) => {
            let missing = || Error::not_found(format!("{:?} vanished", String::from_utf8_lossy(path)));
            let stat = lstat(parent, name)?.ok_or_else(missing)?;
            packing.entry(parent, name, &stat, path.to_vec())?;
        }
    }
    packing.out.finish().map(drop)
}

struct Packing<'a> {
    view: &'a dyn View,
    out: Writer<&'a mut dyn Write>,
    /// First names of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// What these take.
    linked: usize,
    /// The current directory's, with a slash behind it unless it is the root.
    path: Vec<u8>,
}

/// A directory that is not done.
struct Level {
    /// Names that are left, last first.
    names: Vec<Vec<u8>>,
    /// What all of them occupied.
    bytes: usize,
    identity: (u64, u64),
    /// Length of its path.
    length: usize,
}

impl Packing<'_> {
    fn tree(&mut self, root: OwnedFd, stat: &FileStat) -> Result<()> {
        let (mut here, mut held) = (root, 0);
        let mut levels = vec![self.level(here.as_fd(), stat, &mut held)?];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.length);
            let device = level.identity.0;
            let Some(name) = level.names.pop() else {
                held -= level.bytes;
                levels.pop();
                if let Some(parent) = levels.last() {
                    let up = openat(&here, "..", DIRECTORY, Mode::empty()).context(|| "openat(\"..\")".into())?;
                    if identity(&fstat(&up).context(|| "fstat(\"..\")".into())?) != parent.identity {
                        let path = String::from_utf8_lossy(&self.path).into_owned();
                        return Err(Error::conflict(format!("directory {path:?} was moved while it was read")));
                    }
                    here = up;
                }
                continue;
            };
            let Some(stat) = lstat(here.as_fd(), &name)? else { continue };
            if type_of(&stat) != SFlag::S_IFDIR {
                let path = [&self.path[..], &name].concat();
                self.entry(here.as_fd(), &name, &stat, path)?;
                continue;
            }
            let fd = match openat(&here, name.as_slice(), DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(e) => return Err(self.error("openat", &name, e)),
            };
            self.path.extend_from_slice(&name);
            self.path.push(b'/');
            let stat = fstat(&fd).context(|| "fstat()".into())?;
            let opaque = self.view.is_opaque(fd.as_fd())?;
            self.directory(fd.as_fd(), &stat, opaque)?;
            if stat.st_dev != device && !self.view.enters(fd.as_fd()) {
                continue;
            }
            levels.push(self.level(fd.as_fd(), &stat, &mut held)?);
            here = fd;
        }
        Ok(())
    }

    /// The current directory as one that is not done.
    fn level(&self, fd: BorrowedFd<'_>, stat: &FileStat, held: &mut usize) -> Result<Level> {
        let names = names(fd, self.view.memory().saturating_sub(*held));
        let names = names.context(|| format!("{:?}", String::from_utf8_lossy(&self.path)))?;
        let bytes = occupied(&names);
        *held += bytes;
        Ok(Level { names, bytes, identity: identity(stat), length: self.path.len() })
    }

    /// Notes the name under which a file that has several was written.
    fn remember(&mut self, stat: &FileStat, path: &[u8]) {
        // Beyond, each name is a file of its own.
        if stat.st_nlink > 1 && self.linked < self.view.memory() {
            self.linked += path.len() + size_of::<((u64, u64), Vec<u8>)>();
            self.links.insert(identity(stat), path.to_vec());
        }
    }

    /// The current directory itself.
    fn directory(&mut self, fd: BorrowedFd<'_>, stat: &FileStat, opaque: bool) -> Result<()> {
        let path = if self.path.is_empty() { b"./".to_vec() } else { self.path.clone() };
        let member = Member { xattrs: self.attributes(fd)?, ..self.member(Type::Directory, path, stat) };
        self.write(member, &mut std::io::empty())?;
        if opaque {
            self.sign(b".wh..wh..opq", stat)?;
        }
        Ok(())
    }

    fn entry(&mut self, here: BorrowedFd<'_>, name: &[u8], stat: &FileStat, path: Vec<u8>) -> Result<()> {
        if self.view.is_whiteout(stat) {
            return self.sign(&[b".wh.", name].concat(), stat);
        }
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&identity(stat))
        {
            let member = Member { link: first.clone(), size: 0, ..self.member(Type::HardLink, path, stat) };
            return self.write(member, &mut std::io::empty());
        }
        let kind = match type_of(stat) {
            SFlag::S_IFREG => return self.file(here, name, path),
            SFlag::S_IFLNK => Type::Symlink,
            SFlag::S_IFCHR => Type::Char,
            SFlag::S_IFBLK => Type::Block,
            SFlag::S_IFIFO => Type::Fifo,
            // A socket is nothing without the process that made it.
            _ => return Ok(()),
        };
        let mut member = Member { size: 0, ..self.member(kind, path, stat) };
        match kind {
            Type::Symlink => match readlinkat(here, name) {
                Ok(target) => member.link = target.into_vec(),
                Err(Errno::ENOENT | Errno::EINVAL) => return Ok(()),
                Err(e) => return Err(self.error("readlinkat", name, e)),
            },
            Type::Char | Type::Block => member.device = (major(stat.st_rdev), minor(stat.st_rdev)),
            _ => {}
        }
        self.remember(stat, &member.path);
        self.write(member, &mut std::io::empty())
    }

    fn file(&mut self, here: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<()> {
        let fd = match open_regular(here, name, OFlag::O_RDONLY) {
            Ok(Some(fd)) => fd,
            // It vanished, or is something else by now.
            Ok(None) | Err(Errno::ENOENT) => return Ok(()),
            Err(e) => return Err(self.error("openat", name, e)),
        };
        let stat = fstat(&fd).context(|| "fstat()".into())?;
        self.remember(&stat, &path);
        let member = Member { xattrs: self.attributes(fd.as_fd())?, ..self.member(Type::Regular, path, &stat) };
        self.write(member, &mut File::from(fd))
    }

    /// An empty file whose name says something, and nothing else about it does.
    fn sign(&mut self, name: &[u8], stat: &FileStat) -> Result<()> {
        let path = [&self.path, name].concat();
        let sign = self.member(Type::Regular, path, stat);
        self.out.member(&Member { size: 0, mode: 0, uid: 0, gid: 0, mtime: (0, 0), ..sign }, &mut std::io::empty())
    }

    fn attributes(&self, fd: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let all = xattr::all(fd)?.into_iter().map(|(name, value)| (name.into_bytes(), value));
        // overlayfs's own, and what this machine's policy gave the file: neither is the tree's.
        let own = |name: &[u8]| {
            name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name == b"security.selinux"
        };
        let mut kept: Vec<_> = all.filter(|(name, _)| !own(name)).collect();
        order::sort(&mut kept);
        Ok(kept)
    }

    fn write(&mut self, mut member: Member, data: &mut dyn std::io::Read) -> Result<()> {
        self.view.adapt(&mut member);
        self.out.member(&member, data)
    }

    fn member(&self, kind: Type, path: Vec<u8>, stat: &FileStat) -> Member {
        Member {
            kind,
            path,
            link: Vec::new(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime as _, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            device: (0, 0),
            size: if kind == Type::Regular { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    fn error(&self, call: &str, name: &[u8], e: Errno) -> Error {
        let path = [&self.path, name].concat();
        Error::os(format!("{call}({:?})", String::from_utf8_lossy(&path)), e as i32)
    }
}
