//! Directories that a layer has only because something lies in them: no member of its archive says what they are like.
//!
//! A layer is unpacked by itself, so they get mode 0755, root and the time of the unpacking. Of a merged directory
//! overlayfs shows what the topmost one is like: a file in `/tmp` would take the sticky bit from it, one in a private
//! directory open that to all. But layers are applied one upon the other (OCI image specification, layer.md, "Applying
//! Changesets"), and a directory that a layer does not name stays as it is. So when all layers of an image are there, such
//! directories are made to look like those that they lie on. One that only hides names, in a directory that is not there,
//! is taken away.
//!
//! Their paths are kept beside the layer's tree: it may be copied onto other layers.

use super::likeness::imitate;
use super::pack::names;
use super::signs;
use super::tally::{Likeness, Tally};
use super::tree::{DIRECTORY, components, lstat, type_of};
use crate::error::{Context, Error, Result};
use crate::utils::atomic_file::{Durability, write_new};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Beside the layer's `diff`.
const FILE: &str = "implied";
/// Bytes of memory for the paths of one layer, and what one takes besides its length.
const LIMIT: usize = 2 << 20;
const EACH: usize = 64;
/// Stands for the root.
const ROOT: &[u8] = b".";

/// The directories of a layer that is being unpacked.
pub(super) struct Implied {
    paths: BTreeSet<Vec<u8>>,
    bytes: usize,
}

impl Implied {
    pub(super) fn new() -> Implied {
        Implied { paths: BTreeSet::from([ROOT.to_vec()]), bytes: 0 }
    }

    /// One was made. What is beyond the limit stays as it was made.
    pub(super) fn add(&mut self, path: Vec<u8>) {
        let bytes = self.bytes + path.len() + EACH;
        if bytes > LIMIT {
            if self.bytes <= LIMIT {
                log::warn!("a layer has so many directories without a member of their own that some get mode 0755");
            }
            self.bytes = LIMIT + 1;
        } else if self.paths.insert(path) {
            self.bytes = bytes;
        }
    }

    /// A member describes it.
    pub(super) fn described(&mut self, path: &[&[u8]]) {
        // A member of its own is what most directories have.
        if path.is_empty() {
            self.paths.remove(ROOT);
        } else if self.paths.len() > 1 || !self.paths.contains(ROOT) {
            self.paths.remove(&path.join(&b'/'));
        }
    }

    pub(super) fn into_paths(self) -> Vec<Vec<u8>> {
        self.paths.into_iter().collect()
    }
}

/// Keeps the paths for the layer that is made in the directory `work`.
pub(super) fn keep(work: &Path, paths: &[Vec<u8>]) -> Result<()> {
    match paths {
        [] => Ok(()),
        paths => write_new(&work.join(FILE), &paths.join(&0), 0o600, Durability::Volatile),
    }
}

/// The same for the copy of the layer in the directory `from`.
pub(super) fn keep_as(work: &Path, from: &Path) -> Result<()> {
    let text = read(from)?;
    if text.is_empty() { Ok(()) } else { keep(work, &[text]) }
}

/// Whether a layer has any.
pub(super) fn any(layer: &Path) -> bool {
    layer.join(FILE).exists()
}

fn read(layer: &Path) -> Result<Vec<u8>> {
    let path = layer.join(FILE);
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text.context(|| format!("open({path:?})")),
    }
}

/// Makes those of the layer in the directory `layer` look like what is seen without it, of the trees `below`, topmost
/// first. Gives what is to be added to the sum of its tree.
///
/// # Errors
/// The failing call with the path. The sum is not known then.
pub(super) fn settle(layer: &Path, below: &[PathBuf]) -> Result<u64> {
    let root = open(&layer.join("diff"))?;
    let mut tally = Tally::default();
    let text = read(layer)?;
    // From the bottom up: the removal of one changes the time of the one above.
    for path in text.split(|b| *b == 0).rev().filter(|path| !path.is_empty()) {
        settle_one(&root, &components(path), below, &mut tally)
            .map_err(|e| e.context(format!("{layer:?}: {:?}", String::from_utf8_lossy(path))))?;
    }
    Ok(tally.change())
}

fn settle_one(root: &OwnedFd, path: &[&[u8]], below: &[PathBuf], tally: &mut Tally) -> Result<()> {
    // A later member may have put something else in its place.
    let Some(directory) = descend(root, path)? else { return Ok(()) };
    let before = fstat(&directory).context(|| "fstat()".into())?;
    let Some(model) = seen(below, path)? else {
        return remove_void(root, path, (&directory, &before), tally);
    };
    let stat = fstat(&model).context(|| "fstat()".into())?;
    imitate(&directory, &model, &stat)?;
    tally.forget(path, likeness(&before));
    tally.node(path, likeness(&stat));
    Ok(())
}

/// Removes a directory in which there are only whiteouts.
fn remove_void(
    root: &OwnedFd,
    path: &[&[u8]],
    (directory, stat): (&OwnedFd, &FileStat),
    tally: &mut Tally,
) -> Result<()> {
    let Some((&name, above)) = path.split_last() else { return Ok(()) };
    if signs::is_opaque(directory.as_fd(), true)? {
        return Ok(());
    }
    let hidden = names(directory.as_fd())?;
    for name in &hidden {
        if !lstat(directory.as_fd(), name)?.is_some_and(|stat| signs::is_whiteout(&stat)) {
            return Ok(());
        }
    }
    let Some(parent) = descend(root, above)? else { return Ok(()) };
    let times = fstat(&parent).context(|| "fstat()".into())?;
    let remove = |at: &OwnedFd, name: &[u8], flags| unlinkat(at, name, flags).context(|| "unlinkat()".into());
    for hidden in &hidden {
        remove(directory, hidden, UnlinkatFlags::NoRemoveDir)?;
        let whiteout = Likeness { mode: libc::S_IFCHR, uid: 0, gid: 0, device: 0 };
        tally.forget(&[path, &[hidden]].concat(), whiteout);
    }
    remove(&parent, name, UnlinkatFlags::RemoveDir)?;
    tally.forget(path, likeness(stat));
    let modified = TimeSpec::new(times.st_mtime, times.st_mtime_nsec as _);
    futimens(&parent, &TimeSpec::UTIME_OMIT, &modified).context(|| "futimens()".into())
}

/// The directory at a path in one layer.
fn descend(root: &OwnedFd, path: &[&[u8]]) -> Result<Option<OwnedFd>> {
    let mut here = openat(root, ".", DIRECTORY, Mode::empty()).context(|| "openat(\".\")".into())?;
    for name in path {
        here = match openat(&here, *name, DIRECTORY, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(e) => return Err(Error::os("openat(O_DIRECTORY)", e as i32)),
        };
    }
    Ok(Some(here))
}

/// The directory that overlayfs shows at a path (Documentation/filesystems/overlayfs.rst).
fn seen(layers: &[PathBuf], path: &[&[u8]]) -> Result<Option<OwnedFd>> {
    'layers: for layer in layers {
        let mut here = open(layer)?;
        let mut opaque = false;
        for name in path {
            let hides = signs::hides(here.as_fd(), name)?;
            match lstat(here.as_fd(), name)? {
                None if opaque || hides => return Ok(None),
                None => continue 'layers,
                Some(stat) if type_of(&stat) != SFlag::S_IFDIR => return Ok(None),
                Some(_) => {}
            }
            here = openat(&here, *name, DIRECTORY, Mode::empty()).context(|| "openat(O_DIRECTORY)".into())?;
            opaque |= hides || signs::is_opaque(here.as_fd(), true)?;
        }
        return Ok(Some(here));
    }
    Ok(None)
}

fn likeness(directory: &FileStat) -> Likeness {
    Likeness { mode: directory.st_mode, uid: directory.st_uid, gid: directory.st_gid, device: 0 }
}

fn open(path: &Path) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, DIRECTORY, Mode::empty()).context(|| format!("open({path:?})"))
}

#[cfg(test)]
mod tests {
    use super::super::store::tests::Graph;
    use super::super::store::{Image, Store};
    use super::super::unpack::tests::{archive, member};
    use crate::utils::digest::sha256;
    use crate::utils::sys::xattr;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    /// An image of these layers, unpacked from the top down; one that comes twice is copied.
    fn image(store: &Store, layers: &[&[u8]]) -> Arc<Image> {
        let ids: Vec<String> = layers.iter().map(|l| format!("\"sha256:{}\"", sha256(l))).collect();
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#, ids.join(","));
        let assembly = store.assemble(config.into_bytes()).unwrap();
        let (again, first): (Vec<usize>, Vec<usize>) =
            (0..layers.len()).rev().partition(|&n| layers[..n].contains(&layers[n]));
        first.into_iter().for_each(|n| assembly.layer(n, || Ok(layers[n])).unwrap());
        again.into_iter().for_each(|n| assembly.duplicate(n).unwrap());
        assembly.commit(None, None).unwrap()
    }

    fn trees(store: &Store, image: &Image) -> Vec<PathBuf> {
        image.layers.iter().map(|layer| store.layer_directory(layer)).collect()
    }

    fn looks(path: &Path) -> (u32, u32, i64) {
        let m = path.metadata().unwrap_or_else(|e| panic!("{path:?}: {e}"));
        (m.mode() & 0o7777, m.uid(), m.mtime())
    }

    /// That the records have the sums of the trees.
    fn check_sums(trees: &[PathBuf]) {
        #[cfg(feature = "storage")]
        for tree in trees {
            let id = tree.parent().and_then(Path::file_name).unwrap();
            let layers = tree.ancestors().nth(3).unwrap().join("overlay-layers");
            let record = fs::read_to_string(layers.join(id).join("layer.json")).unwrap();
            let sum = super::super::tally::of_tree(super::open(tree).unwrap()).unwrap();
            assert!(record.contains(&format!("{sum:016x}")), "{tree:?}: {sum:016x} is not in {record}");
        }
        #[cfg(not(feature = "storage"))]
        let _ = trees;
    }

    fn low() -> Vec<u8> {
        let records = [("SCHILY.xattr.user.a", &b"b"[..])];
        let directories = [
            member("D", "./", "", 0o711, &[]),
            member("D", "tmp", "", 0o1777, &[]),
            member("D", "private", "", 0o2700, &records),
            member("D", "private/deep", "", 0o750, &[]),
            member("D", "hidden", "", 0o700, &[]),
        ];
        [directories.concat(), archive("F private/a a\nF file x")].concat()
    }

    #[test]
    fn a_directory_that_a_layer_does_not_describe_stays_as_it_is() {
        let graph = Graph::new();
        let store = graph.open();
        let middle = archive("F tmp/a a\nF private/deep/b b\nF .wh.hidden \nF new/a a\nF file/now/a/tree x");
        let high = archive("F tmp/b b\nF private/deep/.wh.b \nF hidden/new x\nD private/deep");
        let trees = trees(&store, &image(&store, &[&low(), &middle, &high]));
        for tree in &trees[1..] {
            assert_eq!(looks(tree).0, 0o711);
            assert_eq!(looks(&tree.join("tmp")), (0o1777, 0, 1_000_000_000));
            assert_eq!(looks(&tree.join("private")), (0o2700, 0, 1_000_000_000));
            let private = fs::File::open(tree.join("private")).unwrap();
            assert_eq!(xattr::get(private.as_fd(), c"user.a").unwrap().as_deref(), Some(&b"b"[..]));
        }
        assert_eq!(looks(&trees[1].join("private/deep")).0, 0o750);
        assert_eq!(looks(&trees[2].join("private/deep")).0, 0o755, "a member says so");
        // Of what is not to be seen below nothing is taken.
        for path in [trees[1].join("new"), trees[1].join("file/now"), trees[2].join("hidden")] {
            assert_eq!(looks(&path).0, 0o755, "{path:?}");
        }
        check_sums(&trees);
    }

    #[test]
    fn what_hides_nothing_goes() {
        let graph = Graph::new();
        let store = graph.open();
        let high = archive("F nowhere/at/all/.wh.x \nF nowhere/.wh.y \nF private/none/.wh.x \nF opaque/.wh..wh..opq ");
        let trees = trees(&store, &image(&store, &[&low(), &high]));
        assert!(!trees[1].join("nowhere").exists() && !trees[1].join("private/none").exists());
        assert_eq!(looks(&trees[1].join("private")), (0o2700, 0, 1_000_000_000));
        assert!(trees[1].join("opaque").exists());
        check_sums(&trees);
    }

    #[test]
    fn a_copy_takes_after_what_it_lies_on() {
        let graph = Graph::new();
        let store = graph.open();
        let (high, other) = (archive("F private/b b"), member("D", "private", "", 0o500, &[]));
        let first = image(&store, &[&low(), &high]);
        let second = image(&store, &[&low(), &high, &other, &high]);
        assert_eq!(looks(&trees(&store, &first)[1].join("private")).0, 0o2700);
        let trees = trees(&store, &second);
        assert_eq!(looks(&trees[3].join("private")).0, 0o500);
        check_sums(&trees);
    }
}
