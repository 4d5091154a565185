//! Making a container.

use super::root::Root;
use super::volumes::{Attached, Plan};
use crate::api::container::HostChannel;
use crate::api::container::{ContainerConfig, CreateRequest, CreateResponse, HostConfig};
use crate::api::oci::image::ImageConfig;
use crate::api::resource::NAMESPACED_PARAMETERS;
use crate::error::{Context, Error, Kind, Result};
use crate::executor::Daemon;
use crate::modules::container::disk;
use crate::modules::container::disk::New;
use crate::modules::container::document::{Common, Document, EMBEDDED, EXTERNAL, Extra, OCI, text};
use crate::modules::container::external::External;
use crate::modules::container::health::Check;
use crate::modules::container::logging::Logging;
use crate::modules::container::run::{Run, Verb, permit};
use crate::modules::container::{Container, files, host_channel, name, restriction, syslog};
use crate::modules::image::driver;
use crate::modules::image::reference::is_none;
use crate::modules::image::store::Image;
use crate::modules::spec;
use crate::modules::spec::Mode;
use crate::utils::atomic_file::Durability;
use crate::utils::time::Timestamp;
use crate::utils::{id, signal};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of /dev/shm.
const SHM_SIZE: i64 = 64 << 20;

/// Makes a container.
///
/// # Errors
/// `Kind::Invalid` and `Kind::Unsupported` for the request, `Kind::NotFound` for the image, `Kind::Conflict` for the
/// name; the failing call. Nothing is left then.
pub fn create(daemon: &Daemon, wanted_name: Option<&str>, request: CreateRequest) -> Result<CreateResponse> {
    let id = id::random_id()?;
    let name = match wanted_name {
        None | Some("") => id.as_str(),
        Some(name) => name::check(name)?,
    };
    restriction::check(&request)?;
    let CreateRequest { mut config, host_config: mut host } = request;
    if config.image.is_empty() {
        return Err(Error::invalid("no image given"));
    }
    let hooks = match host.hook_spec.as_str() {
        "" => None,
        path => Some(spec::hook::load(path)?),
    };
    let mut logging = daemon.settings.logging.refine(&host.log_config)?;
    host.log_config = logging.config();
    let external = match host.external_rootfs.as_str() {
        "" => None,
        path => Some(External::find(path)?),
    };
    // With an external root an image only tells what to run, and `none` not even that.
    let image = match external.is_some() && is_none(&config.image) {
        true => None,
        false => Some(daemon.images.find(&config.image)?),
    };
    if let Some(external) = &external {
        host.external_rootfs = text(external.path());
    }
    let size = driver::size_option(&host.storage_opt)?;
    if size.is_some_and(|size| size > 0) && external.is_some() {
        return Err(Error::invalid("a size (--storage-opt) goes with an image, not with an external root file system"));
    }
    let size = if external.is_some() { None } else { daemon.images.container_size(size)? };
    host_channel::check(&mut host.host_channel)?;
    let warnings = spec::validate(&host, &config, &daemon.settings.defaults)?;
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2); // what it gets is what is shown of it
    }
    merge(&mut config, image.as_deref())?;
    resolve(daemon, &mut host)?;
    check_user_namespace(daemon, &host, image.as_deref(), external.as_ref())?;
    check_parameters(daemon, &host)?;
    check_channel(daemon, &host.host_channel)?;
    let mounts = Plan::new(daemon, &host, &config)?;
    if let Logging::Syslog(target) = &mut logging {
        let image_id = image.as_ref().map(|image| prefixed(&image.id)).unwrap_or_default();
        let facts = syslog::Facts { id: &id, name, image_id: &image_id, image: &config.image };
        syslog::record(target, &facts, &mut config.annotations)?;
    }

    let reservation = daemon.containers.reserve(&id, name, image.as_ref().map_or("", |image| &image.id))?;
    if let Some(image) = &image {
        // Only now nobody can remove the image any more; it may have gone before.
        daemon.images.find(&image.id)?;
    }
    let durability = if host.auto_remove { Durability::Volatile } else { Durability::Durable };
    let layer = Layer::create(daemon, &id, image.as_deref(), external.as_ref(), size, durability)?;
    if !host.user_remap.is_empty()
        && let Some(External::Directory(path)) = &external
        && let Some(remap) = spec::remap_of(&host, &daemon.settings.defaults)?
    {
        remap.take_over(path)?;
    }
    let mut document = document(daemon, &id, name, config, &host, image.as_deref(), &logging);
    document.common_config.hooks = hooks;
    if let Some(external) = external {
        let common = &mut document.common_config;
        common.image_type = EXTERNAL.into();
        if let External::Directory(path) = external {
            common.base_fs = text(&path);
        }
    }
    let mut volumes = Attached::new(daemon, &id, &reservation, mounts, host.auto_remove)?;
    volumes.fill(|| Root::find(daemon, &id, &document, &host))?;
    document.common_config.mount_points = volumes.points();
    let needs = [&layer.directories[..], &volumes.directories()].concat();
    daemon.disk.create(&New { id: &id, document: &document, host: &host, needs: &needs }, durability)?;
    // After it, so that there never is one of which nobody knows.
    let channel = host_channel::Made::new(&host.host_channel).inspect_err(|_| {
        match daemon.disk.begin_removal(&id, durability) {
            Ok(garbage) => disk::remove_tree(&garbage),
            Err(e) => log::error!("container {id}: what was made of it is left: {e}"),
        }
    })?;
    channel.keep();
    volumes.keep();
    layer.keep();
    let container = Arc::new(Container::new(id.clone(), document.head(), Run::default()));
    reservation.commit(Arc::clone(&container));
    daemon.tell(&container, "create", &[]);
    log::info!("container {id}: created from {}", document.common_config.image);
    Ok(CreateResponse { id, warnings })
}

/// Fills in what the image says.
fn merge(config: &mut ContainerConfig, image: Option<&Image>) -> Result<()> {
    spec::merge_image(config, image.map_or(&ImageConfig::default(), |image| &image.config))?;
    if let Some(check) = &config.healthcheck {
        Check::parse(check)?;
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    let program = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).next();
    match program.map(String::as_str) {
        None => Err(Error::invalid("No command specified")),
        Some("") => Err(Error::invalid("the command must not be empty")),
        Some(_) => Ok(()),
    }
}

/// Fills in defaults, and ids where other containers are named. Those must exist; they must run only at the start.
fn resolve(daemon: &Daemon, host: &mut HostConfig) -> Result<()> {
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    if host.runtime.is_empty() {
        host.runtime = daemon.settings.runtimes.default().into();
    }
    daemon.settings.runtimes.find(&host.runtime)?;
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".into();
    }
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "none".into();
    }
    for mode in
        [&mut host.network_mode, &mut host.ipc_mode, &mut host.pid_mode, &mut host.uts_mode, &mut host.cgroupns_mode]
    {
        if let Some(other) = mode.strip_prefix("container:") {
            let other = daemon.find(other)?;
            // Whatever it does now, unless it is on its way out.
            permit(Verb::Edit, other.run().phase(), &other.id)?;
            *mode = format!("container:{}", other.id);
        }
    }
    Ok(())
}

/// A namespace that is opened to writing must be some container's own, however it was come to.
fn check_parameters(daemon: &Daemon, host: &HostConfig) -> Result<()> {
    for option in ["net", "ipc"] {
        let is_asked = |path: &String| NAMESPACED_PARAMETERS.iter().any(|(o, known)| *o == option && path == known);
        if !host.ns_change_files.iter().any(is_asked) {
            continue;
        }
        let of = |host: &HostConfig| if option == "net" { host.network_mode.clone() } else { host.ipc_mode.clone() };
        let mut mode = of(host);
        // Each names one that was there before it.
        while let Mode::Container(other) = spec::mode(&mode) {
            mode = of(&daemon.disk.host_config(other)?);
        }
        if spec::mode(&mode) == Mode::Host {
            return Err(Error::invalid(format!(
                "--ns-change-opt {option} is not allowed in the host's {option} namespace"
            )));
        }
    }
    Ok(())
}

/// A channel's place must be nobody's, also where a reboot has unmounted another's.
fn check_channel(daemon: &Daemon, channel: &HostChannel) -> Result<()> {
    let path = channel.path_on_host.as_str();
    if path.is_empty() {
        return Ok(());
    }
    if let Some(other) = daemon.containers.all().iter().find(|c| c.head.host_channel.as_deref() == Some(path)) {
        return Err(Error::conflict(format!("host channel {path:?} is that of container {}", other.id)));
    }
    host_channel::check_free(channel)
}

/// What a container with a user namespace uses must be of the same.
fn check_user_namespace(
    daemon: &Daemon,
    host: &HostConfig,
    image: Option<&Image>,
    external: Option<&External>,
) -> Result<()> {
    let defaults = &daemon.settings.defaults;
    let Some(remap) = spec::remap_of(host, defaults)? else { return Ok(()) };
    for other in spec::peers(host) {
        let text = match spec::remap_of(&daemon.disk.host_config(other)?, defaults)? {
            None => "the host's user namespace: use --userns=host",
            Some(theirs) if theirs != remap => "a user namespace of other ids (--user-remap)",
            Some(_) => continue,
        };
        return Err(Error::invalid(format!("cannot join container {other}, which has {text}")));
    }
    if image.is_some_and(|image| image.embedded.is_some()) {
        let text = "the layers of an embedded image have the host's ids: use --userns=host";
        return Err(Error::new(Kind::Unsupported, text));
    }
    let Some(External::Directory(path)) = external.filter(|_| host.user_remap.is_empty()) else { return Ok(()) };
    let metadata = path.metadata().context(|| format!("stat({path:?})"))?;
    let (uid, gid) = (metadata.uid(), metadata.gid());
    if remap.uids.inside(uid).is_none() || remap.gids.inside(gid).is_none() {
        let (root, group) = remap.root();
        return Err(Error::invalid(format!(
            "external root file system {path:?} belongs to {uid}:{gid}, which the user namespace has not: root is \
             {root}:{group} there; or use --userns=host"
        )));
    }
    Ok(())
}

fn document(
    daemon: &Daemon,
    id: &str,
    name: &str,
    mut config: ContainerConfig,
    host: &HostConfig,
    image: Option<&Image>,
    logging: &Logging,
) -> Document {
    if !host.network_mode.starts_with("container:") && config.hostname.is_empty() {
        config.hostname = spec::host_name(id, &config, host);
    }
    if config.image_ref.is_empty() {
        config.image_ref = image.and_then(|image| image.digests.first().cloned()).unwrap_or_default();
    }
    let mut words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned();
    let path = words.next().unwrap_or_default();
    let args = words.collect();
    let [hostname_path, hosts_path, resolv_conf_path] =
        files::paths(&daemon.disk.directory(id)).map(|path| text(&path));
    let log_path = logging.file(&daemon.disk.log(id)).map(|file| text(&file.path)).unwrap_or_default();
    let image_name = config.image.clone();
    let embedded = image.is_some_and(|image| image.embedded.is_some());
    Document {
        image: image.map(|image| prefixed(&image.id)).unwrap_or_default(),
        common_config: Common {
            path,
            args,
            config,
            created: Timestamp::now(),
            image: image_name,
            image_type: if embedded { EMBEDDED.into() } else { OCI.into() },
            hostname_path,
            hosts_path,
            resolv_conf_path,
            log_path,
            mount_points: BTreeMap::new(),
            hooks: None,
            base_fs: text(&daemon.images.container_copy(id).unwrap_or_else(|| daemon.images.mount_point(id))),
            name: name.into(),
            id: id.into(),
            extra: Some(Extra::new(host, logging)),
        },
        ..Document::default()
    }
}

fn prefixed(image_id: &str) -> String {
    format!("sha256:{image_id}")
}

/// The writable layer, or what stands for it; removed again when dropped.
struct Layer<'a> {
    daemon: &'a Daemon,
    id: &'a str,
    /// What of it must be on disk before the container is.
    directories: Vec<PathBuf>,
    kept: bool,
}

impl<'a> Layer<'a> {
    fn create(
        daemon: &'a Daemon,
        id: &'a str,
        image: Option<&Image>,
        external: Option<&External>,
        size: Option<u64>,
        durability: Durability,
    ) -> Result<Layer<'a>> {
        let directories = match (external, image) {
            (Some(External::Directory(_)), _) => Vec::new(),
            (Some(External::Device(_)), _) => {
                daemon.images.create_mount_point(id)?;
                daemon.images.container_directories(id)
            }
            (None, Some(image)) => {
                daemon.images.create_container_layer(id, image, size, durability)?;
                daemon.images.container_directories(id)
            }
            (None, None) => return Err(Error::internal("a container of nothing")),
        };
        Ok(Layer { daemon, id, directories, kept: false })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Layer<'_> {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = self.daemon.images.remove_container_layer(self.id)
        {
            log::warn!("container {}: its layer is left for the next start: {e}", self.id);
        }
    }
}
