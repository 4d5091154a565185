//! A directory that host and container share, in memory: a tmpfs of the host that is mounted for one container. It is made
//! with the container and goes with it, and comes again with a start after a reboot.

use crate::api::container::HostChannel;
use crate::error::{Context, Error, Result};
use crate::utils::{host, path, pseudo_file};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes where a request names none.
const SIZE: u64 = 64 << 20;
/// A page; less holds nothing.
const SMALLEST: u64 = 4096;

/// Checks a request, and fills its defaults in.
///
/// # Errors
/// `Kind::Invalid` with the rule.
pub fn check(channel: &mut HostChannel) -> Result<()> {
    if channel.is_none() {
        return Ok(());
    }
    for at in [&mut channel.path_on_host, &mut channel.path_in_container] {
        if !at.starts_with('/') || at.contains('\0') || path::clean(at) == "/" {
            return Err(Error::invalid(format!("host channel path {at:?}: want an absolute path, and not /")));
        }
        *at = path::clean(at);
    }
    match channel.permissions.as_str() {
        "" => channel.permissions = "rw".into(),
        "rw" | "ro" => {}
        other => return Err(Error::invalid(format!("invalid mode of a host channel {other:?}: want rw or ro"))),
    }
    if channel.size == 0 {
        channel.size = SIZE;
    }
    let most = u64::try_from(host::memory() / 2).unwrap_or(u64::MAX);
    if !(SMALLEST..=most).contains(&channel.size) {
        let size = channel.size;
        return Err(Error::invalid(format!(
            "invalid size of a host channel, {size} bytes: want {SMALLEST} to {most}, half of the memory"
        )));
    }
    Ok(())
}

/// Whether its directory can be made: nothing may be there.
///
/// # Errors
/// `Kind::Conflict`.
pub fn check_free(channel: &HostChannel) -> Result<()> {
    let at = Path::new(&channel.path_on_host);
    if at.symlink_metadata().is_ok() {
        return Err(exists(at));
    }
    Ok(())
}

fn exists(at: &Path) -> Error {
    Error::conflict(format!("path {at:?} of a host channel exists already, and must not"))
}

/// Made directories and a mount; taken away again on drop unless kept.
pub struct Made<'a>(Option<&'a HostChannel>);

impl<'a> Made<'a> {
    /// Makes the directory, which must not exist, and mounts it. Nothing for none.
    ///
    /// # Errors
    /// `Kind::Conflict` for a path that exists; the failing call. Nothing is left then.
    pub fn new(channel: &'a HostChannel) -> Result<Made<'a>> {
        if channel.is_none() {
            return Ok(Made(None));
        }
        let at = Path::new(&channel.path_on_host);
        std::fs::create_dir(at).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => exists(at),
            _ => Error::io(format!("mkdir({at:?}) for a host channel"), e),
        })?;
        let made = Made(Some(channel));
        attach(channel)?;
        Ok(made)
    }

    /// It stays.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if let Some(channel) = self.0 {
            remove(&channel.path_on_host);
        }
    }
}

/// Mounts it again where a reboot has unmounted it.
///
/// # Errors
/// The failing call.
pub fn restore(channel: &HostChannel) -> Result<()> {
    if channel.is_none() || is_attached(&channel.path_on_host) {
        return Ok(());
    }
    std::fs::create_dir_all(&channel.path_on_host)
        .context(|| format!("mkdir({:?}) for a host channel", channel.path_on_host))?;
    attach(channel)
}

/// Takes it away. What somebody uses goes with its last user; a path that is something else by now stays.
pub fn remove(at: &str) {
    if is_attached(at)
        && let Err(e) = umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
    {
        log::warn!("host channel {at:?} is left: {}", Error::os("umount", e as i32));
        return;
    }
    match std::fs::remove_dir(at) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            log::warn!("host channel {at:?} is left: {}", Error::io("rmdir", e));
        }
        _ => {}
    }
}

fn attach(channel: &HostChannel) -> Result<()> {
    let at = channel.path_on_host.as_str();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("mode=1777,size={}", channel.size);
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options.as_str()))
        .context(|| format!("mount(tmpfs, {at:?}) for a host channel"))
}

/// Whether a tmpfs is mounted there (proc_pid_mountinfo(5)).
fn is_attached(at: &str) -> bool {
    let Ok(real) = Path::new(at).canonicalize() else { return false };
    let mountinfo = pseudo_file::read("/proc/self/mountinfo").unwrap_or_default();
    mountinfo.split(|&b| b == b'\n').any(|line| {
        let mut words = line.split(|&b| b == b' ');
        let at = words.nth(4).map(crate::utils::mountinfo::unescape);
        at.is_some_and(|at| at == real.as_os_str().as_bytes())
            && words.skip_while(|w| *w != b"-").nth(1) == Some(b"tmpfs")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(host: &str, inside: &str, permissions: &str, size: u64) -> HostChannel {
        let (path_on_host, path_in_container) = (host.into(), inside.into());
        HostChannel { path_on_host, path_in_container, permissions: permissions.into(), size }
    }

    #[test]
    fn rules() {
        let mut none = HostChannel::default();
        check(&mut none).unwrap();
        assert!(none.is_none());
        let mut good = channel("/a//b/", "/c", "", 0);
        check(&mut good).unwrap();
        assert_eq!(good, channel("/a/b", "/c", "rw", 64 << 20));
        for (bad, part) in [
            (channel("a", "/c", "", 0), "path \"a\""),
            (channel("/a", "", "", 0), "path \"\""),
            (channel("/", "/c", "", 0), "path \"/\""),
            (channel("/a", "/..", "", 0), "path \"/..\""),
            (channel("/a", "/c", "x", 0), "want rw or ro"),
            (channel("/a", "/c", "", 4095), "4095 bytes"),
            (channel("/a", "/c", "", u64::MAX), "half of the memory"),
        ] {
            let text = check(&mut bad.clone()).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_path_that_exists_is_refused() {
        let text = Made::new(&channel("/tmp", "/c", "rw", 4096)).err().unwrap().to_string();
        assert!(text.contains("exists already"), "{text}");
    }
}
