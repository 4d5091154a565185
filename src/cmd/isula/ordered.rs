//! A JSON tree that keeps the order of keys: screens show an object in the order in which the daemon wrote it.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

/// A JSON value.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Node {
    /// `null`.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above those of [`Node::Int`].
    Uint(u64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object, in order.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// An object of texts.
    pub fn texts<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Node {
        Node::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), Node::Text(v))).collect())
    }

    /// Adds a field to an object, unless it is there.
    pub fn add(&mut self, key: &str, value: Node) {
        if let Node::Object(fields) = self
            && fields.iter().all(|(k, _)| k != key)
        {
            fields.push((key.to_owned(), value));
        }
    }

    /// Gives a row what `.Label "key"` of a template reads. Without templates nothing does.
    pub fn add_labels(&mut self, labels: &std::collections::BTreeMap<String, String>) {
        if cfg!(feature = "templates") {
            self.add("Label", Node::texts(labels.iter().map(|(k, v)| (k.as_str(), v.clone()))));
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Node::Object(fields) => fields.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match self {
            Node::Object(fields) => fields.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null => s.serialize_unit(),
            Node::Bool(v) => s.serialize_bool(*v),
            Node::Int(v) => s.serialize_i64(*v),
            Node::Uint(v) => s.serialize_u64(*v),
            Node::Float(v) => s.serialize_f64(*v),
            Node::Text(v) => s.serialize_str(v),
            Node::List(v) => s.collect_seq(v),
            Node::Object(fields) => {
                let mut map = s.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Node, D::Error> {
        d.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(i64::try_from(v).map_or(Node::Uint(v), Node::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(Node::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Text(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = map.next_entry()? {
            fields.push(entry);
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::json;

    #[test]
    fn order_and_numbers_survive() {
        let text = r#"{"z":1,"a":[true,null,-2,18446744073709551615,1.5,"x\"y"],"m":{}}"#;
        let node: Node = json::parse(text.as_bytes()).unwrap();
        assert_eq!(json::to_text(&node), text);
        assert_eq!(node.get("z"), Some(&Node::Int(1)));
        assert_eq!(node.get("a").and_then(|a| a.get("b")), None);
    }
}
