//! Puts the members of a tar archive below a directory that is in use.
//!
//! Neither the archive nor whoever changes the tree meanwhile can make anything happen outside of the root: the way to a
//! member's directory is resolved in it, the last component is never followed, and what was made is touched through its
//! descriptor. Memory does not grow with the archive.

use super::Decompressed;
use super::metadata::{device, modified, set_metadata, set_node_metadata};
use super::tar::{Member, Reader, Type};
use crate::error::{Context, Error, Result};
use crate::utils::entry::{DIRECTORY, identity, lstat, open_regular, type_of};
use crate::utils::path::{Links, Root};
use crate::utils::remove_tree::remove_unmounted;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, futimens, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, linkat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How often a file is made anew that somebody else makes at the same time.
const CROSSINGS: usize = 16;

/// How members become files.
pub struct Rules<'a> {
    /// Whether directories on the way may be links, which lead to places in the root.
    pub links: Links,
    /// A directory stays one and anything else none: what is there is not replaced by the other.
    pub keep_kind: bool,
    /// Owner of directories that no member describes; [`super::metadata::SAME`] is the caller.
    pub owner: (u32, u32),
    /// Changes a member before anything is made of it: its path, its ids, its attributes.
    pub adapt: &'a dyn Fn(&mut Member) -> Result<()>,
    /// Asked again and again whether to go on.
    pub check: &'a dyn Fn() -> Result<()>,
}

/// Extracts all members below the directory `base` of `root`, and reads the archive to the end of its source.
///
/// # Errors
/// The archive's; `Kind::Invalid` for a member that leads out of the directory or cannot be made as it says; the failing
/// call. What was made by then stays.
pub fn extract(archive: &mut Decompressed<'_>, root: &Root, base: &Path, rules: Rules<'_>) -> Result<()> {
    let mut reader = Reader::new(archive);
    let mut extraction = Extraction { root, base, rules, here: None, times: Vec::new() };
    while let Some(mut member) = reader.next_member()? {
        let named = |member: &Member| format!("extract {:?}", String::from_utf8_lossy(&member.path));
        (extraction.rules.check)()?;
        (extraction.rules.adapt)(&mut member).map_err(|e| e.context(named(&member)))?;
        extraction.member(&member, &mut reader).map_err(|e| e.context(named(&member)))?;
    }
    extraction.leave(&[])?;
    // Whoever sends it wants all of it read.
    std::io::copy(reader.into_inner(), &mut std::io::sink()).map(drop).map_err(super::read_error)
}

type Archive<'r, 'd> = Reader<&'r mut Decompressed<'d>>;

struct Extraction<'a> {
    root: &'a Root,
    base: &'a Path,
    rules: Rules<'a>,
    /// The directory of the last member, by its path below the base.
    here: Option<(Vec<u8>, OwnedFd)>,
    /// Directories with members of their own that are not done, by their paths: their times come when they are.
    times: Vec<(Vec<u8>, TimeSpec)>,
}

/// What is to be made.
struct Place<'a> {
    parent: BorrowedFd<'a>,
    name: &'a [u8],
}

impl Place<'_> {
    /// Whether this file is what has the name.
    fn is(&self, file: &File) -> bool {
        let there = lstat(self.parent, self.name).ok().flatten();
        fstat(file).is_ok_and(|own| there.is_some_and(|there| identity(&own) == identity(&there)))
    }

    /// Removes what is there; EBUSY for what is mounted there or below it.
    fn clear(&self) -> Result<()> {
        remove_unmounted(self.parent, self.name)
    }
}

impl Extraction<'_> {
    fn member(&mut self, member: &Member, archive: &mut Archive<'_, '_>) -> Result<()> {
        let path = components(&member.path)?;
        let Some((&name, parent)) = path.split_last() else {
            // The directory itself is whose it is.
            return match member.kind {
                Type::Directory => Ok(()),
                _ => Err(Error::invalid("a member other than a directory stands for the destination")),
            };
        };
        self.leave(&path)?;
        let target = match member.kind {
            Type::HardLink => Some(self.link_target(member)?),
            _ => None,
        };
        self.enter(parent)?;
        let Some((_, here)) = self.here.take() else { return Err(Error::internal("no directory was entered")) };
        let place = Place { parent: here.as_fd(), name };
        let before = lstat(here.as_fd(), name)?;
        let made = match member.kind {
            Type::Directory => self.directory(&place, &path, member, before),
            _ => self.entry(&place, member, before, target, archive),
        };
        // What stood in the way of one may have been the directory of the next.
        if matches!(made, Ok(true)) {
            self.here = Some((parent.join(&b'/'), here));
        }
        made.map(drop)
    }

    /// Leaves the directories that `path` does not lie in.
    fn leave(&mut self, path: &[&[u8]]) -> Result<()> {
        let path = path.join(&b'/');
        let inside = |directory: &[u8]| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"));
        while let Some((directory, time)) = self.times.pop_if(|(directory, _)| !inside(directory)) {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            match self.root.open_at(&self.below(&directory), flags, self.rules.links) {
                Ok(fd) => futimens(&fd, &TimeSpec::UTIME_OMIT, &time).context(|| "futimens()".into())?,
                // Somebody else's by now.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => {}
                Err(e) => return Err(Error::os(format!("open({:?})", lossy(&directory)), e as i32)),
            }
        }
        Ok(())
    }

    fn below(&self, path: &[u8]) -> PathBuf {
        self.base.join(OsStr::from_bytes(path))
    }

    fn open(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        self.root.open_at(&self.below(path), OFlag::O_PATH | OFlag::O_DIRECTORY, self.rules.links)
    }

    /// Goes to a directory, making it and those above it where they are missing.
    fn enter(&mut self, directory: &[&[u8]]) -> Result<()> {
        let path = directory.join(&b'/');
        if self.here.as_ref().is_some_and(|(here, _)| *here == path) {
            return Ok(());
        }
        let failed = |path: &[u8], e: Errno| match e {
            Errno::ELOOP if self.rules.links == Links::Refuse => {
                Error::invalid(format!("the way to {:?} leads through a symbolic link", lossy(path)))
            }
            Errno::ENOTDIR => Error::invalid(format!("{:?} is on the way and no directory", lossy(path))),
            e => Error::os(format!("open({:?})", lossy(path)), e as i32),
        };
        let fd = match self.open(&path) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => {
                let mut fd = self.open(b"").map_err(|e| failed(b".", e))?;
                for n in 0..directory.len() {
                    let path = directory[..=n].join(&b'/');
                    fd = match self.open(&path) {
                        Ok(fd) => fd,
                        Err(Errno::ENOENT) => self.make(fd.as_fd(), directory[n])?,
                        Err(e) => return Err(failed(&path, e)),
                    };
                }
                fd
            }
            Err(e) => return Err(failed(&path, e)),
        };
        self.here = Some((path, fd));
        Ok(())
    }

    /// Makes and opens a directory that no member describes so far.
    fn make(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
        let call = |call: &str| format!("{call}({:?})", lossy(name));
        mkdirat(parent, name, Mode::S_IRWXU).context(|| call("mkdir"))?;
        let fd = openat(parent, name, DIRECTORY, Mode::empty()).context(|| call("open"))?;
        let (uid, gid) = self.rules.owner;
        fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).context(|| call("chown"))?;
        fchmod(&fd, Mode::from_bits_truncate(0o755)).context(|| call("chmod"))?;
        Ok(fd)
    }

    /// Gives whether the current directory is as it was.
    fn directory(&mut self, at: &Place<'_>, path: &[&[u8]], member: &Member, before: Option<FileStat>) -> Result<bool> {
        let replaced = before.is_some_and(|stat| type_of(&stat) != SFlag::S_IFDIR);
        if replaced {
            if self.rules.keep_kind {
                return Err(Error::invalid("cannot overwrite non-directory with directory"));
            }
            at.clear()?;
        }
        if before.is_none() || replaced {
            mkdirat(at.parent, at.name, Mode::S_IRWXU).context(|| "mkdirat()".into())?;
        }
        let fd = openat(at.parent, at.name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())?;
        set_metadata(fd.as_fd(), member)?;
        self.times.push((path.join(&b'/'), modified(member)));
        Ok(!replaced)
    }

    fn entry(
        &mut self,
        at: &Place<'_>,
        member: &Member,
        before: Option<FileStat>,
        target: Option<(OwnedFd, Vec<u8>, FileStat)>,
        archive: &mut Archive<'_, '_>,
    ) -> Result<bool> {
        if let Some(stat) = &before {
            let directory = type_of(stat) == SFlag::S_IFDIR;
            if directory && self.rules.keep_kind {
                return Err(Error::invalid("cannot overwrite directory with non-directory"));
            }
            if target.as_ref().is_some_and(|(.., target)| identity(target) == identity(stat)) {
                return Ok(true);
            }
            match at.clear() {
                // A file that is mounted there keeps its place and gets the content.
                Err(e) if e.errno() == Some(libc::EBUSY) && !directory && member.kind == Type::Regular => {
                    return self.overwrite(at, member, archive).map(|()| true);
                }
                cleared => cleared?,
            }
        }
        match member.kind {
            Type::Regular => self.file(at, member, archive)?,
            Type::HardLink => {
                let (old, name, _) = target.ok_or_else(|| Error::internal("a hard link without target"))?;
                linkat(&old, name.as_slice(), at.parent, at.name, AtFlags::empty()).context(|| "linkat()".into())?;
            }
            Type::Symlink => {
                symlinkat(member.link.as_slice(), at.parent, at.name).context(|| "symlinkat()".into())?;
                set_node_metadata(at.parent, at.name, SFlag::S_IFLNK, member)?;
            }
            _ => {
                let (kind, device) = match member.kind {
                    Type::Char => (SFlag::S_IFCHR, device(member)?),
                    Type::Block => (SFlag::S_IFBLK, device(member)?),
                    _ => (SFlag::S_IFIFO, 0),
                };
                let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                mknodat(at.parent, at.name, kind, mode, device).context(|| "mknodat()".into())?;
                set_node_metadata(at.parent, at.name, kind, member)?;
            }
        }
        Ok(before.is_none_or(|stat| type_of(&stat) != SFlag::S_IFDIR))
    }

    fn file(&self, at: &Place<'_>, member: &Member, archive: &mut Archive<'_, '_>) -> Result<()> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let create = || openat(at.parent, at.name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let mut fd = create();
        // Two may copy to one name at once: the last one has it.
        for _ in 0..CROSSINGS {
            if !matches!(fd, Err(Errno::EEXIST)) {
                break;
            }
            let _ = unlinkat(at.parent, at.name, UnlinkatFlags::NoRemoveDir); // a directory stays, and is reported
            fd = create();
        }
        let file = File::from(fd.context(|| "openat(O_CREAT)".into())?);
        let written = self.fill(&file, member, archive);
        // Half a file is none; what another one has put in its place is.
        if written.is_err() && at.is(&file) {
            let _ = unlinkat(at.parent, at.name, UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    fn overwrite(&self, at: &Place<'_>, member: &Member, archive: &mut Archive<'_, '_>) -> Result<()> {
        let opened = open_regular(at.parent, at.name, OFlag::O_WRONLY).context(|| "openat(O_WRONLY)".into())?;
        let file = File::from(opened.ok_or_else(|| Error::os("a file system is mounted there", libc::EBUSY))?);
        file.set_len(0).context(|| "ftruncate()".into())?;
        self.fill(&file, member, archive)
    }

    /// Copies the data of the current member, leaving holes where the archive has none, and the rest about the file.
    fn fill(&self, file: &File, member: &Member, archive: &mut Archive<'_, '_>) -> Result<()> {
        let mut copy = |mut left: u64| -> Result<()> {
            let mut file = file;
            while left > 0 {
                (self.rules.check)()?;
                let data = archive.data()?;
                let n = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                if n == 0 {
                    return Err(Error::corrupt("a file has less data than it says"));
                }
                file.write_all(&data[..n]).context(|| "write()".into())?;
                archive.advance(n);
                left -= n as u64;
            }
            Ok(())
        };
        match &member.sparse {
            None => copy(member.size)?,
            Some(pieces) => {
                for &(offset, length) in pieces {
                    (&mut &*file).seek(SeekFrom::Start(offset)).context(|| "lseek()".into())?;
                    copy(length)?;
                }
                file.set_len(member.size).context(|| "ftruncate()".into())?;
            }
        }
        set_metadata(file.as_fd(), member)
    }

    /// What a hard link is a further name of: its directory, its name there, what is there.
    fn link_target(&self, member: &Member) -> Result<(OwnedFd, Vec<u8>, FileStat)> {
        let target = components(&member.link)?;
        let Some((&name, parent)) = target.split_last() else {
            return Err(Error::invalid("a hard link to the destination"));
        };
        let missing = || Error::invalid(format!("hard link to {:?}, which is not there", lossy(&member.link)));
        let directory = match self.open(&parent.join(&b'/')) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Err(missing()),
            opened => opened.context(|| format!("open({:?})", lossy(&parent.join(&b'/'))))?,
        };
        let stat = lstat(directory.as_fd(), name)?.ok_or_else(missing)?;
        if type_of(&stat) == SFlag::S_IFDIR {
            return Err(Error::invalid(format!("hard link to the directory {:?}", lossy(&member.link))));
        }
        Ok((directory, name.to_vec(), stat))
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The components of a path as the words say it.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let out = || Error::invalid(format!("{:?} leads out of the destination", lossy(path)));
                parts.pop().ok_or_else(out)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
