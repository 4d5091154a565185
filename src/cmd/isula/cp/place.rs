//! Where a copy goes and what it is called there: docker's rules, for either direction.

use crate::utils::path::clean;

/// A path as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Absolute and clean.
    pub clean: String,
    /// Its last component: `.` for the content of a directory, `/` for the root.
    pub base: String,
    /// What it ends with to say that it is a directory: `/`, `/.` or nothing.
    pub ending: &'static str,
}

impl Asked {
    /// Reads a path that is relative to `from`.
    pub fn parse(from: &str, path: &str) -> Asked {
        let clean = match path.starts_with('/') {
            true => clean(path),
            false => clean(&format!("{from}/{path}")),
        };
        let ending = match path.rsplit('/').next() {
            Some(".") => "/.",
            Some("") | None if clean != "/" => "/",
            _ => "",
        };
        let base = match clean.rsplit('/').next() {
            _ if ending == "/." => ".",
            Some("") | None => "/",
            Some(name) => name,
        };
        let base = base.to_owned();
        Asked { clean, base, ending }
    }

    /// The path, clean, with its ending.
    pub fn text(&self) -> String {
        match self.clean.as_str() {
            "/" if self.ending == "/." => "/.".into(),
            clean => format!("{clean}{}", self.ending),
        }
    }

    /// The directory that it lies in; for the content of a directory, that directory.
    fn parent(&self) -> String {
        match self.clean.rsplit_once('/') {
            _ if self.base == "." => self.clean.clone(),
            Some((parent, _)) if !parent.is_empty() => parent.into(),
            _ => "/".into(),
        }
    }
}

/// What there is where a copy goes.
#[derive(Debug)]
pub struct Destination {
    /// The path, behind links that are followed.
    pub asked: Asked,
    /// Whether there is something.
    pub exists: bool,
    /// A directory.
    pub is_directory: bool,
}

/// Where a copy is made.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub directory: String,
    /// Another name than the source's.
    pub name: Option<String>,
}

impl Place {
    /// Decides it.
    ///
    /// # Errors
    /// A text in docker's words.
    pub fn choose(source_is_directory: bool, to: &Destination) -> Result<Place, String> {
        let renamed = || Place { directory: to.asked.parent(), name: Some(to.asked.base.clone()) };
        match to {
            _ if to.exists && to.is_directory => Ok(Place { directory: to.asked.text(), name: None }),
            _ if to.exists && source_is_directory => Err("cannot copy directory".into()),
            _ if to.exists || source_is_directory => Ok(renamed()),
            _ if !to.asked.ending.is_empty() => Err(format!("no such directory: {}", to.asked.text())),
            _ => Ok(renamed()),
        }
    }
}

/// The container and the path of an argument; no container for a path of this machine, which is what begins with `/`, `.`
/// or has no colon.
pub fn split(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once(':') {
        Some((container, path)) if !argument.starts_with(['/', '.']) => (Some(container), path),
        _ => (None, argument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split() {
        for (argument, want) in [
            ("c:/a", (Some("c"), "/a")),
            ("c:a:b", (Some("c"), "a:b")),
            ("c:", (Some("c"), "")),
            ("./a:b", (None, "./a:b")),
            ("/a:b", (None, "/a:b")),
            ("a/b", (None, "a/b")),
            ("-", (None, "-")),
            ("a/b:c", (Some("a/b"), "c")),
        ] {
            assert_eq!(split(argument), want, "{argument}");
        }
    }

    #[test]
    fn paths() {
        for (path, clean, base, ending, parent) in [
            ("a", "/w/a", "a", "", "/w"),
            ("a/", "/w/a", "a", "/", "/w"),
            ("a/.", "/w/a", ".", "/.", "/w/a"),
            (".", "/w", ".", "/.", "/w"),
            ("./", "/w", "w", "/", "/"),
            ("/", "/", "/", "", "/"),
            ("/.", "/", ".", "/.", "/"),
            ("..", "/", "/", "", "/"),
            ("/a//b/../c", "/a/c", "c", "", "/a"),
        ] {
            let asked = Asked::parse("/w", path);
            assert_eq!((&*asked.clean, &*asked.base, asked.ending), (clean, base, ending), "{path}");
            assert_eq!(asked.parent(), parent, "{path}");
        }
    }

    #[test]
    fn places() {
        let choose = |source, path, exists, is_directory| {
            let to = Destination { asked: Asked::parse("/w", path), exists, is_directory };
            Place::choose(source, &to).map(|place| (place.directory, place.name.unwrap_or_default()))
        };
        let at = |directory: &str, name: &str| Ok((directory.to_owned(), name.to_owned()));
        for source in [false, true] {
            assert_eq!(choose(source, "d", true, true), at("/w/d", ""));
            assert_eq!(choose(source, "d/", true, true), at("/w/d/", ""));
            assert_eq!(choose(source, "new", false, false), at("/w", "new"));
        }
        assert_eq!(choose(true, "f", true, false), Err("cannot copy directory".into()));
        assert_eq!(choose(false, "f", true, false), at("/w", "f"));
        assert_eq!(choose(true, "new/", false, false), at("/w", "new"));
        assert_eq!(choose(true, "new/.", false, false), at("/w/new", "."));
        assert_eq!(choose(false, "new/", false, false), Err("no such directory: /w/new/".into()));
    }
}
