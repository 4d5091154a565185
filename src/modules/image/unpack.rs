//! Unpacks one layer into an empty directory, in the form in which overlayfs wants layers.
//!
//! Whatever the archive says, its effects stay below that directory: see `super::tree` for the way there. The last
//! component is never followed. Deletions become overlayfs's own signs (see `super::signs`); the same signs in the
//! archive itself are not taken over, or a layer could redirect reads to other paths.

use super::signs::{self, Form, OPAQUE, RECORDS, is_whiteout};
use super::tally::{Likeness, Tally};
use super::tree::{DIRECTORY, Missing, Tree, WHITEOUT, components, lstat, path_text, type_of};
use crate::error::{Context, Error, Result};
use crate::modules::remap::Remap;
use crate::utils::archive::metadata::{device, modified, set_metadata, set_metadata_at};
use crate::utils::archive::tar::{Member, Reader, Type};
use crate::utils::budget::{Budget, ENTRY};
use crate::utils::remove_tree::remove_at;
use crate::utils::sys::descriptor::start_writeback;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A directory that no member of the archive describes.
const IMPLIED: Likeness = Likeness { mode: libc::S_IFDIR | 0o755, uid: 0, gid: 0, device: 0 };
/// Bytes of a file after which the kernel is told to begin writing, so that the wait at the end of a large layer is a
/// short one and its pages can be taken back before.
const WRITEBACK: usize = 4 << 20;
/// Length of capabilities of version 2 (linux/capability.h).
const CAPABILITY_2: usize = 20;
/// What an unpacked layer amounts to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of its files.
    pub size: u64,
    /// Whether it hides everything below it. overlayfs merges roots always, so whoever stacks layers must stop here.
    pub opaque: bool,
    /// Whether some of its deletions are in the form of archives, which overlayfs does not know.
    pub archive_signs: bool,
    /// What its tree amounts to, in builds that verify layers.
    pub sum: Option<u64>,
    /// Paths of the directories that no member describes.
    pub implied: Vec<Vec<u8>>,
}

/// What holds for a whole layer.
#[derive(Debug, Default, Clone, Copy)]
pub struct Rules<'a> {
    /// The user namespace of the containers that it is for.
    pub remap: Option<&'a Remap>,
    /// Most bytes: the sizes of all files together, and something for each entry.
    pub limit: Option<u64>,
}

/// Unpacks all members below the empty directory `root`.
///
/// # Errors
/// The archive's (see [`Reader::next_member`]); `Kind::Invalid` for a member that cannot be made as it says, or whose
/// owner the user namespace has not, and beyond the limit; `Kind::Os(ENOSPC)` before the file system is full; the failing
/// call. The directory is to be thrown away then.
pub fn unpack<R: BufRead>(archive: &mut Reader<R>, root: OwnedFd, rules: Rules<'_>) -> Result<Unpacked> {
    let top = root.try_clone().context(|| "dup()".into())?;
    let owner = rules.remap.map(Remap::root).unwrap_or_default();
    let budget = Budget::new(root.as_fd(), rules.limit)?;
    let (result, tally) = (Unpacked::default(), Tally::default());
    let tree = Tree::new(root, owner)?;
    let mut unpacking = Unpacking { tree, rules, owner, budget, result, tally };
    while let Some(member) = archive.next_member()? {
        unpacking
            .member(&member, archive)
            .map_err(|e| e.context(format!("unpack {:?}", String::from_utf8_lossy(&member.path))))?;
    }
    let implied = unpacking.tree.finish()?;
    let sum = unpacking.tally.finish(top.as_fd())?;
    Ok(Unpacked { sum, implied, ..unpacking.result })
}

struct Unpacking<'a> {
    tree: Tree,
    rules: Rules<'a>,
    /// Of what no member describes.
    owner: (u32, u32),
    budget: Budget,
    result: Unpacked,
    tally: Tally,
}

impl Unpacking<'_> {
    fn member<R: BufRead>(&mut self, member: &Member, archive: &mut Reader<R>) -> Result<()> {
        // With the directories that the last member needed and that have no member of their own.
        let attributes = member.xattrs.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
        let entries = (1 + self.tree.take_made()) * ENTRY + attributes;
        self.budget.count(entries.saturating_add(member.size))?;
        self.budget.write(entries)?;
        let path = components(&member.path);
        let Some((&name, parent)) = path.split_last() else {
            let member = self.on_disk(member)?;
            return self.root(&member);
        };
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
            return self.hard_link(&path, member);
        }
        let member = self.on_disk(member)?;
        let member = member.as_ref();
        self.enter(parent)?;
        if member.kind == Type::Directory {
            return self.directory(&path, member);
        }
        if member.kind == Type::Char && member.device == (0, 0) {
            return Ok(()); // overlayfs's whiteout: a layer has its own form for that
        }
        if let Err(e) = self.make(&path, member, archive) {
            if e.errno() != Some(libc::EEXIST) {
                return Err(e);
            }
            self.tally.lost();
            remove_at(self.tree.current(), name)?;
            self.make(&path, member, archive)?;
        }
        Ok(())
    }

    /// A member with the owner and attributes that it has on the disk.
    fn on_disk<'m>(&self, member: &'m Member) -> Result<Cow<'m, Member>> {
        let Some(remap) = self.rules.remap else { return Ok(Cow::Borrowed(member)) };
        let mut member = member.clone();
        member.uid = remap.uids.to_host("user", member.uid)?;
        member.gid = remap.gids.to_host("group", member.gid)?;
        for (name, value) in &mut member.xattrs {
            *value = remap.attribute(name, value)?;
        }
        Ok(Cow::Owned(member))
    }

    /// Goes to a directory in which something is to be made, making it and those above it where they are missing.
    fn enter(&mut self, directory: &[&[u8]]) -> Result<()> {
        self.tree.enter(directory, Missing::Create)?;
        let way = self.tree.way();
        if way.strayed {
            self.tally.lost();
        }
        for n in way.there.unwrap_or(directory.len())..directory.len() {
            let (uid, gid) = self.owner;
            self.tally.node(&directory[..=n], Likeness { uid, gid, ..IMPLIED });
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
        self.tree.described(&[]);
        Ok(())
    }

    fn directory(&mut self, path: &[&[u8]], member: &Member) -> Result<()> {
        let name = last(path);
        let here = self.tree.current();
        let before = match mkdirat(here, name, Mode::S_IRWXU) {
            Ok(()) => None,
            Err(Errno::EEXIST) => lstat(here, name)?,
            Err(e) => return Err(Error::os("mkdirat()", e as i32)),
        };
        if let Some(before) = before.as_ref().filter(|b| type_of(b) != SFlag::S_IFDIR) {
            self.tally.lost();
            remove_at(here, name)?;
            mkdirat(here, name, Mode::S_IRWXU).context(|| "mkdirat()".into())?;
            if is_whiteout(before) {
                // Deleted and made anew in one layer: what lower layers had in it stays hidden.
                self.result.archive_signs |= signs::set_opaque_at(here, name)? == Form::Archive;
            }
        }
        if let Some(before) = before {
            let (uid, gid) = (before.st_uid, before.st_gid);
            self.tally.forget(path, Likeness { mode: before.st_mode, uid, gid, device: 0 });
        }
        set_metadata(open_directory(here, name)?.as_fd(), member)?;
        self.tree.described(path);
        self.tally.node(path, likeness(SFlag::S_IFDIR, member, 0));
        if rules_mode(member) {
            self.tally.lost();
        }
        self.tree.changed();
        Ok(())
    }

    /// Makes what is neither directory nor hard link; EEXIST when something is there.
    fn make<R: BufRead>(&mut self, path: &[&[u8]], member: &Member, archive: &mut Reader<R>) -> Result<()> {
        let name = last(path);
        let here = self.tree.current();
        match member.kind {
            Type::Regular => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let fd =
                    openat(here, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).context(|| "openat(O_CREAT)".into())?;
                let file = File::from(fd);
                write(&file, member, archive, (&mut self.budget, &mut self.tally))?;
                set_metadata(file.as_fd(), member)?;
                let capability = member.xattrs.iter().find(|(name, _)| name == b"security.capability");
                let capability = capability.map(|(_, value)| value.as_slice());
                // The kernel shows one that names its owner as it thinks best (capabilities(7)).
                if capability.is_some_and(|value| value.len() != CAPABILITY_2) {
                    self.tally.lost();
                }
                self.tally.file(path, member.size, likeness(SFlag::S_IFREG, member, 0), capability);
                self.result.size = self.result.size.saturating_add(member.size);
            }
            Type::Symlink => {
                symlinkat(member.link.as_slice(), here, name).context(|| "symlinkat()".into())?;
                set_metadata_at(here, name, member)?;
                self.tally.link(path, &member.link, likeness(SFlag::S_IFLNK, member, 0));
            }
            Type::Char | Type::Block | Type::Fifo => {
                let (kind, device) = match member.kind {
                    Type::Char => (SFlag::S_IFCHR, device(member)?),
                    Type::Block => (SFlag::S_IFBLK, device(member)?),
                    _ => (SFlag::S_IFIFO, 0),
                };
                mknodat(here, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, device).context(|| "mknodat()".into())?;
                set_metadata_at(here, name, member)?;
                self.tally.node(path, likeness(kind, member, device));
            }
            Type::Directory | Type::HardLink => return Err(Error::internal("made elsewhere")),
        }
        if rules_mode(member) {
            self.tally.lost();
        }
        self.tree.changed();
        Ok(())
    }

    /// A further name of what an earlier member made. Its own metadata is not applied; a link as target is not
    /// followed, the new name is a second one of the link.
    fn hard_link(&mut self, path: &[&[u8]], member: &Member) -> Result<()> {
        let (name, parent) = (last(path), &path[..path.len() - 1]);
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
        self.enter(parent)?;
        let here = self.tree.current();
        if let Some(there) = lstat(here, name)? {
            if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(());
            }
            self.tally.lost();
            remove_at(here, name)?;
        }
        // What stood in the way may have been a directory with the target in it.
        match linkat(&old, target_name, here, name, AtFlags::empty()) {
            Ok(()) => self.tally.again(path, here, name)?,
            Err(Errno::ENOENT) => return Err(missing()),
            Err(e) => return Err(Error::os("linkat()", e as i32)),
        }
        self.tree.changed();
        Ok(())
    }

    /// Hides `name` of lower layers. What the same layer has under the name stays, but stands alone.
    fn whiteout(&mut self, parent: &[&[u8]], name: &[u8]) -> Result<()> {
        if matches!(name, b"" | b"." | b"..") {
            return Err(Error::invalid("a whiteout that names nothing, its directory or the one above"));
        }
        self.enter(parent)?;
        let path = [parent, &[name]].concat();
        let here = self.tree.current();
        match lstat(here, name)? {
            None => {
                let form = signs::white_out(here, name)?;
                let whiteout = Likeness { mode: libc::S_IFCHR, uid: 0, gid: 0, device: 0 };
                self.tally.node(&path, whiteout);
                self.tree.changed();
                self.note(form);
            }
            Some(stat) if type_of(&stat) == SFlag::S_IFDIR => {
                let directory = open_directory(here, name)?;
                if !signs::is_opaque(directory.as_fd(), true)? {
                    self.tally.opaque(&path);
                }
                let form = signs::set_opaque(directory.as_fd())?;
                self.note(form);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Notes the form of a sign that was made. That of archives is a file, which the tally does not know of.
    fn note(&mut self, form: Form) {
        if form == Form::Archive {
            self.result.archive_signs = true;
            self.tally.lost();
        }
    }

    fn opaque(&mut self, path: &[&[u8]]) -> Result<()> {
        self.enter(path)?;
        let here = fstat(self.tree.current()).context(|| "fstat()".into())?;
        let root = fstat(self.tree.root()).context(|| "fstat()".into())?;
        if (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino) {
            self.result.opaque = true;
            return Ok(());
        }
        if !signs::is_opaque(self.tree.current(), true)? {
            self.tally.opaque(path);
        }
        let form = signs::set_opaque(self.tree.current())?;
        if form == Form::Archive {
            self.tree.changed();
        }
        self.note(form);
        Ok(())
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    openat(parent, name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())
}

/// Copies the data of the current member, leaving holes where the archive has none.
fn write<R: BufRead>(
    file: &File,
    member: &Member,
    archive: &mut Reader<R>,
    (budget, tally): (&mut Budget, &mut Tally),
) -> Result<()> {
    let mut dirty = 0;
    let mut copy = |mut offset: u64, mut left: u64| -> Result<()> {
        let mut file = file;
        while left > 0 {
            let data = archive.data()?;
            let n = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(Error::corrupt("a file has less data than it says"));
            }
            budget.write(n as u64)?;
            file.write_all(&data[..n]).context(|| "write()".into())?;
            tally.data(offset, &data[..n]);
            offset += n as u64;
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
    let Some(pieces) = &member.sparse else { return copy(0, member.size) };
    for &(offset, length) in pieces {
        (&mut &*file).seek(SeekFrom::Start(offset)).context(|| "lseek()".into())?;
        copy(offset, length)?;
    }
    file.set_len(member.size).context(|| "ftruncate()".into())
}

/// The last component.
fn last<'a>(path: &[&'a [u8]]) -> &'a [u8] {
    path.last().copied().unwrap_or_default()
}

fn likeness(kind: SFlag, member: &Member, device: libc::dev_t) -> Likeness {
    let mode = kind.bits() | (member.mode as libc::mode_t & 0o7777);
    Likeness { mode, uid: member.uid, gid: member.gid, device }
}

/// Whether attributes of a member, access control lists, change its mode.
fn rules_mode(member: &Member) -> bool {
    member.xattrs.iter().any(|(name, _)| name.starts_with(b"system."))
}

#[cfg(test)]
pub(crate) mod tests;
