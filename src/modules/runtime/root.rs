//! The merged root of a container as a descriptor, without a mount that anybody sees.
//!
//! The shim applet mounts it in a mount namespace of its own, sends the descriptor and ends. The namespace ends with
//! it; the mount lives as long as the descriptor, and so never longer than this process.

use super::shim;
use crate::api::archive::ViewOrder;
use crate::api::shim::RootOrder;
use crate::error::{Context, Error, Result};
use crate::utils::json;
use crate::utils::path::Root;
use crate::utils::sys::{process, socket};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

/// What a container sees: its root with all that is mounted in it, as long as this lives.
pub struct View {
    /// The root.
    pub root: Root,
    /// The mount namespace: without it the mounts would come apart when the last process in it ends.
    _namespace: OwnedFd,
}

impl View {
    /// That of a process, which started at `start_time`.
    ///
    /// # Errors
    /// `Kind::Conflict` when it has ended; the failing call.
    pub fn of_process(pid: i32, start_time: u64) -> Result<View> {
        let open = |name: &str, flags: OFlag| {
            let path = format!("/proc/{pid}/{name}");
            nix::fcntl::open(path.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())
                .context(|| format!("open({path:?})"))
        };
        let opened = open("ns/mnt", OFlag::O_RDONLY)
            .and_then(|namespace| Ok((namespace, open("root", OFlag::O_PATH | OFlag::O_DIRECTORY)?)));
        let ended = || Error::conflict("the container ended a moment ago");
        // After the look: the number may be another's by then.
        if !process::is_alive(pid, start_time) {
            return Err(ended());
        }
        let (namespace, root) = opened.map_err(|e| match e.errno() {
            // It has ended and is not waited for yet.
            Some(libc::ENOENT | libc::ESRCH) => ended(),
            _ => e,
        })?;
        Ok(View { root: root.into(), _namespace: namespace })
    }

    /// One that has to be mounted for that, in a mount namespace that nobody else is in.
    ///
    /// # Errors
    /// What mounting gives.
    pub fn mounted(order: &ViewOrder) -> Result<View> {
        match <[OwnedFd; 2]>::try_from(ask("view", &json::to_vec(order))?) {
            Ok([root, namespace]) => Ok(View { root: root.into(), _namespace: namespace }),
            Err(_) => Err(Error::internal("the helper that mounts a root gave no root")),
        }
    }
}

/// Opens a root that has to be mounted for that, read-only; a container may run on it.
///
/// # Errors
/// What mounting gives.
pub fn open(order: &RootOrder) -> Result<OwnedFd> {
    ask("root", &json::to_vec(order))?.pop().ok_or_else(|| Error::internal("the helper that mounts a root gave none"))
}

/// Gives an order to the shim applet; the descriptors that it answers.
fn ask(word: &str, order: &[u8]) -> Result<Vec<OwnedFd>> {
    let (ours, theirs) = socket::message_pair()?;
    let mut child = shim::command()?
        .arg(word)
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "spawn the helper that mounts a root".into())?;
    let answer = socket::send(ours.as_fd(), order, &[]).and_then(|()| socket::recv(ours.as_fd()));
    // Without this end, a helper that waits for an order that could not be sent would wait for ever.
    drop(ours);
    let _ = child.wait(); // its message says what matters
    let message = answer?.ok_or_else(|| Error::internal("the helper that mounts a root ended without an answer"))?;
    match message.fds.is_empty() {
        true => Err(Error::internal(String::from_utf8_lossy(&message.body))),
        false => Ok(message.fds),
    }
}

/// Opens a root that is a directory.
///
/// # Errors
/// The failing call.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).context(|| format!("open({path:?})"))
}
