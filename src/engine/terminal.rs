//! The pseudo terminal of a process: made in the container's own devpts, by the process itself.

use crate::api::oci::runtime::Process;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::path::{Links, Root};
use crate::utils::sys::{fd, pty};
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const DEVPTS_SUPER_MAGIC: u32 = 0x1cd1;

/// Both sides of a terminal.
#[derive(Debug)]
pub struct Terminal {
    /// For the caller.
    pub master: OwnedFd,
    /// For the process.
    pub peer: OwnedFd,
}

/// Makes the terminal that `process` asks for; `root` is the container's root.
///
/// # Errors
/// The failing call; `Kind::Invalid` when the container has no devpts.
pub fn open(process: &Process, root: &Root) -> Result<Option<Terminal>> {
    if !process.terminal {
        return Ok(None);
    }
    let call = || "open(\"/dev/pts/ptmx\") in the container".into();
    let handle = root.resolve(Path::new("/dev/pts/ptmx"), Links::Follow).context(call)?;
    // Looked at before it is opened: an image may have put anything there.
    if fd::file_system_of(handle.as_fd()) != Ok(DEVPTS_SUPER_MAGIC) {
        return Err(Error::new(Kind::Invalid, "a terminal needs devpts at \"/dev/pts\" in the container"));
    }
    let master = root.open_at(Path::new("/dev/pts/ptmx"), OFlag::O_RDWR | OFlag::O_NOCTTY, Links::Follow);
    let master = master.context(call)?;
    if fd::file_system_of(master.as_fd()) != Ok(DEVPTS_SUPER_MAGIC) {
        return Err(Error::new(Kind::Denied, "\"/dev/pts/ptmx\" changed while it was opened"));
    }
    let peer = pty::open_peer(master.as_fd()).context(|| "ioctl(TIOCGPTPEER)".into())?;
    if let Some(size) = &process.console_size {
        pty::set_size(master.as_fd(), size.height, size.width).context(|| "ioctl(TIOCSWINSZ)".into())?;
    }
    Ok(Some(Terminal { master, peer }))
}
