//! The files `hostname`, `hosts` and `resolv.conf` that are mounted over those of the image. Written anew at each
//! start, in place: a running container that shares them sees the change. A reboot needs none of them.
//!
//! One that somebody has changed stays as it is. It is told by its time of change: each of ours bears that of the
//! container's creation, which no later writing gives.

use crate::error::{Context, Result};
use crate::utils::time::Timestamp;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Largest host file that is copied.
const LARGEST: u64 = 1 << 20;
const MODE: u32 = 0o644;

/// What the files are made of.
pub struct Content<'a> {
    /// Name inside the container.
    pub hostname: &'a str,
    /// Domain name, may be empty.
    pub domainname: &'a str,
    /// Whether the container shares the host's network and so its files.
    pub host_network: bool,
    /// `name:address`.
    pub extra_hosts: &'a [String],
    /// Name servers that replace the host's.
    pub dns: &'a [String],
    /// Options that replace the host's.
    pub dns_options: &'a [String],
    /// Search domains that replace the host's.
    pub dns_search: &'a [String],
    /// The host's ids of the container's root.
    pub owner: (u32, u32),
}

/// The files' paths below a container's directory.
pub fn paths(directory: &Path) -> [PathBuf; 3] {
    ["hostname", "hosts", "resolv.conf"].map(|name| directory.join(name))
}

/// What is in the three files, in the order of [`paths`].
pub fn texts(content: &Content<'_>) -> [String; 3] {
    let base = if content.host_network { read_host("/etc/hosts") } else { None };
    let resolv = resolv_text(read_host("/etc/resolv.conf"), content);
    [format!("{}\n", content.hostname), hosts_text(base, content), resolv]
}

/// Writes the three files into `directory`, for the container's root `owner` (ids of the host), unless somebody has
/// changed them since the container was `created`.
///
/// # Errors
/// The failing call.
pub fn write(directory: &Path, texts: &[String; 3], owner: (u32, u32), created: Timestamp) -> Result<()> {
    let mark = mark(created);
    paths(directory).iter().zip(texts).try_for_each(|(path, text)| write_in_place(path, text.as_bytes(), owner, mark))
}

/// The time of change of files that nobody has changed. No clock stood before 1970.
fn mark(created: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from(created.unix_nanos()).unwrap_or_default())
}

fn is_marked(metadata: &Metadata, mark: Duration) -> bool {
    let nanos = metadata.mtime_nsec();
    // Some file systems keep whole seconds.
    metadata.mtime() == mark.as_secs() as i64 && (nanos == 0 || nanos == i64::from(mark.subsec_nanos()))
}

pub(super) fn hosts_text(host: Option<String>, content: &Content<'_>) -> String {
    let mut text = host.unwrap_or_else(|| {
        let names = match content.domainname {
            "" => content.hostname.to_string(),
            domain => format!("{0}.{domain} {0}", content.hostname),
        };
        format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.0.1\t{names}\n"
        )
    });
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in content.extra_hosts {
        if let Some((name, address)) = entry.split_once([':', '=']) {
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    text
}

pub(super) fn resolv_text(host: Option<String>, content: &Content<'_>) -> String {
    let host = host.unwrap_or_default();
    let keyword = |line: &str| line.split_ascii_whitespace().next().unwrap_or_default().to_string();
    let replaced = |word: &str| match word {
        "nameserver" => !content.dns.is_empty(),
        "options" => !content.dns_options.is_empty(),
        "search" | "domain" => !content.dns_search.is_empty(),
        _ => false,
    };
    let mut text = String::new();
    for line in host.lines().filter(|l| !replaced(&keyword(l))) {
        text.push_str(line);
        text.push('\n');
    }
    // A single dot asks for no search list at all, as docker has it.
    if !content.dns_search.is_empty() && content.dns_search != ["."] {
        text.push_str(&format!("search {}\n", content.dns_search.join(" ")));
    }
    for server in content.dns {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !content.dns_options.is_empty() {
        text.push_str(&format!("options {}\n", content.dns_options.join(" ")));
    }
    if !text.lines().any(|l| keyword(l) == "nameserver") {
        text.push_str("nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }
    text
}

pub(super) fn read_host(path: &str) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Writes unless the content is there already, as a start again costs the flash nothing, or other content that is not
/// ours. What is there may be of any size: the container may write to it.
fn write_in_place(path: &Path, content: &[u8], (uid, gid): (u32, u32), mark: Duration) -> Result<()> {
    let mut old = Vec::with_capacity(content.len() + 1);
    let read = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        file.take(content.len() as u64 + 1).read_to_end(&mut old)?;
        Ok(metadata)
    });
    let set_mark = |file: &File| file.set_modified(SystemTime::UNIX_EPOCH + mark);
    match read {
        Ok(metadata) if old == content => {
            // One of an earlier version, which did not mark them.
            if is_marked(&metadata, mark) {
                return Ok(());
            }
            return OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|file| set_mark(&file))
                .context(|| format!("futimens({path:?})"));
        }
        // An empty one is what a power cut leaves of a file that was just made.
        Ok(metadata) if metadata.len() > 0 && !is_marked(&metadata, mark) => return Ok(()),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context(|| format!("read({path:?})")),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(path)
        .and_then(|mut f| {
            std::os::unix::fs::fchown(&f, Some(uid), Some(gid))?;
            f.write_all(content)?;
            set_mark(&f)
        })
        .context(|| format!("write({path:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content<'static> {
        Content {
            hostname: "box",
            domainname: "",
            host_network: false,
            extra_hosts: &[],
            dns: &[],
            dns_options: &[],
            dns_search: &[],
            owner: (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()),
        }
    }

    #[test]
    fn hosts() {
        let extra = ["db:10.0.0.1".to_string(), "v6:::1".to_string()];
        let text = hosts_text(None, &Content { extra_hosts: &extra, ..content() });
        assert!(text.starts_with("127.0.0.1\tlocalhost\n") && text.contains("127.0.0.1\tbox\n"));
        assert!(text.ends_with("10.0.0.1\tdb\n::1\tv6\n"));
        let text = hosts_text(Some("1.2.3.4 h".into()), &Content { extra_hosts: &extra[..1], ..content() });
        assert_eq!(text, "1.2.3.4 h\n10.0.0.1\tdb\n");
    }

    #[test]
    fn resolv_conf() {
        let host = || Some("# c\nsearch a\nnameserver 1.1.1.1\noptions ndots:1\n".to_string());
        assert_eq!(resolv_text(host(), &content()), host().unwrap());
        assert_eq!(resolv_text(None, &content()), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        let (dns, search, dot) = (["9.9.9.9".to_string()], ["x".to_string(), "y".to_string()], [".".to_string()]);
        assert_eq!(
            resolv_text(host(), &Content { dns: &dns, dns_search: &search, ..content() }),
            "# c\noptions ndots:1\nsearch x y\nnameserver 9.9.9.9\n"
        );
        let text = resolv_text(host(), &Content { dns_search: &dot, dns_options: &search, ..content() });
        assert_eq!(text, "# c\nnameserver 1.1.1.1\noptions x y\n");
    }

    #[test]
    fn writing_again_keeps_the_file_and_what_others_wrote() {
        let dir = std::env::temp_dir().join(format!("files-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let created = Timestamp::from_unix(1_700_000_000, 123_456_789);
        let put = |name| {
            let content = Content { hostname: name, ..content() };
            write(&dir, &texts(&content), content.owner, created).unwrap();
        };
        let metadata = || std::fs::metadata(dir.join("hostname")).unwrap();
        let text = || std::fs::read_to_string(dir.join("hostname")).unwrap();
        put("box");
        let first = metadata();
        assert_eq!((first.mtime(), first.mtime_nsec()), (1_700_000_000, 123_456_789));
        put("other");
        assert_eq!((metadata().ino(), text().as_str()), (first.ino(), "other\n"));
        // Unchanged, it is not touched at all.
        let before = metadata();
        put("other");
        assert_eq!((metadata().ctime(), metadata().ctime_nsec()), (before.ctime(), before.ctime_nsec()));
        std::fs::write(dir.join("hostname"), "mine\n").unwrap();
        put("third");
        assert_eq!(text(), "mine\n");
        // One of ours without a mark is marked, one that is lost or empty is made anew.
        std::fs::write(dir.join("hostname"), "box\n").unwrap();
        put("box");
        put("other");
        assert_eq!(text(), "other\n");
        std::fs::write(dir.join("hostname"), "").unwrap();
        put("box");
        std::fs::remove_file(dir.join("hostname")).unwrap();
        put("box");
        assert_eq!(text(), "box\n");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
