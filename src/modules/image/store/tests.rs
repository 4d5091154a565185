//! The store on disk: imports, names, removal, damage.

use super::super::unpack::tests::archive;
use super::*;
use crate::utils::archive::gzip::tests::gzip;
use crate::utils::atomic_file::Durability;
use crate::utils::remove_tree::remove_tree;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

/// A graph that goes away with the value.
pub(crate) struct Graph(pub PathBuf);

impl Graph {
    pub(crate) fn new() -> Graph {
        let id = crate::utils::id::random_id().unwrap();
        let path = std::env::temp_dir().join(format!("store-{}", &id[..12]));
        std::fs::create_dir(&path).unwrap();
        Graph(path)
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(Driver::Overlay)
    }

    pub(crate) fn open_with(&self, driver: Driver) -> Store {
        Store::open(&self.0, None, Storage { driver: Some(driver), ..Storage::default() }).unwrap()
    }

    fn entries(&self, directory: &str) -> Vec<String> {
        let mut names = open::names(&self.0.join("storage").join(directory)).unwrap();
        names.sort();
        names
    }

    /// Waits for the background removal.
    pub(crate) fn settled(&self, directory: &str) -> Vec<String> {
        for _ in 0..500 {
            if !self.entries(directory).iter().any(|n| n.starts_with('.')) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.entries(directory)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        remove_tree(&self.0).unwrap();
    }
}

fn import(store: &Store, bytes: &[u8], reference: &str) -> Result<Arc<Image>> {
    store.import(Import { source: &mut &bytes[..], reference, message: "test", changes: &[] })
}

pub(crate) fn nobody(_: &str) -> Option<String> {
    None
}

const ROOT: &str = "D ./\nD bin\nF bin/sh hello\nS sh bin/sh";

#[test]
fn import_find_and_reopen() {
    let graph = Graph::new();
    let store = graph.open();
    let changes = ["CMD [\"sh\"]".to_string(), "ENV A=b".into()];
    let bytes = gzip(&archive(ROOT));
    let image = store.import(Import { source: &mut &bytes[..], reference: "busybox", message: "m", changes: &changes });
    let image = image.unwrap();
    let config = image.config.config.as_ref().unwrap();
    assert_eq!((config.cmd.clone().unwrap(), config.env.clone().unwrap()), (vec!["sh".into()], vec!["A=b".into()]));
    assert_eq!((image.size, image.display_names()), (5, vec!["busybox:latest".to_string()]));
    assert_eq!(image.layers, [digest::sha256(&archive(ROOT))]);
    assert_eq!(std::fs::read(store.layer_directory(&image.layers[0]).join("bin/sh")).unwrap(), b"hello");
    drop(store);
    let store = graph.open();
    for text in [
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        &image.id,
        &image.id[..12],
        &format!("sha256:{}", image.id),
        &format!("sha256:{}", &image.id[..5]),
    ] {
        assert_eq!(store.find(text).unwrap().id, image.id, "{text}");
    }
    let again = store.find("busybox").unwrap();
    assert_eq!(
        (&again.config, again.loaded, again.created, again.size),
        (&image.config, image.loaded, image.created, 5)
    );
    assert_eq!(store.find("nosuch").unwrap_err().to_string(), "No such image:nosuch");
    assert_eq!(store.find("none").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.find("No:Such").unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn the_same_layer_is_kept_once() {
    let graph = Graph::new();
    let store = graph.open();
    let a = import(&store, &archive(ROOT), "a").unwrap();
    let b = import(&store, &gzip(&archive(ROOT)), "b").unwrap();
    assert!(a.id != b.id && a.layers == b.layers);
    assert_eq!(graph.entries("overlay"), a.layers);
    let gone = store.delete("a", false, &nobody).unwrap();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert_eq!(graph.entries("overlay-layers"), b.layers);
    let gone = store.delete("b", false, &nobody).unwrap();
    let texts: Vec<String> = gone.into_iter().map(|e| e.untagged.or(e.deleted).unwrap()).collect();
    assert_eq!(texts, ["b:latest".into(), format!("sha256:{}", b.id), format!("sha256:{}", b.layers[0])]);
    for directory in ["overlay", "overlay-layers", "overlay-images"] {
        assert!(graph.entries(directory).is_empty(), "{directory}");
    }
}

#[test]
fn failed_imports_leave_nothing() {
    let graph = Graph::new();
    let store = graph.open();
    let good = archive(ROOT);
    let packed = gzip(&good);
    let mut broken = packed.clone();
    let at = broken.len() - 6;
    broken[at] ^= 1;
    for (bytes, kind) in [
        (&b""[..], Kind::Invalid),
        (b"no tar", Kind::Invalid),
        (&[b'x'; 4096], Kind::Invalid),
        (&[0; 1024], Kind::Invalid),
        (&gzip(b""), Kind::Invalid),
        (&good[..good.len() - 1024], Kind::Corrupt),
        (&good[..1100], Kind::Corrupt),
        (&packed[..packed.len() - 1], Kind::Corrupt),
        (&packed[..packed.len() / 2], Kind::Corrupt),
        (&broken, Kind::Corrupt),
        (&archive("F nondir x\nF nondir/x x"), Kind::Os(libc::ENOTDIR)),
        (b"BZh91AY", Kind::Unsupported),
    ] {
        let e = import(&store, bytes, "x").unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        for directory in ["overlay", "overlay-layers", "overlay-images"] {
            assert!(graph.entries(directory).is_empty(), "{e}: {directory}");
        }
    }
    for reference in ["none", "X", "a@sha256:x"] {
        assert_eq!(import(&store, &good, reference).unwrap_err().kind(), Kind::Invalid);
    }
    let bad = Import { source: &mut &good[..], reference: "", message: "", changes: &["RUN x".into()] };
    assert_eq!(store.import(bad).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn names_move_and_images_in_use_stay() {
    let graph = Graph::new();
    let store = graph.open();
    let a = import(&store, &archive(ROOT), "app").unwrap();
    let b = import(&store, &archive("F other x"), "app").unwrap();
    assert_eq!(store.find("app").unwrap().id, b.id);
    assert!(store.find(&a.id).unwrap().names.is_empty());
    store.tag("app", "bb:two").unwrap();
    store.tag("app", "bb:two").unwrap();
    assert_eq!(store.find("bb:two").unwrap().display_names(), ["app:latest", "bb:two"]);
    let text = store.delete(&b.id[..12], false, &nobody).unwrap_err().to_string();
    assert!(text.contains("must be forced"), "{text}");
    let user = |id: &str| (id == b.id).then(|| "4711".to_string());
    let gone = store.delete("bb:two", false, &user).unwrap();
    assert_eq!((gone.len(), gone[0].untagged.as_deref()), (1, Some("bb:two")));
    for force in [false, true] {
        let e = store.delete("app", force, &user).unwrap_err();
        assert_eq!((e.kind(), e.to_string().as_str()), (Kind::Conflict, "Image used by 4711"));
    }
    store.tag("app", "second").unwrap();
    drop(store);
    let store = graph.open();
    assert_eq!(store.list().len(), 2);
    assert_eq!(store.delete(&b.id, true, &nobody).unwrap().len(), 4);
    for target in ["none:latest", "x@sha256:y", "Upper"] {
        assert_eq!(store.tag(&a.id, target).unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(store.tag("nosuch", "x").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_is_not_whole_goes_at_the_next_start_and_the_rest_is_served() {
    let graph = Graph::new();
    let store = graph.open();
    let good = import(&store, &archive(ROOT), "good").unwrap();
    let no_layer = import(&store, &archive("F b x"), "no-layer").unwrap();
    let no_config = import(&store, &archive("F c x"), "no-config").unwrap();
    let no_names = import(&store, &archive("F d x"), "no-names").unwrap();
    let container = "c".repeat(64);
    store.create_container_layer(&container, &good, None, Durability::Durable).unwrap();
    drop(store);
    let storage = graph.0.join("storage");
    remove_tree(&storage.join("overlay").join(&no_layer.layers[0])).unwrap();
    let directory = storage.join("overlay-images").join(&no_config.id);
    for path in std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
        std::fs::write(path, "{").unwrap();
    }
    std::fs::write(storage.join("overlay-images").join(&no_names.id).join("images.json"), "{\"names\":1").unwrap();
    for path in ["overlay/.tmp-x-1-0/diff/deep", "overlay-layers/.tmp-y", "overlay-images/.tmp-z"] {
        std::fs::create_dir_all(storage.join(path)).unwrap();
    }
    // An interrupted commit: data without a record.
    let interrupted = "e".repeat(64);
    std::fs::create_dir_all(storage.join("overlay").join(&interrupted).join("diff")).unwrap();

    let store = graph.open();
    let mut ids: Vec<String> = store.list().iter().map(|i| i.id.clone()).collect();
    ids.sort();
    let mut want = vec![good.id.clone(), no_names.id.clone()];
    want.sort();
    assert_eq!(ids, want);
    let nameless = store.find(&no_names.id).unwrap();
    assert!(nameless.names.is_empty() && nameless.size > 0 && nameless.size == no_names.size);
    let mut overlay = vec![good.layers[0].clone(), no_names.layers[0].clone(), container.clone(), interrupted.clone()];
    overlay.sort();
    assert_eq!(graph.settled("overlay"), overlay);
    assert_eq!((graph.settled("overlay-images").len(), graph.settled("overlay-layers").len()), (2, 2));
    store.remove_strays(&BTreeSet::from([container])).unwrap();
    overlay.retain(|id| *id != interrupted);
    assert_eq!(graph.settled("overlay"), overlay);
    assert_eq!(store.find("good").unwrap().id, good.id);
}

#[test]
fn a_name_that_two_have_stays_with_the_one_written_last() {
    let graph = Graph::new();
    let store = graph.open();
    let a = import(&store, &archive("F a x"), "app").unwrap();
    let record = graph.0.join("storage/overlay-images").join(&a.id).join("images.json");
    let old = std::fs::read(&record).unwrap();
    let b = import(&store, &archive("F b x"), "app").unwrap();
    drop(store);
    std::fs::write(&record, old).unwrap();
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(&record).unwrap().set_modified(past).unwrap();
    let store = graph.open();
    assert_eq!(store.find("app").unwrap().id, b.id);
    assert!(store.find(&a.id).unwrap().names.is_empty());
}

#[test]
fn container_layers() {
    let graph = Graph::new();
    let store = graph.open();
    let mut bytes = super::super::unpack::tests::member("D", "./", "", 0o1770, &[("uid", b"7"), ("gid", b"8")]);
    bytes.extend(archive("F x y"));
    let image = import(&store, &bytes, "x").unwrap();
    let id = "d".repeat(64);
    let create = |store: &Store| store.create_container_layer(&id, &image, None, Durability::Durable);
    create(&store).unwrap();
    let overlay = store.container_layer(&id, &image).unwrap();
    let above = graph.0.join("storage/overlay-images").join(&image.id).join("init");
    assert!(above.join("etc/mtab").is_symlink());
    assert_eq!(overlay.lower, [above, store.layer_directory(&image.layers[0])]);
    let root = overlay.upper.metadata().unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o1770, 7, 8));
    assert!(store.container_copy(&id).is_none() && store.mount_point(&id).is_dir());
    assert!(create(&store).is_err());
    store.remove_strays(&BTreeSet::from([id.clone()])).unwrap();
    assert_eq!(store.container_layer(&id, &image).unwrap(), overlay);
    store.remove_strays(&BTreeSet::new()).unwrap();
    assert_eq!(store.container_layer(&id, &image).unwrap_err().kind(), Kind::NotFound);
    create(&store).unwrap();
    store.remove_container_layer(&id).unwrap();
    store.remove_container_layer(&id).unwrap();
    assert_eq!(store.container_layer(&id, &image).unwrap_err().kind(), Kind::NotFound);
    for bad in ["", "..", "x/../y", &image.layers[0]] {
        assert!(store.remove_container_layer(bad).is_err(), "{bad}");
    }
    store.delete("x", false, &nobody).unwrap();
    assert_eq!(create(&store).unwrap_err().kind(), Kind::NotFound);
    assert!(graph.settled("overlay").is_empty());
}

#[cfg(feature = "storage")]
#[test]
fn copies_for_containers() {
    let graph = Graph::new();
    let store = graph.open_with(Driver::Vfs);
    let mut bytes = super::super::unpack::tests::member("D", "./", "", 0o1770, &[("uid", b"7"), ("gid", b"8")]);
    bytes.extend(archive("F x y"));
    let image = import(&store, &bytes, "x").unwrap();
    let id = "d".repeat(64);
    let create = |store: &Store| store.create_container_layer(&id, &image, None, Durability::Durable);
    create(&store).unwrap();
    let copy = store.container_copy(&id).unwrap();
    let root = copy.metadata().unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o1770, 7, 8));
    assert_eq!(std::fs::read_to_string(copy.join("x")).unwrap(), "y");
    assert!(copy.join("etc/mtab").is_symlink(), "the init layer");
    assert!(create(&store).is_err());
    assert_eq!(std::fs::read_to_string(copy.join("x")).unwrap(), "y");
    // It is told by its directory, whatever the driver is next time.
    let other = graph.open();
    other.remove_strays(&BTreeSet::from([id.clone()])).unwrap();
    assert_eq!(other.container_copy(&id).as_ref(), Some(&copy));
    let second = "e".repeat(64);
    other.create_container_layer(&second, &image, None, Durability::Volatile).unwrap();
    assert!(other.container_copy(&second).is_none() && store.container_layer(&second, &image).is_ok());
    store.remove_container_layer(&second).unwrap();
    other.remove_container_layer(&id).unwrap();
    assert!(store.container_copy(&id).is_none());
    // One that cannot be completed leaves nothing.
    let layer = store.layer_directory(&image.layers[0]);
    std::fs::rename(&layer, layer.with_extension("away")).unwrap();
    assert!(create(&store).is_err());
    std::fs::rename(layer.with_extension("away"), &layer).unwrap();
    assert_eq!(graph.entries("overlay"), image.layers);
}

#[test]
fn a_source_that_fails_midway_is_reported_as_such() {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::from_raw_os_error(libc::ECONNRESET));
            }
            let bytes = archive("D a\nD b");
            let n = out.len().min(self.0);
            out[..n].copy_from_slice(&bytes[..n]);
            self.0 -= n;
            Ok(n)
        }
    }
    let graph = Graph::new();
    let store = graph.open();
    let e = store.import(Import { source: &mut Failing(700), reference: "", message: "", changes: &[] }).unwrap_err();
    assert_eq!(e.kind(), Kind::Os(libc::ECONNRESET), "{e}");
    assert!(graph.settled("overlay").is_empty());
}
