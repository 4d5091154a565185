//! The words of `userns-remap`: the original's `UID:GID:LENGTH`, and docker's `USER[:GROUP]` and `default`, which name
//! entries of `/etc/subuid` and `/etc/subgid` (subuid(5)).

use super::{Range, Remap};
use crate::error::{Context, Error, Kind, Result};
use std::io::ErrorKind;
use std::path::Path;

/// Whom docker's `default` names.
const DEFAULT: &str = "dockremap";
/// The files of a machine.
const PASSWD: &str = "passwd";
const GROUP: &str = "group";
const SUBUID: &str = "subuid";
const SUBGID: &str = "subgid";

impl Remap {
    /// Reads a setting; names are looked up on this machine.
    ///
    /// # Errors
    /// `Kind::Invalid` with the rule; `Kind::Unsupported` where there are no user namespaces; the failing call.
    pub fn parse(text: &str) -> Result<Remap> {
        let remap = parse(text, Path::new("/etc"));
        remap.and_then(|remap| available().map(|()| remap)).context(|| format!("userns-remap {text:?}"))
    }
}

/// Whether this kernel makes user namespaces (user_namespaces(7)).
fn available() -> Result<()> {
    const LIMIT: &str = "/proc/sys/user/max_user_namespaces";
    if !Path::new("/proc/self/ns/user").exists() {
        return Err(Error::new(Kind::Unsupported, "this kernel was built without user namespaces"));
    }
    match std::fs::read_to_string(LIMIT) {
        Ok(limit) if limit.trim() == "0" => {
            Err(Error::new(Kind::Unsupported, format!("user namespaces are switched off: {LIMIT} is 0")))
        }
        _ => Ok(()),
    }
}

fn parse(text: &str, etc: &Path) -> Result<Remap> {
    let remap = match text.split(':').collect::<Vec<_>>()[..] {
        [uid, gid, length] => {
            let count = number(length)?;
            Remap { uids: Range { first: number(uid)?, count }, gids: Range { first: number(gid)?, count } }
        }
        [user, group] if !user.is_empty() && !group.is_empty() => named(user, group, etc)?,
        ["default"] => named(DEFAULT, DEFAULT, etc)?,
        [user] if !user.is_empty() => named(user, user, etc)?,
        _ => return Err(form()),
    };
    for (what, range) in [("user", remap.uids), ("group", remap.gids)] {
        // The last number stands for none (chown(2)).
        let fits = range.first.checked_add(range.count).is_some();
        if range.first == 0 || range.count == 0 || !fits {
            let Range { first, count } = range;
            return Err(Error::invalid(format!(
                "{what} ids {first} and {count} in all: want at least one, below 4294967295 and without the host's root"
            )));
        }
    }
    Ok(remap)
}

fn form() -> Error {
    Error::invalid("want UID:GID:LENGTH, USER[:GROUP] or default")
}

fn number(text: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(form)
}

fn named(user: &str, group: &str, etc: &Path) -> Result<Remap> {
    Ok(Remap {
        uids: entry(user, &etc.join(SUBUID), &etc.join(PASSWD))?,
        gids: entry(group, &etc.join(SUBGID), &etc.join(GROUP))?,
    })
}

/// The one range that `file` has for `name`, which may stand there as its number in `names`.
fn entry(name: &str, file: &Path, names: &Path) -> Result<Range> {
    let names = read(names)?;
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let same = names.lines().map(fields).find(|f| f.len() > 2 && (f[0] == name || f[2] == name));
    let is_one = |word: &str| word == name || same.as_ref().is_some_and(|f| word == f[0] || word == f[2]);
    let text = read(file)?;
    let mut found = text.lines().map(fields).filter(|f| f.len() == 3 && is_one(f[0].trim()));
    let missing = || Error::invalid(format!("{file:?} has no line NAME:FIRST:COUNT for {name:?}"));
    let line = found.next().ok_or_else(missing)?;
    if found.next().is_some() {
        return Err(Error::invalid(format!("{file:?} has several lines for {name:?}: one range is supported")));
    }
    let bad = |_| Error::invalid(format!("{file:?}: want numbers in the line for {name:?}"));
    Ok(Range { first: number(line[1].trim()).map_err(bad)?, count: number(line[2].trim()).map_err(bad)? })
}

/// A missing file has no lines.
fn read(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        result => result.context(|| format!("read({path:?})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32, count: u32) -> Range {
        Range { first, count }
    }

    #[test]
    fn numbers() {
        let parse = |text| parse(text, Path::new("/nosuch"));
        let remap = parse("100000:200000:65536").unwrap();
        assert_eq!((remap.uids, remap.gids), (range(100_000, 65536), range(200_000, 65536)));
        for (text, part) in [
            ("", "want UID:GID:LENGTH"),
            (":", "want UID:GID:LENGTH"),
            ("1:2:3:4", "want UID:GID:LENGTH"),
            ("1:2:x", "want UID:GID:LENGTH"),
            ("+1:2:3", "want UID:GID:LENGTH"),
            ("1:2:4294967296", "want UID:GID:LENGTH"),
            ("1:2:0", "user ids 1 and 0 in all"),
            ("0:1:5", "the host's root"),
            ("1:0:5", "group ids 0 and 5"),
            ("5:4294967295:1", "below 4294967295"),
            ("nosuch", "no line NAME:FIRST:COUNT for \"nosuch\""),
            ("default", "\"dockremap\""),
        ] {
            let e = parse(text).unwrap_err().to_string();
            assert!(e.contains(part), "{text:?}: {e}");
        }
    }

    #[test]
    fn names_are_looked_up() {
        let etc = std::env::temp_dir().join(format!("remap-{}", std::process::id()));
        std::fs::create_dir_all(&etc).unwrap();
        for (name, text) in [
            (PASSWD, "root:x:0:0::/:\nbox:x:1000:100::/:\ndockremap:x:999:99::/:\n"),
            (GROUP, "boxes:x:50:\n"),
            (SUBUID, "# none\nroot:1:2\n1000:100000:65536\ndockremap:300000:10\ntwice:1:2\ntwice:5:2\nbad:x:2\n"),
            (SUBGID, "boxes:200000:1000\nbox:400000:5\ndockremap:500000:20\ntwice:1:2\nbad:1:2\n"),
        ] {
            std::fs::write(etc.join(name), text).unwrap();
        }
        let of = |text: &str| parse(text, &etc).map(|r| (r.uids, r.gids));
        assert_eq!(of("box:boxes").unwrap(), (range(100_000, 65536), range(200_000, 1000)));
        assert_eq!(of("1000:50").unwrap(), (range(100_000, 65536), range(200_000, 1000)));
        assert_eq!(of("box").unwrap(), (range(100_000, 65536), range(400_000, 5)));
        assert_eq!(of("default").unwrap(), (range(300_000, 10), range(500_000, 20)));
        for (text, part) in [("twice", "several lines"), ("bad", "want numbers"), ("nosuch:boxes", "no line")] {
            let e = of(text).unwrap_err().to_string();
            assert!(e.contains(part), "{text}: {e}");
        }
        std::fs::remove_dir_all(&etc).unwrap();
    }
}
