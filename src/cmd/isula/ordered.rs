//! A JSON tree that keeps the order of keys: screens show an object in the order in which the daemon wrote it.

use crate::utils::json::object::{Free, List, Map, Member, Place, Wrong};
use serde::de::Unexpected;
use serde::ser::{Serialize, SerializeMap, Serializer};

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

impl Member for Node {
    fn place(&mut self) -> Place<'_> {
        Place::Free(self)
    }
}

impl Free for Node {
    fn expected(&self) -> &'static str {
        "a JSON value"
    }

    fn single(&mut self, value: Unexpected<'_>) -> Result<(), Wrong> {
        *self = match value {
            Unexpected::Unit => Node::Null,
            Unexpected::Bool(v) => Node::Bool(v),
            Unexpected::Signed(v) => Node::Int(v),
            Unexpected::Unsigned(v) => i64::try_from(v).map_or(Node::Uint(v), Node::Int),
            Unexpected::Float(v) => Node::Float(v),
            Unexpected::Str(v) => Node::Text(v.to_owned()),
            _ => return Err(Wrong::Type),
        };
        Ok(())
    }

    fn list(&mut self) -> Option<&mut dyn List> {
        *self = Node::List(Vec::new());
        match self {
            Node::List(list) => Some(list),
            _ => None,
        }
    }

    fn map(&mut self) -> Option<&mut dyn Map> {
        *self = Node::Object(Vec::new());
        match self {
            Node::Object(fields) => Some(fields),
            _ => None,
        }
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
