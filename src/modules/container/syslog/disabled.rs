//! A build without it.

use super::Facts;
use crate::api::shim::SyslogTarget;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// Says that this build cannot.
///
/// # Errors
/// Always.
pub fn target() -> Result<SyslogTarget> {
    Err(Error::new(Kind::Unsupported, "this build has no container log driver syslog"))
}

/// None is known.
///
/// # Errors
/// None.
pub fn set(_: &mut SyslogTarget, _key: &str, _value: &str, _all: &BTreeMap<String, String>) -> Result<bool> {
    Ok(false)
}

/// None.
pub fn options(_: &SyslogTarget) -> BTreeMap<String, String> {
    BTreeMap::new()
}

/// Nothing to record.
///
/// # Errors
/// None.
pub fn record(_: &mut SyslogTarget, _: &Facts<'_>, _annotations: &mut BTreeMap<String, String>) -> Result<()> {
    Ok(())
}
