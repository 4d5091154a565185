//! The store on a disk, and what an interruption leaves of it.

use super::*;
use std::fs::{self, create_dir_all, write};
use std::os::unix::fs::chown;

struct Ground(PathBuf, Store);

impl Drop for Ground {
    fn drop(&mut self) {
        remove_tree(&self.0).unwrap();
    }
}

impl Ground {
    fn new() -> Ground {
        let id = crate::utils::id::random_id().unwrap();
        let graph = std::env::temp_dir().join(format!("volumes-{}", &id[..12]));
        let store = Store::open(&graph, None).unwrap();
        Ground(graph, store)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join("volumes").join(path)
    }

    fn make(&self, name: &str) {
        assert!(self.1.create(name, None, Durability::Volatile).unwrap());
    }

    /// A directory as an image has it.
    fn image(&self) -> OwnedFd {
        let image = self.0.join("image");
        create_dir_all(image.join("d")).unwrap();
        write(image.join("f"), "content").unwrap();
        fs::set_permissions(&image, Permissions::from_mode(0o1750)).unwrap();
        open(&image).unwrap()
    }

    fn all(&self) -> Vec<String> {
        let mut names = self.1.entries().unwrap();
        names.sort();
        names
    }
}

#[test]
fn a_volume_is_made_once_and_removed_whole() {
    let g = Ground::new();
    g.make("vol");
    assert!(!g.1.create("vol", None, Durability::Durable).unwrap());
    assert!(g.1.create("vol/../x", None, Durability::Durable).is_err());
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode(&g.at(".")), mode(&g.at("vol")), mode(&g.at("vol/_data"))), (0o700, 0o755, 0o755));
    assert!(!g.at("vol").join(RECORD).exists(), "nothing is said about it");
    let volume = g.1.get("vol").unwrap();
    assert_eq!((volume.mountpoint.as_str(), volume.labels.len()), (g.at("vol/_data").to_str().unwrap(), 0));
    assert_eq!(volume.created_at.unix_seconds(), g.at("vol").metadata().unwrap().mtime());
    write(g.at("vol/_data/f"), "").unwrap();
    discard(&g.1.take("vol", Durability::Durable).unwrap());
    assert!(g.all().is_empty() && !g.1.exists("vol"));
    for missing in ["vol", "..", ".", "", "a/b", "x"] {
        assert_eq!(g.1.get(missing).unwrap_err().to_string(), format!("No such volume: {missing}"));
        assert_eq!(g.1.take(missing, Durability::Volatile).unwrap_err().kind(), Kind::NotFound);
    }
}

#[test]
fn what_is_said_is_kept_and_damage_loses_no_files() {
    let g = Ground::new();
    let labels: BTreeMap<String, String> = [("k".to_owned(), "v".to_owned())].into();
    let record = Record { created_at: Timestamp::from_unix(5, 6), labels: labels.clone(), ..Record::default() };
    g.1.create("vol", Some(&record), Durability::Durable).unwrap();
    let got = g.1.get("vol").unwrap();
    assert_eq!((got.created_at, got.labels), (record.created_at, labels));
    write(g.at("vol").join(RECORD), "{").unwrap();
    assert!(g.1.get("vol").unwrap().labels.is_empty());
    // A name that is made up says that nobody gave it, unless there is a record.
    let id = "a".repeat(64);
    g.make(&id);
    assert!(g.1.get(&id).unwrap().labels.contains_key(ANONYMOUS));
    assert_eq!(g.1.names().unwrap(), [id.as_str(), "vol"]);
}

#[test]
fn only_an_empty_volume_is_filled_and_becomes_like_the_directory() {
    let g = Ground::new();
    g.make("vol");
    assert!(g.1.fill("vol", g.image(), Durability::Durable).unwrap());
    assert_eq!(fs::read(g.at("vol/_data/f")).unwrap(), b"content");
    assert_eq!(g.at("vol/_data").metadata().unwrap().mode() & 0o7777, 0o1750);
    assert!(!g.1.fill("vol", g.image(), Durability::Durable).unwrap());
    discard(&g.1.empty("vol").unwrap());
    assert!(g.1.is_empty("vol").unwrap());
    assert_eq!(g.at("vol/_data").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(g.all(), ["vol"], "nothing is left beside it");
}

#[test]
fn root_of_the_containers_owns_the_files() {
    let g = Ground::new();
    if chown(&g.0, Some(7), Some(8)).is_err() {
        println!("skipped: not root");
        return;
    }
    use crate::modules::remap::Range;
    let (uids, gids) = (Range { first: 1000, count: 10 }, Range { first: 2000, count: 10 });
    let store = Store::open(&g.0, Some(Remap { uids, gids })).unwrap();
    store.create("vol", None, Durability::Volatile).unwrap();
    let owner = g.at("vol/_data").metadata().unwrap();
    assert_eq!((owner.uid(), owner.gid(), g.at("vol").metadata().unwrap().uid()), (1000, 2000, 0));
}

#[test]
fn a_start_completes_what_was_interrupted() {
    let g = Ground::new();
    for name in ["half", "headless", "vol"] {
        g.make(name);
    }
    // Killed while files were moved in: the user has written one meanwhile.
    create_dir_all(g.at(".fill-half/d")).unwrap();
    for (path, text) in [(".fill-half/mine", "image's"), ("half/_data/mine", "user's"), (".fill-half/rest", "rest")] {
        write(g.at(path), text).unwrap();
    }
    fs::set_permissions(g.at(".fill-half"), Permissions::from_mode(0o711)).unwrap();
    // Killed while a volume was emptied, made, removed; and when another was removed whose files were on their way.
    fs::remove_dir(g.at("headless/_data")).unwrap();
    create_dir_all(g.at(".tmp-new-1-2/_data")).unwrap();
    create_dir_all(g.at(".fill-gone/d")).unwrap();
    let container = "c".repeat(64);
    g.1.mark(&container, "vol").unwrap();
    g.1.mark(&container, "a-b").unwrap();
    let mut left = g.1.restore().unwrap();
    left.owned.sort();
    assert_eq!(left.owned, [(container.clone(), "a-b".into()), (container.clone(), "vol".into())]);
    assert_eq!(left.garbage.len(), 3);
    left.garbage.iter().for_each(|path| discard(path));
    assert_eq!(fs::read(g.at("half/_data/mine")).unwrap(), b"user's");
    assert_eq!(fs::read(g.at("half/_data/rest")).unwrap(), b"rest");
    assert!(g.at("half/_data/d").is_dir() && g.at("headless/_data").is_dir());
    assert_eq!(g.at("half/_data").metadata().unwrap().mode() & 0o7777, 0o711);
    g.1.unmark(&container, "vol");
    g.1.unmark(&container, "a-b");
    assert_eq!(g.all(), ["half", "headless", "vol"]);
}
