//! Image references by docker's grammar: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.

use crate::error::{Error, Result};
use crate::utils::digest;
use std::fmt;

/// The registry that is meant when none is named, and left out when names are shown.
const DEFAULT_HOST: &str = "docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;
/// Names that stand for "no image".
const RESERVED: [&str; 2] = ["none", "scratch"];

/// A parsed reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// With host and, on the default host, `library/`: `docker.io/library/busybox`.
    pub name: String,
    /// As given.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses and normalises.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the broken rule.
    pub fn parse(text: &str) -> Result<Reference> {
        let bad = |rule: &str| Error::invalid(format!("invalid reference format: {rule} in {text:?}"));
        if text.is_empty() {
            return Err(bad("an empty name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest::parse(digest)?.to_owned()).map(|d| format!("sha256:{d}"))),
            None => (text, None),
        };
        // A colon behind the last slash separates the tag; one before belongs to a port.
        let slash = rest.rfind('/').map_or(0, |n| n + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(bad(
                "a tag has 1 to 128 letters, digits, '_', '.' and '-', and begins with neither '.' nor '-'",
            ));
        }
        if name.len() > NAME_LIMIT {
            return Err(bad("a name of more than 255 characters"));
        }
        if crate::utils::id::is_full_id(name) {
            return Err(bad("a name that has the form of an id"));
        }
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host_like(first) => (first, rest),
            _ => (DEFAULT_HOST, name),
        };
        if !is_host(host) {
            return Err(bad("a malformed host"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad("upper case"));
        }
        if path.is_empty() || !path.split('/').all(is_component) {
            return Err(bad(
                "a name's parts are lower-case letters and digits with '.', '_', '__' or '-' between them; it is broken",
            ));
        }
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        let library = if host == DEFAULT_HOST && !path.contains('/') { OFFICIAL } else { "" };
        Ok(Reference { name: format!("{host}/{library}{path}"), tag: tag.map(str::to_owned), digest })
    }

    /// As [`Reference::parse`] for the name of a new image: with a tag, without digest, not one that is reserved.
    ///
    /// # Errors
    /// `Kind::Invalid`.
    pub fn parse_name(text: &str) -> Result<Reference> {
        let mut reference = Reference::parse(text)?;
        if reference.digest.is_some() {
            return Err(Error::invalid(format!("a new name cannot have a digest: {text:?}")));
        }
        if RESERVED.contains(&display(&reference.name)) {
            return Err(Error::invalid(format!("image name {text:?} is reserved")));
        }
        reference.tag.get_or_insert_with(|| DEFAULT_TAG.to_owned());
        Ok(reference)
    }

    /// `NAME@DIGEST` when there is a digest, else `NAME:TAG`: how the store keeps it.
    pub fn normalised(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.name),
            None => format!("{}:{}", self.name, self.tag.as_deref().unwrap_or(DEFAULT_TAG)),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(display(&self.normalised()))
    }
}

/// What to search for, and where.
#[cfg(feature = "registry")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    /// The registry.
    pub host: String,
    /// A part of names or descriptions.
    pub term: String,
}

#[cfg(feature = "registry")]
impl Searched {
    /// Parses `TERM`, for docker's registry, or `HOST/TERM`.
    ///
    /// # Errors
    /// `Kind::Invalid`.
    pub fn parse(text: &str) -> Result<Searched> {
        let bad = |rule: &str| Error::invalid(format!("Invalid search name: {rule} in {text:?}"));
        if text.contains("://") {
            return Err(bad("a scheme"));
        }
        let (host, term) = match text.split_once('/') {
            Some((first, rest)) if is_host_like(first) => (first, rest),
            _ => (DEFAULT_HOST, text),
        };
        if !is_host(host) {
            return Err(bad("a malformed host"));
        }
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        // Official images are found without it.
        let term = if host == DEFAULT_HOST { term.strip_prefix(OFFICIAL).unwrap_or(term) } else { term };
        match term.is_empty() || term.len() > NAME_LIMIT || term.contains(char::is_control) {
            true => Err(bad("nothing, or more than 255 characters to search for")),
            false => Ok(Searched { host: host.to_owned(), term: term.to_owned() }),
        }
    }
}

/// A normalised reference as users see it: without the default host and `library/`.
pub fn display(normalised: &str) -> &str {
    match normalised.strip_prefix(DEFAULT_HOST).and_then(|n| n.strip_prefix('/')) {
        Some(path) => path.strip_prefix(OFFICIAL).unwrap_or(path),
        None => normalised,
    }
}

/// The name of a normalised reference, without tag or digest.
pub fn repository(normalised: &str) -> &str {
    match normalised.split_once('@') {
        Some((name, _)) => name,
        None => normalised.rsplit_once(':').map_or(normalised, |(name, _)| name),
    }
}

/// Whether `name` means an external root file system in place of an image.
pub fn is_none(name: &str) -> bool {
    matches!(name, "none" | "none:latest")
}

fn is_tag(tag: &str) -> bool {
    (1..=TAG_LIMIT).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether the first part of a name is a host: nothing else has a dot, a port or upper case.
fn is_host_like(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':', '[']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port = |p: &str| !p.is_empty() && p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port));
    }
    let (name, number) = host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
    name.split('.').all(label) && number.is_none_or(port)
}

/// Letters and digits, with one of `.`, `_`, `__` or any number of `-` between two of them.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(|b| alphanumeric(*b)) || !bytes.last().is_some_and(|b| alphanumeric(*b)) {
        return false;
    }
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.into_iter().all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms_and_what_users_see() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, normalised, shown) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("board:5000/a/b__c-d.e:T_1", "board:5000/a/b__c-d.e:T_1", "board:5000/a/b__c-d.e:T_1"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("LOCAL/x", "LOCAL/x:latest", "LOCAL/x:latest"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(
                (reference.normalised().as_str(), reference.to_string().as_str()),
                (normalised, shown),
                "{text}"
            );
        }
        let both = Reference::parse(&format!("b:t@{digest}")).unwrap();
        assert_eq!(both.normalised(), format!("docker.io/library/b@{digest}"));
        assert_eq!((repository(&both.normalised()), repository("h:5/x:t")), ("docker.io/library/b", "h:5/x"));
    }

    #[cfg(feature = "registry")]
    #[test]
    fn searches() {
        for (text, host, term) in [
            ("busybox", "docker.io", "busybox"),
            ("me/app", "docker.io", "me/app"),
            ("library/x", "docker.io", "x"),
            ("index.docker.io/library/x", "docker.io", "x"),
            ("board:5000/library/x y", "board:5000", "library/x y"),
            ("localhost/x", "localhost", "x"),
        ] {
            assert_eq!(Searched::parse(text).unwrap(), Searched { host: host.into(), term: term.into() }, "{text}");
        }
        for text in ["", "http://x/y", "board:5000/", "a..b/x", "x\ny", &"x".repeat(256)] {
            assert!(Searched::parse(text).unwrap_err().to_string().starts_with("Invalid search name"), "{text}");
        }
    }

    #[test]
    fn broken_rules() {
        let id = "a".repeat(64);
        let long = "a".repeat(256);
        for text in [
            "",
            "Busybox",
            "a/B",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:.t",
            "a:b:c",
            "a b",
            "a@x",
            "a@sha256:00",
            "a:t@",
            "é",
            "../etc",
            "a/../b",
            ":t",
            "@",
            "h:port/x",
            "a\0",
            "[::1/x",
            "[x]/y",
            &id,
            &long,
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        assert!(Reference::parse("Busybox").unwrap_err().to_string().contains("upper case"));
        for text in ["none", "scratch:x", "docker.io/library/none"] {
            assert!(Reference::parse_name(text).unwrap_err().to_string().contains("reserved"), "{text}");
        }
    }
}
