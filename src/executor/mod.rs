//! The use cases: order, locks, undo. No words of HTTP.

use crate::error::Result;
use crate::modules::container::Container;
use crate::modules::container::disk::Disk;
use crate::modules::container::index::Index;
use crate::modules::container::logging::Logging;
use crate::modules::events::Journal;
#[cfg(feature = "registry")]
use crate::modules::image::credentials;
use crate::modules::image::driver::Storage;
#[cfg(feature = "registry")]
use crate::modules::image::registry::{self, Registry};
use crate::modules::image::store::Store;
use crate::modules::runtime::shim;
use crate::modules::spec::{CGROUP_PARENT, Defaults};
use crate::utils::workers::Workers;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "registry")]
mod attended;
pub mod container;
pub mod events;
pub mod exec;
mod health;
pub mod image;
pub mod monitor;
mod probe;
#[cfg(feature = "registry")]
pub mod pull;
pub mod restore;
#[cfg(feature = "registry")]
pub mod search;
pub mod system;
pub mod volume;

/// The daemon's state, passed by reference to everything.
pub struct Daemon {
    /// Images.
    pub images: Store,
    /// Containers.
    pub containers: Index,
    /// Their directories.
    pub disk: Disk,
    /// Where images are pulled from.
    #[cfg(feature = "registry")]
    pub registry: Registry,
    /// Who one is there.
    #[cfg(feature = "registry")]
    pub credentials: credentials::Store,
    /// What happened.
    pub journal: Journal,
    /// Volumes.
    pub volumes: crate::modules::volume::Store,
    /// Exec sessions.
    pub execs: exec::Sessions,
    /// What an operator chose.
    pub settings: Settings,
    monitor: monitor::Monitor,
    workers: Workers,
    /// Of their own: a start may take long, and exits must be settled meanwhile.
    starters: Workers,
}

/// What an operator chose.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Directory of what lasts.
    pub graph: PathBuf,
    /// Directory of what a reboot makes void.
    pub state: PathBuf,
    /// How the roots of containers are made.
    pub storage: Storage,
    /// Registries: mirrors, certificates, proxies.
    #[cfg(feature = "registry")]
    pub registry: registry::Settings,
    /// The credentials for registries.
    #[cfg(feature = "registry")]
    pub credentials: credentials::Store,
    /// Most layers of a pull that are downloaded at once.
    #[cfg(feature = "registry")]
    pub downloads: usize,
    /// Most bytes that a layer of an image may unpack to.
    pub layer_limit: Option<u64>,
    /// Logging of containers that ask for nothing else.
    pub logging: Logging,
    /// What goes into every container's document.
    pub defaults: Defaults,
    /// Period and runtime in microseconds that the cgroups above those of containers give to real-time processes.
    pub realtime: (i64, i64),
    /// In which a container must have started; zero is no limit.
    pub start_timeout: Duration,
    /// Runtimes beside the built-in one.
    pub runtimes: crate::modules::runtime::choice::Choice,
}

/// Most background threads: settling of exits, removals.
const WORKERS: usize = 4;

impl Daemon {
    /// Opens the stores, finds what runs, and begins to watch it. Everything that a client may ask is ready when this
    /// returns; removal of garbage goes on behind.
    ///
    /// # Errors
    /// When a root cannot be used. What is wrong with a single container is logged, and it is left out.
    pub fn open(mut settings: Settings) -> Result<Arc<Daemon>> {
        settings.defaults.load_files();
        let disk = Disk::open(&settings.graph, &settings.state)?;
        let in_use = settings.storage.check_layers && !disk.inventory()?.active.is_empty();
        let images = Store::open_beside(&settings.graph, settings.defaults.remap, settings.storage.clone(), in_use)?;
        let daemon = Arc::new(Daemon {
            images: images.with_layer_limit(settings.layer_limit),
            disk,
            containers: Index::default(),
            journal: Journal::default(),
            volumes: crate::modules::volume::Store::open(&settings.graph, settings.defaults.remap)?,
            execs: exec::Sessions::default(),
            #[cfg(feature = "registry")]
            registry: Registry::new(settings.registry.clone())?,
            #[cfg(feature = "registry")]
            credentials: settings.credentials.clone(),
            settings,
            monitor: monitor::Monitor::new()?,
            workers: Workers::new("worker", WORKERS),
            starters: Workers::new("starter", WORKERS),
        });
        // Once and early, so that no container waits for it, and that it is this file and not one installed later.
        if let Err(e) = shim::sealed_executable() {
            log::warn!("containers cannot be started: {e}");
        }
        monitor::start(&daemon)?;
        restore::all(&daemon)?;
        Ok(daemon)
    }

    /// Lets background work end; containers go on without the daemon.
    pub fn close(&self) {
        self.starters.drain(Duration::from_secs(5));
        self.workers.drain(Duration::from_secs(5));
        self.images.close();
        // Another parent may be an operator's, with limits of its own. While the daemon runs it stays: making it anew
        // for each container would cost more than the container's own cgroup.
        let parent = &self.settings.defaults.cgroup_parent;
        if parent == CGROUP_PARENT
            && let Err(e) = shim::prune(parent)
        {
            log::warn!("{e}");
        }
    }

    /// As [`Index::find`]. A client that was told the end of a container, by its shim, finds it ended.
    ///
    /// # Errors
    /// As there.
    pub fn find(&self, reference: &str) -> Result<Arc<Container>> {
        self.containers.find(reference).inspect(|container| self.catch_up([container]))
    }

    /// As [`Index::find_any`], otherwise like [`Daemon::find`].
    ///
    /// # Errors
    /// As there.
    pub fn find_any(&self, reference: &str) -> Result<Arc<Container>> {
        self.containers.find_any(reference).inspect(|container| self.catch_up([container]))
    }

    /// Notes what the shims have said of the ends of these containers.
    fn catch_up<'a>(&self, containers: impl IntoIterator<Item = &'a Arc<Container>>) {
        if containers.into_iter().any(|container| container.is_behind()) {
            self.monitor.catch_up();
        }
    }

    /// A container that uses this image (64 digits), also one that is just being created.
    pub fn image_user(&self, image_id: &str) -> Option<String> {
        self.containers.image_user(image_id)
    }
}

/// A client's connection that is to become a stream.
pub struct Upgrade {
    /// The connection.
    pub connection: OwnedFd,
    /// The response head to write once the request has succeeded.
    pub preamble: Vec<u8>,
    /// What the client sent right behind its request.
    pub early: Vec<u8>,
    /// The client's own standard input, output and error, when it handed them along.
    pub handed: Option<[OwnedFd; 3]>,
    /// Whether docker's multiplexed framing was negotiated by media type (API 1.42); otherwise by terminal or not.
    pub multiplexed_media_type: bool,
}

/// How an operation on a streamed request ended.
pub enum Handover {
    /// The connection belongs to somebody else now.
    Done,
    /// Not accepted; the connection is still the caller's for an error response.
    Refused(crate::error::Error, Upgrade),
}

/// Whether a request changed anything (204) or found it so already (304).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Changed.
    Changed,
    /// It was so.
    Unchanged,
}

/// Asks whether a waiting request's client has left.
pub trait Caller: Sync {
    /// A descriptor that polls readable or hung up when the client has left.
    fn gone(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
}
