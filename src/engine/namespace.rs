//! Namespaces of the configuration: which are made, which are joined (namespaces(7)).

use crate::api::oci::runtime::Namespace;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::clone::{CLONE_NEWCGROUP, CLONE_NEWTIME, setns};
use libc::{CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, c_int};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Every kind with its word, in the order in which they are joined. The user namespace is last: whoever enters it
/// early may lack the right to enter one that belongs to its parent.
const KINDS: [(&str, c_int, &str); 8] = [
    ("ipc", CLONE_NEWIPC, "ipc"),
    ("uts", CLONE_NEWUTS, "uts"),
    ("network", CLONE_NEWNET, "net"),
    ("pid", CLONE_NEWPID, "pid"),
    ("time", CLONE_NEWTIME, "time"),
    ("cgroup", CLONE_NEWCGROUP, "cgroup"),
    ("mount", CLONE_NEWNS, "mnt"),
    ("user", CLONE_NEWUSER, "user"),
];

/// The namespaces of a container.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// CLONE_NEW* of those to make.
    pub new: c_int,
    /// Those to join, in order.
    pub joined: Vec<Joined>,
}

/// A namespace to join.
#[derive(Debug)]
pub struct Joined {
    /// CLONE_NEW*.
    pub kind: c_int,
    /// Where it is.
    pub path: PathBuf,
    /// The open namespace file.
    pub file: File,
}

impl Namespaces {
    /// Reads the list and opens what is joined.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown kind or one given twice; the failing call for a path.
    pub fn open(list: &[Namespace]) -> Result<Namespaces> {
        let mut result = Namespaces::default();
        let flags = flags(list)?;
        if flags & CLONE_NEWNS == 0 || list.iter().any(|n| n.kind == "mount" && !n.path.as_os_str().is_empty()) {
            return Err(Error::new(Kind::Unsupported, "a container needs a mount namespace of its own"));
        }
        for (word, kind, _) in KINDS {
            match list.iter().find(|n| n.kind == word) {
                None => {}
                Some(n) if n.path.as_os_str().is_empty() => result.new |= kind,
                Some(n) => {
                    let file = File::open(&n.path).context(|| format!("{word} namespace: open({:?})", n.path))?;
                    result.joined.push(Joined { kind, path: n.path.clone(), file });
                }
            }
        }
        Ok(result)
    }

    /// Whether the container has another user namespace than the caller.
    pub fn has_user(&self) -> bool {
        self.new & CLONE_NEWUSER != 0 || self.joined.iter().any(|j| j.kind == CLONE_NEWUSER)
    }

    /// Joins those of the kinds `kinds`.
    ///
    /// # Errors
    /// The failing call with the path.
    pub fn join(&self, kinds: c_int) -> Result<()> {
        for joined in self.joined.iter().filter(|j| j.kind & kinds != 0) {
            setns(joined.file.as_fd(), joined.kind).context(|| format!("setns({:?})", joined.path))?;
        }
        Ok(())
    }
}

/// CLONE_NEW* of all kinds in `list`, made or joined: what a further process of the container enters.
///
/// # Errors
/// `Kind::Invalid` for an unknown kind or one given twice.
pub fn flags(list: &[Namespace]) -> Result<c_int> {
    let mut flags = 0;
    for namespace in list {
        let Some((_, kind, _)) = KINDS.iter().find(|(word, ..)| *word == namespace.kind) else {
            return Err(Error::invalid(format!("unknown namespace type {:?}", namespace.kind)));
        };
        if flags & kind != 0 {
            return Err(Error::invalid(format!("two namespaces of type {:?}", namespace.kind)));
        }
        flags |= kind;
    }
    Ok(flags)
}

/// Opens the namespaces `kinds` of process `pid` one by one, for kernels that cannot take them from a pidfd.
///
/// # Errors
/// The failing call.
pub fn open_of(pid: i32, kinds: c_int) -> Result<Vec<Joined>> {
    let mut list = Vec::new();
    for (_, kind, name) in KINDS.iter().filter(|(_, kind, _)| kinds & kind != 0) {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        let file = File::open(&path).context(|| format!("open({path:?})"))?;
        list.push(Joined { kind: *kind, path, file });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(kind: &str, path: &str) -> Namespace {
        Namespace { kind: kind.into(), path: path.into() }
    }

    #[test]
    fn lists_are_checked_and_ordered() {
        let list = [
            namespace("user", "/proc/self/ns/user"),
            namespace("mount", ""),
            namespace("network", "/proc/self/ns/net"),
            namespace("pid", ""),
        ];
        let n = Namespaces::open(&list).unwrap();
        assert_eq!(n.new, CLONE_NEWNS | CLONE_NEWPID);
        assert_eq!(n.joined.iter().map(|j| j.kind).collect::<Vec<_>>(), [CLONE_NEWNET, CLONE_NEWUSER]);
        assert!(n.has_user());
        let twice = Namespaces::open(&[namespace("mount", ""), namespace("mount", "")]).unwrap_err();
        assert_eq!(twice.to_string(), "two namespaces of type \"mount\"");
        assert_eq!(flags(&[namespace("disk", "")]).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(Namespaces::open(&[namespace("pid", "")]).unwrap_err().kind(), Kind::Unsupported);
        let gone = Namespaces::open(&[namespace("mount", ""), namespace("uts", "/nowhere/ns")]).unwrap_err();
        assert!(gone.to_string().contains("/nowhere/ns"), "{gone}");
    }
}
