//! Where a daemon is reached: `unix:///PATH`, `tcp://HOST:PORT`, `fd://`.

use crate::error::{Error, Result};
use std::fmt;
use std::path::PathBuf;

/// Longest path of a unix socket in bytes: `sun_path` of unix(7) holds 108 with its final zero.
pub const MAX_UNIX_PATH: usize = 107;

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket; the path is absolute.
    Unix(PathBuf),
    /// `NAME:PORT`, with brackets around an IPv6 address.
    Tcp(String),
    /// Sockets that a service manager passed to this process.
    Passed,
}

impl Host {
    /// Parses one word of `-H`.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the word and the rule.
    pub fn parse(text: &str) -> Result<Host> {
        let bad = |why: &str| Error::invalid(format!("invalid host {text:?}: {why}"));
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(bad("want an absolute path, unix:///PATH"));
            }
            if path.len() > MAX_UNIX_PATH {
                return Err(bad(&format!(
                    "the path has {} bytes, a unix socket's has at most {MAX_UNIX_PATH}",
                    path.len()
                )));
            }
            if path.contains('\0') {
                return Err(bad("a path has no zero byte"));
            }
            return Ok(Host::Unix(PathBuf::from(path)));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            let address = address.strip_suffix('/').unwrap_or(address);
            let Some((name, port)) = address.rsplit_once(':') else { return Err(bad("want tcp://HOST:PORT")) };
            let bare_ipv6 = name.contains(':') && !(name.starts_with('[') && name.ends_with(']'));
            if name.is_empty() || bare_ipv6 || name.contains('/') || port.parse::<u16>().is_err() {
                return Err(bad("want tcp://HOST:PORT"));
            }
            return Ok(Host::Tcp(address.to_owned()));
        }
        if text == "fd://" {
            return Ok(Host::Passed);
        }
        Err(bad("want unix:///PATH or tcp://HOST:PORT"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp(address) => write!(f, "tcp://{address}"),
            Host::Passed => f.write_str("fd://"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in ["unix:///var/run/isulad.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2375", "fd://"] {
            assert_eq!(Host::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Host::parse("tcp://localhost:1/").unwrap(), Host::Tcp("localhost:1".into()));
        for text in [
            "",
            "unix://a",
            "unix:/a",
            "/a",
            "tcp://",
            "tcp://a",
            "tcp://:1",
            "tcp://a:b",
            "tcp://a:99999",
            "tcp://::1:5",
            "http://a:1",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_limit_of_a_path_is_named() {
        let fits = format!("unix:///{}", "a".repeat(MAX_UNIX_PATH - 1));
        assert!(Host::parse(&fits).is_ok());
        let e = Host::parse(&format!("{fits}a")).unwrap_err().to_string();
        assert!(e.contains("at most 107"), "{e}");
    }
}
