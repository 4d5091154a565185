//! The order `root`: opens the root of a container.

use crate::api::shim::{Overlay, RootOrder};
use crate::engine::rootfs::{disk, overlay};
use crate::error::{Context, Error, Result};
use crate::utils::json;
use crate::utils::sys::socket;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Takes the order `root` from `connection` and sends the descriptor. The mount is in a namespace of this process alone,
/// which ends with it; with the last descriptor the mount does.
///
/// # Errors
/// The failing call, which is also sent.
pub fn serve(connection: BorrowedFd<'_>) -> Result<()> {
    answer(connection, order(connection).and_then(open_root).map(|root| vec![root]))
}

/// What the daemon orders.
///
/// # Errors
/// When nothing readable came.
pub(super) fn order<T: json::Member + Default>(connection: BorrowedFd<'_>) -> Result<T> {
    let message = socket::recv(connection)?.ok_or_else(|| Error::internal("no order came"))?;
    json::parse(&message.body)
}

/// Sends what was opened, or why not.
///
/// # Errors
/// The error that was sent, or that of sending.
pub(super) fn answer(connection: BorrowedFd<'_>, opened: Result<Vec<OwnedFd>>) -> Result<()> {
    match opened {
        Ok(fds) => socket::send(connection, b"", &socket::borrow(&fds)),
        Err(e) => {
            let _ = socket::send(connection, e.to_string().as_bytes(), &[]); // the daemon is gone
            Err(e)
        }
    }
}

fn open_root(RootOrder { overlay, device, target }: RootOrder) -> Result<OwnedFd> {
    super::own_mounts()?;
    match device {
        None => mount_layers(overlay, &target)?,
        Some(device) => disk::mount(&device, &target, true)?,
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(&target, flags, Mode::empty()).context(|| format!("open({target:?})"))
}

/// Mounts layers, to be read, on `target`.
///
/// # Errors
/// The failing call.
pub(super) fn mount_layers(mut layers: Overlay, target: &Path) -> Result<()> {
    // The writable layer may be one's that runs: without an upper directory nobody else writes to it.
    layers.lower.insert(0, std::mem::take(&mut layers.upper));
    layers.work = PathBuf::new();
    overlay::mount(&layers, target, "")
}
