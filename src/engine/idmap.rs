//! User and group id maps of a new user namespace (user_namespaces(7)).
//!
//! Whoever has CAP_SETUID and CAP_SETGID writes any map. Everybody else writes one that has only the own id, and asks the
//! programs newuidmap(1) and newgidmap(1) for more: these have the rights, and know from `/etc/subuid` and
//! `/etc/subgid` which ids are whose.

use super::rights;
use crate::api::oci::runtime::{IdMapping, Linux};
use crate::engine::process::parent::Newborn;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::{self, clone};
use nix::fcntl::OFlag;
use nix::unistd::{getegid, geteuid};
use std::fmt::Write;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// Both maps.
#[derive(Debug)]
pub struct Maps {
    uids: Map,
    gids: Map,
}

#[derive(Debug, PartialEq, Eq)]
struct Map {
    /// Content of the map's file.
    text: String,
    /// The host's id, when it is only one.
    only: Option<u32>,
}

impl Maps {
    /// Those of a configuration.
    ///
    /// # Errors
    /// `Kind::Invalid` for no or too many lines, an empty range, or one beyond 32 bits.
    pub fn parse(linux: &Linux) -> Result<Maps> {
        Ok(Maps { uids: Map::parse("uid", &linux.uid_mappings)?, gids: Map::parse("gid", &linux.gid_mappings)? })
    }

    /// Gives them to process `pid`, which is in the new user namespace and was made by the caller.
    ///
    /// # Errors
    /// The failing call; what newuidmap(1) or newgidmap(1) says; `Kind::Unsupported` where these are needed and missing.
    pub fn write(&self, pid: i32) -> Result<()> {
        let write = |name: &str, text: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::write(&path, text).context(|| format!("write({path:?}, {text:?})"))
        };
        match rights::has(rights::SET_USERS) || self.uids.only == Some(geteuid().as_raw()) {
            true => write("uid_map", &self.uids.text)?,
            false => ask("newuidmap", pid, &self.uids.text)?,
        }
        if rights::has(rights::SET_GROUPS) {
            return write("gid_map", &self.gids.text);
        }
        if self.gids.only != Some(getegid().as_raw()) {
            return ask("newgidmap", pid, &self.gids.text);
        }
        // Its own group may be mapped by everybody only after the right to drop groups is given up: being in a group can
        // also be what keeps a user out.
        write("setgroups", "deny")?;
        write("gid_map", &self.gids.text)
    }
}

impl Map {
    fn parse(word: &str, mappings: &[IdMapping]) -> Result<Map> {
        // The kernel takes 340 lines; those of one write must fit one page.
        if mappings.is_empty() || mappings.len() > 340 {
            return Err(Error::invalid(format!("{} {word} mappings, a user namespace takes 1 to 340", mappings.len())));
        }
        let mut text = String::new();
        for m in mappings {
            let fits = |first: u32| first.checked_add(m.size).is_some();
            if m.size == 0 || !fits(m.container_id) || !fits(m.host_id) {
                return Err(Error::invalid(format!("{word} mapping {} {} {}", m.container_id, m.host_id, m.size)));
            }
            let _ = writeln!(text, "{} {} {}", m.container_id, m.host_id, m.size); // writing to a String cannot fail
        }
        if text.len() >= 4096 {
            return Err(Error::invalid(format!("{word} mappings longer than a page")));
        }
        let only = match mappings {
            [one] if one.size == 1 => Some(one.host_id),
            _ => None,
        };
        Ok(Map { text, only })
    }
}

/// Has `program`, which is newuidmap(1) or newgidmap(1), write the map.
fn ask(program: &str, pid: i32, text: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(text.split_ascii_whitespace()).stdin(Stdio::null());
    sys::child::unblock_signals(&mut command);
    let output = command.output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let map = text.trim_end().replace('\n', ", ");
            let text = format!(
                "the id map {map:?} has more than the caller's own id and needs {program}(1), which is not in PATH"
            );
            Error::new(Kind::Unsupported, text)
        }
        _ => Error::io(format!("exec {program}"), e),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stderr[..], &output.stdout[..]].concat();
    let said = String::from_utf8_lossy(&said).trim_end().chars().take(1024).collect::<String>().replace('\n', "; ");
    Err(Error::new(Kind::Denied, format!("{program} for the id map of process {pid}: {}: {said}", output.status)))
}

/// A user namespace with these maps, which nobody is in: for mounts whose files show other ids. The caller must have one
/// thread only.
///
/// # Errors
/// As [`Maps::parse`]; the failing call.
pub fn namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let maps = Maps { uids: Map::parse("uid", uids)?, gids: Map::parse("gid", gids)? };
    // Its owner is killed as soon as the namespace is open. It ends by itself, too, when this process ends before.
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context(|| "pipe2()".into())?;
    let owner = clone::spawn(libc::CLONE_NEWUSER, None, |_| {
        let _ = nix::unistd::close(theirs.as_raw_fd());
        let _ = nix::unistd::read(&ours, &mut [0]);
        clone::exit(0)
    });
    let owner = Newborn::new(owner.context(|| "clone(CLONE_NEWUSER)".into())?);
    maps.write(owner.pid())?;
    let path = format!("/proc/{}/ns/user", owner.pid());
    let file = File::open(&path).context(|| format!("open({path:?})"))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let m = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        let two = Map { text: "0 100000 65536\n65536 5 1\n".into(), only: None };
        assert_eq!(Map::parse("uid", &[m(0, 100_000, 65536), m(65536, 5, 1)]).unwrap(), two);
        assert_eq!(Map::parse("uid", &[m(7, 5, 1)]).unwrap().only, Some(5));
        assert_eq!(Map::parse("uid", &[m(7, 5, 2)]).unwrap().only, None);
        for bad in [vec![], vec![m(0, 0, 0)], vec![m(u32::MAX, 0, 1)], vec![m(0, u32::MAX, 2)], vec![m(0, 0, 1); 341]] {
            assert!(Map::parse("uid", &bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn helpers_are_heard() {
        // Programs of other names: they print what they were given, or fail with it.
        ask("true", 7, "0 1 1\n1 100 5\n").unwrap();
        let e = ask("ls", 7, "/nosuch\n").unwrap_err().to_string();
        assert!(e.starts_with("ls for the id map of process 7: exit status: 2: ") && e.contains("/nosuch"), "{e}");
        let e = ask("no-such-program", 7, "0 1 1\n1 100 5\n").unwrap_err();
        let text = "the id map \"0 1 1, 1 100 5\" has more than the caller's own id and needs no-such-program(1), which is \
                    not in PATH";
        assert_eq!((e.kind(), e.to_string().as_str()), (Kind::Unsupported, text));
    }
}
