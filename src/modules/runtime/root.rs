//! The merged root of a container as a descriptor, without a mount that anybody sees.
//!
//! The shim applet mounts it in a mount namespace of its own, sends the descriptor and ends. The namespace ends with
//! it; the mount lives as long as the descriptor, and so never longer than this process.

use super::shim;
use crate::api::shim::{Overlay, RootOrder};
use crate::error::{Context, Error, Result};
use crate::utils::json;
use crate::utils::sys::socket;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

/// Opens the root that the layers of `overlay` make, read-only; a container may run on it. `target` is a directory that
/// may be mounted on.
///
/// # Errors
/// What mounting gives.
pub fn open(overlay: &Overlay, target: &Path) -> Result<OwnedFd> {
    let (ours, theirs) = socket::message_pair()?;
    let mut child = shim::command()?
        .arg("root")
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "spawn the helper that mounts a root".into())?;
    let order = RootOrder { overlay: overlay.clone(), target: target.to_owned() };
    let answer = socket::send(ours.as_fd(), &json::to_vec(&order), &[]).and_then(|()| socket::recv(ours.as_fd()));
    // Without this end, a helper that waits for an order that could not be sent would wait for ever.
    drop(ours);
    let _ = child.wait(); // its message says what matters
    let mut message =
        answer?.ok_or_else(|| Error::internal("the helper that mounts a root ended without an answer"))?;
    message.fds.pop().ok_or_else(|| Error::internal(String::from_utf8_lossy(&message.body)))
}
