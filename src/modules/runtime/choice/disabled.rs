//! The build without other runtimes.

use super::BUILT_IN;
use crate::error::{Error, Kind, Result};

/// The built-in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice;

impl Choice {
    /// Of what a configuration asks for.
    ///
    /// # Errors
    /// `Kind::Unsupported` when that is another runtime.
    pub fn new(default: &str, known: &[Vec<String>]) -> Result<Choice> {
        let other = known.iter().filter_map(|words| words.first()).map(String::as_str).next();
        Choice.find(other.unwrap_or(default)).map(|_| Choice)
    }

    /// Name of the runtime of a container that asks for none.
    pub fn default(&self) -> &str {
        BUILT_IN
    }

    /// The runtime `name`, as in a launch.
    ///
    /// # Errors
    /// `Kind::Unsupported` for another than the built-in one.
    pub fn find(&self, name: &str) -> Result<Vec<String>> {
        match name {
            "" | BUILT_IN => Ok(Vec::new()),
            _ => Err(Error::new(Kind::Unsupported, format!("runtime {name:?}: only lcr is in this build"))),
        }
    }

    /// Names and programs of what there is.
    pub fn list(&self) -> Vec<(&str, String)> {
        vec![(BUILT_IN, BUILT_IN.into())]
    }
}
