//! How an image was made.

use crate::api::image::{HistoryEntry, NEVER};
use crate::error::Result;
use crate::executor::Daemon;
use crate::utils::time::Timestamp;

const MISSING: &str = "<missing>";

/// The steps that an image says it was made by, newest first. A layer that no step tells of is a step without words.
///
/// # Errors
/// As finding the image.
pub fn history(daemon: &Daemon, reference: &str) -> Result<Vec<HistoryEntry>> {
    let image = daemon.images.find(reference)?;
    let mut sizes = daemon.images.layer_sizes(&image).into_iter().map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let time = |text: &Option<String>| {
        let time = text.as_deref().and_then(|text| Timestamp::parse_rfc3339(text).ok());
        time.map_or(NEVER, Timestamp::unix_seconds)
    };
    let mut steps = Vec::new();
    for step in &image.config.history {
        steps.push(HistoryEntry {
            id: MISSING.into(),
            created: time(&step.created),
            created_by: step.created_by.clone(),
            tags: None,
            size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
            comment: step.comment.clone(),
        });
    }
    let created = time(&image.config.created);
    steps.extend(sizes.map(|size| HistoryEntry { id: MISSING.into(), created, size, ..HistoryEntry::default() }));
    if let Some(newest) = steps.last_mut() {
        newest.id = format!("sha256:{}", image.id);
        newest.tags = Some(image.display_names());
    }
    steps.reverse();
    Ok(steps)
}
