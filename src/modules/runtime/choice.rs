//! Which OCI runtime a container gets.

use crate::api::shim::Runtime;
use crate::error::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// Name of the built-in one.
pub const BUILT_IN: &str = "lcr";
/// Programs that need no entry in the configuration: those with the command line of runc that are usual.
const USUAL: &[&str] = &["runc", "crun", "youki", "runsc", "kata-runtime"];
/// How the names of shims of containerd begin.
const SHIM_V2: &str = "io.containerd.";
/// Where programs are looked for when the daemon has no `PATH`.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most arguments of an entry.
const MOST_ARGUMENTS: usize = 100;

/// The runtimes that an operator has chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    default: String,
    known: Vec<Runtime>,
}

impl Choice {
    /// Of the entries of a configuration; an empty name of the default means the built-in one.
    ///
    /// # Errors
    /// `Kind::Invalid` for an entry that breaks a rule and a default that is nobody's name; `Kind::Unsupported` when this
    /// build has no other runtimes.
    pub fn new(default: &str, known: Vec<Runtime>) -> Result<Choice> {
        known.iter().try_for_each(check)?;
        let choice = Choice { default: default.into(), known };
        if !matches!(default, "" | BUILT_IN) && !choice.is_known(default) {
            return Err(unknown(default));
        }
        if cfg!(not(feature = "other-runtimes")) && (choice.default() != BUILT_IN || !choice.known.is_empty()) {
            return Err(Error::new(Kind::Unsupported, "this build has no other runtimes than lcr"));
        }
        Ok(choice)
    }

    /// Name of the runtime of a container that asks for none.
    pub fn default(&self) -> &str {
        if self.default.is_empty() { BUILT_IN } else { &self.default }
    }

    /// The runtime `name`; `None` is the built-in one.
    ///
    /// # Errors
    /// `Kind::Invalid` for a name that nobody has and for a program that is not there, `Kind::Unsupported` for a shim of
    /// containerd and in a build without other runtimes.
    pub fn find(&self, name: &str) -> Result<Option<Runtime>> {
        if matches!(name, "" | BUILT_IN) {
            return Ok(None);
        }
        if cfg!(not(feature = "other-runtimes")) {
            return Err(Error::new(
                Kind::Unsupported,
                format!("runtime {name:?} (--runtime): only lcr is in this build"),
            ));
        }
        if name.starts_with(SHIM_V2) {
            let text = format!("runtime {name:?} (--runtime): shims of containerd come with a later release");
            return Err(Error::new(Kind::Unsupported, text));
        }
        if !self.is_known(name) {
            return Err(unknown(name));
        }
        let usual = || Runtime { name: name.into(), path: name.into(), arguments: Vec::new() };
        let mut runtime = self.known.iter().find(|known| known.name == name).cloned().unwrap_or_else(usual);
        match locate(&runtime.path) {
            Some(path) => runtime.path = path,
            None => return Err(Error::invalid(format!("runtime {name:?}: there is no program {:?}", runtime.path))),
        }
        Ok(Some(runtime))
    }

    /// Names and programs of what there is, the built-in one first.
    pub fn list(&self) -> Vec<(&str, PathBuf)> {
        let entries = self.known.iter().map(|known| (known.name.as_str(), known.path.clone()));
        let mut list: Vec<_> = std::iter::once((BUILT_IN, BUILT_IN.into())).chain(entries).collect();
        if cfg!(feature = "other-runtimes") {
            let usual = USUAL.iter().filter(|name| self.known.iter().all(|known| known.name != **name));
            list.extend(usual.filter_map(|name| Some((*name, locate(Path::new(name))?))));
        }
        list
    }

    fn is_known(&self, name: &str) -> bool {
        USUAL.contains(&name) || self.known.iter().any(|known| known.name == name)
    }
}

fn check(runtime: &Runtime) -> Result<()> {
    let Runtime { name, path, arguments } = runtime;
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    // It names a directory.
    if !name.bytes().all(is_word) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Error::invalid(format!("runtimes.{name}: a name has only [a-zA-Z0-9][a-zA-Z0-9_.-]*")));
    }
    if name == BUILT_IN || name.starts_with(SHIM_V2) {
        return Err(Error::invalid(format!("runtimes.{name}: this name is taken")));
    }
    if path.as_os_str().is_empty() {
        return Err(Error::invalid(format!("runtimes.{name}: want a path")));
    }
    if arguments.len() > MOST_ARGUMENTS {
        let n = arguments.len();
        return Err(Error::invalid(format!("runtimes.{name}: {n} arguments, at most {MOST_ARGUMENTS}")));
    }
    Ok(())
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!("unknown or invalid runtime name: {name}: neither built in nor in \"runtimes\""))
}

/// The executable file that is meant by a path, or by a name without a slash in the daemon's `PATH`.
fn locate(path: &Path) -> Option<PathBuf> {
    let is_executable = |path: &Path| {
        let regular = std::fs::metadata(path).is_ok_and(|m| m.is_file());
        regular && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
    };
    if path.components().count() > 1 {
        return Some(path.to_owned()).filter(|path| path.is_absolute() && is_executable(path));
    }
    let places = std::env::var_os("PATH").unwrap_or_else(|| SEARCH_PATH.into());
    std::env::split_paths(&places).map(|place| place.join(path)).find(|path| path.is_absolute() && is_executable(path))
}

#[cfg(feature = "other-runtimes")]
#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, path: &str) -> Runtime {
        Runtime { name: name.into(), path: path.into(), arguments: vec!["--debug".into()] }
    }

    #[test]
    fn names_are_looked_up_in_the_configuration_and_then_among_the_usual_ones() {
        let choice = Choice::new("mine", vec![entry("mine", "/bin/sh"), entry("runc", "sh")]).unwrap();
        assert_eq!((choice.default(), choice.find("").unwrap(), choice.find("lcr").unwrap()), ("mine", None, None));
        assert_eq!(choice.find("mine").unwrap(), Some(entry("mine", "/bin/sh")));
        let found = choice.find("runc").unwrap().unwrap();
        assert!(found.path.is_absolute() && found.path.ends_with("sh") && found.arguments.len() == 1, "{found:?}");
        assert_eq!(choice.list()[..2], [("lcr", PathBuf::from("lcr")), ("mine", PathBuf::from("/bin/sh"))]);
        for (name, kind, part) in [
            ("nosuch", Kind::Invalid, "unknown or invalid runtime name: nosuch"),
            ("io.containerd.runc.v2", Kind::Unsupported, "later release"),
        ] {
            let e = choice.find(name).unwrap_err();
            assert!(e.kind() == kind && e.to_string().contains(part), "{e}");
        }
        let choice = Choice::new("", vec![entry("gone", "/nosuch/program")]).unwrap();
        let e = choice.find("gone").unwrap_err();
        assert_eq!(e.to_string(), "runtime \"gone\": there is no program \"/nosuch/program\"");
        assert_eq!(choice.default(), "lcr");
    }

    #[test]
    fn entries_that_break_a_rule_are_refused() {
        for (default, name, path, part) in [
            ("nosuch", "a", "/bin/sh", "unknown or invalid runtime name: nosuch"),
            ("", "lcr", "/bin/sh", "runtimes.lcr"),
            ("", "io.containerd.x", "/bin/sh", "runtimes.io.containerd.x"),
            ("", "../x", "/bin/sh", "runtimes.../x"),
            ("", "", "/bin/sh", "runtimes."),
            ("", "a", "", "want a path"),
        ] {
            let e = Choice::new(default, vec![entry(name, path)]).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains(part), "{e}");
        }
    }
}
