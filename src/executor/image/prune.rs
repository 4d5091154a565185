//! Removing the images that nothing uses.

use super::Wanted;
use crate::api::image::PruneResponse;
use crate::error::{Error, Kind, Result};
use crate::executor::Daemon;
use crate::executor::container::Filters;
use crate::utils::time::Timestamp;

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
