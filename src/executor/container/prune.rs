//! Removing the containers that do not run.

use super::list::{list, own_size};
use super::{Filters, ListQuery, delete};
use crate::api::container::ContainersPruned;
use crate::error::{Error, Kind, Result};
use crate::executor::Daemon;
use crate::modules::container::run::Phase;
use crate::utils::time::Timestamp;

/// Removes the containers that do not run. Filters: `until` (made before), `label`, `label!`. Damaged containers stay:
/// nobody knows what they are.
///
/// # Errors
/// `Kind::Invalid` for an unknown filter or a malformed value. What cannot be removed is logged.
pub fn prune(daemon: &Daemon, filters: &Filters) -> Result<ContainersPruned> {
    let mut filters = filters.clone();
    let until = filters.remove("until").unwrap_or_default();
    if until.len() > 1 {
        return Err(Error::invalid("more than one until filter specified"));
    }
    let until = until.first().map(|text| Timestamp::parse_filter(text, Timestamp::now())).transpose()?;
    let without = filters.remove("label!").unwrap_or_default();
    if let Some(key) = filters.keys().find(|key| *key != "label") {
        return Err(Error::invalid(format!("invalid filter '{key}'")));
    }
    let rows: Vec<_> = list(daemon, &ListQuery { all: true, filters, ..ListQuery::default() })?.collect();
    let mut answer = ContainersPruned::default();
    for row in rows {
        let Ok(container) = daemon.find_any(&row.id) else { continue };
        let has = |label: &String| match label.split_once('=') {
            Some((key, value)) => container.head.labels.get(key).is_some_and(|have| have == value),
            None => container.head.labels.contains_key(label),
        };
        let stopped = matches!(container.run().phase(), Phase::Created | Phase::Exited);
        let kept = !without.is_empty() && without.iter().all(has);
        if !stopped || kept || until.is_some_and(|until| container.head.created >= until) {
            continue;
        }
        let size = own_size(daemon, &container).unwrap_or(0);
        match delete(daemon, &row.id, false, false) {
            Ok(()) => {}
            // It runs by now, or somebody was faster.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => continue,
            // Nothing that is told of is kept back for one that stays.
            Err(e) => {
                log::warn!("container {}: it is not pruned: {e}", row.id);
                continue;
            }
        }
        answer.space_reclaimed += size;
        answer.containers_deleted.get_or_insert_default().push(row.id);
    }
    Ok(answer)
}
