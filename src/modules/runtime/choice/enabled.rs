//! The built-in runtime and others, which are programs.

use super::BUILT_IN;
use crate::error::{Error, Kind, Result};
use std::path::{Path, PathBuf};

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
    /// Name, program, arguments.
    known: Vec<Vec<String>>,
}

impl Choice {
    /// Of the entries of a configuration: name, program, arguments. An empty name of the default means the built-in one.
    ///
    /// # Errors
    /// `Kind::Invalid` for an entry that breaks a rule and a default that is nobody's name.
    pub fn new(default: &str, known: &[Vec<String>]) -> Result<Choice> {
        known.iter().try_for_each(|entry| check(entry))?;
        let choice = Choice { default: default.into(), known: known.into() };
        match matches!(default, "" | BUILT_IN) || choice.is_known(default) {
            true => Ok(choice),
            false => Err(unknown(default)),
        }
    }

    /// Name of the runtime of a container that asks for none.
    pub fn default(&self) -> &str {
        if self.default.is_empty() { BUILT_IN } else { &self.default }
    }

    /// The runtime `name`, as in a launch; empty for the built-in one.
    ///
    /// # Errors
    /// `Kind::Invalid` for a name that nobody has and for a program that is not there, `Kind::Unsupported` for a shim of
    /// containerd.
    pub fn find(&self, name: &str) -> Result<Vec<String>> {
        if matches!(name, "" | BUILT_IN) {
            return Ok(Vec::new());
        }
        if name.starts_with(SHIM_V2) {
            let text = format!("runtime {name:?} (--runtime): shims of containerd come with a later release");
            return Err(Error::new(Kind::Unsupported, text));
        }
        if !self.is_known(name) {
            return Err(unknown(name));
        }
        let mut runtime = self.entry(name).cloned().unwrap_or_else(|| vec![name.into(), name.into()]);
        match locate(Path::new(&runtime[1])) {
            Some(path) => runtime[1] = path.to_string_lossy().into_owned(),
            None => return Err(Error::invalid(format!("runtime {name:?}: there is no program {:?}", runtime[1]))),
        }
        Ok(runtime)
    }

    /// Names and programs of what there is, the built-in one first.
    pub fn list(&self) -> Vec<(&str, String)> {
        let entries = self.known.iter().map(|entry| (entry[0].as_str(), entry[1].clone()));
        let usual = USUAL.iter().filter(|name| self.entry(name).is_none());
        let found = usual.filter_map(|name| Some((*name, locate(Path::new(name))?.to_string_lossy().into_owned())));
        std::iter::once((BUILT_IN, BUILT_IN.to_owned())).chain(entries).chain(found).collect()
    }

    fn entry(&self, name: &str) -> Option<&Vec<String>> {
        self.known.iter().find(|entry| entry[0] == name)
    }

    fn is_known(&self, name: &str) -> bool {
        USUAL.contains(&name) || self.entry(name).is_some()
    }
}

fn check(entry: &[String]) -> Result<()> {
    let [name, path, arguments @ ..] = entry else { return Err(Error::invalid("runtimes: want a path")) };
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    // It names a directory.
    if !name.bytes().all(is_word) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Error::invalid(format!("runtimes.{name}: a name has only [a-zA-Z0-9][a-zA-Z0-9_.-]*")));
    }
    if name == BUILT_IN || name.starts_with(SHIM_V2) {
        return Err(Error::invalid(format!("runtimes.{name}: this name is taken")));
    }
    if path.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, path: &str) -> Vec<String> {
        [name, path, "--debug"].map(String::from).to_vec()
    }

    #[test]
    fn names_are_looked_up_in_the_configuration_and_then_among_the_usual_ones() {
        let choice = Choice::new("mine", &[entry("mine", "/bin/sh"), entry("runc", "sh")]).unwrap();
        assert_eq!(choice.default(), "mine");
        assert!(choice.find("").unwrap().is_empty() && choice.find("lcr").unwrap().is_empty());
        assert_eq!(choice.find("mine").unwrap(), entry("mine", "/bin/sh"));
        let found = choice.find("runc").unwrap();
        assert!(found[1].starts_with('/') && found[1].ends_with("/sh") && found.len() == 3, "{found:?}");
        assert_eq!(choice.list()[..2], [("lcr", "lcr".into()), ("mine", "/bin/sh".into())]);
        for (name, kind, part) in [
            ("nosuch", Kind::Invalid, "unknown or invalid runtime name: nosuch"),
            ("io.containerd.runc.v2", Kind::Unsupported, "later release"),
        ] {
            let e = choice.find(name).unwrap_err();
            assert!(e.kind() == kind && e.to_string().contains(part), "{e}");
        }
        let choice = Choice::new("", &[entry("gone", "/nosuch/program")]).unwrap();
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
            let e = Choice::new(default, &[entry(name, path)]).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains(part), "{e}");
        }
    }
}
