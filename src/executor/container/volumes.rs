//! The mounts of a new container: the volumes among them are made, and filled from the image.

use super::root::Root;
use crate::api::container::{ContainerConfig, HostConfig};
use crate::api::volume::{DRIVER, MountRecord};
use crate::error::{Error, Result};
use crate::executor::Daemon;
use crate::modules::container::index::{Reservation, VolumeUser};
use crate::modules::spec;
use crate::modules::volume::{Record, bound, discard};
use crate::utils::atomic_file::Durability;
use crate::utils::id::{is_full_id, random_id};
use crate::utils::path::{self, Links};
use crate::utils::time::Timestamp;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A mount and what its volume needs.
struct Planned {
    record: MountRecord,
    /// Whether the image's content is copied into it.
    copy: bool,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    /// Of another container: then the volume must be there.
    inherited: bool,
}

impl Planned {
    fn plain(record: MountRecord) -> Planned {
        Planned { record, copy: false, labels: BTreeMap::new(), options: BTreeMap::new(), inherited: false }
    }
}

/// The mounts of a container that is to be made. Nothing is done for them yet.
pub struct Plan(Vec<Planned>);

impl Plan {
    /// Reads the request, with what the image adds to it. Of two mounts at one place the request's own wins over another
    /// container's, of which the last one named wins, and both over what is only declared to be a volume.
    ///
    /// # Errors
    /// `Kind::Invalid` for a broken rule, `Kind::NotFound` for another container.
    pub fn new(daemon: &Daemon, host: &HostConfig, config: &ContainerConfig) -> Result<Plan> {
        let mut plan = Plan(Vec::new());
        for text in &host.volumes_from {
            inherit(daemon, text, &mut plan)?;
        }
        // What is no volume, and wins over what is only declared or inherited.
        let taken = host.tmpfs.keys().chain([&host.host_channel.path_in_container]).filter(|path| !path.is_empty());
        let taken: Vec<String> = taken.map(|path| path::clean(path)).collect();
        plan.0.retain(|p| !taken.contains(&p.record.destination));
        for spec::Stored { mut record, copy, labels, options } in spec::stored(host)? {
            if record.is_volume() && record.name.is_empty() {
                record.name = random_id()?;
            }
            plan.put(Planned { record, copy, labels, options, inherited: false });
        }
        for path in config.volumes.keys() {
            // An image may leave the first slash out.
            let destination = spec::destination(&path::clean(path))?;
            if taken.contains(&destination) || plan.0.iter().any(|p| p.record.destination == destination) {
                continue;
            }
            let (kind, driver, name) = ("volume".into(), DRIVER.into(), random_id()?);
            let record = MountRecord { kind, driver, name, destination, rw: true, ..MountRecord::default() };
            plan.put(Planned { copy: true, ..Planned::plain(record) });
        }
        Ok(plan)
    }

    /// Takes the place of another with its destination.
    fn put(&mut self, new: Planned) {
        self.0.retain(|p| p.record.destination != new.record.destination);
        self.0.push(new);
    }
}

/// What is stored of a container's mounts. One of an older release has them in its request alone.
pub(super) fn mounts(host: &HostConfig, stored: BTreeMap<String, MountRecord>) -> Vec<MountRecord> {
    let mut records: Vec<MountRecord> = stored.into_values().collect();
    if records.is_empty() {
        records.extend(spec::stored(host).unwrap_or_default().into_iter().map(|mount| mount.record));
    }
    records
}

/// The mounts of another container: `CONTAINER[:ro|rw|z]`.
fn inherit(daemon: &Daemon, text: &str, plan: &mut Plan) -> Result<()> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() || !matches!(mode, "" | "ro" | "rw" | "z" | "Z") || text.ends_with(':') {
        return Err(Error::invalid(format!("invalid volumes-from {text:?}: want CONTAINER[:ro|rw|z]")));
    }
    let other = daemon.find(name)?;
    let stored = daemon.disk.document(&other.id)?.common_config.mount_points;
    let records = mounts(&daemon.disk.host_config(&other.id)?, stored);
    for mut record in records.into_iter().filter(|record| matches!(record.kind.as_str(), "bind" | "volume")) {
        record.rw &= mode != "ro";
        plan.put(Planned { inherited: true, ..Planned::plain(record) });
    }
    Ok(())
}

/// The mounts of a container that is being made. What was made for them goes when it is dropped before it is kept.
pub struct Attached<'a> {
    daemon: &'a Daemon,
    id: &'a str,
    mounts: Vec<Planned>,
    /// Volumes that were not there before.
    made: Vec<String>,
    /// Those that were, and had no content.
    filled: Vec<String>,
    auto_remove: bool,
    kept: bool,
}

impl<'a> Attached<'a> {
    /// Makes the volumes that are not there; nobody removes any of them from now on.
    ///
    /// # Errors
    /// `Kind::NotFound` for one of another container that is gone; the failing call.
    pub fn new(
        daemon: &'a Daemon,
        id: &'a str,
        reservation: &Reservation<'_>,
        Plan(mounts): Plan,
        auto_remove: bool,
    ) -> Result<Attached<'a>> {
        let (made, filled, kept) = (Vec::new(), Vec::new(), false);
        let mut attached = Attached { daemon, id, mounts, made, filled, auto_remove, kept };
        if attached.mounts.iter().all(|m| !m.record.is_volume()) {
            return Ok(attached);
        }
        let store = &daemon.volumes;
        let _operation = store.operate();
        let names = attached.mounts.iter().filter(|m| m.record.is_volume()).map(|m| m.record.name.clone());
        reservation.use_volumes(names.collect());
        for mount in attached.mounts.iter_mut().filter(|m| m.record.is_volume()) {
            let record = &mut mount.record;
            if mount.inherited {
                if !store.exists(&record.name) {
                    return Err(Error::not_found(format!("No such volume: {}", record.name)));
                }
                continue;
            }
            if !record.named {
                store.mark(id, &record.name)?;
            }
            // One with a name that looks made up needs a note that it is not.
            let said = !(mount.labels.is_empty() && mount.options.is_empty());
            let said = (said || record.named && is_full_id(&record.name)).then(|| Record {
                created_at: Timestamp::now(),
                labels: std::mem::take(&mut mount.labels),
                options: std::mem::take(&mut mount.options),
            });
            // The container's own creation makes it last.
            let alone = auto_remove && record.named || said.is_some();
            let durability = if alone { Durability::Durable } else { Durability::Volatile };
            if store.create(&record.name, said.as_ref(), durability)? {
                daemon.tell_volume("create", &record.name);
                attached.made.push(record.name.clone());
            }
            record.source = store.data(&record.name).to_string_lossy().into_owned();
            if let Some(said) = store.record(&record.name)?
                && let Some(bound) = bound::parse(&said.options)?
            {
                record.source = bound.path;
                record.rw &= !bound.read_only;
                mount.copy = false;
            }
        }
        Ok(attached)
    }

    /// Copies the content of the image into the volumes that have none.
    ///
    /// # Errors
    /// What reading the root or writing the volume gives.
    pub fn fill(&mut self, root: impl FnOnce() -> Result<Root>) -> Result<()> {
        let store = &self.daemon.volumes;
        let mut empty = Vec::new();
        for mount in self.mounts.iter().filter(|m| m.copy) {
            if store.is_empty(&mount.record.name)? {
                empty.push(&mount.record);
            }
        }
        if empty.is_empty() {
            return Ok(());
        }
        let root = path::Root::from(root()?.open()?);
        for record in empty {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let from = match root.open_at(Path::new(&record.destination), flags, Links::Follow) {
                Ok(from) => from,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(e) => return Err(Error::os(format!("open({:?}) in the image", record.destination), e as i32)),
            };
            let lasting = !self.auto_remove || record.named;
            let durability = if lasting { Durability::Durable } else { Durability::Volatile };
            // Also when it fails: something may be there.
            self.filled.push(record.name.clone());
            if !store.fill(&record.name, from, durability)? {
                self.filled.pop();
            }
        }
        Ok(())
    }

    /// As they are stored with the container.
    pub fn points(&self) -> BTreeMap<String, MountRecord> {
        let mut points = BTreeMap::new();
        points.extend(self.mounts.iter().map(|m| (m.record.destination.clone(), m.record.clone())));
        points
    }

    /// What of the new volumes must be on disk before the container is.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.daemon.volumes.directories(&self.made)
    }

    /// The container exists.
    pub fn keep(mut self) {
        self.kept = true;
        // Those of a container that goes by itself stay marked: a crash may take the container and leave them.
        if !self.auto_remove {
            self.unmark(&[]);
        }
    }

    fn unmark(&self, but: &[&String]) {
        for mount in self.mounts.iter().filter(|m| m.record.is_volume() && !m.record.named && !m.inherited) {
            if !but.contains(&&mount.record.name) {
                self.daemon.volumes.unmark(self.id, &mount.record.name);
            }
        }
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let store = &self.daemon.volumes;
        let (mut garbage, mut stay) = (Vec::new(), Vec::new());
        {
            let _operation = store.operate();
            let user = |name: &String| self.daemon.containers.volume_user(name, self.id);
            // What was made a moment ago is in no document that cannot be read.
            for name in self.made.iter().filter(|name| !matches!(user(name), VolumeUser::Container(_))) {
                match store.take(name, Durability::Volatile) {
                    Ok(path) => {
                        self.daemon.tell_volume("destroy", name);
                        garbage.push(path);
                    }
                    Err(e) => {
                        log::warn!("volume {name}, made for nothing, is left: {e}");
                        stay.push(name);
                    }
                }
            }
            for name in self.filled.iter().filter(|n| !self.made.contains(n) && user(n) == VolumeUser::Nobody) {
                match store.empty(name) {
                    Ok(path) => garbage.push(path),
                    Err(e) => log::warn!("volume {name} keeps what was copied into it: {e}"),
                }
            }
        }
        garbage.iter().for_each(|path| discard(path));
        self.unmark(&stay);
    }
}
