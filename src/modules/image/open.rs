//! Finding what is on disk when the store is opened, and clearing away what is not whole.

use super::layer::{Directories, Record, discard};
use super::store::{Image, Index};
use super::{embedded, record};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::{TEMPORARY_PREFIX, remove_temporaries, rename_away};
use crate::utils::id::{is_full_id, random_id};
use crate::utils::json;
use crate::utils::order;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directories that have lost their names and are removed in the background.
#[derive(Default)]
pub(super) struct Garbage(Vec<PathBuf>);

impl Garbage {
    /// Renames `path` to a name that nothing new can have, whatever this process's id and counters are.
    pub fn take(&mut self, path: &Path) {
        let renamed = random_id().and_then(|id| {
            let to = path.with_file_name(format!("{TEMPORARY_PREFIX}garbage-{id}"));
            rename_away(path, to).context(|| format!("rename({path:?})"))
        });
        match renamed {
            Ok(to) => self.0.push(to),
            Err(e) if e.errno() == Some(libc::ENOENT) => {}
            Err(e) => log::warn!("garbage is left: {e}"),
        }
    }

    /// However much there is, the daemon need not wait for it.
    pub fn remove(self) {
        if self.0.is_empty() {
            return;
        }
        let remove = move || {
            for path in self.0 {
                if let Err(e) = discard(&path) {
                    log::warn!("garbage is left: {e}");
                }
            }
        };
        let thread = std::thread::Builder::new().name("image-garbage".into()).stack_size(128 << 10);
        if let Err(e) = thread.spawn(remove) {
            log::warn!("garbage is left: thread image-garbage: {e}");
        }
    }
}

/// Names in a directory that are UTF-8.
pub(super) fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory).context(|| format!("opendir({directory:?})"))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("readdir({directory:?})"))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Reads the index. `verify` has the layers' trees compared with what was unpacked; `in_use` says that containers run,
/// below whose roots they may be.
pub(super) fn read(directories: &Directories, verify: bool, in_use: bool) -> Result<Index> {
    let mut garbage = Garbage::default();
    let mut index = Index::default();
    for directory in [&directories.images, &directories.layers, &directories.overlay] {
        for name in names(directory)?.iter().filter(|n| n.starts_with(TEMPORARY_PREFIX)) {
            garbage.take(&directory.join(name));
        }
    }
    // After a failed read nothing is known about who uses what, so no layer is thrown away.
    let mut certain = true;
    let begin = std::time::Instant::now();
    for id in names(&directories.layers)?.into_iter().filter(|n| is_full_id(n)) {
        match read_layer(directories, &id, verify) {
            Ok(record) => {
                index.layers.insert(id, record);
            }
            Err(e) if hopeless(&e) && verify && in_use => {
                log::error!("layer {id} is damaged; it is removed at a start without running containers: {e}");
                certain = false;
                index.damaged.insert(id);
            }
            Err(e) if hopeless(&e) => {
                log::error!("layer {id} is damaged and removed: {e}");
                garbage.take(&directories.layers.join(&id));
                garbage.take(&directories.overlay.join(&id));
            }
            Err(e) => {
                log::error!("layer {id} cannot be read and is left out: {e}");
                certain = false;
            }
        }
    }
    if verify {
        log::info!("after an unclean stop: {} layers verified in {:?}", index.layers.len(), begin.elapsed());
    }
    for id in names(&directories.images)?.into_iter().filter(|n| is_full_id(n)) {
        match read_image(directories, &index, &id) {
            Ok(image) => {
                if let Err(e) = remove_temporaries(&directories.images.join(&id), |_| true) {
                    log::warn!("image {id}: garbage is left: {e}");
                }
                index.images.insert(id, Arc::new(image));
            }
            Err(e) if hopeless(&e) && certain => {
                log::error!("image {id} is damaged and removed: {e}");
                garbage.take(&directories.images.join(&id));
            }
            Err(e) => {
                log::error!("image {id} cannot be read and is left out: {e}");
                certain = false;
            }
        }
    }
    if certain {
        let used: HashSet<String> = index.images.values().flat_map(|image| image.layers.iter().cloned()).collect();
        index.layers.retain(|id, _| {
            if !used.contains(id) {
                log::info!("layer {id} belongs to no image and is removed");
                garbage.take(&directories.layers.join(id));
                garbage.take(&directories.overlay.join(id));
            }
            used.contains(id)
        });
    }
    certain &= embedded::read_all(directories, &mut index)?;
    index.certain = certain;
    settle_names(directories, &mut index);
    garbage.remove();
    Ok(index)
}

/// Whether the thing itself is broken, and not just this attempt to read it.
fn hopeless(e: &Error) -> bool {
    matches!(e.kind(), Kind::Corrupt | Kind::Invalid)
}

fn read_layer(directories: &Directories, id: &str, verify: bool) -> Result<Record> {
    let path = directories.layers.join(id).join("layer.json");
    let layer: Record = json::parse(&record::read(&path)?).context(|| format!("{path:?}"))?;
    if layer.id != id {
        return Err(Error::corrupt(format!("{path:?} is of layer {:?}", layer.id)));
    }
    if !directories.diff(id).is_dir() {
        return Err(Error::corrupt(format!("{:?} is missing", directories.diff(id))));
    }
    #[cfg(feature = "storage")]
    if verify {
        super::check::verify(directories, &layer)?;
    }
    #[cfg(not(feature = "storage"))]
    let _ = verify;
    Ok(layer)
}

fn read_image(directories: &Directories, index: &Index, id: &str) -> Result<Image> {
    let mut image = record::load(directories, id)?;
    let mut size = 0;
    for layer in &image.layers {
        let Some(record) = index.layers.get(layer) else {
            return Err(Error::corrupt(format!("its layer {layer} is missing")));
        };
        size += record.unpacked_size;
    }
    // Not kept, or lost with the names: it is whole all the same.
    if image.size == 0 {
        image.size = size;
    }
    Ok(image)
}

/// A name belongs to one image. Two have it after a crash while it moved: the one that was written last keeps it.
fn settle_names(directories: &Directories, index: &mut Index) {
    let written = |image: &Image| {
        let file = match &image.embedded {
            Some(embedded) => embedded.record(directories, &image.id),
            None => directories.images.join(&image.id).join("images.json"),
        };
        file.metadata().and_then(|m| m.modified()).ok()
    };
    let mut images: Vec<(Option<std::time::SystemTime>, Arc<Image>)> =
        index.images.values().map(|image| (written(image), image.clone())).collect();
    order::sort_by(&mut images, |a, b| (b.0, &b.1.id).cmp(&(a.0, &a.1.id)));
    let mut taken: HashSet<String> = HashSet::new();
    for (_, image) in images {
        let mut settled = Image::clone(&image);
        settled.names.retain(|name| taken.insert(name.clone()));
        if settled.names.len() < image.names.len() {
            log::warn!("image {}: names that a newer image has are taken from it", image.id);
            let written = match &settled.embedded {
                Some(embedded) => embedded.update(directories, &settled),
                None => record::update(directories, &settled),
            };
            if let Err(e) = written {
                log::warn!("image {}: {e}", image.id);
            }
            index.images.insert(image.id.clone(), Arc::new(settled));
        }
    }
}
