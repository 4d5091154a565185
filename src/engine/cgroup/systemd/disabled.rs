//! A build that cannot.

use super::Unit;
use crate::api::oci::runtime::Resources;
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// Says so.
///
/// # Errors
/// Always.
pub fn check() -> Result<()> {
    Err(Error::new(Kind::Unsupported, "--systemd-cgroup: this build has no systemd cgroup driver"))
}

/// As [`check`].
///
/// # Errors
/// Always.
pub fn start(_: &Unit, _: i32, _: Option<&Resources>, _: &BTreeMap<String, String>) -> Result<()> {
    check()
}

/// As [`check`].
///
/// # Errors
/// Always.
pub fn update(_: &str, _: &Resources) -> Result<()> {
    check()
}

/// As [`check`].
///
/// # Errors
/// Always.
pub fn stop(_: &str) -> Result<()> {
    check()
}
