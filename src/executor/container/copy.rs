//! Files into a container and out of it, in any state of it.

use super::CopyIn;
use super::network_files;
use super::root::Root;
use crate::api::archive::{PathStat, ViewOrder};
use crate::api::container::HostConfig;
use crate::api::shim::RootOrder;
use crate::error::{Error, Result};
use crate::executor::Daemon;
use crate::modules::container::Container;
use crate::modules::container::document::Document;
use crate::modules::container::run::{Phase, Verb, permit};
use crate::modules::copy::{Found, Incoming};
use crate::modules::remap::{Ids, Remap};
use crate::modules::runtime::root::View;
use crate::modules::spec::{ContainerFiles, at_rest, remap_of};
use crate::utils::accounts;
use std::io::{Read, Write};
use std::sync::{Arc, MutexGuard};

/// What a container sees, and what it is.
struct Opened<'a> {
    view: View,
    document: Document,
    host: HostConfig,
    /// The first process of the run that this was looked at in; 0 when there was none.
    pid: i32,
    /// Held while something is written to a container that does not run, which must not start meanwhile.
    _operation: Option<MutexGuard<'a, ()>>,
}

fn open<'a>(daemon: &Daemon, container: &'a Arc<Container>, write: bool) -> Result<Opened<'a>> {
    let id = &container.id;
    let operation = container.operate();
    let run = container.run();
    permit(Verb::Copy, run.phase(), id)?;
    if container.state().removed {
        return Err(Error::not_found(format!("No such container:{id}")));
    }
    let (document, host) = (daemon.disk.document(id)?, daemon.disk.host_config(id)?);
    if matches!(run.phase(), Phase::Running | Phase::Paused) {
        let view = View::of_process(run.pid, run.start_time)?;
        return Ok(Opened { view, document, host, pid: run.pid, _operation: None });
    }
    let root = Root::find(daemon, id, &document, &host)?;
    let remap = remap_of(&host, &daemon.settings.defaults)?;
    let owner = remap.as_ref().map(Remap::root).unwrap_or_default();
    let files = match root.holds_network_files(&host) {
        true => ContainerFiles::default(),
        false => network_files::at_rest(daemon, container, &document, &host, owner, write)?,
    };
    let points = &document.common_config.mount_points;
    let mounts = at_rest(&host, points, (root.mounts, &files), remap.as_ref(), write)?;
    let view = View::mounted(&ViewOrder {
        root: RootOrder { overlay: root.overlay.unwrap_or_default(), device: root.device, target: root.path },
        mounts,
        write,
        read_only: host.readonly_rootfs,
    })?;
    Ok(Opened { view, document, host, pid: 0, _operation: write.then_some(operation) })
}

/// What there is at a path.
///
/// # Errors
/// `Kind::NotFound` for the container or the path, `Kind::Conflict` while it is removed.
pub fn path_stat(daemon: &Daemon, reference: &str, path: &str) -> Result<PathStat> {
    let container = daemon.find(reference)?;
    let opened = open(daemon, &container, false)?;
    Ok(Found::find(&opened.view, path, reference)?.stat)
}

/// Something in a container that is about to be copied out of it.
pub struct Outgoing {
    /// What it is.
    pub stat: PathStat,
    found: Found,
    ids: Ids,
    container: Arc<Container>,
    /// Keeps the mounts together.
    _view: View,
}

/// Finds what is at a path, to be copied.
///
/// # Errors
/// As [`path_stat`].
pub fn copy_out(daemon: &Daemon, reference: &str, path: &str) -> Result<Outgoing> {
    let container = daemon.find(reference)?;
    let Opened { view, document, host, .. } = open(daemon, &container, false)?;
    let found = Found::find(&view, path, reference)?;
    let ids = super::root::ids(daemon, &document, &host)?;
    // docker's words for the two ways.
    daemon.tell(&container, "archive-path", &[]);
    Ok(Outgoing { stat: found.stat.clone(), found, ids, container, _view: view })
}

impl Outgoing {
    /// Writes it as a tar archive. What the container changes meanwhile may or may not be in it.
    ///
    /// # Errors
    /// What reading or writing gives; `Kind::Conflict` when the container is removed meanwhile.
    pub fn write(self, out: &mut dyn Write) -> Result<()> {
        self.found.pack(self.ids, out)?;
        match self.container.state().removed {
            true => Err(Error::conflict(format!("container {} was removed while it was read", self.container.id))),
            false => Ok(()),
        }
    }
}

/// Extracts a tar archive, plain or compressed, in a directory of a container.
///
/// # Errors
/// `Kind::NotFound` for the container or the path, `Kind::Invalid` for a path that is no directory and a bad archive,
/// `Kind::Denied` where it is read-only, `Kind::Conflict` when the container ends or is removed meanwhile.
pub fn copy_in(daemon: &Daemon, reference: &str, order: &CopyIn, source: &mut dyn Read) -> Result<()> {
    let container = daemon.find(reference)?;
    let opened = open(daemon, &container, true)?;
    let host = &opened.host;
    let user = &opened.document.common_config.config.user;
    let owner = match order.own && !user.is_empty() {
        true => Some(accounts::find(user, &opened.view.root).map(|identity| (identity.uid, identity.gid))?),
        false => None,
    };
    let pid = opened.pid;
    let check = || match container.state().run.pid == pid {
        true => Ok(()),
        // Another run would have a root of its own on the same layer.
        false => Err(Error::conflict(format!("container {} ended while files were copied to it", container.id))),
    };
    let remap = remap_of(host, &daemon.settings.defaults)?;
    let incoming = Incoming {
        path: &order.path,
        container: reference,
        keep_kind: order.keep_kind,
        owner,
        remap: remap.as_ref(),
        read_only: host.readonly_rootfs,
        check: &check,
    };
    incoming.extract(&opened.view, source)?;
    daemon.tell(&container, "extract-to-dir", &[]);
    Ok(())
}
