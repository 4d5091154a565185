//! What a directory tree is like, entry by entry, and how two of them differ.

use super::bed::Bed;
use isulabox::utils::digest::Hashing;
use isulabox::utils::sys::xattr;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Entries by their path below the root: type, mode, owner, size or device, time of change, digest or target,
/// attributes, and the first name of the same file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree(BTreeMap<PathBuf, Vec<String>>);

impl Tree {
    /// Of everything below a directory.
    #[track_caller]
    pub fn of(root: &Path) -> Tree {
        Tree::without(root, &[])
    }

    /// The same without what lies at these paths.
    #[track_caller]
    fn without(root: &Path, hidden: &[PathBuf]) -> Tree {
        let mut tree = Tree(BTreeMap::new());
        let mut names = BTreeMap::new();
        tree.add(root, Path::new(""), hidden, &mut names);
        // A file's other names may be in a layer where they are hidden: what counts is those that are seen.
        for group in names.into_values().filter(|group| group.len() > 1) {
            let first = group[0].display().to_string();
            group.iter().for_each(|name| tree.0.get_mut(name).expect("it was added").push(first.clone()));
        }
        tree
    }

    /// What a running container sees, but for what is mounted in it.
    #[track_caller]
    pub fn of_container(bed: &Bed, name: &str) -> Tree {
        let process = PathBuf::from(format!("/proc/{}", bed.container_pid(name)));
        Tree::without(&process.join("root"), &mounts(&process))
    }

    /// The same of a new container of an image, which has a command `sleep`.
    #[track_caller]
    pub fn of_image(bed: &Bed, image: &str) -> Tree {
        bed.isula(&format!("run -d --name tree --entrypoint sleep --user 0:0 --workdir / {image} 1000")).ok();
        let tree = Tree::of_container(bed, "tree");
        bed.isula("rm -f tree").ok();
        tree
    }

    /// Without the entries at these paths and below them, or without the root itself.
    #[must_use]
    pub fn but(mut self, paths: &[&str]) -> Tree {
        self.0.retain(|path, _| {
            !paths.iter().any(|p| if p.is_empty() { path.as_os_str().is_empty() } else { path.starts_with(p) })
        });
        self
    }

    /// With times in whole seconds, as most archives have them.
    #[must_use]
    pub fn in_seconds(mut self) -> Tree {
        for time in self.0.values_mut().filter_map(|entry| entry.get_mut(TIME)) {
            time.truncate(time.find('.').unwrap_or(time.len()));
        }
        self
    }

    /// A part of it: the entries at a path and below.
    #[must_use]
    pub fn below(&self, path: &str) -> Tree {
        Tree(self.0.iter().filter(|(p, _)| p.starts_with(path)).map(|(p, e)| (p.clone(), e.clone())).collect())
    }

    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(Path::new(path))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Fails with what is different in `other`. What is mounted in a container hides what the image has there.
    #[track_caller]
    pub fn assert_like(&self, other: &Tree, what: &str) {
        let all: BTreeSet<&PathBuf> = self.0.keys().chain(other.0.keys()).collect();
        let mounted = |path: &&&PathBuf| [self, other].iter().any(|t| t.0.get(**path).is_some_and(|e| e[0] == MOUNTED));
        let hidden: Vec<&PathBuf> = all.iter().filter(mounted).copied().collect();
        let mut lines = Vec::new();
        for path in all {
            let (a, b) = (self.0.get(path), other.0.get(path));
            if a == b || hidden.iter().any(|h| path.starts_with(h)) {
                continue;
            }
            let show = |entry: Option<&Vec<String>>| entry.map_or("nothing".into(), |e| e.join(" "));
            lines.push(format!("{path:?}\n  {}\n  {} in the other", show(a), show(b)));
        }
        assert!(
            lines.is_empty(),
            "{what}: {} entries differ:\n{}",
            lines.len(),
            lines[..lines.len().min(20)].join("\n")
        );
    }

    fn add(&mut self, root: &Path, path: &Path, hidden: &[PathBuf], names: &mut BTreeMap<(u64, u64), Vec<PathBuf>>) {
        let at = root.join(path);
        if hidden.iter().any(|h| h == path) {
            self.0.insert(path.into(), vec![MOUNTED.into()]);
            return;
        }
        let m = match path.as_os_str().is_empty() {
            true => at.metadata(),
            false => at.symlink_metadata(),
        };
        let m = m.unwrap_or_else(|e| panic!("{at:?}: {e}"));
        let plain = CString::new(at.as_os_str().as_bytes()).expect("a path without NUL");
        let (content, size) = match m.file_type() {
            t if t.is_symlink() => (format!("{:?}", fs::read_link(&at).expect("a link")), m.size()),
            t if t.is_file() => (digest(&at), m.size()),
            t if t.is_dir() => (String::new(), 0),
            _ => (String::new(), m.rdev()),
        };
        let attributes = match path.as_os_str().is_empty() {
            true => Vec::new(), // of a root they say how the layers lie on each other
            false => xattr::all_of_link(&plain).unwrap_or_else(|e| panic!("{at:?}: {e}")),
        };
        let mut attributes: Vec<String> =
            attributes.iter().map(|(name, value)| format!("{name:?}={:?}", String::from_utf8_lossy(value))).collect();
        attributes.sort();
        if m.nlink() > 1 && !m.is_dir() {
            names.entry((m.dev(), m.ino())).or_default().push(path.into());
        }
        let (mode, owner) = (format!("{:o}", m.mode()), format!("{}:{}", m.uid(), m.gid()));
        let time = match path.as_os_str().is_empty() {
            true => String::new(), // when the container was made
            false => format!("{}.{:09}", m.mtime(), m.mtime_nsec()),
        };
        self.0.insert(path.into(), vec![mode, owner, size.to_string(), time, content, attributes.join(",")]);
        if m.is_dir() {
            let entries = fs::read_dir(&at).unwrap_or_else(|e| panic!("{at:?}: {e}"));
            let mut children: Vec<OsString> = entries.map(|e| e.expect("an entry").file_name()).collect();
            children.sort();
            children.iter().for_each(|name| self.add(root, &path.join(name), hidden, names));
        }
    }
}

/// In the place of what a container has mounted.
const MOUNTED: &str = "mounted";
/// Where an entry has the time of change.
const TIME: usize = 3;

fn digest(path: &Path) -> String {
    let file = File::open(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let mut file = Hashing::new(BufReader::new(file));
    std::io::copy(&mut file.by_ref(), &mut std::io::sink()).expect("its content");
    file.finish().0
}

/// Where a process has mounts below its root, without the slash (proc_pid_mountinfo(5)).
fn mounts(process: &Path) -> Vec<PathBuf> {
    let text = fs::read(process.join("mountinfo")).expect("its mounts");
    let points = text.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    let points = points.map(|p| p.strip_prefix(b"/").unwrap_or(p)).filter(|p| !p.is_empty());
    points.map(|p| PathBuf::from(OsString::from_vec(p.to_vec()))).collect()
}
