//! What a daemon shows of its store, and whether the store holds just that.

use super::bed::{Bed, engines};
use super::eventually;
use isulabox::utils::digest::{Hashing, sha256};
use isulabox::utils::sys::xattr;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long what is removed in the background may take.
const SETTLING: Duration = Duration::from_secs(20);

/// Images by name, containers by name.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct World {
    /// Of each name, with tag or digest, the layers' chain ids, bottom first; `ID` stands for the names of an image that
    /// has none.
    pub images: BTreeMap<String, Vec<String>>,
    pub containers: BTreeSet<String>,
    /// Names of volumes, or that they have none, with a digest of what is in them; in order.
    pub volumes: Vec<String>,
    ids: BTreeSet<String>,
    volume_names: BTreeSet<String>,
}

impl World {
    /// What the daemon lists.
    #[track_caller]
    pub fn of(bed: &Bed) -> World {
        let mut world = World::default();
        let list = bed.get("/v1.44/images/json?all=1").expect(200).json();
        for image in list.as_array().expect("a list") {
            let id = image["Id"].as_str().expect("an id").trim_start_matches("sha256:").to_owned();
            let names = ["RepoTags", "RepoDigests"].iter().flat_map(|key| image[key].as_array().into_iter().flatten());
            let mut names: Vec<String> = names.filter_map(|n| n.as_str().map(str::to_owned)).collect();
            if names.is_empty() {
                names.push(id.clone());
            }
            let answer = bed.get(&format!("/v1.44/images/{id}/json")).expect(200).json();
            let layers = answer["RootFS"]["Layers"].as_array().cloned().unwrap_or_default();
            let mut chain: Vec<String> = Vec::new();
            for layer in layers.iter().filter_map(|l| l.as_str()?.strip_prefix("sha256:")) {
                chain.push(match chain.last() {
                    None => layer.to_owned(),
                    Some(below) => sha256(format!("sha256:{below} sha256:{layer}").as_bytes()),
                });
            }
            world.images.extend(names.into_iter().map(|name| (name, chain.clone())));
            world.ids.insert(id);
        }
        let list = bed.get("/v1.44/containers/json?all=1").expect(200).json();
        for container in list.as_array().expect("a list") {
            world.containers.insert(container["Names"][0].as_str().expect("a name").trim_matches('/').to_owned());
        }
        let list = bed.get("/v1.44/volumes").expect(200).json();
        for volume in list["Volumes"].as_array().expect("a list") {
            let name = volume["Name"].as_str().expect("a name");
            let anonymous = volume["Labels"].get("com.docker.volume.anonymous").is_some();
            let mut text = String::new();
            describe(Path::new(volume["Mountpoint"].as_str().expect("a path")), &mut text);
            let shown = if anonymous { "anonymous" } else { name };
            world.volumes.push(format!("{shown} {} {}", volume["Labels"], sha256(text.as_bytes())));
            world.volume_names.insert(name.to_owned());
        }
        world.volumes.sort();
        world
    }

    /// Whether it is the same but for the ids of images, which an import chooses by the time.
    pub fn like(&self, other: &World) -> bool {
        self.images == other.images && self.containers == other.containers && self.volumes == other.volumes
    }

    /// Whether each name is as in one of two others.
    pub fn between(&self, before: &World, after: &World) -> bool {
        let names: BTreeSet<&String> = [self, before, after].iter().flat_map(|w| w.images.keys()).collect();
        let images = names.into_iter().all(|n| {
            let now = self.images.get(n);
            now == before.images.get(n) || now == after.images.get(n)
        });
        let volumes = self.volumes.iter().all(|v| before.volumes.contains(v) || after.volumes.contains(v));
        // Volumes without names come and go with their containers.
        let anonymous = |w: &World| w.volumes.iter().filter(|v| v.starts_with("anonymous ")).count();
        let together = |w: &World| self.containers == w.containers && anonymous(self) == anonymous(w);
        images && volumes && (together(before) || together(after))
    }

    fn layers(&self) -> BTreeSet<String> {
        self.images.values().flatten().cloned().collect()
    }

    /// Waits until the graph directory holds what is listed and nothing else.
    #[track_caller]
    pub fn await_tidiness(&self, bed: &Bed) {
        let end = Instant::now() + SETTLING;
        loop {
            let strays = self.strays(bed);
            if strays.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "neither listed nor removed: {strays:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the graph directory holds and is not listed, and the reverse.
    pub fn strays(&self, bed: &Bed) -> Vec<String> {
        let mut strays = Vec::new();
        let graph = bed.graph();
        let storage = graph.join("storage");
        let containers: BTreeSet<String> = engines(&graph).into_iter().collect();
        if containers.len() != self.containers.len() {
            strays.push(format!("{} containers listed, on disk {containers:?}", self.containers.len()));
        }
        let layers = self.layers();
        let data = layers.union(&containers).cloned().collect();
        let wants = [("overlay-images", &self.ids), ("overlay-layers", &layers), ("overlay", &data)];
        for (directory, want) in wants {
            let found = names(&storage.join(directory));
            strays.extend(found.symmetric_difference(want).map(|n| format!("{directory}/{n}")));
            temporary(&storage.join(directory), 1, &mut strays);
        }
        let volumes = names(&graph.join("volumes"));
        strays.extend(volumes.symmetric_difference(&self.volume_names).map(|n| format!("volumes/{n}")));
        temporary(&graph.join("volumes"), 1, &mut strays);
        temporary(&graph.join("engines"), 2, &mut strays);
        temporary(&graph, 0, &mut strays);
        strays
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Finds temporary names in a directory and `depth` levels below.
fn temporary(directory: &Path, depth: usize, found: &mut Vec<String>) {
    for name in names(directory) {
        let path = directory.join(&name);
        if name.starts_with(".tmp-") {
            found.push(path.display().to_string());
        } else if depth > 0 && path.is_dir() {
            temporary(&path, depth - 1, found);
        }
    }
}

/// What the content must be: learnt from a store that nothing happened to.
#[derive(Default)]
pub struct Content {
    /// Digest of the files of a layer, by chain id.
    trees: BTreeMap<String, String>,
    /// What a container of an image says, by chain ids.
    says: BTreeMap<Vec<String>, String>,
}

impl Content {
    /// Takes what is there now as right.
    #[track_caller]
    pub fn learn(&mut self, bed: &Bed, world: &World) {
        for layer in world.layers() {
            let tree = self.trees.entry(layer.clone()).or_insert_with(|| tree(bed, &layer));
            assert_eq!(*tree, self::tree(bed, &layer));
        }
        for (name, layers) in &world.images {
            self.says.entry(layers.clone()).or_insert_with(|| bed.isula(&format!("run --rm {name}")).ok());
        }
    }

    /// Compares every image, and the containers, with that.
    #[track_caller]
    pub fn check(&self, bed: &Bed, world: &World) {
        for layer in world.layers() {
            assert_eq!(Some(&tree(bed, &layer)), self.trees.get(&layer), "the files of layer {layer}");
        }
        let mut seen = BTreeSet::new();
        for (name, layers) in &world.images {
            if seen.insert(layers) {
                assert_eq!(bed.isula(&format!("run --rm {name}")).ok(), self.says[layers], "a container of {name}");
            }
        }
        for name in &world.containers {
            let says = bed.isula(&format!("start -a {name}")).ok();
            assert!(self.says.values().any(|s| *s == says), "container {name}: {says}");
            eventually("its exit is on disk", || {
                let id = bed.inspect(name, "/Id");
                !bed.state().join("lcr").join(id.as_str().expect("an id")).exists()
            });
        }
    }
}

/// A digest over everything that a layer's directory holds, but for the times of what no archive gives one to.
#[track_caller]
fn tree(bed: &Bed, layer: &str) -> String {
    let mut text = String::new();
    describe(&bed.graph().join("storage/overlay").join(layer).join("diff"), &mut text);
    sha256(text.as_bytes())
}

fn describe(path: &Path, text: &mut String) {
    let Ok(m) = path.symlink_metadata() else { return text.push_str("missing") };
    let size = if m.is_dir() { 0 } else { m.size() };
    let content = match m.file_type() {
        t if t.is_symlink() => format!("{:?}", fs::read_link(path)),
        t if t.is_file() => {
            let mut file = Hashing::new(std::io::BufReader::new(File::open(path).expect("a file")));
            std::io::copy(&mut file.by_ref(), &mut std::io::sink()).expect("its content");
            file.finish().0
        }
        t if t.is_dir() => format!("{:?}", xattr::all(File::open(path).expect("a directory").as_fd())),
        _ => String::new(),
    };
    let times = if m.is_file() || m.is_symlink() { m.mtime() } else { 0 };
    let line = format!("{:o} {}:{} {size} {} {times} {content}", m.mode(), m.uid(), m.gid(), m.rdev());
    text.push_str(&format!("{path:?} {line}\n", path = path.file_name()));
    if m.is_dir() {
        names(path).iter().for_each(|name| describe(&path.join(name), text));
        text.push('\n');
    }
}

/// The seed of this run's choices, printed: `ISULABOX_FAULTS_SEED` to have the same again.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Chance {
        let given = std::env::var("ISULABOX_FAULTS_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).expect("/dev/urandom");
            u64::from_le_bytes(bytes) >> 1
        });
        println!("ISULABOX_FAULTS_SEED={seed}");
        Chance(seed | 1)
    }

    /// Less than `bound` (xorshift).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// The numbers below `n` in an order of chance.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        (1..n).rev().for_each(|i| all.swap(i, self.below(i + 1)));
        all
    }
}
