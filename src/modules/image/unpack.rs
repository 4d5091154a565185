//! Unpacks one layer into an empty directory, in the form in which overlayfs wants layers.
//!
//! Whatever the archive says, its effects stay below that directory: see `super::tree` for the way there. The last
//! component is never followed. Deletions become overlayfs's own signs (kernel documentation, overlayfs.rst): a
//! character device 0:0 for a whiteout, the attribute `trusted.overlay.opaque` for an opaque directory; the same signs
//! in the archive itself are not taken over, or a layer could redirect reads to other paths.

use super::budget::{Budget, ENTRY};
use super::tree::{DIRECTORY, Missing, Tree, WHITEOUT, components, lstat, path_text, type_of};
use crate::error::{Context, Error, Result};
use crate::utils::archive::tar::{Member, Reader, Type};
use crate::utils::remove_tree::remove_at;
use crate::utils::sys::descriptor::start_writeback;
use crate::utils::sys::xattr;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::FchmodatFlags;
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that an older layer format kept its own records under.
const RECORDS: &[u8] = b".wh..wh.";
pub(super) const OPAQUE_ATTRIBUTE: &CStr = c"trusted.overlay.opaque";
/// Bytes of a file after which the kernel is told to begin writing, so that the wait at the end of a large layer is a
/// short one and its pages can be taken back before.
const WRITEBACK: usize = 4 << 20;
/// What the kernel's device numbers hold (linux/kdev_t.h).
const MAJOR_LIMIT: u64 = 1 << 12;
const MINOR_LIMIT: u64 = 1 << 20;

/// What an unpacked layer amounts to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of its files.
    pub size: u64,
    /// Whether it hides everything below it. overlayfs merges roots always, so whoever stacks layers must stop here.
    pub opaque: bool,
}

/// Unpacks all members below the empty directory `root`. `limit` is for the sizes of all files together and something for
/// each entry.
///
/// # Errors
/// The archive's (see [`Reader::next_member`]); `Kind::Invalid` for a member that cannot be made as it says, and beyond
/// the limit; `Kind::Os(ENOSPC)` before the file system is full; the failing call. The directory is to be thrown away
/// then.
pub fn unpack<R: BufRead>(archive: &mut Reader<R>, root: OwnedFd, limit: Option<u64>) -> Result<Unpacked> {
    let budget = Budget::new(root.as_fd(), limit)?;
    let mut unpacking = Unpacking { tree: Tree::new(root)?, budget, result: Unpacked::default() };
    while let Some(member) = archive.next_member()? {
        unpacking
            .member(&member, archive)
            .map_err(|e| e.context(format!("unpack {:?}", String::from_utf8_lossy(&member.path))))?;
    }
    unpacking.tree.finish()?;
    Ok(unpacking.result)
}

struct Unpacking {
    tree: Tree,
    budget: Budget,
    result: Unpacked,
}

impl Unpacking {
    fn member<R: BufRead>(&mut self, member: &Member, archive: &mut Reader<R>) -> Result<()> {
        // With the directories that the last member needed and that have no member of their own.
        let attributes = member.xattrs.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
        let entries = (1 + self.tree.take_made()) * ENTRY + attributes;
        self.budget.count(entries.saturating_add(member.size))?;
        self.budget.write(entries)?;
        let path = components(&member.path);
        let Some((&name, parent)) = path.split_last() else { return self.root(member) };
        if name == OPAQUE {
            return self.opaque(parent);
        }
        if path.iter().any(|c| c.starts_with(RECORDS)) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(parent, hidden);
        }
        if member.kind == Type::HardLink {
            return self.hard_link(parent, name, member);
        }
        self.tree.enter(parent, Missing::Create)?;
        if member.kind == Type::Directory {
            return self.directory(name, member);
        }
        if member.kind == Type::Char && member.device == (0, 0) {
            return Ok(()); // overlayfs's whiteout: a layer has its own form for that
        }
        if let Err(e) = self.make(name, member, archive) {
            if e.errno() != Some(libc::EEXIST) {
                return Err(e);
            }
            remove_at(self.tree.current(), name)?;
            self.make(name, member, archive)?;
        }
        Ok(())
    }

    /// The root itself: its owner, mode and time, never another kind of thing in its place.
    fn root(&mut self, member: &Member) -> Result<()> {
        if member.kind != Type::Directory {
            return Err(Error::invalid("a member other than a directory stands for the root"));
        }
        set_metadata(self.tree.root(), member)?;
        self.tree.set_root_time(modified(member));
        Ok(())
    }

    fn directory(&mut self, name: &[u8], member: &Member) -> Result<()> {
        let here = self.tree.current();
        let before = match mkdirat(here, name, Mode::S_IRWXU) {
            Ok(()) => None,
            Err(Errno::EEXIST) => lstat(here, name)?,
            Err(e) => return Err(Error::os("mkdirat()", e as i32)),
        };
        if let Some(before) = before.as_ref().filter(|b| type_of(b) != SFlag::S_IFDIR) {
            remove_at(here, name)?;
            mkdirat(here, name, Mode::S_IRWXU).context(|| "mkdirat()".into())?;
            if is_whiteout(before) {
                // Deleted and made anew in one layer: what lower layers had in it stays hidden.
                set_opaque(open_directory(here, name)?.as_fd())?;
            }
        }
        set_metadata(open_directory(here, name)?.as_fd(), member)?;
        self.tree.changed();
        Ok(())
    }

    /// Makes what is neither directory nor hard link; EEXIST when something is there.
    fn make<R: BufRead>(&mut self, name: &[u8], member: &Member, archive: &mut Reader<R>) -> Result<()> {
        let here = self.tree.current();
        match member.kind {
            Type::Regular => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let fd =
                    openat(here, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).context(|| "openat(O_CREAT)".into())?;
                let file = File::from(fd);
                write(&file, member, archive, &mut self.budget)?;
                set_metadata(file.as_fd(), member)?;
                self.result.size = self.result.size.saturating_add(member.size);
            }
            Type::Symlink => {
                symlinkat(member.link.as_slice(), here, name).context(|| "symlinkat()".into())?;
                set_metadata_at(here, name, member)?;
            }
            Type::Char | Type::Block | Type::Fifo => {
                let (kind, device) = match member.kind {
                    Type::Char => (SFlag::S_IFCHR, device(member)?),
                    Type::Block => (SFlag::S_IFBLK, device(member)?),
                    _ => (SFlag::S_IFIFO, 0),
                };
                mknodat(here, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, device).context(|| "mknodat()".into())?;
                set_metadata_at(here, name, member)?;
            }
            Type::Directory | Type::HardLink => return Err(Error::internal("made elsewhere")),
        }
        self.tree.changed();
        Ok(())
    }

    /// A further name of what an earlier member made. Its own metadata is not applied; a link as target is not
    /// followed, the new name is a second one of the link.
    fn hard_link(&mut self, parent: &[&[u8]], name: &[u8], member: &Member) -> Result<()> {
        let target = components(&member.link);
        let Some((&target_name, target_parent)) = target.split_last() else {
            return Err(Error::invalid("a hard link to the root"));
        };
        let missing = || Error::invalid(format!("hard link to {:?}, which is not there", path_text(&target)));
        if !self.tree.enter(target_parent, Missing::Stop)? {
            return Err(missing());
        }
        let old = self.tree.current().try_clone_to_owned().context(|| "dup()".into())?;
        let stat = lstat(old.as_fd(), target_name)?.ok_or_else(missing)?;
        if type_of(&stat) == SFlag::S_IFDIR {
            return Err(Error::invalid(format!("hard link to the directory {:?}", path_text(&target))));
        }
        if is_whiteout(&stat) {
            return Err(missing());
        }
        self.tree.enter(parent, Missing::Create)?;
        let here = self.tree.current();
        if let Some(there) = lstat(here, name)? {
            if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(());
            }
            remove_at(here, name)?;
        }
        // What stood in the way may have been a directory with the target in it.
        match linkat(&old, target_name, here, name, AtFlags::empty()) {
            Ok(()) => self.tree.changed(),
            Err(Errno::ENOENT) => return Err(missing()),
            Err(e) => return Err(Error::os("linkat()", e as i32)),
        }
        Ok(())
    }

    /// Hides `name` of lower layers. What the same layer has under the name stays, but stands alone.
    fn whiteout(&mut self, parent: &[&[u8]], name: &[u8]) -> Result<()> {
        if matches!(name, b"" | b"." | b"..") {
            return Err(Error::invalid("a whiteout that names nothing, its directory or the one above"));
        }
        self.tree.enter(parent, Missing::Create)?;
        let here = self.tree.current();
        match lstat(here, name)? {
            None => {
                mknodat(here, name, SFlag::S_IFCHR, Mode::empty(), 0).context(|| "mknodat(whiteout)".into())?;
                self.tree.changed();
                Ok(())
            }
            Some(stat) if type_of(&stat) == SFlag::S_IFDIR => set_opaque(open_directory(here, name)?.as_fd()),
            Some(_) => Ok(()),
        }
    }

    fn opaque(&mut self, path: &[&[u8]]) -> Result<()> {
        self.tree.enter(path, Missing::Create)?;
        let here = fstat(self.tree.current()).context(|| "fstat()".into())?;
        let root = fstat(self.tree.root()).context(|| "fstat()".into())?;
        if (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino) {
            self.result.opaque = true;
            return Ok(());
        }
        set_opaque(self.tree.current())
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    openat(parent, name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())
}

fn set_opaque(directory: BorrowedFd<'_>) -> Result<()> {
    xattr::set(directory, OPAQUE_ATTRIBUTE, b"y")
}

pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    type_of(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn device(member: &Member) -> Result<libc::dev_t> {
    let (major, minor) = member.device;
    if major >= MAJOR_LIMIT || minor >= MINOR_LIMIT {
        return Err(Error::invalid(format!("device number {major}:{minor} is out of range")));
    }
    Ok(makedev(major as _, minor as _))
}

/// Copies the data of the current member, leaving holes where the archive has none.
fn write<R: BufRead>(file: &File, member: &Member, archive: &mut Reader<R>, budget: &mut Budget) -> Result<()> {
    let mut dirty = 0;
    let mut copy = |mut left: u64| -> Result<()> {
        let mut file = file;
        while left > 0 {
            let data = archive.data()?;
            let n = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(Error::corrupt("a file has less data than it says"));
            }
            budget.write(n as u64)?;
            file.write_all(&data[..n]).context(|| "write()".into())?;
            archive.advance(n);
            left -= n as u64;
            dirty += n;
            if dirty >= WRITEBACK {
                start_writeback(file);
                dirty = 0;
            }
        }
        Ok(())
    };
    let Some(pieces) = &member.sparse else { return copy(member.size) };
    for &(offset, length) in pieces {
        (&mut &*file).seek(SeekFrom::Start(offset)).context(|| "lseek()".into())?;
        copy(length)?;
    }
    file.set_len(member.size).context(|| "ftruncate()".into())
}

fn modified(member: &Member) -> TimeSpec {
    TimeSpec::new(member.mtime.0 as _, member.mtime.1 as _)
}

fn owner(member: &Member) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
}

/// Owner first, since a change of it takes set-id bits and capabilities away; the time last.
fn set_metadata(fd: BorrowedFd<'_>, member: &Member) -> Result<()> {
    let (uid, gid) = owner(member);
    fchown(fd, uid, gid).context(|| format!("fchown({}, {})", member.uid, member.gid))?;
    fchmod(fd, Mode::from_bits_truncate(member.mode as _)).context(|| format!("fchmod({:o})", member.mode))?;
    for (name, value) in &member.xattrs {
        set_attribute(name, member.kind, |name| xattr::set(fd, name, value))?;
    }
    futimens(fd, &TimeSpec::UTIME_OMIT, &modified(member)).context(|| "futimens()".into())
}

/// The same for what cannot be opened: links and devices.
fn set_metadata_at(parent: BorrowedFd<'_>, name: &[u8], member: &Member) -> Result<()> {
    let (uid, gid) = owner(member);
    fchownat(parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
        .context(|| format!("fchownat({}, {})", member.uid, member.gid))?;
    if member.kind != Type::Symlink {
        // Not a link: it was made a moment ago, in a tree that nobody else changes.
        fchmodat(parent, name, Mode::from_bits_truncate(member.mode as _), FchmodatFlags::FollowSymlink)
            .context(|| format!("fchmodat({:o})", member.mode))?;
    }
    if !member.xattrs.is_empty() {
        let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        let path = CString::new(path).map_err(|_| Error::invalid("a name with a NUL"))?;
        for (name, value) in &member.xattrs {
            set_attribute(name, member.kind, |name| xattr::set_link(&path, name, value))?;
        }
    }
    utimensat(parent, name, &TimeSpec::UTIME_OMIT, &modified(member), UtimensatFlags::NoFollowSymlink)
        .context(|| "utimensat()".into())
}

/// Sets an attribute unless it is overlayfs's own. A file system or kind of file that has no such attributes is no
/// reason to fail, except for what a program's privileges hang on.
fn set_attribute(name: &[u8], kind: Type, set: impl FnOnce(&CStr) -> Result<()>) -> Result<()> {
    let text = String::from_utf8_lossy(name);
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        log::debug!("attribute {text:?} of a layer is overlayfs's own and was left out");
        return Ok(());
    }
    let c = CString::new(name).map_err(|_| Error::invalid("an attribute's name with a NUL"))?;
    match set(&c) {
        Ok(()) => Ok(()),
        Err(e) => match e.errno() {
            Some(libc::EOPNOTSUPP) if name != b"security.capability" => Ok(()),
            Some(libc::EPERM) if !matches!(kind, Type::Regular | Type::Directory) => Ok(()),
            _ if name == b"security.selinux" => Ok(()),
            _ => Err(e),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
