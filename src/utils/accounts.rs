//! Users and groups by name, as the files of a root tell them (passwd(5), group(5)).

use super::path::Root;
use crate::error::{Error, Result};
use std::io::Read;
use std::path::Path;

/// The numbers that the kernel wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Home directory; empty when `/etc/passwd` does not tell.
    pub home: String,
}

/// Largest file that is read.
const FILE_LIMIT: u64 = 10 * 1024 * 1024;
/// Largest id that docker accepts as a number.
const ID_LIMIT: u32 = i32::MAX as u32;

/// Finds `name|uid[:group|gid]` in the files of a root.
///
/// # Errors
/// `Kind::Invalid` for a name that is in neither file, in the words of the original.
pub fn find(text: &str, root: &Root) -> Result<Identity> {
    let group = read(root, "/etc/group")?;
    look_up(text, &read(root, "/etc/passwd")?, &group)
}

/// The home directory of a user; empty when nothing tells it.
///
/// # Errors
/// As [`read`].
pub fn home(uid: u32, root: &Root) -> Result<String> {
    let passwd = read(root, "/etc/passwd")?;
    Ok(entries(&passwd).find(|e| e.id() == Some(uid)).map(|e| e.field(5).to_string()).unwrap_or_default())
}

/// Resolves `name|uid[:group|gid]`. A user found by either adds the groups that list it as a member, unless a group
/// is given; the primary group is always among the supplementary ones.
fn look_up(text: &str, passwd: &[u8], group: &[u8]) -> Result<Identity> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, group),
        None => (text, ""),
    };
    let number = id(user);
    // A name of digits only is found as a name first.
    let entry = match entries(passwd).find(|e| !user.is_empty() && e.name() == user) {
        None => entries(passwd).find(|e| e.id().is_some() && e.id() == if user.is_empty() { Some(0) } else { number }),
        found => found,
    };
    let mut identity = match (&entry, number) {
        (Some(e), _) => Identity {
            uid: e.id().ok_or_else(|| no_user(user))?,
            gid: id(e.field(3)).unwrap_or(0),
            home: e.field(5).to_string(),
            ..Identity::default()
        },
        (None, Some(uid)) => Identity { uid, ..Identity::default() },
        (None, None) if user.is_empty() => Identity::default(),
        (None, None) => return Err(no_user(user)),
    };
    if wanted_group.is_empty() {
        let name = entry.map(|e| e.name().to_string()).unwrap_or_default();
        let member = |e: &Entry<'_>| !name.is_empty() && e.field(3).split(',').any(|m| m == name);
        identity.groups = entries(group).filter(member).filter_map(|e| e.id()).collect();
    } else {
        identity.gid = group_id(wanted_group, group)?;
    }
    identity.groups.insert(0, identity.gid);
    Ok(identity)
}

/// The group with this name, or the number.
///
/// # Errors
/// `Kind::Invalid` when it is neither.
pub fn group_id(name: &str, group: &[u8]) -> Result<u32> {
    let entry = entries(group).find(|e| e.name() == name).and_then(|e| e.id());
    entry
        .or_else(|| id(name))
        .ok_or_else(|| Error::invalid(format!("Unable to find group '{name}': no matching entries in group file")))
}

fn no_user(name: &str) -> Error {
    Error::invalid(format!("Unable to find user '{name}': no matching entries in passwd file"))
}

/// A decimal id in docker's range. No sign.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|&n| n <= ID_LIMIT)
}

/// One line of either file.
struct Entry<'a>(&'a str);

impl<'a> Entry<'a> {
    fn field(&self, n: usize) -> &'a str {
        self.0.split(':').nth(n).unwrap_or("").trim()
    }

    fn name(&self) -> &'a str {
        self.field(0)
    }

    fn id(&self) -> Option<u32> {
        id(self.field(2))
    }
}

fn entries(file: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let lines = file.split(|&b| b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.map(|l| Entry(l.trim())).filter(|e| !e.0.is_empty() && !e.0.starts_with('#'))
}

/// A file in a root; a missing one is empty.
///
/// # Errors
/// `Kind::Invalid` for one that is no file or too large; the failing call.
pub fn read(root: &Root, path: &str) -> Result<Vec<u8>> {
    let file = match root.open_regular(Path::new(path)) {
        Ok(file) => file,
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => return Ok(Vec::new()),
        Err(nix::Error::EINVAL) => return Err(Error::invalid(format!("{path:?} in the container is no regular file"))),
        Err(e) => return Err(Error::os(format!("open({path:?}) in the container"), e as i32)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(format!("read({path:?}) in the container"), e))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(Error::invalid(format!("{path:?} in the container is larger than {FILE_LIMIT} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# c\nbad line\nbob:x:1000:100:Bob:/users/bob:/bin/sh\n7:x:70:71::/seven:\n\xff:x:1::\n";
    const GROUP: &[u8] = b"root:x:0:\nusers:x:100:\nwheel:x:10:alice,bob\naudio:x:29:bob\n";

    fn look_up(text: &str) -> Result<(u32, u32, Vec<u32>, String)> {
        super::look_up(text, PASSWD, GROUP).map(|i| (i.uid, i.gid, i.groups, i.home))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(look_up("bob").unwrap(), (1000, 100, vec![100, 10, 29], "/users/bob".into()));
        assert_eq!(look_up("1000").unwrap(), (1000, 100, vec![100, 10, 29], "/users/bob".into()));
        assert_eq!(look_up("bob:wheel").unwrap(), (1000, 10, vec![10], "/users/bob".into()));
        assert_eq!(look_up("4242").unwrap(), (4242, 0, vec![0], "".into()));
        assert_eq!(look_up("4242:4343").unwrap(), (4242, 4343, vec![4343], "".into()));
        assert_eq!(look_up("7").unwrap(), (70, 71, vec![71], "/seven".into()));
        assert_eq!(look_up(":users").unwrap(), (0, 100, vec![100], "/root".into()));
        let user = look_up("nobody").unwrap_err();
        assert_eq!(user.to_string(), "Unable to find user 'nobody': no matching entries in passwd file");
        let group = look_up("bob:none").unwrap_err();
        assert_eq!(group.to_string(), "Unable to find group 'none': no matching entries in group file");
        for bad in ["-1", "+5", "2147483648", "99999999999", "0:-5"] {
            assert!(look_up(bad).is_err(), "{bad}");
        }
    }
}
