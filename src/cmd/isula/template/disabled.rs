//! Without the template engine.

use super::super::failure::Failure;
use super::super::ordered::Node;
use super::JsonStyle;
use crate::utils::json;

/// The one format there is.
pub struct Format(JsonStyle);

impl Format {
    /// Takes `json`.
    ///
    /// # Errors
    /// Exit code 125 for anything else.
    pub fn parse(text: &str, style: JsonStyle) -> Result<Format, Failure> {
        match text {
            "json" | "{{json .}}" => Ok(Format(style)),
            _ => Err(Failure::usage(format!("{text:?}: this build has no Go templates; the only format is json"))),
        }
    }

    /// The object as JSON.
    ///
    /// # Errors
    /// None; the other build has some.
    pub fn render(&self, node: &Node) -> Result<String, Failure> {
        Ok(self.0.lay_out(json::to_text(node)))
    }

    /// A line for each row.
    ///
    /// # Errors
    /// None; the other build has some.
    pub fn render_rows(&self, _titles: &[(&str, &str)], rows: &[Node]) -> Result<String, Failure> {
        rows.iter().map(|row| Ok(self.render(row)? + "\n")).collect()
    }
}
