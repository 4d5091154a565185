//! Request targets: path segments, query parameters, and docker's filters, both ways.

use crate::error::{Error, Result};
use crate::utils::json::object::{Free, List, Map, Member, Place, Wrong};
use crate::utils::{json, order};
use serde::de::Unexpected;
use std::collections::BTreeMap;

/// Filters by key; several values of one key are alternatives.
pub type Filters = BTreeMap<String, Vec<String>>;

/// Most parameters in one query.
const MAX_PARAMETERS: usize = 256;

/// The parameters of a query, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses what stands behind the `?`.
    ///
    /// # Errors
    /// `Kind::Invalid` for a broken escape, bytes that are not UTF-8, or too many parameters.
    pub fn parse(text: &str) -> Result<Query> {
        let mut list = Vec::new();
        for part in text.split('&').filter(|p| !p.is_empty()) {
            if list.len() == MAX_PARAMETERS {
                return Err(Error::invalid(format!("more than {MAX_PARAMETERS} query parameters")));
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            list.push((decode(name, true)?, decode(value, true)?));
        }
        Ok(Query(list))
    }

    /// The first value of this name; empty values count as absent, as docker's clients send them for defaults.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A switch, by docker's rule: everything but nothing, `0`, `no`, `false` and `none` is on.
    pub fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// A switch with a default for when it is absent.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        match self.get(name) {
            Some(v) => !matches!(v.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none"),
            None => default,
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// `Kind::Invalid` naming parameter and value.
    pub fn integer<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let parse =
            |v: &str| v.parse().map_err(|_| Error::invalid(format!("invalid value {v:?} for {name}: want a number")));
        self.get(name).map(parse).transpose()
    }

    /// A count where negative numbers mean no limit.
    ///
    /// # Errors
    /// `Kind::Invalid` naming parameter and value.
    pub fn limit(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.integer::<i64>(name)?.and_then(|n| u64::try_from(n).ok()))
    }

    /// Docker's filters: JSON, `{"key": {"value": true}}` or, from older clients, `{"key": ["value"]}`.
    ///
    /// # Errors
    /// `Kind::Invalid`.
    pub fn filters(&self, name: &str) -> Result<Filters> {
        let Some(text) = self.get(name) else { return Ok(Filters::new()) };
        let mut parsed: Vec<(String, Values)> = Vec::new();
        json::fill(text.as_bytes(), Place::Map(&mut parsed))
            .map_err(|e| e.context(format!("invalid {name} {text:?}")))?;
        Ok(order::map(parsed.into_iter().map(|(key, values)| (key, values.meant()))))
    }
}

/// Of one filter.
#[derive(Default)]
struct Values {
    list: Vec<String>,
    /// As an object: each with whether it is meant.
    named: Vec<(String, bool)>,
}

impl Values {
    fn meant(mut self) -> Vec<String> {
        order::sort_by(&mut self.named, |a, b| a.0.cmp(&b.0));
        let (mut meant, mut named) = (self.list, self.named.into_iter().peekable());
        while let Some((value, on)) = named.next() {
            // Of equal ones the last counts.
            if on && named.peek().is_none_or(|(next, _)| *next != value) {
                meant.push(value);
            }
        }
        meant
    }
}

impl Member for Values {
    fn place(&mut self) -> Place<'_> {
        Place::Free(self)
    }
}

impl Free for Values {
    fn expected(&self) -> &'static str {
        "an object of truth values or a list of strings"
    }

    fn single(&mut self, _: Unexpected<'_>) -> std::result::Result<(), Wrong> {
        Err(Wrong::Type)
    }

    fn list(&mut self) -> Option<&mut dyn List> {
        Some(&mut self.list)
    }

    fn map(&mut self) -> Option<&mut dyn Map> {
        Some(&mut self.named)
    }
}

/// Splits a path into its decoded segments. A segment may hold slashes that came encoded.
///
/// # Errors
/// `Kind::Invalid` for a broken escape or bytes that are not UTF-8.
pub fn segments(path: &str) -> Result<Vec<String>> {
    path.split('/').filter(|s| !s.is_empty()).map(|s| decode(s, false)).collect()
}

/// Decodes percent escapes, and `+` as a space where `plus` says so (queries).
fn decode(text: &str, plus: bool) -> Result<String> {
    let bad = || Error::invalid(format!("invalid escape in {text:?}"));
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| (b as char).to_digit(16)).ok_or_else(bad);
                (digit()? << 4 | digit()?) as u8
            }
            b'+' if plus => b' ',
            _ => b,
        });
    }
    String::from_utf8(out).map_err(|_| bad())
}

/// Writes a request target.
#[derive(Debug, Clone)]
pub struct Target {
    text: String,
    has_query: bool,
}

impl Target {
    /// Begins with a literal path such as `/v1.44/containers`, or a whole address that may have a query already.
    pub fn new(path: &str) -> Target {
        Target { text: path.to_owned(), has_query: path.contains('?') }
    }

    /// Adds a path segment, encoded as one.
    pub fn segment(mut self, segment: &str) -> Target {
        self.text.push('/');
        encode_into(&mut self.text, segment, b":@");
        self
    }

    /// Adds the name of an image, whose slashes stay, as docker sends them.
    pub fn image(mut self, name: &str) -> Target {
        self.text.push('/');
        encode_into(&mut self.text, name, b"/:@");
        self
    }

    /// What has no name here, if a segment is empty: `container` of `/v1.44/containers//start`.
    pub fn nameless(&self) -> Option<&str> {
        let path = self.text.split('?').next().unwrap_or_default();
        let before = path.strip_suffix('/').or_else(|| path.split_once("//").map(|(before, _)| before))?;
        before.rsplit('/').next().map(|list| list.strip_suffix('s').unwrap_or(list))
    }

    /// Adds a query parameter.
    pub fn parameter(mut self, name: &str, value: &str) -> Target {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(name);
        self.text.push('=');
        encode_into(&mut self.text, value, b"/:@,");
        self
    }

    /// Adds a query parameter if there is a value.
    pub fn optional(self, name: &str, value: Option<&str>) -> Target {
        match value {
            Some(value) => self.parameter(name, value),
            None => self,
        }
    }

    /// Adds a switch that is on.
    pub fn flag(self, name: &str, on: bool) -> Target {
        if on { self.parameter(name, "1") } else { self }
    }

    /// Adds filters if there are any.
    pub fn filters(self, filters: &Filters) -> Target {
        if filters.is_empty() {
            return self;
        }
        let values = |list: &'_ [String]| order::map(list.iter().map(|v| (v.clone(), true)));
        let maps = order::map(filters.iter().map(|(k, v)| (k.clone(), values(v))));
        self.parameter("filters", &crate::utils::json::to_text(&maps))
    }

    /// The target as it stands in a request line.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn encode_into(out: &mut String, text: &str, also_plain: &[u8]) {
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || also_plain.contains(&b) {
            out.push(b as char);
        } else {
            out.push('%');
            out.push_str(&crate::utils::id::hex(&[b]).to_ascii_uppercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let q = Query::parse("a=1&b=x%2Fy+z&a=2&empty=&flag&&u=%C3%B6").unwrap();
        assert_eq!((q.get("a"), q.get("b"), q.get("empty"), q.get("u")), (Some("1"), Some("x/y z"), None, Some("ö")));
        assert_eq!(q.all("a").collect::<Vec<_>>(), ["1", "2"]);
        for text in ["a=%", "a=%2", "a=%zz", "%ff=1", "a=%-1"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        assert!(Query::parse(&"a&".repeat(MAX_PARAMETERS)).is_ok());
        assert!(Query::parse(&"a&".repeat(MAX_PARAMETERS + 1)).is_err());
    }

    #[test]
    fn switches_follow_docker() {
        let q = Query::parse("a=1&b=true&c=0&d=False&e=no&f=none&g=&h=x").unwrap();
        let on: Vec<&str> = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].into_iter().filter(|n| q.flag(n)).collect();
        assert_eq!(on, ["a", "b", "h"]);
        assert!(q.flag_or("absent", true) && !q.flag_or("c", true));
    }

    #[test]
    fn numbers() {
        let q = Query::parse("n=5&m=-3&x=5s&big=99999999999999999999").unwrap();
        assert_eq!(q.integer::<i64>("m").unwrap(), Some(-3));
        assert_eq!((q.limit("n").unwrap(), q.limit("m").unwrap(), q.limit("absent").unwrap()), (Some(5), None, None));
        assert!(q.integer::<u16>("m").is_err() && q.limit("big").is_err());
        assert_eq!(q.limit("x").unwrap_err().to_string(), "invalid value \"5s\" for x: want a number");
    }

    #[test]
    fn filters_in_both_forms() {
        let q = Query::parse(
            "f=%7B%22status%22%3A%7B%22running%22%3Atrue,%22x%22%3Afalse%7D%7D&g=%7B%22id%22%3A%5B%22a%22%5D%7D",
        )
        .unwrap();
        assert_eq!(q.filters("f").unwrap(), Filters::from([("status".into(), vec!["running".into()])]));
        assert_eq!(q.filters("g").unwrap(), Filters::from([("id".into(), vec!["a".into()])]));
        assert!(q.filters("absent").unwrap().is_empty());
        for text in ["f=1", "f=%7B%22a%22%3A1%7D", "f=%5B%5D", "f=x"] {
            assert!(Query::parse(text).unwrap().filters("f").is_err(), "{text}");
        }
    }

    #[test]
    fn a_written_target_reads_back() {
        let filters = Filters::from([("label".into(), vec!["a=b&c".into(), "ö".into()])]);
        let target = Target::new("/images")
            .image("library/a b:1?#")
            .parameter("x", "1+1=2&")
            .optional("none", None)
            .flag("off", false)
            .flag("on", true)
            .filters(&filters);
        let (path, query) = target.as_str().split_once('?').unwrap();
        assert_eq!(segments(path).unwrap(), ["images", "library", "a b:1?#"]);
        let q = Query::parse(query).unwrap();
        assert_eq!((q.get("x"), q.flag("on"), q.get("off"), q.get("none")), (Some("1+1=2&"), true, None, None));
        assert_eq!(q.filters("filters").unwrap(), filters);
    }

    #[test]
    fn encoded_slashes_stay_inside_a_segment() {
        assert_eq!(segments("/images//a%2Fb/json").unwrap(), ["images", "a/b", "json"]);
        assert!(segments("/a/%").is_err());
        let target = Target::new("/v1.44/containers").segment("../a/b").segment("json");
        assert_eq!(segments(target.as_str()).unwrap()[2..], ["../a/b", "json"]);
    }

    #[test]
    fn what_has_no_name_is_told() {
        let of = |list: &str, name: &str| Target::new(list).segment(name);
        assert_eq!(of("/v1.44/containers", "").segment("json").flag("x", true).nameless(), Some("container"));
        assert_eq!(of("/v1.44/volumes", "").nameless(), Some("volume"));
        assert_eq!(of("/v1.44/images", "").nameless(), Some("image"));
        assert_eq!(of("/containers", "a//").segment("json").parameter("path", "//").nameless(), None);
        assert_eq!(Target::new("/_ping").nameless(), None);
    }
}
