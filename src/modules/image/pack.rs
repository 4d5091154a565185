//! A tree as a tar archive: a layer in the form that is exchanged, or a root file system as it is seen.
//!
//! One directory is open at a time, whatever the depth; nothing is followed. Names come in order, so that the same tree
//! gives the same archive.

use super::signs::{OPAQUE_ATTRIBUTE, is_whiteout};
use super::tree::{DIRECTORY, lstat, type_of};
use crate::error::{Context, Error, Result};
use crate::modules::remap::Ids;
use crate::utils::archive::tar::{Member, Type};
use crate::utils::archive::tar_writer::Writer;
use crate::utils::order;
use crate::utils::sys::xattr;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// What the archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A layer: overlayfs's signs become those of archives.
    Layer {
        /// It hides everything below it.
        opaque: bool,
    },
    /// A root file system.
    Root,
}

/// Writes the tree below `root`, the root itself included, with `ids` in the place of those on the disk.
///
/// # Errors
/// What reading the tree or writing the archive gives. What vanishes meanwhile is left out.
pub fn pack<W: Write>(root: OwnedFd, form: Form, ids: Ids<'_>, out: W) -> Result<W> {
    let stat = fstat(&root).context(|| "fstat(root)".into())?;
    let mut packing = Packing { form, ids, out: Writer::new(out), links: HashMap::new(), path: Vec::new() };
    packing.directory(root.as_fd(), &stat, matches!(form, Form::Layer { opaque: true }))?;
    packing.tree(root, &stat)?;
    packing.out.finish()
}

struct Packing<'a, W> {
    form: Form,
    ids: Ids<'a>,
    out: Writer<W>,
    /// First names of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// The current directory's, with a slash behind it unless it is the root.
    path: Vec<u8>,
}

/// A directory that is not done.
struct Level {
    /// Names that are left, last first.
    names: Vec<Vec<u8>>,
    identity: (u64, u64),
    /// Length of its path.
    length: usize,
}

impl<W: Write> Packing<'_, W> {
    fn tree(&mut self, root: OwnedFd, stat: &FileStat) -> Result<()> {
        let mut here = root;
        let mut levels = vec![Level { names: names(here.as_fd())?, identity: identity(stat), length: 0 }];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.length);
            let Some(name) = level.names.pop() else {
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
                self.entry(here.as_fd(), &name, &stat)?;
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
            let opaque = matches!(self.form, Form::Layer { .. }) && xattr::get(fd.as_fd(), OPAQUE_ATTRIBUTE)?.is_some();
            self.directory(fd.as_fd(), &stat, opaque)?;
            levels.push(Level { names: names(fd.as_fd())?, identity: identity(&stat), length: self.path.len() });
            here = fd;
        }
        Ok(())
    }

    /// The current directory itself.
    fn directory(&mut self, fd: BorrowedFd<'_>, stat: &FileStat, opaque: bool) -> Result<()> {
        let path = if self.path.is_empty() { b"./".to_vec() } else { self.path.clone() };
        let member = Member { xattrs: self.attributes(fd)?, ..self.member(Type::Directory, path, stat) };
        self.out.member(&member, &mut std::io::empty())?;
        if opaque {
            self.sign(b".wh..wh..opq", stat)?;
        }
        Ok(())
    }

    fn entry(&mut self, here: BorrowedFd<'_>, name: &[u8], stat: &FileStat) -> Result<()> {
        if matches!(self.form, Form::Layer { .. }) && is_whiteout(stat) {
            return self.sign(&[b".wh.", name].concat(), stat);
        }
        let path = [&self.path, name].concat();
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity(stat)) {
                let member = Member { link: first.clone(), size: 0, ..self.member(Type::HardLink, path, stat) };
                return self.out.member(&member, &mut std::io::empty());
            }
            self.links.insert(identity(stat), path.clone());
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
        self.out.member(&member, &mut std::io::empty())
    }

    fn file(&mut self, here: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<()> {
        // Should it be a fifo by now, nobody waits for its other end.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let fd = match openat(here, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(()),
            Err(e) => return Err(self.error("openat", name, e)),
        };
        let stat = fstat(&fd).context(|| "fstat()".into())?;
        if type_of(&stat) != SFlag::S_IFREG {
            return Ok(());
        }
        let member = Member { xattrs: self.attributes(fd.as_fd())?, ..self.member(Type::Regular, path, &stat) };
        self.out.member(&member, &mut File::from(fd))
    }

    /// An empty file whose name says something, and nothing else about it does.
    fn sign(&mut self, name: &[u8], stat: &FileStat) -> Result<()> {
        let path = [&self.path, name].concat();
        let member =
            Member { size: 0, mode: 0, uid: 0, gid: 0, mtime: (0, 0), ..self.member(Type::Regular, path, stat) };
        self.out.member(&member, &mut std::io::empty())
    }

    fn attributes(&self, fd: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let all = xattr::all(fd)?.into_iter().map(|(name, value)| (name.into_bytes(), value));
        // overlayfs's own, and what this machine's policy gave the file: neither is the tree's.
        let own = |name: &[u8]| {
            name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name == b"security.selinux"
        };
        let shifted = |(name, value): (Vec<u8>, _)| {
            let value = self.ids.attribute(&name, value);
            (name, value)
        };
        let mut kept: Vec<_> = all.filter(|(name, _)| !own(name)).map(shifted).collect();
        order::sort(&mut kept);
        Ok(kept)
    }

    fn member(&self, kind: Type, path: Vec<u8>, stat: &FileStat) -> Member {
        Member {
            kind,
            path,
            link: Vec::new(),
            mode: stat.st_mode & 0o7777,
            uid: self.ids.uid(stat.st_uid),
            gid: self.ids.gid(stat.st_gid),
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

fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// The names in a directory, last first.
///
/// # Errors
/// The failing call.
pub fn names(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let own = openat(fd, ".", DIRECTORY, Mode::empty()).context(|| "openat(\".\")".into())?;
    let mut directory = Dir::from_fd(own).context(|| "fdopendir()".into())?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let entry = entry.context(|| "readdir()".into())?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    order::sort_by(&mut names, |a, b| b.cmp(a));
    Ok(names)
}

#[cfg(test)]
mod tests;
