//! What `inspect -f` and `--format` take: Go templates, or `json` alone in a build without the feature `templates`.

#[cfg(feature = "templates")]
mod enabled;
#[cfg(feature = "templates")]
pub use enabled::Format;

#[cfg(not(feature = "templates"))]
mod disabled;
#[cfg(not(feature = "templates"))]
pub use disabled::Format;

use super::failure::Failure;
use crate::utils::json;

/// The format that was asked for; an empty one was not.
///
/// # Errors
/// Those of [`Format::parse`].
pub fn asked(text: Option<&str>, style: JsonStyle) -> Result<Option<Format>, Failure> {
    text.filter(|text| !text.is_empty()).map(|text| Format::parse(text, style)).transpose()
}

/// The same for rows, where `table` alone is the table that is shown without a format.
///
/// # Errors
/// Those of [`Format::parse`].
pub fn asked_rows(text: Option<&str>) -> Result<Option<Format>, Failure> {
    asked(text.filter(|text| *text != "table"), JsonStyle::Compact)
}

/// Whether a format prints the object as it came. Without templates each does.
pub fn is_whole(text: Option<&str>) -> bool {
    !cfg!(feature = "templates") || matches!(text, Some("json" | "{{json .}}"))
}

/// How `json` prints objects and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonStyle {
    /// One line, as docker does.
    Compact,
    /// With line breaks and four spaces, as the original's `inspect` does.
    Pretty,
}

impl JsonStyle {
    fn lay_out(self, compact: String) -> String {
        match self {
            JsonStyle::Compact => compact,
            JsonStyle::Pretty => String::from_utf8_lossy(&json::to_pretty(compact.as_bytes())).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ordered::Node;
    use super::*;

    #[test]
    fn json_is_known_to_every_build() {
        let node: Node = json::parse(br#"{"b":1,"a":[true]}"#).unwrap();
        for text in ["json", "{{json .}}"] {
            let format = Format::parse(text, JsonStyle::Compact).unwrap();
            assert_eq!(format.render(&node).unwrap(), r#"{"b":1,"a":[true]}"#);
            assert_eq!(format.render_rows(&[], &[Node::Null, Node::Int(1)]).unwrap(), "null\n1\n");
            assert_eq!(format.render_rows(&[], &[]).unwrap(), "");
        }
        let pretty = Format::parse("json", JsonStyle::Pretty).unwrap().render(&node).unwrap();
        assert_eq!(pretty, "{\n    \"b\": 1,\n    \"a\": [\n        true\n    ]\n}");
    }
}
