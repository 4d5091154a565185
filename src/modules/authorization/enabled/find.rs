//! Where a plugin listens, by its name: docker's rules. Sockets first, then files that tell of an address. It is looked up
//! for each request, because plugins come and go.

use crate::api::authorization::PluginFile;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::http::host::{Host, MAX_UNIX_PATH};
use crate::utils::json;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two tries where the queue is full: the kernel does not tell when it is shorter.
const BUSY: Duration = Duration::from_millis(20);
const SOCKETS: &str = "/run/docker/plugins";
const FILES: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];
/// Largest file that is read.
const LARGEST: u64 = 64 << 10;

/// Where to connect.
#[derive(Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

impl Address {
    fn parse(text: &str) -> Result<Address> {
        match Host::parse(text.trim())? {
            Host::Unix(path) => Ok(Address::Unix(path)),
            Host::Tcp(address) => Ok(Address::Tcp(address)),
            Host::Passed => Err(Error::invalid("fd:// is no address of a plugin")),
        }
    }

    /// Connects; without blocking where somebody listens and does not accept.
    ///
    /// # Errors
    /// `Kind::Remote` with the failing call.
    pub fn connect(&self, deadline: Instant) -> Result<OwnedFd> {
        let connected = match self {
            Address::Unix(path) => connect_unix(path, deadline).context(|| format!("connect({path:?})")),
            Address::Tcp(address) => connect_tcp(address, deadline).context(|| format!("connect(tcp://{address})")),
        };
        connected.map_err(|e| e.with_kind(Kind::Remote))
    }

    /// For the field `Host`.
    pub fn host(&self) -> String {
        match self {
            Address::Unix(_) => "localhost".into(),
            Address::Tcp(address) => address.clone(),
        }
    }
}

/// Somebody with many clients has them wait.
fn connect_unix(path: &Path, deadline: Instant) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Err(nix::Error::EAGAIN) if Instant::now() < deadline => std::thread::sleep(BUSY),
            result => return result.map(|()| fd),
        }
    }
}

fn connect_tcp(address: &str, deadline: Instant) -> std::io::Result<OwnedFd> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream.into()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Whether this can be a plugin's name: that of a file, or the absolute path of a socket.
///
/// # Errors
/// `Kind::Invalid` naming it.
pub fn check(name: &str) -> Result<()> {
    let bad = |want: &str| Err(Error::invalid(format!("invalid authorization plugin {name:?}: want {want}")));
    if name.starts_with('/') {
        return match name.len() > MAX_UNIX_PATH || name.contains('\0') {
            true => bad(&format!("a path of at most {MAX_UNIX_PATH} bytes")),
            false => Ok(()),
        };
    }
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(ok) || name.starts_with('.') || name.len() > 64 {
        return bad("a name of letters, digits, '-', '_' and '.', or the absolute path of a socket");
    }
    Ok(())
}

/// Where the plugin of this name listens.
///
/// # Errors
/// `Kind::NotFound` when nothing tells; `Kind::Invalid` and `Kind::Unsupported` naming a file that is wrong.
pub fn address(name: &str) -> Result<Address> {
    if name.starts_with('/') {
        return Ok(Address::Unix(name.into()));
    }
    address_below(Path::new("/"), name)
}

fn address_below(root: &Path, name: &str) -> Result<Address> {
    let below = |directory: &str| root.join(directory.trim_start_matches('/'));
    let sockets = below(SOCKETS);
    for path in [sockets.join(format!("{name}.sock")), sockets.join(name).join(format!("{name}.sock"))] {
        if path.exists() {
            return Ok(Address::Unix(path));
        }
    }
    for directory in FILES.map(below) {
        for directory in [directory.clone(), directory.join(name)] {
            for extension in ["spec", "json"] {
                let path = directory.join(format!("{name}.{extension}"));
                let Some(bytes) = read(&path)? else { continue };
                return described(&bytes, extension).context(|| format!("{path:?}"));
            }
        }
    }
    Err(Error::not_found(format!(
        "nothing tells where it is: no {SOCKETS}/{name}.sock, no file in {}",
        FILES.join(", ")
    )))
}

fn described(bytes: &[u8], extension: &str) -> Result<Address> {
    if extension == "spec" {
        return Address::parse(std::str::from_utf8(bytes).map_err(|_| Error::invalid("not UTF-8"))?);
    }
    let file: PluginFile = json::parse(bytes)?;
    if file.tls_config.is_some() {
        return Err(Error::new(Kind::Unsupported, "TLSConfig: plugins are asked without TLS"));
    }
    Address::parse(&file.addr)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.context(|| format!("open({path:?})"))?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).context(|| format!("read({path:?})"))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "opa-docker-authz", "x_1.y", "/run/x.sock"] {
            check(name).unwrap();
        }
        for name in ["", "a/b", "../x", ".x", "a b", &"x".repeat(65), &format!("/{}", "x".repeat(120))] {
            assert!(check(name).unwrap_err().to_string().contains("invalid authorization plugin"), "{name}");
        }
    }

    #[test]
    fn sockets_come_before_files() {
        let root = std::env::temp_dir().join(format!("plugins-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let find = |name: &str| address_below(&root, name);
        assert_eq!(find("a").unwrap_err().kind(), Kind::NotFound);
        write("usr/lib/docker/plugins/a/a.json", r#"{"Name":"a","Addr":"tcp://127.0.0.1:9"}"#);
        assert_eq!(find("a").unwrap(), Address::Tcp("127.0.0.1:9".into()));
        write("etc/docker/plugins/a.spec", "unix:///b\n");
        assert_eq!(find("a").unwrap(), Address::Unix("/b".into()));
        write("run/docker/plugins/a/a.sock", "");
        assert_eq!(find("a").unwrap(), Address::Unix(root.join("run/docker/plugins/a/a.sock")));
        write("etc/docker/plugins/t.json", r#"{"Addr":"tcp://127.0.0.1:9","TLSConfig":{"CAFile":"x"}}"#);
        let e = find("t").unwrap_err();
        assert!(e.kind() == Kind::Unsupported && e.to_string().contains("t.json"), "{e}");
        write("etc/docker/plugins/w.spec", "ftp://x");
        assert!(find("w").unwrap_err().to_string().contains("w.spec"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
