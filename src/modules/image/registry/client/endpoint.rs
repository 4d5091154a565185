//! Whom to ask, in which order, and how.

use super::super::Settings;
use super::super::address::Network;
use crate::error::{Error, Result};
use std::net::IpAddr;

/// The host of references to docker's registry, and the one that serves it.
pub(super) const DOCKER_HOST: &str = "docker.io";
const DOCKER_SERVER: &str = "registry-1.docker.io";
/// The one that knows what there is in it.
const DOCKER_INDEX: &str = "index.docker.io";

/// A host to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `HOST[:PORT]`.
    pub authority: String,
    /// Tried in this order.
    pub schemes: &'static [&'static str],
    /// Whether it stands in for the registry that was named.
    pub is_mirror: bool,
}

const BOTH: &[&str] = &["https", "http"];
const TLS: &[&str] = &["https"];
const PLAIN: &[&str] = &["http"];

/// Whom to ask for the images of a reference's host.
pub(super) fn endpoints(settings: &Settings, host: &str) -> Result<Vec<Endpoint>> {
    let schemes = |authority: &str| if is_insecure(settings, authority) { BOTH } else { TLS };
    if host != DOCKER_HOST {
        return Ok(vec![Endpoint { authority: host.to_owned(), schemes: schemes(host), is_mirror: false }]);
    }
    let mut list = Vec::new();
    for mirror in &settings.mirrors {
        let bad = || Error::invalid(format!("invalid registry mirror {mirror:?}: want [http://|https://]HOST[:PORT]"));
        let (scheme, rest) = mirror.split_once("://").map_or((None, mirror.as_str()), |(s, r)| (Some(s), r));
        let authority = rest.trim_end_matches('/');
        if !is_authority(authority) {
            return Err(bad());
        }
        let schemes = match scheme {
            None | Some("https") => schemes(authority),
            Some("http") => PLAIN,
            Some(_) => return Err(bad()),
        };
        list.push(Endpoint { authority: authority.to_owned(), schemes, is_mirror: true });
    }
    list.push(Endpoint { authority: DOCKER_SERVER.into(), schemes: schemes(DOCKER_SERVER), is_mirror: false });
    Ok(list)
}

/// Whom to ask what images a host has.
pub(super) fn indexes(settings: &Settings, host: &str) -> Result<Vec<Endpoint>> {
    let mut list = endpoints(settings, host)?;
    if host == DOCKER_HOST
        && let Some(own) = list.last_mut()
    {
        own.authority = DOCKER_INDEX.into();
        own.schemes = if is_insecure(settings, DOCKER_INDEX) { BOTH } else { TLS };
    }
    Ok(list)
}

/// Whether `HOST[:PORT]` is among the insecure registries, by name or by network.
pub(super) fn is_insecure(settings: &Settings, authority: &str) -> bool {
    let (host, _) = split(authority);
    let address: Option<IpAddr> = host.parse().ok();
    settings.insecure.iter().any(|entry| {
        let entry = entry.split_once("://").map_or(entry.as_str(), |(_, rest)| rest);
        if entry.eq_ignore_ascii_case(authority) {
            return true;
        }
        let within = |address| entry.contains('/') && Network::parse(entry).is_ok_and(|n| n.contains(address));
        address.is_some_and(within)
    })
}

/// Host without brackets, and port.
pub(super) fn split(authority: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    }
}

/// Whether it can be nothing but a host and a port: no path, no user, no name of a directory above.
pub(super) fn is_authority(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && !text.starts_with(['.', ':']) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mirrors: &[&str], insecure: &[&str]) -> Settings {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        Settings { mirrors: own(mirrors), insecure: own(insecure), ..Settings::default() }
    }

    #[test]
    fn mirrors_come_first_and_only_for_docker() {
        let settings = settings(&["http://a:5000/", "https://b", "c", "d"], &["D"]);
        let list = endpoints(&settings, "docker.io").unwrap();
        let shown: Vec<_> = list.iter().map(|e| (e.authority.as_str(), e.schemes, e.is_mirror)).collect();
        let want: [(&str, &[&str], bool); 5] = [
            ("a:5000", PLAIN, true),
            ("b", TLS, true),
            ("c", TLS, true),
            ("d", BOTH, true),
            (DOCKER_SERVER, TLS, false),
        ];
        assert_eq!(shown, want);
        let own = indexes(&settings, "docker.io").unwrap().pop().unwrap();
        assert_eq!(own, Endpoint { authority: DOCKER_INDEX.into(), schemes: TLS, is_mirror: false });
        let other = Endpoint { authority: "e:1".into(), schemes: TLS, is_mirror: false };
        assert_eq!(endpoints(&settings, "e:1").unwrap(), std::slice::from_ref(&other));
        assert_eq!(indexes(&settings, "e:1").unwrap(), [other]);
    }

    #[test]
    fn broken_mirrors_are_named() {
        for mirror in ["", "ftp://a", "https://", "https://a/path", "https://me:pw@a", "../x", "a b"] {
            let error = endpoints(&settings(&[mirror], &[]), "docker.io").unwrap_err().to_string();
            assert!(error.contains("want [http://|https://]HOST[:PORT]"), "{error}");
        }
    }

    #[test]
    fn insecure_by_name_and_network() {
        let settings = settings(&[], &["board:5000", "10.0.0.0/8", "http://x"]);
        for (authority, insecure) in [
            ("board:5000", true),
            ("board", false),
            ("board:5001", false),
            ("10.1.2.3:5000", true),
            ("11.1.2.3", false),
            ("x", true),
            ("[::1]:5000", false),
        ] {
            assert_eq!(is_insecure(&settings, authority), insecure, "{authority}");
        }
        assert_eq!((split("[::1]:5"), split("a:5"), split("a")), (("::1", Some(5)), ("a", Some(5)), ("a", None)));
    }
}
