//! A list of names in one piece of memory.

use crate::utils::json::object::{Free, List, Member, Place, Wrong};
use serde::de::Unexpected;
use serde::{Serialize, Serializer};
use std::fmt;

/// Names in order. A seccomp profile has hundreds, in every container's document: a string each would be most of what
/// is allocated while a container starts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    text: Text,
}

/// Each name followed by [`END`].
#[derive(Clone, Default, PartialEq, Eq)]
struct Text(String);

/// Ends a name. No name has it: the kernel's strings end there too.
const END: char = '\0';

impl Names {
    /// Appends one.
    ///
    /// # Panics
    /// When it has a NUL.
    pub fn push(&mut self, name: &str) {
        assert!(!name.contains(END), "a name with a NUL");
        self.text.push(name);
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.0.split_terminator(END)
    }

    /// What they occupy.
    pub fn bytes(&self) -> usize {
        self.text.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.0.is_empty()
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

impl Member for Names {
    fn place(&mut self) -> Place<'_> {
        Place::List(self)
    }
}

impl List for Names {
    fn element(&mut self, _: usize) -> Option<Place<'_>> {
        Some(Place::Free(&mut self.text))
    }
}

impl Text {
    fn push(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push(END);
    }
}

impl Free for Text {
    fn expected(&self) -> &'static str {
        "a string"
    }

    fn single(&mut self, value: Unexpected<'_>) -> Result<(), Wrong> {
        match value {
            Unexpected::Str(name) if name.contains(END) => Err(Wrong::Text("a name with a NUL".to_owned())),
            Unexpected::Str(name) => {
                self.push(name);
                Ok(())
            }
            _ => Err(Wrong::Type),
        }
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
