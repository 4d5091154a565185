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

use super::signs;
use super::tally::{Likeness, Tally};
use super::tree::{DIRECTORY, components, lstat, type_of};
use crate::error::{Context, Error, Result};
use crate::utils::atomic_file::{Durability, write_new};
use crate::utils::likeness::imitate;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Beside the layer's `diff`.
const FILE: &str = "implied";
/// Bytes of memory for the paths of one layer, and what one takes besides its length.
const LIMIT: usize = 2 << 20;
const EACH: usize = 64;
/// Names that are looked up for one image at most, a few seconds' worth: layers times paths times their depth. Hundreds are
/// usual.
pub(super) const STEPS: u64 = 4 << 20;
/// Whiteouts that one directory has at most for being looked through.
const WHITEOUTS: usize = 4096;
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

    /// One was made, with these components. What is beyond the limit stays as it was made.
    pub(super) fn add<S: Borrow<[u8]>>(&mut self, path: &[S]) {
        if self.bytes > LIMIT {
            return;
        }
        // Before it is put together: a chain of links makes thousands of long ones of a single member.
        let bytes = self.bytes + path.iter().map(|name| name.borrow().len() + 1).sum::<usize>() + EACH;
        if bytes > LIMIT {
            log::warn!("a layer has so many directories without a member of their own that some get mode 0755");
            self.bytes = bytes;
        } else if self.paths.insert(path.join(&b'/')) {
            self.bytes = bytes;
        }
    }

    /// A member describes the one at `path`, an empty path for the root.
    pub(super) fn described(&mut self, path: impl FnOnce() -> Vec<u8>) {
        // A member of its own is what most directories have.
        if self.paths.is_empty() {
            return;
        }
        let path = path();
        self.paths.remove(if path.is_empty() { ROOT } else { &path });
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
/// first. Gives what is to be added to the sum of its tree. When `steps` are used up, the rest stays as it is.
///
/// # Errors
/// The failing call with the path. The sum is not known then.
pub(super) fn settle(layer: &Path, below: &[PathBuf], steps: &mut u64) -> Result<u64> {
    let root = open(&layer.join("diff"))?;
    let mut tally = Tally::default();
    let text = read(layer)?;
    // From the bottom up: the removal of one changes the time of the one above.
    for path in text.split(|b| *b == 0).rev().filter(|path| !path.is_empty()) {
        if *steps == 0 {
            log::warn!("{layer:?}: its directories without a member of their own are too many to be looked for below");
            break;
        }
        settle_one(&root, &components(path), below, &mut tally, steps)
            .map_err(|e| e.context(format!("{layer:?}: {:?}", String::from_utf8_lossy(path))))?;
    }
    Ok(tally.change())
}

fn settle_one(root: &OwnedFd, path: &[&[u8]], below: &[PathBuf], tally: &mut Tally, steps: &mut u64) -> Result<()> {
    // A later member may have put something else in its place.
    let Some(directory) = descend(root, path)? else { return Ok(()) };
    let before = fstat(&directory).context(|| "fstat()".into())?;
    let Some(model) = seen(below, path, steps)? else {
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
    let Some(hidden) = whiteouts(directory)? else { return Ok(()) };
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

/// What a directory has, when that is whiteouts only and not so many that they are better left.
fn whiteouts(directory: &OwnedFd) -> Result<Option<Vec<Vec<u8>>>> {
    let own = openat(directory, ".", DIRECTORY, Mode::empty()).context(|| "openat(\".\")".into())?;
    let mut list = Vec::new();
    for entry in Dir::from_fd(own).context(|| "fdopendir()".into())?.iter() {
        let entry = entry.context(|| "readdir()".into())?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_whiteout = lstat(directory.as_fd(), name)?.is_some_and(|stat| signs::is_whiteout(&stat));
        if !is_whiteout || list.len() == WHITEOUTS {
            return Ok(None);
        }
        list.push(name.to_vec());
    }
    Ok(Some(list))
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
fn seen(layers: &[PathBuf], path: &[&[u8]], steps: &mut u64) -> Result<Option<OwnedFd>> {
    'layers: for layer in layers {
        let mut here = open(layer)?;
        let mut opaque = false;
        for name in path {
            *steps = steps.saturating_sub(1);
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
    fn a_member_describes_a_directory_behind_a_link() {
        let graph = Graph::new();
        let store = graph.open();
        let low = [member("D", "usr", "", 0o711, &[]), member("D", "usr/a", "", 0o700, &[])].concat();
        let low = [low, archive("D usr/b")].concat();
        let high = [
            member("F", "usr/a/b/c", "x", 0o644, &[]),
            member("S", "link", "usr/../usr", 0o777, &[]),
            member("D", "link/a", "", 0o750, &[]),
            archive("F link/b/c/d x\nD link/b/c"),
        ];
        let trees = trees(&store, &image(&store, &[&low, &high.concat()]));
        assert_eq!(looks(&trees[1].join("usr")).0, 0o711);
        assert_eq!(looks(&trees[1].join("usr/a")).0, 0o750, "a member says so");
        assert_eq!(looks(&trees[1].join("usr/b/c")), (0o755, 0, 1_000_000_000));
        check_sums(&trees[..1]);
    }

    #[test]
    fn memory_for_paths_is_bounded() {
        let mut implied = super::Implied::new();
        let long: Vec<Vec<u8>> = (0..4000).map(|_| b"component".to_vec()).collect();
        (1..long.len()).for_each(|n| implied.add(&long[..n]));
        let paths = implied.into_paths();
        assert!(paths.len() > 100 && paths.iter().map(Vec::len).sum::<usize>() < super::LIMIT);
    }

    #[test]
    fn looking_below_ends_when_its_steps_are_used_up() {
        let graph = Graph::new();
        let store = graph.open();
        let trees = trees(&store, &image(&store, &[&low(), &archive("F private/deep/b b\nF tmp/b b")]));
        let layer = trees[1].parent().unwrap();
        for path in ["tmp", "private"] {
            fs::set_permissions(trees[1].join(path), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        }
        // The paths are taken from the last to the first: the root, tmp.
        let mut steps = 1;
        super::settle(layer, &trees[..1], &mut steps).unwrap();
        assert_eq!((steps, looks(&trees[1].join("tmp")).0, looks(&trees[1].join("private")).0), (0, 0o1777, 0o700));
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
