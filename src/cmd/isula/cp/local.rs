//! This machine's side of a copy.

use super::super::failure::Failure;
use super::place::{Asked, Destination};
use crate::error::Result as Outcome;
use crate::utils::archive::pack;
use crate::utils::archive::tar::Member;
use crate::utils::entry::DIRECTORY;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::{FileType, Metadata};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Links to links that are followed, as docker does.
const LINKS: usize = 10;

fn asked(path: &str) -> Result<Asked, Failure> {
    let here = match path.starts_with('/') {
        true => PathBuf::new(),
        false => std::env::current_dir().map_err(|e| Failure::local(format!("getcwd(): {e}")))?,
    };
    let here = here.to_str().ok_or_else(|| Failure::local(format!("the working directory {here:?} is not UTF-8")))?;
    Ok(Asked::parse(here, path))
}

fn unusable(path: &str, e: impl std::fmt::Display) -> Failure {
    Failure::local(format!("{path}: {e}"))
}

/// Refuses a destination that can be none, before anything is asked for.
pub fn check_output(path: &str) -> Result<(), Failure> {
    let asked = asked(path)?;
    let directory = Path::new(&asked.clean).parent().unwrap_or(Path::new("/"));
    if directory.metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Err(Failure::local(format!("invalid output path: directory {directory:?} does not exist")));
    }
    let special = |kind: FileType| !(kind.is_file() || kind.is_dir());
    match std::fs::metadata(asked.text()) {
        Ok(metadata) if special(metadata.file_type()) => {
            Err(Failure::local(format!("invalid output path: {path:?} must be a directory or a regular file")))
        }
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(unusable(path, e)),
    }
}

/// What there is where a copy goes. Links are followed, even one that leads to nothing yet.
pub fn destination(path: &str) -> Result<Destination, Failure> {
    let mut asked = asked(path)?;
    let look = |asked: &Asked| std::fs::symlink_metadata(asked.text());
    let mut found = look(&asked);
    for _ in 0..LINKS {
        if !found.as_ref().is_ok_and(Metadata::is_symlink) {
            break;
        }
        let link = Path::new(&asked.clean);
        let target = std::fs::read_link(link).map_err(|e| unusable(path, e))?;
        let target = link.parent().unwrap_or(link).join(target);
        let target = target.to_str().ok_or_else(|| unusable(path, "a link to a path that is not UTF-8"))?;
        asked = Asked::parse("/", target);
        found = look(&asked);
    }
    match found {
        Ok(metadata) if metadata.is_symlink() => Err(unusable(path, "too many symlinks")),
        Ok(metadata) => Ok(Destination { asked, exists: true, is_directory: metadata.is_dir() }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Destination { asked, exists: false, is_directory: false }),
        Err(e) => Err(unusable(path, e)),
    }
}

/// What is copied to a container.
pub struct Source {
    /// Last component of its path.
    pub base: String,
    what: What,
}

enum What {
    Directory(OwnedFd),
    Entry(OwnedFd, PathBuf),
}

impl Source {
    /// Opens it. A link is what is copied, unless `follow` or an ending says otherwise; those before the last component are
    /// followed.
    pub fn open(path: &str, follow: bool) -> Result<Source, Failure> {
        let asked = asked(path)?;
        let fail = |e: std::io::Error| unusable(path, e);
        let real = match Path::new(&asked.clean).file_name() {
            // With the ending, so that something else than a directory is refused.
            _ if follow || !asked.ending.is_empty() => std::fs::canonicalize(asked.text()).map_err(fail)?,
            Some(name) => {
                let parent = Path::new(&asked.clean).parent().unwrap_or(Path::new("/"));
                std::fs::canonicalize(parent).map_err(fail)?.join(name)
            }
            None => PathBuf::from("/"),
        };
        let metadata = std::fs::symlink_metadata(&real).map_err(fail)?;
        if metadata.file_type().is_socket() {
            return Err(unusable(path, "a socket cannot be copied"));
        }
        let open = |path: &Path, flags| open(path, flags, Mode::empty()).map_err(|e| fail(e.into()));
        let what = match (real.parent(), real.file_name()) {
            (Some(parent), Some(name)) if !metadata.is_dir() => {
                What::Entry(open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)?, name.into())
            }
            _ => What::Directory(open(&real, DIRECTORY)?),
        };
        Ok(Source { base: asked.base, what })
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.what, What::Directory(_))
    }

    /// Writes it as an archive in which it is called `name`.
    ///
    /// # Errors
    /// What reading or writing gives.
    pub fn pack(self, name: &str, out: &mut dyn Write) -> Outcome<()> {
        match self.what {
            What::Directory(fd) => {
                let path = if matches!(name, "." | "/") { String::new() } else { format!("{name}/") };
                pack::pack(pack::Source::Directory(fd), path.as_bytes(), &AsItIs, out)
            }
            What::Entry(parent, entry) => {
                let source = pack::Source::Entry(parent.as_fd(), entry.as_os_str().as_bytes());
                pack::pack(source, name.as_bytes(), &AsItIs, out)
            }
        }
    }
}

struct AsItIs;

impl pack::View for AsItIs {
    fn adapt(&self, _: &mut Member) {}

    fn memory(&self) -> usize {
        usize::MAX // the caller's own files
    }
}
