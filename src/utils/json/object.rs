//! What the structs of `#[derive(Object)]` share: an object is read into a value that is its default, member by member.
//!
//! Members that are not known are passed over, and `null` leaves the default, as Go's programs expect, which write most
//! of the documents. As there, a name may be in other letters, capital or small, than it should. Unlike there, a member
//! that comes twice, by whatever name, is an error: others may have checked the other one.

pub use isulabox_derive::Object;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// A struct that is read from an object. To be derived.
pub trait Object: Default {
    /// What its members are called; at most 256 names.
    const NAMES: &'static [&'static str];

    /// For each name the place of the first one of the same member.
    const FIRSTS: &'static [u8];

    /// Reads the value of the member whose first name has this place in [`Object::NAMES`].
    ///
    /// # Errors
    /// That of the value.
    fn member<'de, A: MapAccess<'de>>(&mut self, index: usize, from: &mut A) -> Result<(), A::Error>;
}

/// Reads the value of one member. Not inlined: there are many members and few types of them.
///
/// # Errors
/// That of the value.
#[inline(never)]
pub fn take<'de, T: Deserialize<'de>, A: MapAccess<'de>>(to: &mut T, from: &mut A) -> Result<(), A::Error> {
    if let Some(value) = from.next_value::<Option<T>>()? {
        *to = value;
    }
    Ok(())
}

/// Reads a whole object.
///
/// # Errors
/// When it is none, and those of its values, with the name of the member in front.
pub fn read<'de, T: Object, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    struct Whole<T>(PhantomData<T>);
    impl<'de, T: Object> Visitor<'de> for Whole<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<T, A::Error> {
            let mut value = T::default();
            fill(&mut value, &mut members)?;
            Ok(value)
        }
    }
    d.deserialize_map(Whole(PhantomData))
}

/// An [`Object`] that is read from one kind of reader: the loop over the members is the same for all objects.
trait Fill<'de, A: MapAccess<'de>> {
    fn names(&self) -> (&'static [&'static str], &'static [u8]);
    fn fill(&mut self, index: usize, from: &mut A) -> Result<(), A::Error>;
}

impl<'de, A: MapAccess<'de>, T: Object> Fill<'de, A> for T {
    fn names(&self) -> (&'static [&'static str], &'static [u8]) {
        (T::NAMES, T::FIRSTS)
    }

    fn fill(&mut self, index: usize, from: &mut A) -> Result<(), A::Error> {
        self.member(index, from)
    }
}

#[inline(never)]
fn fill<'de, A: MapAccess<'de>>(value: &mut dyn Fill<'de, A>, members: &mut A) -> Result<(), A::Error> {
    let (names, firsts) = value.names();
    let mut seen = [0u64; 4];
    // Most documents have the members in the order of the struct that wrote them.
    let mut next = 0;
    while let Some(key) = members.next_key_seed(Key { names, next })? {
        match key {
            Some(name) => {
                next = name + 1;
                let index = usize::from(firsts[name]);
                let (word, bit) = (&mut seen[index / 64], 1 << (index % 64));
                if *word & bit != 0 {
                    return Err(A::Error::duplicate_field(names[name]));
                }
                *word |= bit;
                value.fill(index, members).map_err(|e| in_member(names[name], &e))?;
            }
            None => drop(members.next_value::<IgnoredAny>()?),
        }
    }
    Ok(())
}

#[cold]
fn in_member<E: Error>(name: &str, error: &E) -> E {
    E::custom(format_args!("{name}: {error}"))
}

/// A name's place in a list, where it is looked for from a place on.
struct Key {
    names: &'static [&'static str],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Option<usize>, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        let (before, after) = self.names.split_at(self.next);
        let exactly = after.iter().position(|known| *known == name).map(|at| self.next + at);
        let exactly = exactly.or_else(|| before.iter().position(|known| *known == name));
        Ok(exactly.or_else(|| self.names.iter().position(|known| known.eq_ignore_ascii_case(name))))
    }
}
