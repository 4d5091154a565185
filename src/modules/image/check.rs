//! The check of layers after an unclean stop.
//!
//! A file beside the layers exists while a daemon runs. Where one is found at the start, the daemon before was killed or
//! its machine lost power; then, if the operator wants it, the tree of every layer is gone through and compared with what
//! it was when it was unpacked (module `tally`). A damaged layer is thrown away, and with it the images that have it.

use super::layer::{Directories, Record};
use super::tally::of_tree;
use super::tree::DIRECTORY;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::{Durability, sync_directory, write_new};
use nix::sys::stat::Mode;
use std::path::PathBuf;

/// The original's name.
const MARKER: &str = "NEED_CHECK";

fn marker(directories: &Directories) -> PathBuf {
    directories.overlay.with_file_name(MARKER)
}

/// Marks the store as in use. Gives whether it was marked already.
///
/// Without a check nobody needs the mark to last, and no start waits for the disk. On a disk without room for it the
/// daemon starts all the same: it is what makes room.
pub(super) fn begin(directories: &Directories, check: bool) -> bool {
    let path = marker(directories);
    if path.symlink_metadata().is_ok() {
        return true;
    }
    let durability = if check { Durability::Durable } else { Durability::Volatile };
    let marked = write_new(&path, b"", 0o600, durability)
        .and_then(|()| if check { path.parent().map_or(Ok(()), sync_directory) } else { Ok(()) });
    if let Err(e) = marked {
        log::warn!("an unclean stop will not be noticed: {e}");
    }
    false
}

/// Takes the mark away: nothing of this store changes any more.
pub(super) fn end(directories: &Directories) {
    let path = marker(directories);
    if let Err(e) = std::fs::remove_file(&path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        log::warn!("the next start takes this for an unclean stop: unlink({path:?}): {e}");
    }
}

/// Compares a layer with what was unpacked.
///
/// # Errors
/// `Kind::Corrupt` when it is not that; others may pass.
pub(super) fn verify(directories: &Directories, record: &Record) -> Result<()> {
    if record.tree_sum.is_empty() {
        log::info!("layer {} cannot be verified: it was unpacked by a release that noted no sum", record.id);
        return Ok(());
    }
    let path = directories.diff(&record.id);
    let sum = nix::fcntl::open(&path, DIRECTORY, Mode::empty()).context(|| format!("open({path:?})")).and_then(of_tree);
    match sum {
        Ok(sum) if format!("{sum:016x}") == record.tree_sum => Ok(()),
        Ok(_) => Err(Error::corrupt(format!("{path:?} is not what was unpacked"))),
        Err(e) => match e.errno() {
            // The disk, or the file system on it.
            Some(libc::EIO | libc::EUCLEAN | libc::EBADMSG | libc::ENOENT | libc::ENXIO | libc::ELOOP) => {
                Err(e.context(format!("{path:?}")).with_kind(Kind::Corrupt))
            }
            _ => Err(e.context(format!("{path:?}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::{Driver, Storage};
    use super::super::store::tests::Graph;
    use super::super::store::{Import, Store};
    use super::super::unpack::tests::archive;
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn open(graph: &Graph, check_layers: bool) -> Store {
        Store::open(&graph.0, None, Storage { driver: Some(Driver::Overlay), check_layers, ..Storage::default() })
            .unwrap()
    }

    fn import(store: &Store, lines: &str, reference: &str) -> PathBuf {
        let bytes = archive(lines);
        let image = store.import(Import { source: &mut &bytes[..], reference, message: "", changes: &[] }).unwrap();
        store.layer_directory(&image.layers[0])
    }

    #[test]
    fn damage_is_found_after_an_unclean_stop_only() {
        type Damage = fn(&Path);
        let damages: [(&str, Damage); 9] = [
            ("content", |d| fs::write(d.join("d/f"), "texu").unwrap()),
            ("emptied", |d| fs::write(d.join("d/f"), "").unwrap()),
            ("zeroed", |d| fs::write(d.join("d/f"), "\0\0\0\0").unwrap()),
            ("missing", |d| fs::remove_file(d.join("d/f")).unwrap()),
            ("missing directory", |d| fs::remove_dir(d.join("e")).unwrap()),
            ("more", |d| fs::write(d.join("more"), "").unwrap()),
            ("mode", |d| fs::set_permissions(d.join("d/f"), PermissionsExt::from_mode(0o600)).unwrap()),
            ("owner", |d| std::os::unix::fs::chown(d.join("e"), Some(5), None).unwrap()),
            ("link", |d| {
                fs::remove_file(d.join("l")).unwrap();
                symlink("elsewhere", d.join("l")).unwrap();
            }),
        ];
        for (what, damage) in damages {
            let graph = Graph::new();
            let store = open(&graph, true);
            let layer = import(&store, "D d\nF d/f text\nD e\nS l d/f\nH h d/f\nF d/.wh.x", "bad");
            import(&store, "F good text", "good");
            store.close();
            drop(store);
            damage(&layer);
            // A clean stop is trusted; so is everything where no check is wanted.
            let store = open(&graph, true);
            assert!(store.find("bad").is_ok() && store.find("good").is_ok(), "{what}");
            drop(store);
            let store = open(&graph, false);
            assert!(store.find("bad").is_ok(), "{what}");
            drop(store);
            let store = open(&graph, true);
            assert!(store.find("bad").is_err() && store.find("good").is_ok(), "{what}");
            assert_eq!(graph.settled("overlay").len(), 1, "{what}");
            drop(store);
        }
    }

    #[test]
    fn layers_that_are_shared_or_without_a_sum_stay() {
        let graph = Graph::new();
        let store = open(&graph, true);
        let layer = import(&store, "F a text", "one");
        import(&store, "F a text", "two");
        let old = import(&store, "F b text", "old");
        let record = graph.0.join("storage/overlay-layers").join(old.parent().unwrap().file_name().unwrap());
        let text = fs::read_to_string(record.join("layer.json")).unwrap();
        let at = text.find(",\"tree-sum\"").expect("a sum");
        fs::write(record.join("layer.json"), format!("{}}}", &text[..at])).unwrap();
        fs::write(old.join("b"), "texu").unwrap();
        drop(store);
        let store = open(&graph, true);
        assert_eq!(store.list().len(), 3);
        drop(store);
        fs::write(layer.join("a"), "texu").unwrap();
        let store = open(&graph, true);
        assert_eq!(store.list().len(), 1, "both images of the damaged layer are gone");
    }
}
