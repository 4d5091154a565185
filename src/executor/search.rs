//! Searching for images.

use super::attended::attended;
use super::{Caller, Daemon};
use crate::api::image::SearchResult;
use crate::error::{Error, Result};
use crate::modules::image::credentials::Credentials;
use crate::modules::image::reference::Searched;
use std::collections::BTreeMap;

/// What to search for.
#[derive(Debug)]
pub struct Search {
    /// Where, and what.
    pub searched: Searched,
    /// How many at most.
    pub limit: u32,
    /// Filters by key; all must match.
    pub filters: BTreeMap<String, Vec<String>>,
    /// Those that came with the request.
    pub credentials: Option<Credentials>,
}

/// Asks registries for images; what does not match the filters is left out of what they found.
///
/// # Errors
/// `Kind::Invalid` for a filter that is none; what the registry gives.
pub fn search(daemon: &Daemon, search: &Search, caller: &dyn Caller) -> Result<Vec<SearchResult>> {
    let matches = Filter::parse(&search.filters)?;
    let Searched { host, term } = &search.searched;
    let credentials = match &search.credentials {
        Some(given) => Some(given.clone()),
        None => daemon.credentials.get(host)?,
    };
    let found =
        attended(caller, |cancel| daemon.registry.search(host, term, search.limit, credentials.as_ref(), cancel))?;
    Ok(found.into_iter().filter(|found| matches.hold(found)).collect())
}

/// What a result must be.
#[derive(Debug, Default, PartialEq)]
struct Filter {
    official: Option<bool>,
    automated: Option<bool>,
    stars: i64,
}

impl Filter {
    fn parse(filters: &BTreeMap<String, Vec<String>>) -> Result<Filter> {
        let mut filter = Filter::default();
        for (key, values) in filters {
            for value in values {
                let bad = || Error::invalid(format!("invalid filter '{key}={value}'"));
                match key.as_str() {
                    "is-official" => demand(&mut filter.official, value).ok_or_else(bad)?,
                    "is-automated" => demand(&mut filter.automated, value).ok_or_else(bad)?,
                    "stars" => filter.stars = filter.stars.max(value.parse().map_err(|_| bad())?),
                    _ => return Err(bad()),
                }
            }
        }
        Ok(filter)
    }

    fn hold(&self, found: &SearchResult) -> bool {
        self.official.is_none_or(|wanted| wanted == found.is_official)
            && self.automated.is_none_or(|wanted| wanted == found.is_automated)
            && found.star_count >= self.stars
    }
}

/// Notes what is wanted; `None` for what is neither true nor false, and for both.
fn demand(wanted: &mut Option<bool>, value: &str) -> Option<()> {
    let value = match value {
        "true" | "1" => true,
        "false" | "0" => false,
        _ => return None,
    };
    (*wanted.get_or_insert(value) == value).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(list: &[(&str, &str)]) -> Result<Filter> {
        let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in list {
            filters.entry((*key).into()).or_default().push((*value).into());
        }
        Filter::parse(&filters)
    }

    #[test]
    fn all_filters_must_hold() {
        let found = SearchResult { star_count: 5, is_official: true, ..SearchResult::default() };
        for (list, holds) in [
            (&[][..], true),
            (&[("stars", "5")], true),
            (&[("stars", "6")], false),
            (&[("stars", "6"), ("stars", "1")], false),
            (&[("is-official", "true"), ("is-automated", "false")], true),
            (&[("is-official", "false")], false),
            (&[("is-automated", "1")], false),
        ] {
            assert_eq!(filter(list).unwrap().hold(&found), holds, "{list:?}");
        }
        for list in [
            &[("stars", "x")][..],
            &[("x", "y")],
            &[("is-official", "maybe")],
            &[("is-official", "true"), ("is-official", "0")],
        ] {
            assert!(filter(list).unwrap_err().to_string().starts_with("invalid filter"), "{list:?}");
        }
    }
}
