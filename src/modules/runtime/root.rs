//! The merged root of a container as a descriptor, without a mount that anybody sees.
//!
//! The shim applet mounts it in a mount namespace of its own, sends the descriptor and ends. The namespace ends with
//! it; the mount lives as long as the descriptor, and so never longer than this process.

use super::shim;
use crate::api::shim::RootOrder;
use crate::error::{Context, Error, Result};
use crate::utils::json;
use crate::utils::sys::socket;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

/// Opens a root that has to be mounted for that, read-only; a container may run on it.
///
/// # Errors
/// What mounting gives.
pub fn open(order: &RootOrder) -> Result<OwnedFd> {
    let (ours, theirs) = socket::message_pair()?;
    let mut child = shim::command()?
        .arg("root")
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "spawn the helper that mounts a root".into())?;
    let answer = socket::send(ours.as_fd(), &json::to_vec(order), &[]).and_then(|()| socket::recv(ours.as_fd()));
    // Without this end, a helper that waits for an order that could not be sent would wait for ever.
    drop(ours);
    let _ = child.wait(); // its message says what matters
    let mut message =
        answer?.ok_or_else(|| Error::internal("the helper that mounts a root ended without an answer"))?;
    message.fds.pop().ok_or_else(|| Error::internal(String::from_utf8_lossy(&message.body)))
}

/// Opens a root that is a directory.
///
/// # Errors
/// The failing call.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).context(|| format!("open({path:?})"))
}
