//! Paths in a container as docker's `cp` means them: what there is, as an archive, and where an archive goes.
//!
//! A path is made clean by its letters, as docker does. A slash or `/.` at its end asks for a directory, be it behind a
//! link; without, the last component is what is meant, even a link.

use crate::api::archive::{PathStat, go_mode};
use crate::error::{Context, Error, Kind, Result};
use crate::modules::remap::{Ids, Remap};
use crate::modules::runtime::root::View;
use crate::utils::archive::extract::{self, Rules};
use crate::utils::archive::metadata::SAME;
use crate::utils::archive::pack::{self, Source};
use crate::utils::archive::tar::Member;
use crate::utils::archive::{Decompressed, Window};
use crate::utils::entry::{DIRECTORY, lstat, type_of};
use crate::utils::path::{Links, Root, clean};
use crate::utils::sys::fd::file_system_of;
use crate::utils::time::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// File systems that the kernel makes up (linux/magic.h): their files have no sizes, reading them does things, and they
/// have no end.
const MADE_UP: [u32; 16] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
    0x4249_4e4d, // binfmt_misc
    0x6e73_6673, // nsfs
    0xf97c_ff8c, // selinuxfs
];
/// Links in one path, as many as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// A path in a container.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// From the root.
    clean: String,
    /// Its last component: `.` for the content of a directory, `/` for the root.
    base: String,
    /// Whether it must be a directory.
    directory: bool,
}

impl Asked {
    fn parse(path: &str) -> Asked {
        let clean = clean(path);
        let last = path.rsplit('/').next().unwrap_or_default();
        let base = match clean.rsplit('/').next() {
            _ if last == "." => ".",
            Some("") | None => "/",
            Some(name) => name,
        };
        let (base, directory) = (base.to_owned(), matches!(last, "" | ".") || clean == "/");
        Asked { clean, base, directory }
    }

    fn error(&self, container: &str, e: Errno) -> Error {
        match e {
            Errno::ENOENT => missing(&self.clean, container),
            Errno::ENOTDIR => Error::invalid(format!("{:?} in the container: not a directory", self.clean)),
            e => Error::os(format!("open({:?}) in the container", self.clean), e as i32),
        }
    }
}

/// In docker's words.
fn missing(path: &str, container: &str) -> Error {
    Error::not_found(format!("Could not find the file {path} in container {container}"))
}

/// What there is at a path.
pub struct Found {
    /// In the words of the API.
    pub stat: PathStat,
    what: What,
    is_socket: bool,
    /// Its name in an archive.
    path: Vec<u8>,
}

enum What {
    Directory(OwnedFd),
    Entry(OwnedFd, OsString),
}

impl Found {
    /// Looks for `path`; `container` is for messages.
    ///
    /// # Errors
    /// `Kind::NotFound`; `Kind::Invalid` for something that is to be a directory and is none.
    pub fn find(view: &View, path: &str, container: &str) -> Result<Found> {
        let asked = Asked::parse(path);
        let path = Path::new(&asked.clean);
        let open = |path: &Path, flags| view.root.open_at(path, flags | OFlag::O_DIRECTORY, Links::Follow);
        let (what, stat) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !asked.directory => {
                let parent = open(parent, OFlag::O_PATH).map_err(|e| asked.error(container, e))?;
                let stat = lstat(parent.as_fd(), name.as_bytes())?;
                let stat = stat.ok_or_else(|| missing(&asked.clean, container))?;
                match type_of(&stat) {
                    SFlag::S_IFDIR => {
                        let fd = openat(&parent, name, DIRECTORY, Mode::empty());
                        (What::Directory(fd.map_err(|e| asked.error(container, e))?), stat)
                    }
                    _ => (What::Entry(parent, name.to_owned()), stat),
                }
            }
            _ => {
                let fd = open(path, OFlag::O_RDONLY).map_err(|e| asked.error(container, e))?;
                let stat = fstat(&fd).context(|| "fstat()".into())?;
                (What::Directory(fd), stat)
            }
        };
        let link_target = match type_of(&stat) {
            SFlag::S_IFLNK => follow(&view.root, &asked.clean),
            _ => String::new(),
        };
        let archived = match (&what, asked.base.as_str()) {
            (_, "/") => b"/".to_vec(),
            (What::Directory(_), ".") => b"./".to_vec(),
            (What::Directory(_), name) => [name.as_bytes(), b"/"].concat(),
            (What::Entry(..), name) => name.as_bytes().to_vec(),
        };
        let is_socket = type_of(&stat) == SFlag::S_IFSOCK;
        let stat =
            PathStat { name: asked.base, size: stat.st_size, mode: go_mode(&stat), mtime: mtime(&stat), link_target };
        Ok(Found { stat, what, is_socket, path: archived })
    }

    /// Writes it as an archive.
    ///
    /// # Errors
    /// `Kind::Invalid` for what the kernel makes up; what reading or writing gives.
    pub fn pack(self, ids: Ids, out: &mut dyn Write) -> Result<()> {
        let holder = match &self.what {
            What::Directory(fd) | What::Entry(fd, _) => fd.as_fd(),
        };
        if is_made_up(holder) {
            return Err(made_up(&self.stat.name));
        }
        if self.is_socket {
            return Err(Error::invalid(format!("{:?} is a socket, which cannot be copied", self.stat.name)));
        }
        let outgoing = Outgoing(ids);
        match self.what {
            What::Directory(fd) => pack::pack(Source::Directory(fd), &self.path, &outgoing, out),
            What::Entry(parent, name) => {
                pack::pack(Source::Entry(parent.as_fd(), name.as_bytes()), &self.path, &outgoing, out)
            }
        }
    }
}

fn is_made_up(fd: BorrowedFd<'_>) -> bool {
    file_system_of(fd).is_ok_and(|kind| MADE_UP.contains(&kind))
}

fn made_up(name: &str) -> Error {
    Error::invalid(format!("{name:?} is in a file system that the kernel makes up, which cannot be copied"))
}

struct Outgoing(Ids);

impl pack::View for Outgoing {
    fn adapt(&self, member: &mut Member) {
        self.0.adapt(member);
    }

    fn enters(&self, directory: BorrowedFd<'_>) -> bool {
        !is_made_up(directory)
    }
}

/// As Go prints times: without zeros at the end of the fraction.
fn mtime(stat: &FileStat) -> String {
    let text = Timestamp::from_unix(stat.st_mtime as _, stat.st_mtime_nsec as _).rfc3339();
    format!("{}Z", text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.'))
}

/// Type and permissions in Go's form.
fn go_mode(stat: &FileStat) -> u32 {
    let kind = match type_of(stat) {
        SFlag::S_IFDIR => go_mode::DIRECTORY,
        SFlag::S_IFLNK => go_mode::SYMLINK,
        SFlag::S_IFBLK => go_mode::DEVICE,
        SFlag::S_IFCHR => go_mode::DEVICE | go_mode::CHAR_DEVICE,
        SFlag::S_IFIFO => go_mode::FIFO,
        SFlag::S_IFSOCK => go_mode::SOCKET,
        _ => 0,
    };
    let special = [(0o4000, go_mode::SETUID), (0o2000, go_mode::SETGID), (0o1000, go_mode::STICKY)];
    let special = special.iter().filter(|(bit, _)| stat.st_mode & bit != 0).fold(0, |bits, (_, go)| bits | go);
    kind | special | (stat.st_mode & 0o777)
}

/// Where a path leads to, as far as there is something.
fn follow(root: &Root, path: &str) -> String {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|b| *b == b'/').filter(|c| !matches!(*c, b"" | b".")).rev().map(<[u8]>::to_vec).collect()
    };
    let mut ahead = parts(path.as_bytes());
    let mut way: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            way.pop();
            continue;
        }
        way.push(name);
        let here = OsString::from_vec(way.join(&b'/'));
        let target = root.resolve(Path::new(&here), Links::NotLast).and_then(|fd| readlinkat(&fd, ""));
        // Not a link, or nothing: it stands as it is.
        let Ok(target) = target.map(OsString::into_vec) else { continue };
        links += 1;
        if links > LINKS {
            return String::new();
        }
        way.pop();
        if target.starts_with(b"/") {
            way.clear();
        }
        ahead.extend(parts(&target));
    }
    format!("/{}", String::from_utf8_lossy(&way.join(&b'/')))
}

/// What an archive becomes.
pub struct Incoming<'a> {
    /// The directory in the container.
    pub path: &'a str,
    /// The container, for messages.
    pub container: &'a str,
    /// A directory stays one, and anything else none.
    pub keep_kind: bool,
    /// Whom all belongs to, in the container; the archive says it otherwise.
    pub owner: Option<(u32, u32)>,
    /// The container's user namespace.
    pub remap: Option<&'a Remap>,
    /// Whether the root is to be read-only, for messages.
    pub read_only: bool,
    /// Asked again and again whether to go on.
    pub check: &'a dyn Fn() -> Result<()>,
}

impl Incoming<'_> {
    /// Extracts an archive, which may be compressed.
    ///
    /// # Errors
    /// `Kind::NotFound` without such a path; `Kind::Invalid` when it is no directory or the archive is none;
    /// `Kind::Denied` for one that is mounted read-only; the failing call.
    pub fn extract(&self, view: &View, source: &mut dyn Read) -> Result<()> {
        let asked = Asked::parse(self.path);
        let path = Path::new(&asked.clean);
        let directory = match view.root.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY, Links::Follow) {
            Err(Errno::ENOTDIR) => return Err(Error::invalid("extraction point is not a directory")),
            opened => opened.map_err(|e| asked.error(self.container, e))?,
        };
        if is_made_up(directory.as_fd()) {
            return Err(made_up(&asked.base));
        }
        if fstatvfs(&directory).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY)) {
            return Err(self.denied(&view.root, &directory));
        }
        // It came with the request.
        let of_request = |e: Error| if e.kind() == Kind::Corrupt { e.with_kind(Kind::Invalid) } else { e };
        let mut archive = Decompressed::detect(source, Window::Large).map_err(of_request)?;
        let rules = Rules {
            links: Links::Follow,
            keep_kind: self.keep_kind,
            owner: self.remap.map_or((SAME, SAME), Remap::root),
            adapt: &|member| self.adapt(member),
            check: self.check,
        };
        extract::extract(&mut archive, &view.root, path, rules).map_err(|e| match e.kind() {
            Kind::Os(libc::EROFS) => e.with_kind(Kind::Denied),
            _ => of_request(e),
        })
    }

    fn adapt(&self, member: &mut Member) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            (member.uid, member.gid) = (uid, gid);
        }
        let Some(remap) = self.remap else { return Ok(()) };
        member.uid = remap.uids.to_host("user", member.uid)?;
        member.gid = remap.gids.to_host("group", member.gid)?;
        for (name, value) in &mut member.xattrs {
            *value = remap.attribute(name, value)?;
        }
        Ok(())
    }

    /// In docker's words.
    fn denied(&self, root: &Root, directory: &OwnedFd) -> Error {
        let device = |fd: BorrowedFd<'_>| fstat(fd).ok().map(|stat| stat.st_dev);
        let text = match self.read_only && device(root.as_fd()) == device(directory.as_fd()) {
            true => "container rootfs is marked read-only",
            false => "mounted volume is marked read-only",
        };
        Error::new(Kind::Denied, text)
    }
}

#[cfg(test)]
mod tests;
