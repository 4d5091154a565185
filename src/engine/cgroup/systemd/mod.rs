//! Cgroups that systemd makes: a container is a scope, a unit of processes that somebody else has started, and systemd
//! is told its limits so that it does not take them back. An optional part of the build.

#[cfg(not(feature = "systemd"))]
mod disabled;
#[cfg(feature = "systemd")]
mod enabled;
#[cfg(feature = "systemd")]
mod property;

#[cfg(not(feature = "systemd"))]
pub use disabled::{check, start, stop, update};
#[cfg(feature = "systemd")]
pub use enabled::{check, start, stop, update};

use crate::error::{Error, Result};

/// A scope to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// The slice that it is in.
    pub slice: String,
}

impl Unit {
    /// From the path of a configuration, `slice:prefix:name`; an empty one stands for a scope of the container `id`. An
    /// empty slice is the one for services of the system, or with `user` that for those of the user.
    ///
    /// # Errors
    /// `Kind::Invalid` for a path of another form, and for what cannot be a name.
    pub fn parse(path: &str, id: &str, user: bool) -> Result<Unit> {
        let parts: Vec<&str> = path.split(':').collect();
        let (slice, prefix, name) = match parts[..] {
            [""] => ("", "lcr", id),
            [slice, prefix, name] if !path.starts_with('/') => (slice, prefix, name),
            _ => {
                let text = format!("cgroup path {path:?}: with systemd it must have the form slice:prefix:name");
                return Err(Error::invalid(text));
            }
        };
        let slice = match slice {
            "" if user => "user.slice",
            "" => "system.slice",
            slice => slice,
        };
        check_slice(slice)?;
        let dash = if prefix.is_empty() { "" } else { "-" };
        let unit = Unit { name: format!("{prefix}{dash}{name}.scope"), slice: slice.to_owned() };
        // systemd.unit(5)
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        let is_name = !name.is_empty() && unit.name.len() <= 255 && unit.name.bytes().all(is_letter);
        match is_name && !name.ends_with(".slice") {
            true => Ok(unit),
            false => Err(Error::invalid(format!("cgroup path {path:?}: {:?} cannot be a scope of systemd", unit.name))),
        }
    }
}

/// Checks a slice's name, whose dashes say where it is (systemd.slice(5)): `a-b.slice` is in `a.slice`.
fn check_slice(slice: &str) -> Result<()> {
    let steps = slice.strip_suffix(".slice").filter(|s| slice.len() <= 255 && !s.contains('/'));
    match steps {
        Some("-") => Ok(()),
        Some(steps) if steps.split('-').all(|step| !step.is_empty()) => Ok(()),
        _ => Err(Error::invalid(format!("{slice:?} is not the name of a slice of systemd"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_units() {
        let parse = |path: &str| Unit::parse(path, "id1", false);
        let unit = |slice: &str, name: &str| Unit { name: name.into(), slice: slice.into() };
        assert_eq!(parse("a-b.slice:cri:x").unwrap(), unit("a-b.slice", "cri-x.scope"));
        assert_eq!(parse("::x").unwrap(), unit("system.slice", "x.scope"));
        assert_eq!(parse("").unwrap(), unit("system.slice", "lcr-id1.scope"));
        assert_eq!(parse("-.slice:p:x").unwrap(), unit("-.slice", "p-x.scope"));
        assert_eq!(Unit::parse("", "id1", true).unwrap(), unit("user.slice", "lcr-id1.scope"));
        for bad in ["/a/b", "a", "a:b", "a:b:c:d", "/a:b:c", "a:b:c", "a--b.slice:p:x", "-a.slice:p:x", ".slice:p:x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in ["a.slice::", "a.slice:p:x/y", "a.slice:p:x y", "a.slice:p:x.slice", "a/b.slice:p:x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
