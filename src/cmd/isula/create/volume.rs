//! `-v [SRC:]DST[:OPTS]`.

use crate::cmd::isula::failure::Failure;
use crate::utils::path::clean;

/// A volume on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// A host path, or the name of a volume; absent for an anonymous one.
    pub source: Option<String>,
    /// Path inside.
    pub destination: String,
    /// As given.
    pub options: String,
}

impl Volume {
    /// `SRC:DST[:OPTS]`, as the request has it.
    pub fn bind(&self) -> String {
        let mut text = format!("{}:{}", self.source.as_deref().unwrap_or_default(), self.destination);
        if !self.options.is_empty() {
            text.push(':');
            text.push_str(&self.options);
        }
        text
    }
}

/// Parses and checks one `-v`.
pub fn parse(text: &str) -> Result<Volume, Failure> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts[..] {
        [destination] => (None, destination, ""),
        [first, second] if second.starts_with('/') || !first.starts_with('/') || !is_options(second) => {
            (Some(first), second, "")
        }
        [destination, options] => (None, destination, options),
        [source, destination, options] => (Some(source), destination, options),
        _ => return Err(invalid(&format!("invalid volume specification '{text}'"))),
    };
    if !destination.starts_with('/') || clean(destination) == "/" {
        return Err(invalid("path must be absolute, and destination can't be '/'"));
    }
    let source = source.map(host_path).transpose()?;
    check_options(options)?;
    // How strictly a virtual machine's mounts agree with its host's: of no effect elsewhere, in docker too.
    let options = options.split(',').filter(|o| class(o) != Some(CONSISTENCY)).collect::<Vec<_>>().join(",");
    let is_chosen = |word: &str| options.split(',').any(|option| option == word);
    if source.is_none() && is_chosen("ro") {
        return Err(invalid("an anonymous volume cannot be read-only"));
    }
    if source.as_ref().is_some_and(|source| source.starts_with('/')) && is_chosen("nocopy") {
        return Err(invalid(&format!("invalid mode '{options}': nocopy is for volumes")));
    }
    Ok(Volume { source, destination: destination.to_owned(), options })
}

fn invalid(why: &str) -> Failure {
    Failure::usage(format!("Invalid volume: {why}"))
}

/// An absolute path, a path from here (`.`, `./x`, `../x`), or a name.
fn host_path(source: &str) -> Result<String, Failure> {
    if source.starts_with('/') {
        return Ok(source.to_owned());
    }
    if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") {
        let here = std::env::current_dir().map_err(|e| invalid(&format!("no working directory: {e}")))?;
        let path = here.join(source);
        let path = path.to_str().ok_or_else(|| invalid("the working directory is not UTF-8"))?;
        return Ok(clean(path));
    }
    let is_name = source.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && source.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    match is_name {
        true => Ok(source.to_owned()),
        false => Err(invalid("path must be absolute, and destination can't be '/'")),
    }
}

const CONSISTENCY: &str = "consistency mode";

/// The kind of an option; each kind may be given once.
fn class(option: &str) -> Option<&'static str> {
    match option {
        "ro" | "rw" => Some("access mode"),
        "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => Some("propagation mode"),
        "z" | "Z" => Some("label mode"),
        "nocopy" => Some("copy mode"),
        "cached" | "delegated" | "consistent" => Some(CONSISTENCY),
        _ => None,
    }
}

fn is_options(text: &str) -> bool {
    text.split(',').all(|o| class(o).is_some())
}

fn check_options(text: &str) -> Result<(), Failure> {
    let mut seen: Vec<&str> = Vec::new();
    for option in text.split(',').filter(|_| !text.is_empty()) {
        let kind = class(option).ok_or_else(|| invalid(&format!("invalid mode '{text}'")))?;
        if seen.contains(&kind) {
            return Err(invalid(&format!("more than one {kind} in '{text}'")));
        }
        seen.push(kind);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (text, source, destination, options) in [
            ("/a:/b", Some("/a"), "/b", ""),
            ("/a:/b:ro,rslave,Z", Some("/a"), "/b", "ro,rslave,Z"),
            ("vol1:/d", Some("vol1"), "/d", ""),
            ("/d", None, "/d", ""),
            ("/d:nocopy", None, "/d", "nocopy"),
            (".:/d", Some(here), "/d", ""),
            ("/a:/b:cached", Some("/a"), "/b", ""),
            ("/a:/b:z,delegated,ro", Some("/a"), "/b", "z,ro"),
            ("/d:consistent", None, "/d", ""),
        ] {
            let got = parse(text).unwrap();
            assert_eq!((got.source.as_deref(), got.destination.as_str()), (source, destination), "{text}");
            assert_eq!(got.options, options, "{text}");
        }
        assert_eq!(parse("/a:/b:ro").unwrap().bind(), "/a:/b:ro");
    }

    #[test]
    fn refused_forms() {
        let absolute = "Invalid volume: path must be absolute, and destination can't be '/'";
        for text in ["relative:rel", "/a:/", "/a:/x/..", "/a:b", "rel", "a/b:/c", "", ":/c"] {
            assert_eq!(parse(text).unwrap_err(), Failure::usage(absolute), "{text}");
        }
        for text in [
            "/d:ro",
            "/a:/b:nocopy",
            "/a:/b:rx",
            "/a:/b:ro,rw",
            "/a:/b:shared,rslave",
            "/a:/b:z,Z",
            "/a:/b:cached,delegated",
            "/a:/b:",
            "/a:/b:ro:rw",
            "/a:/b:ro,",
        ] {
            // An empty option list is as good as none.
            assert_eq!(parse(text).is_err(), text != "/a:/b:", "{text}");
        }
    }
}
