//! The files `hostname`, `hosts` and `resolv.conf` of a container: its own, or those of the container whose network it
//! shares.

use super::root::Root;
use crate::api::container::HostConfig;
use crate::error::Result;
use crate::executor::Daemon;
use crate::modules::container::document::Document;
use crate::modules::container::{Container, files, inside};
use crate::modules::spec::{self, ContainerFiles, Mode};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The container at the end of a chain of shared networks: the one that has them by itself.
struct Owner {
    container: Arc<Container>,
    document: Document,
    host: HostConfig,
}

impl Owner {
    /// `None` when the container shares no other's network.
    ///
    /// # Errors
    /// `Kind::NotFound` when the first of the chain is not there; what its directory gives.
    fn find(daemon: &Daemon, container: &Container, host: &HostConfig) -> Result<Option<Owner>> {
        let Mode::Container(first) = spec::mode(&host.network_mode) else { return Ok(None) };
        let mut owner = Owner::read(daemon, daemon.find(first)?)?;
        let mut seen = vec![container.id.clone()];
        while let Mode::Container(next) = spec::mode(&owner.host.network_mode) {
            seen.push(owner.container.id.clone());
            // One that joined goes on when the one that it joined is removed.
            let Ok(next) = daemon.find(next) else { break };
            // A name that was given anew may lead back.
            if seen.contains(&next.id) {
                break;
            }
            owner = Owner::read(daemon, next)?;
        }
        Ok(Some(owner))
    }

    fn read(daemon: &Daemon, container: Arc<Container>) -> Result<Owner> {
        let (document, host) = (daemon.disk.document(&container.id)?, daemon.disk.host_config(&container.id)?);
        Ok(Owner { container, document, host })
    }

    /// Those of its files that are there to be mounted.
    fn files(&self) -> ContainerFiles {
        let common = &self.document.common_config;
        given([&common.hostname_path, &common.hosts_path, &common.resolv_conf_path].map(PathBuf::from))
    }

    /// What its root holds of them. It may hold anything, links to anywhere among that, and change at any time: so it is
    /// read in safety and never mounted.
    fn texts(&self, daemon: &Daemon) -> [Option<String>; 3] {
        match Root::find(daemon, &self.container.id, &self.document, &self.host) {
            Ok(root) if root.holds_network_files(&self.host) => inside::read_network_files(&root.path),
            _ => Default::default(),
        }
    }
}

fn given(paths: [PathBuf; 3]) -> ContainerFiles {
    let [hostname, hosts, resolv_conf] = paths.map(|path| Some(path).filter(|p| p.is_file()));
    ContainerFiles { hostname, hosts, resolv_conf }
}

/// Writes them before a start; gives the host name that the container sees, and the files to be mounted. `owner` are the
/// host's ids of its root. The root of a system container, `inside`, gets them itself.
///
/// # Errors
/// The failing call; what is wrong with the container whose network is shared.
pub fn write(
    daemon: &Daemon,
    container: &Container,
    document: &Document,
    host: &HostConfig,
    (owner, inside): ((u32, u32), Option<&Path>),
) -> Result<(String, ContainerFiles)> {
    let common = &document.common_config;
    let peer = Owner::find(daemon, container, host)?;
    let mut hostname = spec::host_name(&container.id, &common.config, host);
    if let Some(peer) = &peer {
        let theirs = &peer.document.common_config.config.hostname;
        if common.config.hostname.is_empty() && !theirs.is_empty() {
            hostname.clone_from(theirs);
        }
        let files = peer.files();
        if files != ContainerFiles::default() {
            return Ok((hostname, files));
        }
    }
    let content = files::Content {
        hostname: &hostname,
        domainname: &common.config.domainname,
        host_network: spec::mode(&host.network_mode) == Mode::Host,
        extra_hosts: &host.extra_hosts,
        dns: &host.dns,
        dns_options: &host.dns_options,
        dns_search: &host.dns_search,
        owner,
    };
    match inside.filter(|_| peer.is_none()).map(|root| inside::write_network_files(root, &content)) {
        Some(Ok(())) => return Ok((hostname, ContainerFiles::default())),
        // As in other containers then.
        Some(Err(e)) if e.errno() == Some(libc::EROFS) => {}
        Some(Err(e)) => return Err(e),
        None => {}
    }
    let mut texts = files::texts(&content);
    if let Some(peer) = &peer {
        for (text, theirs) in texts.iter_mut().zip(peer.texts(daemon)) {
            *text = theirs.unwrap_or_else(|| std::mem::take(text));
        }
    }
    let directory = daemon.disk.directory(&container.id);
    files::write(&directory, &texts, owner, common.created)?;
    Ok((hostname, given(files::paths(&directory))))
}

/// Those of a container that does not run. Before its first start it has none; then they are written when `make` says so,
/// since something is to be copied into it.
///
/// # Errors
/// As [`write`].
#[cfg(feature = "image-tools")]
pub fn at_rest(
    daemon: &Daemon,
    container: &Container,
    document: &Document,
    host: &HostConfig,
    owner: (u32, u32),
    make: bool,
) -> Result<ContainerFiles> {
    let files = match Owner::find(daemon, container, host) {
        Ok(Some(peer)) => peer.files(),
        Ok(None) => ContainerFiles::default(),
        // It cannot start without the other; its own files are its own.
        Err(_) => return Ok(given(files::paths(&daemon.disk.directory(&container.id)))),
    };
    if files != ContainerFiles::default() {
        return Ok(files);
    }
    match given(files::paths(&daemon.disk.directory(&container.id))) {
        none if make && none == ContainerFiles::default() => {
            write(daemon, container, document, host, (owner, None)).map(|(_, files)| files)
        }
        own => Ok(own),
    }
}

/// Where they are, in the order of [`files::paths`], for a container that shares another's; `None` for others.
pub fn shared(daemon: &Daemon, container: &Container, host: &HostConfig) -> Option<[String; 3]> {
    let owner = Owner::find(daemon, container, host).ok().flatten()?;
    // What is in a root of its own is copied.
    let is_there = !owner.host.system_container || owner.files() != ContainerFiles::default();
    let common = owner.document.common_config;
    is_there.then_some([common.hostname_path, common.hosts_path, common.resolv_conf_path])
}
