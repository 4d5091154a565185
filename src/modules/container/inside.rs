//! Files in the root of a system container. Its own programs change them, by rename among others, so nothing is mounted
//! over them: they are written where they are, and what is there already is kept.

use super::files::{Content, hosts_text, read_host, resolv_text};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::{Durability, replace};
use crate::utils::path::{Links, Root};
use crate::utils::sys::fd::path_of;
use nix::unistd::{Gid, Uid};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Largest file that is changed.
const LARGEST: u64 = 10 << 20;
/// Largest file that is read for another container.
const LARGEST_COPY: u64 = 1 << 20;
const MODE: u32 = 0o644;
/// Digits of an id that is a host name.
const SHORT: usize = 12;

/// Writes `/etc/hostname`, and what `/etc/hosts` and `/etc/resolv.conf` lack, into the directory `root`.
///
/// # Errors
/// The failing call: EROFS where the root cannot be written.
pub fn write_network_files(root: &Path, content: &Content<'_>) -> Result<()> {
    let root = open(root)?;
    let etc = root.make_directory(Path::new("/etc"), 0o755).context(|| "mkdir(/etc) in the container".into())?;
    let file = |name: &'static str| File { directory: &etc, name: OsStr::new(name), owner: content.owner };
    file("hostname").write(format!("{}\n", content.hostname).as_bytes())?;
    let hosts = file("hosts");
    hosts.write(merge_hosts(hosts.read()?, content).as_bytes())?;
    let resolv = file("resolv.conf");
    let asked = !(content.dns.is_empty() && content.dns_options.is_empty() && content.dns_search.is_empty());
    // A resolver inside may have made a link of it.
    if asked || !resolv.exists() {
        let base = resolv.read()?.or_else(|| read_host("/etc/resolv.conf"));
        resolv.write(resolv_text(base, content).as_bytes())?;
    }
    Ok(())
}

/// What [`write_network_files`] wrote and the container has made of it, in the order of [`super::files::paths`]; `None` for
/// what is no file of a fair size and of text, in the directory `root`.
pub fn read_network_files(root: &Path) -> [Option<String>; 3] {
    let Ok(root) = Root::open(root) else { return Default::default() };
    ["etc/hostname", "etc/hosts", "etc/resolv.conf"].map(|name| {
        let file = root.open_regular(Path::new(name)).ok()?;
        let mut text = String::new();
        let length = file.take(LARGEST_COPY + 1).read_to_string(&mut text).ok()?;
        Some(text).filter(|_| length as u64 <= LARGEST_COPY)
    })
}

/// Sets each variable (`K=V`) in the file `target` below the directory `root`; its other lines stay.
///
/// # Errors
/// The failing call; `Kind::Invalid` for a file that is too large or none.
pub fn write_environment(root: &Path, target: &str, env: &[String], owner: (u32, u32)) -> Result<()> {
    let root = open(root)?;
    let (directory, name) =
        root.make_parent(Path::new(target)).context(|| format!("mkdir for env target file {target:?}"))?;
    let file = File { directory: &directory, name, owner };
    file.write(merge_environment(&file.read()?.unwrap_or_default(), env).as_bytes())
        .context(|| format!("env target file {target:?}"))
}

fn open(root: &Path) -> Result<Root> {
    Root::open(root).context(|| format!("open({root:?})"))
}

/// A name in a directory of the container. Links are not followed: they are replaced.
struct File<'a> {
    directory: &'a OwnedFd,
    name: &'a OsStr,
    owner: (u32, u32),
}

impl File<'_> {
    fn path(&self) -> std::path::PathBuf {
        Path::new(&path_of(self.directory)).join(self.name)
    }

    fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// What is there; `None` when there is no regular file.
    fn read(&self) -> Result<Option<String>> {
        let Some(metadata) = self.path().symlink_metadata().ok().filter(|m| m.is_file()) else { return Ok(None) };
        let name = self.name;
        if metadata.len() > LARGEST {
            return Err(Error::invalid(format!("{name:?} in the container has more than {LARGEST} bytes")));
        }
        let directory = Root::open(Path::new(&path_of(self.directory))).context(|| "open()".into())?;
        let handle = directory.resolve(Path::new(name), Links::Refuse).context(|| format!("open({name:?})"))?;
        let Some(fd) = crate::utils::entry::reopen_regular(handle.as_fd(), nix::fcntl::OFlag::O_RDONLY)
            .context(|| format!("open({name:?}) in the container"))?
        else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(LARGEST).read_to_end(&mut bytes).context(|| format!("read({name:?})"))?;
        String::from_utf8(bytes).map(Some).map_err(|_| {
            Error::new(Kind::Invalid, format!("{name:?} in the container is not UTF-8 and cannot be changed"))
        })
    }

    /// Writes unless the content is there already; with the permissions of what was there.
    fn write(&self, content: &[u8]) -> Result<()> {
        // What cannot be read is replaced.
        if self.read().is_ok_and(|old| old.is_some_and(|old| old.as_bytes() == content)) {
            return Ok(());
        }
        let path = self.path();
        let old = path.symlink_metadata().ok().filter(|m| m.is_file());
        let (mode, owner) = old.map_or((MODE, self.owner), |m| (m.mode() & 0o777, (m.uid(), m.gid())));
        replace(&path, content, mode, Durability::Volatile)?;
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        nix::unistd::fchownat(self.directory.as_fd(), self.name, uid, gid, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
            .context(|| format!("fchownat({:?})", self.name))
    }
}

/// Whether this line is one that names a container by its id: then it is ours, of this container or of one before it.
fn names_an_id(line: &str) -> bool {
    let Some(names) = line.strip_prefix("127.0.0.1\t") else { return false };
    let (full, name) = names.split_once(' ').unwrap_or((names, names));
    let is_id = name.len() == SHORT && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_id && full.strip_prefix(name).is_some_and(|domain| domain.is_empty() || domain.starts_with('.'))
}

/// The file's lines but for those that name earlier containers, and after them those that are missing: the container's
/// name, and what was asked for.
fn merge_hosts(base: Option<String>, content: &Content<'_>) -> String {
    let whole = hosts_text(None, content);
    let Some(base) = base else { return whole };
    // The default's own lines for this machine itself come before the name's.
    let wanted: Vec<&str> =
        whole.lines().skip_while(|line| !line.split_ascii_whitespace().any(|w| w == content.hostname)).collect();
    let mut lines: Vec<&str> = base.lines().filter(|line| wanted.contains(line) || !names_an_id(line)).collect();
    let missing: Vec<&str> = wanted.into_iter().filter(|line| !lines.contains(line)).collect();
    lines.extend(missing);
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

fn merge_environment(base: &str, env: &[String]) -> String {
    let name = |line: &str| line.split_once('=').map(|(name, _)| name.to_owned());
    let mut lines: Vec<&str> = base.lines().collect();
    for entry in env.iter().filter(|entry| name(entry).is_some()) {
        match lines.iter().position(|line| name(line) == name(entry)) {
            Some(at) => lines[at] = entry,
            None => lines.push(entry),
        }
    }
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn content<'a>(extra: &'a [String], dns: &'a [String]) -> Content<'a> {
        Content {
            hostname: "box",
            domainname: "",
            host_network: false,
            extra_hosts: extra,
            dns,
            dns_options: &[],
            dns_search: &[],
            owner: (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()),
        }
    }

    #[test]
    fn files_keep_what_they_have_and_lead_nowhere() {
        let base = std::env::temp_dir().join(format!("inside-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("root/etc")).unwrap();
        let root = base.join("root");
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        fs::write(base.join("outside"), "mine\n").unwrap();
        std::os::unix::fs::symlink("../../outside", root.join("etc/hostname")).unwrap();
        fs::write(root.join("etc/hosts"), "10.0.0.9 own").unwrap();
        let extra = ["db:10.0.0.1".to_owned()];
        for _ in 0..2 {
            write_network_files(&root, &content(&extra, &[])).unwrap();
            assert_eq!(read("etc/hosts"), "10.0.0.9 own\n127.0.0.1\tbox\n10.0.0.1\tdb\n");
        }
        assert_eq!(
            (read("etc/hostname").as_str(), fs::read_to_string(base.join("outside")).unwrap().as_str()),
            ("box\n", "mine\n")
        );
        assert!(read("etc/resolv.conf").contains("nameserver"));
        fs::write(root.join("etc/resolv.conf"), "nameserver 1.1.1.1\n").unwrap();
        write_network_files(&root, &content(&extra, &[])).unwrap();
        assert_eq!(read("etc/resolv.conf"), "nameserver 1.1.1.1\n");
        let dns = ["9.9.9.9".to_owned()];
        write_network_files(&root, &content(&[], &dns)).unwrap();
        assert_eq!(read("etc/resolv.conf"), "nameserver 9.9.9.9\n");
        // Directories on the way are made inside, whatever leads out.
        std::os::unix::fs::symlink("/../../away", root.join("up")).unwrap();
        let owner = content(&[], &[]).owner;
        write_environment(&root, "/up/d/env", &["A=1".into()], owner).unwrap();
        assert_eq!(read("away/d/env"), "A=1\n");
        fs::create_dir(root.join("etc/env")).unwrap();
        assert!(write_environment(&root, "/etc/env", &["A=1".into()], owner).is_err());
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn the_name_of_an_earlier_container_goes() {
        let merge = |base: &str, hostname| merge_hosts(Some(base.into()), &Content { hostname, ..content(&[], &[]) });
        let (first, second) = ("0123456789ab", "fedcba987654");
        let once = merge("127.0.0.1\tlocalhost", first);
        assert_eq!(once, format!("127.0.0.1\tlocalhost\n127.0.0.1\t{first}\n"));
        assert_eq!(merge(&once, first), once);
        assert_eq!(merge(&once, second), format!("127.0.0.1\tlocalhost\n127.0.0.1\t{second}\n"));
        let full = format!("127.0.0.1\t{first}.lan {first}\n");
        assert_eq!(merge(&full, "box"), "127.0.0.1\tbox\n");
        // Everything else is somebody's.
        let others =
            format!("127.0.0.1 {first}\n127.0.0.1\t{first} x\n127.0.0.1\told\n127.0.0.1\tc0ffee\n10.0.0.1\t{first}\n");
        assert_eq!(merge(&others, "box"), format!("{others}127.0.0.1\tbox\n"));
    }

    #[test]
    fn variables_are_replaced_or_added() {
        let env = ["A=2".to_owned(), "B=x=y".to_owned(), "C".to_owned()];
        assert_eq!(merge_environment("# note\nA=1\nZ=0", &env), "# note\nA=2\nZ=0\nB=x=y\n");
    }
}
