//! The one JSON reader and the one writer. Every further pair is a copy of all serde implementations in the binary.

use crate::error::{Error, Kind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Parses one JSON document.
///
/// # Errors
/// `Kind::Invalid` with line, column and what was expected.
#[allow(clippy::disallowed_methods)] // the one reader
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::new(Kind::Invalid, format!("invalid JSON: {e}")))
}

/// Serialises compactly.
///
/// The types of this project always serialise: maps have string keys and no implementation fails.
#[allow(clippy::disallowed_methods)] // the one writer
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps have string keys and no Serialize implementation of ours fails")
}

/// As [`to_vec`], as text.
pub fn to_text<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_vec(value)).expect("serde_json writes UTF-8")
}

/// Converts to a JSON tree.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> serde_json::Value {
    parse(&to_vec(value)).expect("just written")
}

/// Prints a compact JSON document with four spaces of indentation, as the original prints `inspect`. Goes over the
/// bytes, so no second writer is linked.
pub fn to_pretty(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 4, b' ');
    };
    let mut bytes = compact.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        if in_string {
            out.push(b);
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => {
                in_string = true;
                out.push(b);
            }
            b'{' | b'[' => {
                out.push(b);
                if matches!(bytes.peek(), Some(b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(b);
            }
            b',' => {
                out.push(b);
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => out.push(b),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_keeps_strings_and_empty_containers() {
        let text = to_pretty(br#"{"a":[],"b":{"c":"x, {y}: \"z\""},"d":[1,2]}"#);
        let want = "{\n    \"a\": [],\n    \"b\": {\n        \"c\": \"x, {y}: \\\"z\\\"\"\n    },\n    \"d\": [\n        1,\n        2\n    ]\n}";
        assert_eq!(String::from_utf8(text).unwrap(), want);
    }
}
