//! All containers by id and by name. Names are unique; a name is taken before anything is made for its container.

use super::{Container, lock};
use crate::error::{Error, Kind, Result};
use crate::modules::container::run::Phase;
use crate::utils::id::is_full_id;
use crate::utils::order;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

/// The index. Its lock is short.
#[derive(Default)]
pub struct Index(Mutex<Maps>);

#[derive(Default)]
struct Maps {
    by_id: BTreeMap<String, Entry>,
    by_name: BTreeMap<String, String>,
}

/// Who has a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeUser {
    /// No container.
    Nobody,
    /// This one may have it: what it has cannot be read.
    Perhaps(String),
    /// This one.
    Container(String),
}

impl Maps {
    fn refuse_taken(&self, name: &str) -> Result<()> {
        match self.by_name.get(name) {
            None => Ok(()),
            Some(owner) => Err(Error::conflict(format!(
                "Conflict. The name \"{name}\" is already in use by container {owner}. You have to remove (or rename) \
                 that container to be able to reuse that name."
            ))),
        }
    }
}

enum Entry {
    /// Being created, from this image.
    Reserved { image_id: String, volumes: Vec<String> },
    /// There.
    Present(Arc<Container>),
}

/// A taken name and id; given back when dropped.
pub struct Reservation<'a> {
    index: &'a Index,
    id: String,
    name: String,
    kept: bool,
}

impl Index {
    /// Takes a name for a new container of this image.
    ///
    /// # Errors
    /// `Kind::Conflict` when the name is in use.
    pub fn reserve(&self, id: &str, name: &str, image_id: &str) -> Result<Reservation<'_>> {
        let mut maps = lock(&self.0);
        maps.refuse_taken(name)?;
        maps.by_name.insert(name.into(), id.into());
        maps.by_id.insert(id.into(), Entry::Reserved { image_id: image_id.into(), volumes: Vec::new() });
        Ok(Reservation { index: self, id: id.into(), name: name.into(), kept: false })
    }

    /// Adds a container that was found on disk. One whose name is taken goes without, and counts as damaged.
    pub fn add(&self, mut container: Container) -> Arc<Container> {
        let mut maps = lock(&self.0);
        let state = container.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let name = std::mem::take(&mut state.name);
        match maps.by_name.get(&name) {
            Some(owner) => {
                state.run.damage = format!("its name {name:?} is that of container {owner} too");
            }
            // The name is in a document that cannot be read.
            None if name.is_empty() => {}
            None => {
                maps.by_name.insert(name.clone(), container.id.clone());
                state.name = name;
            }
        }
        let container = Arc::new(container);
        maps.by_id.insert(container.id.clone(), Entry::Present(Arc::clone(&container)));
        container
    }

    /// Finds by full id, name, or unique prefix of the id; a leading slash is allowed.
    ///
    /// # Errors
    /// `Kind::NotFound` (`No such container:X`), `Kind::Invalid` for an ambiguous prefix, `Kind::Corrupt` with the
    /// reason when the container is damaged and does not run.
    pub fn find(&self, reference: &str) -> Result<Arc<Container>> {
        let container = self.find_any(reference)?;
        let state = container.state();
        if state.run.phase() == Phase::Dead {
            let (id, damage) = (&container.id, &state.run.damage);
            return Err(Error::corrupt(format!("container {id} is damaged and can only be removed: {damage}")));
        }
        drop(state);
        Ok(container)
    }

    /// As [`Index::find`], also damaged ones: for what needs none of their documents.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Invalid`.
    pub fn find_any(&self, reference: &str) -> Result<Arc<Container>> {
        let wanted = reference.strip_prefix('/').unwrap_or(reference);
        let missing = || Err(Error::not_found(format!("No such container:{reference}")));
        if wanted.is_empty() {
            return Err(Error::invalid("a container's name or id must not be empty"));
        }
        let maps = lock(&self.0);
        let found = |entry: &Entry| match entry {
            Entry::Reserved { .. } => None,
            Entry::Present(c) => Some(Arc::clone(c)),
        };
        if is_full_id(wanted)
            && let Some(entry) = maps.by_id.get(wanted)
        {
            return found(entry).map_or_else(missing, Ok);
        }
        if let Some(id) = maps.by_name.get(wanted) {
            return maps.by_id.get(id).and_then(found).map_or_else(missing, Ok);
        }
        let mut hits = maps
            .by_id
            .range::<str, _>((Bound::Included(wanted), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(wanted))
            .filter_map(|(_, e)| found(e));
        match (hits.next(), hits.next()) {
            (None, _) => missing(),
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::Invalid, format!("Multiple IDs found with provided prefix: {reference}")))
            }
        }
    }

    /// All containers, newest first.
    pub fn all(&self) -> Vec<Arc<Container>> {
        let mut list: Vec<_> = lock(&self.0)
            .by_id
            .values()
            .filter_map(|e| match e {
                Entry::Present(c) => Some(Arc::clone(c)),
                Entry::Reserved { .. } => None,
            })
            .collect();
        order::sort_by_key(&mut list, |c| std::cmp::Reverse(c.head.created));
        list
    }

    /// A container that uses this image, also one that is just being created.
    pub fn image_user(&self, image: &str) -> Option<String> {
        let maps = lock(&self.0);
        maps.by_id
            .iter()
            .find(|(_, e)| match e {
                Entry::Reserved { image_id, .. } => image_id == image,
                Entry::Present(c) => c.head.image_id == image,
            })
            .map(|(id, _)| id.clone())
    }

    /// Takes a further name for a container; the old one stays taken.
    ///
    /// # Errors
    /// `Kind::Conflict` when it is in use.
    pub fn take_name(&self, id: &str, name: &str) -> Result<()> {
        let mut maps = lock(&self.0);
        maps.refuse_taken(name)?;
        maps.by_name.insert(name.into(), id.into());
        Ok(())
    }

    /// Frees a name of a container.
    pub fn drop_name(&self, id: &str, name: &str) {
        let mut maps = lock(&self.0);
        if maps.by_name.get(name).is_some_and(|owner| owner == id) {
            maps.by_name.remove(name);
        }
    }

    /// Who other than the container `but` has this volume, also one that is just being created.
    pub fn volume_user(&self, volume: &str, but: &str) -> VolumeUser {
        let maps = lock(&self.0);
        let mut possible = VolumeUser::Nobody;
        for (id, entry) in maps.by_id.iter().filter(|(id, _)| *id != but) {
            let has = match entry {
                Entry::Reserved { volumes, .. } => volumes.iter().any(|name| name == volume),
                Entry::Present(c) if c.head.is_unread => {
                    possible = VolumeUser::Perhaps(id.clone());
                    false
                }
                Entry::Present(c) => c.head.volumes().any(|v| &*v.name == volume),
            };
            if has {
                return VolumeUser::Container(id.clone());
            }
        }
        possible
    }

    /// How many containers have each volume.
    pub fn volume_users(&self) -> HashMap<String, i64> {
        let mut users = HashMap::new();
        for entry in lock(&self.0).by_id.values() {
            let Entry::Present(container) = entry else { continue };
            let names: BTreeSet<&str> = container.head.volumes().map(|v| &*v.name).collect();
            for name in names {
                *users.entry(name.to_owned()).or_default() += 1;
            }
        }
        users
    }

    /// Whether there is a container of this id, and whether it is, or may be, removed after its exit.
    pub fn is_auto_removed(&self, id: &str) -> Option<bool> {
        match lock(&self.0).by_id.get(id) {
            Some(Entry::Present(c)) => Some(c.head.auto_remove || c.head.is_unread),
            Some(Entry::Reserved { .. }) | None => None,
        }
    }

    /// Forgets a container: its name is free.
    pub fn remove(&self, id: &str) {
        let mut maps = lock(&self.0);
        maps.by_id.remove(id);
        maps.by_name.retain(|_, owner| owner != id);
    }
}

impl Reservation<'_> {
    /// The container that is being created has these volumes.
    pub fn use_volumes(&self, names: Vec<String>) {
        if let Some(Entry::Reserved { volumes, .. }) = lock(&self.index.0).by_id.get_mut(&self.id) {
            *volumes = names;
        }
    }

    /// The container exists now.
    pub fn commit(mut self, container: Arc<Container>) {
        self.kept = true;
        lock(&self.index.0).by_id.insert(self.id.clone(), Entry::Present(container));
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let mut maps = lock(&self.index.0);
            maps.by_id.remove(&self.id);
            maps.by_name.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::container::head::{Head, Mount};
    use crate::modules::container::run::Run;
    use crate::utils::time::Timestamp;

    fn container(id: String, name: &str, created: i64) -> Container {
        let head = Head {
            name: name.into(),
            image_id: "img".into(),
            created: Timestamp::from_unix(created, 0),
            ..Head::default()
        };
        Container::new(id, head, Run::default())
    }

    fn id(start: &str) -> String {
        format!("{start:0<64}")
    }

    #[test]
    fn references() {
        let index = Index::default();
        for (start, name, t) in [("ab1", "one", 1), ("ab2", "two", 3), ("cd", "ab1x", 2)] {
            assert_eq!(index.add(container(id(start), name, t)).run().damage, "");
        }
        let name = |r: &str| index.find(r).map(|c| c.name());
        assert_eq!(name(&id("ab1")).unwrap(), "one");
        assert_eq!(name("/two").unwrap(), "two");
        assert_eq!(name("ab1").unwrap(), "one");
        assert_eq!(name("ab1x").unwrap(), "ab1x", "a name comes before a prefix");
        assert_eq!(name("ab").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(name("x").unwrap_err().to_string(), "No such container:x");
        assert_eq!(name("").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(name("/").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(index.all().iter().map(|c| c.name()).collect::<Vec<_>>(), ["two", "ab1x", "one"]);
        index.remove(&id("ab2"));
        assert_eq!(name("ab").unwrap(), "one");
        assert!(name("two").is_err());
    }

    #[test]
    fn a_reservation_holds_the_name_and_the_image_but_shows_nothing() {
        let index = Index::default();
        let r = index.reserve(&id("a"), "web", "img").unwrap();
        let e = index.reserve(&id("b"), "web", "img").err().unwrap().to_string();
        assert!(
            e.starts_with(&format!("Conflict. The name \"web\" is already in use by container {}", id("a"))),
            "{e}"
        );
        assert!(index.find("web").is_err() && index.find(&id("a")).is_err() && index.find("a").is_err());
        assert_eq!(index.image_user("img"), Some(id("a")));
        drop(r);
        assert_eq!(index.image_user("img"), None);
        let r = index.reserve(&id("b"), "web", "img").unwrap();
        r.use_volumes(vec!["data".into()]);
        assert_eq!(index.volume_user("data", ""), VolumeUser::Container(id("b")));
        let nobody = (VolumeUser::Nobody, VolumeUser::Nobody);
        assert_eq!((index.volume_user("data", &id("b")), index.volume_user("dat", "")), nobody);
        let mut present = container(id("b"), "web", 1);
        let bind = Mount { kind: "bind".into(), source: "dat".into(), ..Mount::default() };
        let volume = Mount { kind: "volume".into(), name: "other".into(), ..Mount::default() };
        present.head.mounts = [bind, volume].into();
        r.commit(present.into());
        let users = (VolumeUser::Nobody, VolumeUser::Container(id("b")));
        assert_eq!((index.volume_user("data", ""), index.volume_user("other", "")), users);
        let unread = Head { is_unread: true, ..Head::default() };
        index.add(Container::new(id("d"), unread, Run::default()));
        let users = (VolumeUser::Perhaps(id("d")), VolumeUser::Container(id("b")));
        assert_eq!((index.volume_user("data", ""), index.volume_user("other", "")), users);
        assert_eq!(index.find("web").unwrap().id, id("b"));
    }

    #[test]
    fn damaged_ones_are_shown_and_can_be_removed() {
        let index = Index::default();
        let damaged = |id, name| {
            let c = container(id, name, 1);
            c.change(|s| s.run.damage = "invalid JSON".into());
            c
        };
        // None of them has a name, and they are not in each other's way for that.
        index.add(damaged(id("c"), ""));
        index.add(damaged(id("d"), ""));
        let e = index.find("d").err().unwrap();
        assert!(e.kind() == Kind::Corrupt && e.to_string().ends_with("invalid JSON"), "{e}");
        assert_eq!(index.find_any("d").unwrap().id, id("d"));
        assert_eq!(index.all().len(), 2);
        index.remove(&id("d"));
        assert!(index.find("d").is_err());
    }

    #[test]
    fn a_name_has_one_owner() {
        let index = Index::default();
        index.add(container(id("a"), "web", 1));
        let second = index.add(container(id("b"), "web", 2));
        assert_eq!(second.name(), "");
        assert_eq!(second.run().damage, format!("its name \"web\" is that of container {} too", id("a")));
        assert_eq!(index.find("web").unwrap().id, id("a"));
        index.remove(&id("b"));
        assert_eq!(index.find("web").unwrap().id, id("a"));
    }
}
