//! Volumes.

use super::Daemon;
use super::container::Filters;
#[cfg(feature = "image-tools")]
use crate::api::volume::UsageData;
use crate::api::volume::{ANONYMOUS, DRIVER, Volume, VolumeList, VolumeRequest, VolumesPruned};
use crate::error::{Error, Kind, Result};
use crate::modules::container::index::VolumeUser;
use crate::modules::container::{Container, disk};
use crate::modules::spec::check_driver;
use crate::modules::volume::{Leftovers, Record, discard};
use crate::utils::atomic_file::Durability;
use crate::utils::id::{is_full_id, random_id};
use crate::utils::time::Timestamp;
use std::path::{Path, PathBuf};

/// Lists volumes by name. Filters: `name` (a part of it), `label`, `dangling`, `driver`.
///
/// # Errors
/// `Kind::Invalid` for an unknown filter or a malformed value; when the store cannot be read.
pub fn list(daemon: &Daemon, filters: &Filters) -> Result<VolumeList> {
    let wanted = Wanted::parse(filters, &["name", "label", "dangling", "driver"])?;
    let mut volumes = Vec::new();
    for name in daemon.volumes.names()? {
        let is_used = || daemon.containers.volume_user(&name, "") != VolumeUser::Nobody;
        if wanted.dangling.is_some_and(|dangling| dangling == is_used()) {
            continue;
        }
        match daemon.volumes.get(&name) {
            Ok(volume) if wanted.holds(&volume) => volumes.push(volume),
            // Removed meanwhile, or not asked for.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(VolumeList { volumes, warnings: Vec::new() })
}

/// Makes a volume. One of this name that is there already is the answer as it is.
///
/// # Errors
/// `Kind::Invalid` for the name, `Kind::Unsupported` for another driver than `local` and for most of its options,
/// `Kind::Conflict` for one with other options; the failing call.
pub fn create(daemon: &Daemon, request: VolumeRequest) -> Result<Volume> {
    check_driver(&request.driver, &request.driver_opts)?;
    let VolumeRequest { mut name, mut labels, driver_opts: options, .. } = request;
    let is_named = !name.is_empty();
    if !is_named {
        name = random_id()?;
    }
    // Without a record, the form of the name says that nobody gave it.
    let needs_record = !labels.is_empty() || !options.is_empty() || is_named && is_full_id(&name);
    if !is_named && needs_record {
        labels.insert(ANONYMOUS.into(), String::new());
    }
    let record = needs_record.then(|| Record { created_at: Timestamp::now(), labels, options });
    let made = {
        let _operation = daemon.volumes.operate();
        daemon.volumes.create(&name, record.as_ref(), Durability::Durable)?
    };
    let volume = daemon.volumes.get(&name)?;
    if made {
        log::info!("volume {name}: created");
        daemon.tell_volume("create", &name);
    } else if record.is_some_and(|record| !record.options.is_empty() && record.options != volume.options) {
        return Err(Error::conflict(format!("volume {name} is there already, with other options")));
    }
    Ok(volume)
}

/// Everything about one volume.
///
/// # Errors
/// `Kind::NotFound`.
pub fn inspect(daemon: &Daemon, name: &str) -> Result<Volume> {
    daemon.volumes.get(name)
}

/// Removes a volume that nobody uses; `force` forgives that there is none.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` while a container has it; the failing call.
pub fn remove(daemon: &Daemon, name: &str, force: bool) -> Result<()> {
    match remove_unused(daemon, name) {
        Err(e) if force && e.kind() == Kind::NotFound => Ok(()),
        result => result,
    }
}

fn remove_unused(daemon: &Daemon, name: &str) -> Result<()> {
    let garbage = {
        let _operation = daemon.volumes.operate();
        match daemon.containers.volume_user(name, "") {
            VolumeUser::Nobody => {}
            VolumeUser::Container(user) => {
                return Err(Error::conflict(format!("remove {name}: volume is used by container {user}")));
            }
            VolumeUser::Perhaps(user) => {
                return Err(Error::conflict(format!(
                    "remove {name}: container {user} is damaged, so that nobody knows whether it has the volume; remove \
                     that first"
                )));
            }
        }
        daemon.volumes.take(name, Durability::Durable)?
    };
    discard(&garbage);
    log::info!("volume {name}: removed");
    daemon.tell_volume("destroy", name);
    Ok(())
}

/// All volumes with what they take and for how many containers.
///
/// # Errors
/// When the store cannot be read.
#[cfg(feature = "image-tools")]
pub fn usage(daemon: &Daemon) -> Result<Vec<Volume>> {
    let users = daemon.containers.volume_users();
    let mut volumes = list(daemon, &Filters::new())?.volumes;
    for volume in &mut volumes {
        volume.usage_data = Some(UsageData {
            size: i64::try_from(disk::tree_size(Path::new(&volume.mountpoint))).unwrap_or(i64::MAX),
            ref_count: users.get(&volume.name).copied().unwrap_or(0),
        });
    }
    Ok(volumes)
}

/// Removes the volumes that nobody uses. Filters: `label`, `label!`, and `all` for those that have names too, which
/// `named` says is so without. What was removed before a failure stays so.
///
/// # Errors
/// `Kind::Invalid` for an unknown filter or a malformed value; what the disk gives.
pub fn prune(daemon: &Daemon, filters: &Filters, named: bool) -> Result<VolumesPruned> {
    let wanted = Wanted::parse(filters, &["label", "label!", "all"])?;
    let all = wanted.all.unwrap_or(named);
    let mut answer = VolumesPruned::default();
    for volume in list(daemon, &Filters::from([("dangling".into(), vec!["true".into()])]))?.volumes {
        if !wanted.holds(&volume) || !(all || volume.labels.contains_key(ANONYMOUS)) {
            continue;
        }
        // Whether it is to be kept can be what nobody can read any more.
        if daemon.volumes.record(&volume.name).is_err() {
            continue;
        }
        let size = disk::tree_size(Path::new(&volume.mountpoint));
        match remove_unused(daemon, &volume.name) {
            Ok(()) => {
                answer.space_reclaimed += size;
                answer.volumes_deleted.push(volume.name);
            }
            // Somebody uses it by now, or was faster.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(answer)
}

/// Which volumes are asked for.
#[derive(Default)]
struct Wanted<'a> {
    names: &'a [String],
    labels: &'a [String],
    without: &'a [String],
    drivers: &'a [String],
    dangling: Option<bool>,
    all: Option<bool>,
}

impl<'a> Wanted<'a> {
    fn parse(filters: &'a Filters, known: &[&str]) -> Result<Wanted<'a>> {
        let mut wanted = Wanted::default();
        for (key, values) in filters {
            if !known.contains(&key.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{key}'")));
            }
            let truth = || match values.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["true" | "1"] => Ok(Some(true)),
                ["false" | "0"] => Ok(Some(false)),
                _ => Err(Error::invalid(format!("invalid filter '{key}={}'", values.join(",")))),
            };
            match key.as_str() {
                "name" => wanted.names = values,
                "label" => wanted.labels = values,
                "label!" => wanted.without = values,
                "driver" => wanted.drivers = values,
                "dangling" => wanted.dangling = truth()?,
                _ => wanted.all = truth()?,
            }
        }
        Ok(wanted)
    }

    fn holds(&self, volume: &Volume) -> bool {
        let has = |text: &String| match text.split_once('=') {
            Some((key, value)) => volume.labels.get(key).is_some_and(|have| have == value),
            None => volume.labels.contains_key(text),
        };
        (self.names.is_empty() || self.names.iter().any(|part| volume.name.contains(part.as_str())))
            && (self.drivers.is_empty() || self.drivers.iter().any(|driver| driver == DRIVER))
            && self.labels.iter().all(has)
            && (self.without.is_empty() || !self.without.iter().all(has))
    }
}

/// Notes, before a container is removed with its anonymous volumes, that these go with it.
pub fn mark_anonymous(daemon: &Daemon, container: &Container) {
    let names: Vec<&str> = container.head.volumes().filter(|v| v.anonymous).map(|v| &*v.name).collect();
    if names.is_empty() {
        return;
    }
    let marked = names.iter().try_for_each(|name| daemon.volumes.mark(&container.id, name));
    // A file system without one journal for everything may know of the removal and not of this.
    if let Err(e) = marked.and_then(|()| daemon.volumes.sync()) {
        // Only a crash in the next moment would leave one.
        log::debug!("container {}: {e}", container.id);
    }
}

/// Takes the note back.
pub fn unmark_anonymous(daemon: &Daemon, container: &Container) {
    for volume in container.head.volumes().filter(|volume| volume.anonymous) {
        daemon.volumes.unmark(&container.id, &volume.name);
    }
}

/// Has the anonymous volumes of a container that has lost its directory cease to exist, but for those that others have;
/// gives what is left of them.
pub fn take_anonymous(daemon: &Daemon, container: &Container) -> Vec<PathBuf> {
    let mut garbage = Vec::new();
    if container.head.volumes().all(|volume| !volume.anonymous) {
        return garbage;
    }
    let _operation = daemon.volumes.operate();
    for volume in container.head.volumes().filter(|volume| volume.anonymous) {
        release(daemon, &container.id, &volume.name, &mut garbage);
    }
    garbage
}

/// Takes a marked volume of a container that is gone, unless somebody else has it. As long as that is not known, the mark
/// stays for a later start.
fn release(daemon: &Daemon, container: &str, volume: &str, garbage: &mut Vec<PathBuf>) {
    match daemon.containers.volume_user(volume, container) {
        VolumeUser::Perhaps(_) => return,
        VolumeUser::Container(_) => {}
        // The mark says the same to a start after a power cut.
        VolumeUser::Nobody => match daemon.volumes.take(volume, Durability::Volatile) {
            Ok(path) => {
                garbage.push(path);
                daemon.tell_volume("destroy", volume);
            }
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => {
                log::warn!("volume {volume} is left for the next start: {e}");
                return;
            }
        },
    }
    daemon.volumes.unmark(container, volume);
}

/// Does what [`crate::modules::volume::Store::restore`] left. To be called when all containers are known.
pub fn restore(daemon: &std::sync::Arc<Daemon>, left: Leftovers) {
    let mut garbage = left.garbage;
    {
        let _operation = daemon.volumes.operate();
        for (container, volume) in left.owned {
            match daemon.containers.is_auto_removed(&container) {
                Some(true) => {}
                Some(false) => daemon.volumes.unmark(&container, &volume),
                None => release(daemon, &container, &volume, &mut garbage),
            }
        }
    }
    if !garbage.is_empty() {
        daemon.workers.submit(move || garbage.iter().for_each(|path| discard(path)));
    }
}
