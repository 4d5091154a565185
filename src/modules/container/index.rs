//! All containers by id and by name. Names are unique; a name is taken before anything is made for its container.

use super::{Container, lock};
use crate::error::{Error, Kind, Result};
use crate::utils::id::is_full_id;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

/// The index. Its lock is short.
#[derive(Default)]
pub struct Index(Mutex<Maps>);

#[derive(Default)]
struct Maps {
    by_id: BTreeMap<String, Entry>,
    by_name: BTreeMap<String, String>,
}

enum Entry {
    /// Being created, from this image.
    Reserved { image_id: String },
    /// There.
    Present(Arc<Container>),
    /// Its directory is damaged in this way.
    Damaged(String),
}

/// What a reference stands for.
pub enum Found {
    /// A container.
    Container(Arc<Container>),
    /// A damaged directory: its id.
    Damaged(String),
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
        if let Some(owner) = maps.by_name.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The name \"{name}\" is already in use by container {owner}. You have to remove (or rename) \
                 that container to be able to reuse that name."
            )));
        }
        maps.by_name.insert(name.into(), id.into());
        maps.by_id.insert(id.into(), Entry::Reserved { image_id: image_id.into() });
        Ok(Reservation { index: self, id: id.into(), name: name.into(), kept: false })
    }

    /// Adds a container that was found on disk; gives it back when its name is taken.
    pub fn add(&self, container: Arc<Container>) -> std::result::Result<(), Arc<Container>> {
        let mut maps = lock(&self.0);
        if maps.by_name.contains_key(&container.head.name) {
            return Err(container);
        }
        maps.by_name.insert(container.head.name.clone(), container.id.clone());
        maps.by_id.insert(container.id.clone(), Entry::Present(container));
        Ok(())
    }

    /// Notes a damaged directory.
    pub fn add_damaged(&self, id: &str, reason: String) {
        lock(&self.0).by_id.insert(id.into(), Entry::Damaged(reason));
    }

    /// Finds by full id, name, or unique prefix of the id; a leading slash is allowed.
    ///
    /// # Errors
    /// `Kind::NotFound` (`No such container:X`), `Kind::Invalid` for an ambiguous prefix, `Kind::Corrupt` when the
    /// container's directory is damaged.
    pub fn find(&self, reference: &str) -> Result<Arc<Container>> {
        match self.find_any(reference)? {
            Found::Container(c) => Ok(c),
            Found::Damaged(id) => {
                let reason = match lock(&self.0).by_id.get(&id) {
                    Some(Entry::Damaged(reason)) => reason.clone(),
                    _ => String::new(),
                };
                Err(Error::corrupt(format!("container {id} is damaged, only rm -f is possible: {reason}")))
            }
        }
    }

    /// As [`Index::find`], also damaged ones.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Invalid`.
    pub fn find_any(&self, reference: &str) -> Result<Found> {
        let wanted = reference.strip_prefix('/').unwrap_or(reference);
        let missing = || Err(Error::not_found(format!("No such container:{reference}")));
        if wanted.is_empty() {
            return Err(Error::invalid("a container's name or id must not be empty"));
        }
        let maps = lock(&self.0);
        let found = |id: &String, entry: &Entry| match entry {
            Entry::Reserved { .. } => None,
            Entry::Present(c) => Some(Found::Container(Arc::clone(c))),
            Entry::Damaged(_) => Some(Found::Damaged(id.clone())),
        };
        if is_full_id(wanted)
            && let Some((id, entry)) = maps.by_id.get_key_value(wanted)
        {
            return found(id, entry).map_or_else(missing, Ok);
        }
        if let Some(id) = maps.by_name.get(wanted) {
            return maps.by_id.get(id).and_then(|e| found(id, e)).map_or_else(missing, Ok);
        }
        let mut hits = maps
            .by_id
            .range::<str, _>((Bound::Included(wanted), Bound::Unbounded))
            .take_while(|(id, _)| id.starts_with(wanted))
            .filter_map(|(id, e)| found(id, e));
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
                _ => None,
            })
            .collect();
        list.sort_by_key(|c| std::cmp::Reverse(c.head.created));
        list
    }

    /// Damaged directories with their reasons.
    pub fn damaged(&self) -> Vec<(String, String)> {
        let maps = lock(&self.0);
        maps.by_id
            .iter()
            .filter_map(|(id, e)| match e {
                Entry::Damaged(reason) => Some((id.clone(), reason.clone())),
                _ => None,
            })
            .collect()
    }

    /// A container that uses this image, also one that is just being created.
    pub fn image_user(&self, image: &str) -> Option<String> {
        let maps = lock(&self.0);
        maps.by_id
            .iter()
            .find(|(_, e)| match e {
                Entry::Reserved { image_id } => image_id == image,
                Entry::Present(c) => c.head.image_id == image,
                Entry::Damaged(_) => false,
            })
            .map(|(id, _)| id.clone())
    }

    /// Forgets a container: its name is free.
    pub fn remove(&self, id: &str) {
        let mut maps = lock(&self.0);
        maps.by_id.remove(id);
        maps.by_name.retain(|_, owner| owner != id);
    }
}

impl Reservation<'_> {
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
    use crate::modules::container::head::Head;
    use crate::modules::container::run::Run;
    use crate::utils::time::Timestamp;

    fn container(id: String, name: &str, created: i64) -> Arc<Container> {
        let head = Head {
            name: name.into(),
            image_id: "img".into(),
            created: Timestamp::from_unix(created, 0),
            ..Head::default()
        };
        Arc::new(Container::new(id, head, Run::default()))
    }

    fn id(start: &str) -> String {
        format!("{start:0<64}")
    }

    #[test]
    fn references() {
        let index = Index::default();
        for (start, name, t) in [("ab1", "one", 1), ("ab2", "two", 3), ("cd", "ab1x", 2)] {
            assert!(index.add(container(id(start), name, t)).is_ok());
        }
        assert!(index.add(container(id("ff"), "one", 9)).is_err());
        let name = |r: &str| index.find(r).map(|c| c.head.name.clone());
        assert_eq!(name(&id("ab1")).unwrap(), "one");
        assert_eq!(name("/two").unwrap(), "two");
        assert_eq!(name("ab1").unwrap(), "one");
        assert_eq!(name("ab1x").unwrap(), "ab1x", "a name comes before a prefix");
        assert_eq!(name("ab").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(name("x").unwrap_err().to_string(), "No such container:x");
        assert_eq!(name("").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(name("/").unwrap_err().kind(), Kind::Invalid);
        assert_eq!(index.all().iter().map(|c| c.head.name.as_str()).collect::<Vec<_>>(), ["two", "ab1x", "one"]);
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
        r.commit(container(id("b"), "web", 1));
        assert_eq!(index.find("web").unwrap().id, id("b"));
    }

    #[test]
    fn damaged_ones_are_named_and_can_be_removed() {
        let index = Index::default();
        index.add_damaged(&id("d"), "invalid JSON".into());
        assert_eq!(index.find("d").err().unwrap().kind(), Kind::Corrupt);
        assert!(matches!(index.find_any("d").unwrap(), Found::Damaged(_)));
        assert_eq!(index.damaged().len(), 1);
        index.remove(&id("d"));
        assert!(index.find("d").is_err());
    }
}
