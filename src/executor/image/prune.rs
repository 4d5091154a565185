//! Removing the images that nothing uses.

use super::Wanted;
use crate::api::image::{ImageSummary, PruneResponse};
use crate::error::{Error, Kind, Result};
use crate::executor::Daemon;
use crate::executor::container::Filters;
use crate::utils::time::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// Bytes of all layers, and all images with what they share with others and how many containers have them.
pub fn usage(daemon: &Daemon) -> (i64, Vec<ImageSummary>) {
    let sizes = daemon.images.all_layer_sizes();
    let images = daemon.images.list();
    let mut users: HashMap<&str, i64> = HashMap::new();
    for image in &images {
        let own: BTreeSet<&str> = image.layers.iter().map(String::as_str).collect();
        for layer in own {
            *users.entry(layer).or_default() += 1;
        }
    }
    let mut containers: HashMap<String, i64> = HashMap::new();
    for container in daemon.containers.all() {
        *containers.entry(container.head.image_id.clone()).or_default() += 1;
    }
    let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let rows = images.iter().map(|image| {
        let shared = image.layers.iter().filter(|layer| users.get(layer.as_str()).is_some_and(|n| *n > 1));
        // What lies in the firmware takes no room here.
        let elsewhere = if image.embedded.is_some() { image.size } else { 0 };
        ImageSummary {
            shared_size: bytes(elsewhere + shared.filter_map(|layer| sizes.get(layer)).sum::<u64>()),
            containers: containers.get(&image.id).copied().unwrap_or(0),
            ..super::summary(image)
        }
    });
    (bytes(sizes.values().sum()), rows.collect())
}

/// Removes the images that have no name, or with the filter `dangling=false` all, except those that a container has.
/// Further filters: `until` (made before), `label`, `label!`.
///
/// # Errors
/// `Kind::Invalid` for an unknown filter or a malformed value; what the disk gives. What was removed before stays so.
pub fn prune(daemon: &Daemon, filters: &Filters) -> Result<PruneResponse> {
    let mut filters = filters.clone();
    let now = Timestamp::now();
    let until = filters.remove("until").unwrap_or_default();
    if until.len() > 1 {
        return Err(Error::invalid("more than one until filter specified"));
    }
    let until = until.first().map(|text| Timestamp::parse_filter(text, now)).transpose()?;
    let unlabelled = Wanted { labels: filters.remove("label!").unwrap_or_default(), ..Wanted::default() };
    if let Some(key) = filters.keys().find(|key| !matches!(key.as_str(), "dangling" | "label")) {
        return Err(Error::invalid(format!("invalid filter '{key}'")));
    }
    let mut wanted = Wanted::parse(daemon, &filters)?;
    wanted.dangling = (wanted.dangling != Some(false)).then_some(true);
    let mut answer = PruneResponse::default();
    let sizes = daemon.images.all_layer_sizes();
    for image in daemon.images.list() {
        let labelled = !unlabelled.labels.is_empty() && unlabelled.holds(&image);
        if !wanted.holds(&image) || labelled || until.is_some_and(|until| image.created >= until) {
            continue;
        }
        let gone = match super::delete(daemon, &image.id, !image.names.is_empty()) {
            Ok(gone) => gone,
            // A container has it, or somebody else removed it meanwhile.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => continue,
            Err(e) => return Err(e),
        };
        let layers = gone.iter().filter_map(|entry| entry.deleted.as_deref()?.strip_prefix("sha256:"));
        answer.space_reclaimed += layers.filter_map(|id| sizes.get(id)).sum::<u64>();
        answer.images_deleted.get_or_insert_default().extend(gone);
    }
    Ok(answer)
}
