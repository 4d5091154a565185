//! A build that asks nobody: there is no [`Authorizer`].

use crate::api::authorization::AccessRequest;
use crate::error::{Error, Kind, Result};
use std::path::Path;

/// Nobody.
pub enum Authorizer {}

impl Authorizer {
    /// For no names.
    ///
    /// # Errors
    /// `Kind::Unsupported` for a name.
    pub fn new(names: &[String], _state: &Path) -> Result<Option<Authorizer>> {
        match names {
            [] => Ok(None),
            [name, ..] => {
                let text = format!("authorization plugin {name:?}: this build has no authorization plugins");
                Err(Error::new(Kind::Unsupported, text))
            }
        }
    }

    /// As in the other build.
    pub fn has_plugins(&self) -> bool {
        match *self {}
    }

    /// As in the other build.
    ///
    /// # Errors
    /// None.
    pub fn check_request(&self, _: &AccessRequest) -> Result<()> {
        match *self {}
    }

    /// As in the other build.
    ///
    /// # Errors
    /// None.
    pub fn check_response(&self, _: &AccessRequest) -> Result<()> {
        match *self {}
    }

    /// As in the other build.
    ///
    /// # Errors
    /// None.
    pub fn check_action(&self, _user: &str, _action: &str) -> Result<()> {
        match *self {}
    }
}
