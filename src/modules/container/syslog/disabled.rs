//! A build without it.

use super::{Facts, Target};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// Says that this build cannot.
///
/// # Errors
/// Always.
pub fn target() -> Result<Target> {
    Err(Error::new(Kind::Unsupported, "this build has no container log driver syslog"))
}

/// None is known.
///
/// # Errors
/// None.
pub fn set(_: &mut Target, _key: &str, _value: &str, _all: &BTreeMap<String, String>) -> Result<bool> {
    Ok(false)
}

/// None.
pub fn options(_: &Target) -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// Nothing to record.
///
/// # Errors
/// None.
pub fn record(_: &mut Target, _: &Facts<'_>, _annotations: &mut BTreeMap<String, String>) -> Result<()> {
    Ok(())
}
