//! A tree as a tar archive: a layer in the form that is exchanged, or a root file system as it is seen.

use super::signs;
use crate::error::Result;
use crate::modules::remap::Ids;
use crate::utils::archive::pack::{self, Source, View};
use crate::utils::archive::tar::Member;
use nix::sys::stat::FileStat;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

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
pub fn pack<W: Write>(root: OwnedFd, form: Form, ids: Ids, mut out: W) -> Result<W> {
    match form {
        Form::Root => pack::pack(Source::Directory(root), b"", &ids, &mut out)?,
        Form::Layer { opaque } => pack::pack(Source::Directory(root), b"", &Layer { ids, opaque }, &mut out)?,
    }
    Ok(out)
}

impl View for Ids {
    fn adapt(&self, member: &mut Member) {
        (member.uid, member.gid) = (self.uid(member.uid), self.gid(member.gid));
        for (name, value) in &mut member.xattrs {
            *value = self.attribute(name, std::mem::take(value));
        }
    }
}

struct Layer {
    ids: Ids,
    opaque: bool,
}

impl View for Layer {
    fn adapt(&self, member: &mut Member) {
        self.ids.adapt(member);
    }

    fn is_whiteout(&self, stat: &FileStat) -> bool {
        signs::is_whiteout(stat)
    }

    fn is_opaque(&self, directory: BorrowedFd<'_>) -> Result<bool> {
        signs::is_opaque(directory, false)
    }

    fn root_is_opaque(&self) -> bool {
        self.opaque
    }
}

#[cfg(test)]
mod tests;
