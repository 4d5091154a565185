//! User and group id maps of a new user namespace (user_namespaces(7)).

use crate::api::oci::runtime::IdMapping;
use crate::engine::process::parent::Newborn;
use crate::error::{Context, Error, Result};
use crate::utils::sys::clone;
use nix::fcntl::OFlag;
use std::fmt::Write;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

/// The text of an id map file.
///
/// # Errors
/// `Kind::Invalid` for no or too many lines, an empty range, or one beyond 32 bits.
pub fn text(word: &str, mappings: &[IdMapping]) -> Result<String> {
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
    Ok(text)
}

/// Writes both maps of process `pid`.
///
/// # Errors
/// The failing call.
pub fn write(pid: i32, uids: &str, gids: &str) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = format!("/proc/{pid}/{name}");
        std::fs::write(&path, text).context(|| format!("write({path:?}, {text:?})"))
    };
    // An unprivileged writer may map groups only after the right to drop groups is given up.
    if !nix::unistd::geteuid().is_root() {
        write("setgroups", "deny")?;
    }
    write("uid_map", uids)?;
    write("gid_map", gids)
}

/// A user namespace with these maps, which nobody is in: for mounts whose files show other ids. The caller must have one
/// thread only.
///
/// # Errors
/// As [`text`]; the failing call.
pub fn namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (uids, gids) = (text("uid", uids)?, text("gid", gids)?);
    // Its owner is killed as soon as the namespace is open. It ends by itself, too, when this process ends before.
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context(|| "pipe2()".into())?;
    let owner = clone::spawn(libc::CLONE_NEWUSER, None, |_| {
        let _ = nix::unistd::close(theirs.as_raw_fd());
        let _ = nix::unistd::read(&ours, &mut [0]);
        clone::exit(0)
    });
    let owner = Newborn::new(owner.context(|| "clone(CLONE_NEWUSER)".into())?);
    write(owner.pid(), &uids, &gids)?;
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
        assert_eq!(text("uid", &[m(0, 100_000, 65536), m(65536, 5, 1)]).unwrap(), "0 100000 65536\n65536 5 1\n");
        for bad in [vec![], vec![m(0, 0, 0)], vec![m(u32::MAX, 0, 1)], vec![m(0, u32::MAX, 2)], vec![m(0, 0, 1); 341]] {
            assert!(text("uid", &bad).is_err(), "{bad:?}");
        }
    }
}
