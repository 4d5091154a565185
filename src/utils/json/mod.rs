//! The one JSON reader and the one writer. Every further pair is a copy of all serde implementations in the binary.

pub mod object;

use crate::error::{Error, Kind, Result, shortened};
use object::{Free, List, Map, Place, Wrong};
pub use object::{Member, Object};
use serde::de::{DeserializeOwned, DeserializeSeed, SeqAccess, Unexpected, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;
use serde_json::map::Entry;
use std::marker::PhantomData;

/// Parses one JSON document.
///
/// # Errors
/// `Kind::Invalid` with line, column and what was expected.
pub fn parse<T: Member + Default>(bytes: &[u8]) -> Result<T> {
    let mut value = T::default();
    fill(bytes, value.place())?;
    Ok(value)
}

/// Parses one JSON document into a value that is its default.
///
/// # Errors
/// As [`parse`]. Parts of the value may have been read.
pub fn fill(bytes: &[u8], place: Place<'_>) -> Result<()> {
    let mut place = Some(place);
    read(bytes, &mut |reader| place.take().map_or(Ok(()), |place| place.deserialize(reader)))
}

/// As [`parse`], for enums whose variants have values, and what holds one.
///
/// # Errors
/// As there.
pub fn parse_enum<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut value = None;
    read(bytes, &mut |reader| T::deserialize(reader).map(|read| value = Some(read)))?;
    Ok(value.expect("what is read without an error is there"))
}

/// Parses a list and hands its elements over one by one, so that only one of them is in memory.
///
/// # Errors
/// As [`parse`]. The elements before the wrong one were handed over.
pub fn parse_each<T: Member + Default>(bytes: &[u8], each: &mut dyn FnMut(T)) -> Result<()> {
    struct Elements<'a, T>(&'a mut dyn FnMut(T));
    impl<'de, T: Member + Default> Visitor<'de> for Elements<'_, T> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
            loop {
                let mut element = T::default();
                if list.next_element_seed(element.place())?.is_none() {
                    return Ok(());
                }
                (self.0)(element);
            }
        }
    }
    read(bytes, &mut |reader| reader.deserialize_seq(Elements(each)))
}

/// A tree in which no object has a member twice: `serde_json` keeps the last one without a word, and a reader of the file
/// may have seen the first.
#[derive(Debug, Default)]
pub struct Tree(pub Value);

impl Member for Tree {
    fn place(&mut self) -> Place<'_> {
        self.0.place()
    }
}

impl Member for Value {
    fn place(&mut self) -> Place<'_> {
        Place::Free(self)
    }
}

impl Free for Value {
    fn expected(&self) -> &'static str {
        "a JSON value"
    }

    fn single(&mut self, value: Unexpected<'_>) -> std::result::Result<(), Wrong> {
        *self = match value {
            Unexpected::Unit => Value::Null,
            Unexpected::Bool(v) => v.into(),
            Unexpected::Signed(v) => v.into(),
            Unexpected::Unsigned(v) => v.into(),
            Unexpected::Float(v) => v.into(),
            Unexpected::Str(v) => v.into(),
            _ => return Err(Wrong::Type),
        };
        Ok(())
    }

    fn list(&mut self) -> Option<&mut dyn List> {
        *self = Value::Array(Vec::new());
        self.as_array_mut().map(|list| list as &mut dyn List)
    }

    fn map(&mut self) -> Option<&mut dyn Map> {
        *self = Value::Object(serde_json::Map::new());
        self.as_object_mut().map(|map| map as &mut dyn Map)
    }
}

impl Member for serde_json::Map<String, Value> {
    fn place(&mut self) -> Place<'_> {
        Place::Map(self)
    }
}

impl Map for serde_json::Map<String, Value> {
    fn entry(&mut self, name: &str) -> Option<Place<'_>> {
        match self.entry(name) {
            Entry::Vacant(free) => Some(free.insert(Value::Null).place()),
            Entry::Occupied(_) => None,
        }
    }
}

type Reader<'r, 'b> = &'r mut serde_json::Deserializer<serde_json::de::SliceRead<'b>>;

/// Takes one whole document from `bytes` with what it is given.
#[allow(clippy::disallowed_methods)] // the one reader
fn read(bytes: &[u8], take: &mut dyn FnMut(Reader) -> serde_json::Result<()>) -> Result<()> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    take(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|e| Error::new(Kind::Invalid, format!("invalid JSON: {}", shortened(e.to_string(), 200, 100))))
}

/// A list of at most `N`: what a stranger's document makes of memory is bounded before it is there. A longer one is an
/// error.
#[derive(Debug)]
pub struct Short<T, const N: usize>(pub Vec<T>);

impl<T, const N: usize> Default for Short<T, N> {
    fn default() -> Short<T, N> {
        Short(Vec::new())
    }
}

impl<T: Member + Default, const N: usize> Member for Short<T, N> {
    fn place(&mut self) -> Place<'_> {
        Place::List(self)
    }
}

impl<T: Member + Default, const N: usize> List for Short<T, N> {
    fn element(&mut self, index: usize) -> Option<Place<'_>> {
        if index < N { self.0.element(index) } else { None }
    }

    fn expected(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a list of at most {N}")
    }
}

/// Serialises compactly.
///
/// The types of this project always serialise: maps have string keys and no implementation fails.
#[allow(clippy::disallowed_methods)] // the one writer
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps have string keys and no Serialize implementation of ours fails")
}

/// Takes a list as pieces of it come, an element at a time when each has a line for itself. JSON has no line end but
/// between its words; a list in one line is taken at the end of the line.
pub struct Lines<T, F> {
    pending: Vec<u8>,
    /// The list has begun, the list has ended.
    progress: (bool, bool),
    each: F,
    element: PhantomData<T>,
}

impl<T: Member + Default, F: FnMut(T)> Lines<T, F> {
    /// Hands the elements to `each`.
    pub fn new(each: F) -> Lines<T, F> {
        Lines { pending: Vec::new(), progress: (false, false), each, element: PhantomData }
    }

    /// Takes a piece, and gives how many bytes wait for more.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn take(&mut self, piece: &[u8]) -> Result<usize> {
        let searched = self.pending.len();
        self.pending.extend_from_slice(piece);
        let Some(end) = memchr::memrchr(b'\n', &self.pending[searched..]) else {
            return Ok(self.pending.len());
        };
        let rest = self.pending.split_off(searched + end + 1);
        let lines = std::mem::replace(&mut self.pending, rest);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &lines) {
            self.line(&lines[start..end])?;
            start = end + 1;
        }
        Ok(self.pending.len())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// As [`parse`]; for a list that has not ended.
    pub fn finish(mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.pending);
        self.line(&rest)?;
        if self.progress != (true, true) {
            return Err(Error::invalid("invalid JSON: the list does not end"));
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        let mut line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        if self.progress.1 {
            return Err(Error::invalid("invalid JSON: something follows the list"));
        }
        let is_first = !self.progress.0;
        if is_first {
            let inner = line.strip_prefix(b"[").ok_or_else(|| Error::invalid("invalid JSON: expected a list"))?;
            self.progress.0 = true;
            if inner.last() == Some(&b']') {
                self.progress.1 = true;
                return parse_each(line, &mut self.each);
            }
            line = inner;
        } else if line == b"]" {
            self.progress.1 = true;
            return Ok(());
        }
        let element = line.strip_suffix(b",").unwrap_or(line);
        if !element.is_empty() {
            (self.each)(parse(element)?);
        }
        Ok(())
    }
}

/// As [`to_vec`], as text.
pub fn to_text<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_vec(value)).expect("serde_json writes UTF-8")
}

/// Converts to a JSON tree.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Value {
    let Tree(tree) = parse(&to_vec(value)).expect("just written");
    tree
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

/// Whether a member is left out when it is written: for `skip_serializing_if`.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_by_line() {
        let lines = |text: &str, size: usize| {
            let mut seen = Vec::new();
            let mut lines = Lines::new(|n: u32| seen.push(n));
            text.as_bytes().chunks(size).try_for_each(|piece| lines.take(piece).map(drop))?;
            lines.finish().map(|()| seen)
        };
        for size in [1, 2, 3, 100] {
            for good in ["[1,\n4,\n9\n]\n", "[\n1,\n4,\r\n9\n]", "[1,4,9]\n", "[ 1, 4, 9]"] {
                assert_eq!(lines(good, size).unwrap(), [1, 4, 9], "{good}");
            }
            assert!(lines("[\n]\n", size).unwrap().is_empty());
            for bad in ["", "[1,\n", "[1,\n2]\n", "[1,\n2\n]\n3", "1\n", "{\n}", "[1,\n,\n2\n]x", "[1, 2,\n3\n]"] {
                assert_eq!(lines(bad, size).unwrap_err().kind(), Kind::Invalid, "{bad}");
            }
        }
        // What has come is handed over before the rest comes.
        let mut seen = Vec::new();
        let mut lines = Lines::new(|n: u32| seen.push(n));
        assert_eq!(lines.take(b"[1,\n2,\n3").unwrap(), 1);
        drop(lines);
        assert_eq!(seen, [1, 2]);
    }

    #[test]
    fn lists_by_element() {
        let mut seen = Vec::new();
        parse_each(b"[1,4,9]", &mut |n: u32| seen.push(n)).unwrap();
        assert_eq!(seen, [1, 4, 9]);
        for bad in ["[1,", "[1]x", "[\"a\"]", "{}", "null"] {
            assert_eq!(parse_each(bad.as_bytes(), &mut |_: u32| {}).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        parse_each(b" [] ", &mut |_: u32| panic!("empty")).unwrap();
    }

    #[test]
    fn a_tree_has_no_member_twice() {
        let text = r#"{"a":[1,-2,0.5,"x",null,true],"b":{"a":{}},"c":"\n"}"#;
        let Tree(tree) = parse(text.as_bytes()).unwrap();
        assert_eq!(tree, parse::<serde_json::Value>(text.as_bytes()).unwrap());
        for text in [r#"{"a":1,"b":2,"a":1}"#, r#"[{"b":{"a":1,"\u0061":1}}]"#] {
            let e = parse::<Tree>(text.as_bytes()).unwrap_err().to_string();
            assert!(e.contains("duplicate field `a`"), "{e}");
        }
    }

    #[test]
    fn short_lists_and_short_errors() {
        let list = |text: &str| parse::<Short<u8, 2>>(text.as_bytes()).map(|short| short.0);
        assert_eq!((list("[]").unwrap(), list("[1,2]").unwrap()), (vec![], vec![1, 2]));
        let e = list("[1,2,3]").unwrap_err().to_string();
        assert!(e.contains("expected a list of at most 2 at line 1 column 7"), "{e}");
        let e = list(&format!("\"{}\"", "\u{e9}".repeat(1 << 20))).unwrap_err().to_string();
        assert!(e.len() < 500 && e.ends_with("column 2097154"), "{e}");
    }

    #[derive(Debug, Default, PartialEq, Object)]
    #[serde(default, rename_all = "PascalCase")]
    struct Inner {
        some_number: u8,
    }

    #[derive(Debug, Default, PartialEq, Object)]
    #[serde(default, rename_all = "camelCase")]
    struct Outer {
        inner_value: Inner,
        maybe: Option<Inner>,
        list: Vec<Inner>,
        #[serde(rename = "MAP", alias = "map", alias = "Map")]
        map: std::collections::BTreeMap<String, Inner>,
        #[serde(skip)]
        own: u8,
        #[serde(deserialize_with = "Place::Words")]
        r#type: Option<Vec<String>>,
    }

    #[derive(Debug, Default, Object)]
    #[serde(default)]
    struct Forms {
        pair: [i32; 2],
        few: Option<Box<Short2>>,
        maybe: Vec<Option<u16>>,
        path: std::path::PathBuf,
        counts: std::collections::BTreeMap<String, Vec<u64>>,
        tree: Value,
        #[serde(deserialize_with = "Place::Words")]
        words: Option<Vec<String>>,
    }

    type Short2 = Short<bool, 2>;

    #[test]
    fn forms_of_members() {
        let text = br#"{"pair":[-1,2],"few":[true],"maybe":[1,null],"path":"/a","counts":{"x":[1],"y":[2],"x":[3]},
            "tree":{"a":[null,-1,2,0.5,"t",false]},"words":["a","b"]}"#;
        let forms: Forms = parse(text).unwrap();
        assert_eq!((forms.pair, forms.few.unwrap().0), ([-1, 2], vec![true]));
        assert_eq!((forms.maybe, forms.path), (vec![Some(1), None], "/a".into()));
        assert_eq!(forms.counts, [("x".to_owned(), vec![3]), ("y".to_owned(), vec![2])].into());
        assert_eq!(forms.tree, serde_json::json!({"a": [null, -1, 2, 0.5, "t", false]}));
        assert_eq!(forms.words, Some(vec!["a".to_owned(), "b".to_owned()]));
        let words = |text: &str| parse::<Forms>(format!("{{\"words\":{text}}}").as_bytes()).unwrap().words;
        assert_eq!((words("\"a\""), words("\"\""), words("null")), (Some(vec!["a".into()]), Some(vec![]), None));
        for (text, want) in [
            (r#"{"pair":[1]}"#, "pair: invalid length 1, expected an array of length 2"),
            (r#"{"pair":[1,2,3]}"#, "pair: invalid length 3, expected an array of length 2"),
            (r#"{"few":[true,false,true]}"#, "few: invalid length 3, expected a list of at most 2"),
            (r#"{"few":[null]}"#, "few: invalid type: null, expected a boolean"),
            (r#"{"maybe":[-1]}"#, "maybe: invalid value: integer `-1`, expected u16"),
            (r#"{"maybe":[1.5]}"#, "maybe: invalid type: floating point `1.5`, expected u16"),
            (r#"{"path":["/a"]}"#, "path: invalid type: sequence, expected path string"),
            (r#"{"counts":{"x":null}}"#, "counts: invalid type: null, expected a sequence"),
            (r#"{"tree":{"a":1,"a":1}}"#, "tree: duplicate field `a`"),
        ] {
            let error = parse::<Forms>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[derive(Debug, Default, PartialEq, Object)]
    struct Whole {
        name: String,
        #[serde(default)]
        count: u8,
        maybe: Option<u8>,
    }

    #[test]
    fn what_has_no_default_must_be_there() {
        let want = Whole { name: "a".to_owned(), count: 0, maybe: None };
        assert_eq!(parse::<Whole>(br#"{"name":"a","count":null}"#).unwrap(), want);
        for (text, want) in [
            ("{\"count\":1}", "missing field `name`"),
            ("{\"name\":null}", "name: invalid type: null, expected a string"),
        ] {
            let error = parse::<Whole>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    fn number(some_number: u8) -> Inner {
        Inner { some_number }
    }

    #[test]
    fn objects_are_read_member_by_member() {
        let text = r#"{"innerValue":{"SomeNumber":2},"maybe":{"SomeNumber":3},"unknown":[{"x":null}],
            "list":[{"SomeNumber":4},{}],"Map":{"k":{"SomeNumber":5}},"own":7,"type":"x"}"#;
        let map = [("k".to_owned(), number(5))].into();
        let want = Outer {
            inner_value: number(2),
            maybe: Some(number(3)),
            list: vec![number(4), number(0)],
            map,
            own: 0,
            r#type: Some(vec!["x".to_owned()]),
        };
        assert_eq!(parse::<Outer>(text.as_bytes()).unwrap(), want);
        for name in ["MAP", "map", "Map"] {
            let outer: Outer = parse(format!("{{\"{name}\":{{\"k\":{{}}}}}}").as_bytes()).unwrap();
            assert_eq!(outer.map.len(), 1);
        }
        // null is the value that is there.
        let nulls = br#"{"innerValue":null,"maybe":null,"list":null,"map":null}"#;
        assert_eq!(parse::<Outer>(nulls).unwrap(), Outer::default());
        assert_eq!(parse::<Outer>(b"{}").unwrap(), Outer::default());
        // As Go reads names.
        assert_eq!(parse::<Inner>(br#"{"somenumber":6}"#).unwrap(), number(6));
        // Names may be written with escapes.
        assert_eq!(parse::<Inner>(br#"{"Some\u004eumber":6}"#).unwrap(), number(6));
    }

    #[test]
    fn a_struct_is_an_object_and_nothing_else() {
        for (text, want) in [
            ("[1]", "invalid type: sequence, expected an object at line 1 column 1"),
            ("null", "expected an object"),
            ("7", "expected an object"),
            ("{\"innerValue\":[1]}", "innerValue: invalid type: sequence, expected an object"),
            ("{\"list\":[{},[]]}", "list: invalid type: sequence, expected an object"),
            (
                "{\"list\":[{\"SomeNumber\":256}]}",
                "list: SomeNumber: invalid value: integer `256`, expected u8 at line 1",
            ),
            ("{\"map\":{\"k\":7}}", "map: invalid type: integer `7`, expected an object"),
            ("{\"type\":{}}", "type: invalid type: map, expected a string or a list of strings"),
            ("{\"innerValue\":{\"SomeNumber\":1}", "EOF while parsing an object"),
            ("{\"innerValue\":{\"SomeNumber\"1}}", "expected `:`"),
            ("{7:1}", "key must be a string"),
            ("{\"MAP\":{},\"map\":{}}", "duplicate field `map`"),
            ("{\"maybe\":null,\"MAYBE\":{}}", "duplicate field `maybe`"),
            ("{\"list\":[{\"SomeNumber\":1,\"SomeNumber\":1}]}", "list: duplicate field `SomeNumber`"),
        ] {
            let error = parse::<Outer>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert_eq!(parse_each(b"[[1]]", &mut |_: Inner| {}).unwrap_err().kind(), Kind::Invalid);
        assert!(parse::<Inner>(b"{\"SomeNumber\":1} x").is_err());
    }

    #[test]
    fn pretty_keeps_strings_and_empty_containers() {
        let text = to_pretty(br#"{"a":[],"b":{"c":"x, {y}: \"z\""},"d":[1,2]}"#);
        let want = "{\n    \"a\": [],\n    \"b\": {\n        \"c\": \"x, {y}: \\\"z\\\"\"\n    },\n    \"d\": [\n        1,\n        2\n    ]\n}";
        assert_eq!(String::from_utf8(text).unwrap(), want);
    }
}
