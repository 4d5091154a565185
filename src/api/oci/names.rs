//! A list of names in one piece of memory.

use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Names in order. A seccomp profile has hundreds, in every container's document: a string each would be most of what
/// is allocated while a container starts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Each followed by [`END`].
    text: String,
}

/// Ends a name. No name has it: the kernel's strings end there too.
const END: char = '\0';

impl Names {
    /// Appends one.
    ///
    /// # Panics
    /// When it has a NUL.
    pub fn push(&mut self, name: &str) {
        assert!(!name.contains(END), "a name with a NUL");
        self.text.push_str(name);
        self.text.push(END);
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.split_terminator(END)
    }

    /// What they occupy.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl<'a> Extend<&'a str> for Names {
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, names: I) {
        names.into_iter().for_each(|name| self.push(name));
    }
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Names {
        let mut all = Names::default();
        all.extend(names);
        all
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        let mut names = Names::default();
        deserializer.deserialize_seq(All(&mut names))?;
        Ok(names)
    }
}

struct All<'a>(&'a mut Names);

impl<'de> Visitor<'de> for All<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(One(self.0))?.is_some() {}
        Ok(())
    }
}

struct One<'a>(&'a mut Names);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        if name.contains(END) {
            return Err(E::custom("a name with a NUL"));
        }
        self.0.push(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::json;

    #[test]
    fn as_a_list_of_strings() {
        for text in [r#"[]"#, r#"["a"]"#, r#"["","b\n\"","c","c"]"#] {
            let (names, strings): (Names, Vec<String>) =
                (json::parse(text.as_bytes()).unwrap(), json::parse(text.as_bytes()).unwrap());
            assert!(names.iter().eq(strings.iter()), "{text}");
            assert_eq!(String::from_utf8(json::to_vec(&names)).unwrap(), text);
            assert_eq!(format!("{names:?}"), format!("{strings:?}"));
            assert_eq!(names.is_empty(), strings.is_empty());
            assert_eq!(strings.iter().map(String::as_str).collect::<Names>(), names);
        }
        for text in [r#"["a\u0000b"]"#, r#"["a",1]"#, r#""a""#, r#"[null]"#] {
            assert!(json::parse::<Names>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
