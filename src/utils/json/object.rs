//! What the structs of `#[derive(Object)]` share: an object is read into a value that is its default, member by member.
//!
//! Members that are not known are passed over, and `null` leaves the default where there is one, as Go's programs expect, which write most
//! of the documents. As there, a name may be in other letters, capital or small, than it should. Unlike there, a member
//! that comes twice, by whatever name, is an error: others may have checked the other one.
//!
//! Serde makes code for each type that is read, and for each that it is read in. Here one reader goes through the document
//! and asks each value, where it stands, for the places of its parts ([`Member`]); the code of a type is only to say them.

pub use isulabox_derive::Object;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A value that is read where it stands. Before, it is its default, with nothing in its lists and maps.
pub trait Member {
    /// The form in which it is read.
    fn place(&mut self) -> Place<'_>;
}

/// The forms of values.
pub enum Place<'a> {
    /// A truth value.
    Bool(&'a mut bool),
    /// A whole number.
    I64(&'a mut i64),
    /// The same, smaller.
    I32(&'a mut i32),
    /// A whole number from 0.
    U64(&'a mut u64),
    /// The same, smaller.
    U32(&'a mut u32),
    /// The same, smaller.
    U16(&'a mut u16),
    /// The same, smaller.
    U8(&'a mut u8),
    /// A text.
    Text(&'a mut String),
    /// A text that is a path.
    Path(&'a mut PathBuf),
    /// A list of texts, for which one text may stand: none when it is empty.
    Words(&'a mut Option<Vec<String>>),
    /// A struct.
    Object(&'a mut dyn Object),
    /// A list.
    List(&'a mut dyn List),
    /// An object whose names are free.
    Map(&'a mut dyn Map),
    /// A value that may be missing, or `null`.
    Maybe(&'a mut dyn Maybe),
    /// What has rules of its own.
    Free(&'a mut dyn Free),
    /// Anything, which is passed over.
    Ignored,
}

/// What the members of a struct are called.
pub struct Names {
    /// At most 256 names.
    pub all: &'static [&'static str],
    /// For each name the place of the first one of the same member.
    pub firsts: &'static [u8],
    /// Those places of members that must be there, and not be `null`.
    pub required: &'static [u8],
}

/// A struct that is read from an object. To be derived.
pub trait Object {
    /// What its members are called.
    fn names(&self) -> &'static Names;

    /// The member whose first name has this place among the names.
    fn member(&mut self, index: usize) -> Place<'_>;
}

/// A list that is read.
pub trait List {
    /// The element after those that were asked for, of which there are `index`; `None` when there is to be none.
    fn element(&mut self, index: usize) -> Option<Place<'_>>;

    /// With how many elements it is whole.
    fn least(&self) -> usize {
        0
    }

    /// What is expected: "a sequence" and the like.
    fn expected(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }
}

/// An object with free names that is read.
pub trait Map {
    /// The value of a name; `None` when it may not come again.
    fn entry(&mut self, name: &str) -> Option<Place<'_>>;
}

/// A value that is read when it is there.
pub trait Maybe {
    /// Makes its default.
    fn make(&mut self) -> Place<'_>;
}

/// A value that is read in more than one form, or from a text with rules.
pub trait Free {
    /// What is expected.
    fn expected(&self) -> &'static str;

    /// Takes what is neither list nor object; [`Unexpected::Unit`] is `null`.
    ///
    /// # Errors
    /// When it is not what is expected.
    fn single(&mut self, value: Unexpected<'_>) -> Result<(), Wrong>;

    /// Becomes a list; `None` when it cannot.
    fn list(&mut self) -> Option<&mut dyn List> {
        None
    }

    /// Becomes an object; `None` when it cannot.
    fn map(&mut self) -> Option<&mut dyn Map> {
        None
    }
}

/// Why a value was not taken.
#[derive(Debug)]
pub enum Wrong {
    /// It has another type than expected.
    Type,
    /// Its type may be, it may not.
    Value,
    /// As said.
    Text(String),
}

macro_rules! places {
    ($($kind:ty, $form:ident;)*) => {
        $(impl Member for $kind {
            fn place(&mut self) -> Place<'_> {
                Place::$form(self)
            }
        })*
    };
}

places! {
    bool, Bool;
    i64, I64;
    i32, I32;
    u64, U64;
    u32, U32;
    u16, U16;
    u8, U8;
    String, Text;
    PathBuf, Path;
}

impl Member for IgnoredAny {
    fn place(&mut self) -> Place<'_> {
        Place::Ignored
    }
}

/// Of a list that is always empty.
impl Member for () {
    fn place(&mut self) -> Place<'_> {
        Place::Ignored
    }
}

impl<T: Member> Member for Box<T> {
    fn place(&mut self) -> Place<'_> {
        (**self).place()
    }
}

impl<T: Member + Default> Member for Option<T> {
    fn place(&mut self) -> Place<'_> {
        Place::Maybe(self)
    }
}

impl<T: Member + Default> Maybe for Option<T> {
    fn make(&mut self) -> Place<'_> {
        self.insert(T::default()).place()
    }
}

impl<T: Member + Default> Member for Vec<T> {
    fn place(&mut self) -> Place<'_> {
        Place::List(self)
    }
}

impl<T: Member + Default> List for Vec<T> {
    fn element(&mut self, index: usize) -> Option<Place<'_>> {
        self.push(T::default());
        self.get_mut(index).map(T::place)
    }
}

impl<T: Member, const N: usize> Member for [T; N] {
    fn place(&mut self) -> Place<'_> {
        Place::List(self)
    }
}

impl<T: Member, const N: usize> List for [T; N] {
    fn element(&mut self, index: usize) -> Option<Place<'_>> {
        self.get_mut(index).map(T::place)
    }

    fn least(&self) -> usize {
        N
    }

    fn expected(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of length {N}")
    }
}

impl<T: Member + Default> Member for BTreeMap<String, T> {
    fn place(&mut self) -> Place<'_> {
        Place::Map(self)
    }
}

impl<T: Member + Default> Map for BTreeMap<String, T> {
    /// The last one counts.
    fn entry(&mut self, name: &str) -> Option<Place<'_>> {
        let value = self.entry(name.to_owned()).or_default();
        *value = T::default();
        Some(value.place())
    }
}

impl<T: Member + Default> Map for Vec<(String, T)> {
    /// All count, in order.
    fn entry(&mut self, name: &str) -> Option<Place<'_>> {
        self.push((name.to_owned(), T::default()));
        self.last_mut().map(|(_, value)| value.place())
    }
}

/// Reads a whole value.
///
/// # Errors
/// When it is another one than expected, and those of its parts, with the name of the member in front.
pub fn read<'de, T: Member + Default, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    let mut value = T::default();
    value.place().deserialize(d)?;
    Ok(value)
}

impl<'a> Place<'a> {
    /// What is read when it is not `null`.
    fn present(self) -> Place<'a> {
        match self {
            Place::Maybe(maybe) => maybe.make().present(),
            place => place,
        }
    }

    fn single<E: Error>(self, value: Unexpected<'_>) -> Result<(), E> {
        let mut place = self.present();
        place.take(value).map_err(|wrong| match wrong {
            Wrong::Type => E::invalid_type(value, &place),
            Wrong::Value => E::invalid_value(value, &place),
            Wrong::Text(text) => E::custom(text),
        })
    }

    fn take(&mut self, value: Unexpected<'_>) -> Result<(), Wrong> {
        let number = match value {
            Unexpected::Signed(n) => Some(i128::from(n)),
            Unexpected::Unsigned(n) => Some(i128::from(n)),
            _ => None,
        };
        match (self, value) {
            (Place::Free(to), value) => return to.single(value),
            (Place::Ignored, _) => {}
            (Place::Bool(to), Unexpected::Bool(value)) => **to = value,
            (Place::Text(to), Unexpected::Str(text)) => **to = text.to_owned(),
            (Place::Path(to), Unexpected::Str(text)) => **to = text.into(),
            (Place::Words(to), Unexpected::Str(text)) => {
                **to = Some(if text.is_empty() { Vec::new() } else { vec![text.to_owned()] });
            }
            (Place::I64(to), _) => return put(*to, number),
            (Place::I32(to), _) => return put(*to, number),
            (Place::U64(to), _) => return put(*to, number),
            (Place::U32(to), _) => return put(*to, number),
            (Place::U16(to), _) => return put(*to, number),
            (Place::U8(to), _) => return put(*to, number),
            _ => return Err(Wrong::Type),
        }
        Ok(())
    }
}

fn put<T: TryFrom<i128>>(to: &mut T, number: Option<i128>) -> Result<(), Wrong> {
    *to = number.ok_or(Wrong::Type)?.try_into().map_err(|_| Wrong::Value)?;
    Ok(())
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Bool(_) => "a boolean",
            Place::I64(_) => "i64",
            Place::I32(_) => "i32",
            Place::U64(_) => "u64",
            Place::U32(_) => "u32",
            Place::U16(_) => "u16",
            Place::U8(_) => "u8",
            Place::Text(_) => "a string",
            Place::Path(_) => "path string",
            Place::Words(_) => "a string or a list of strings",
            Place::Object(_) => "an object",
            Place::List(list) => return list.expected(f),
            Place::Map(_) => "a map",
            Place::Free(free) => free.expected(),
            Place::Maybe(_) | Place::Ignored => "a value",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self {
            Place::Maybe(_) => Ok(()),
            place => place.single(Unexpected::Unit),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.single(Unexpected::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.single(Unexpected::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.single(Unexpected::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.single(Unexpected::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.single(Unexpected::Str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut place = self.present();
        let list: Option<&mut dyn List> = match &mut place {
            Place::List(list) => Some(*list),
            Place::Words(words) => Some(words.insert(Vec::new())),
            Place::Free(free) => free.list(),
            Place::Ignored => return IgnoredAny.visit_seq(elements).map(drop),
            _ => None,
        };
        let Some(list) = list else { return Err(A::Error::invalid_type(Unexpected::Seq, &place)) };
        let mut index = 0;
        while elements.next_element_seed(Element { list, index })?.is_some() {
            index += 1;
        }
        if index < list.least() {
            return Err(A::Error::invalid_length(index, &Place::List(list)));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut place = self.present();
        let map: Option<&mut dyn Map> = match &mut place {
            Place::Object(object) => return fill(*object, members),
            Place::Map(map) => Some(*map),
            Place::Free(free) => free.map(),
            Place::Ignored => return IgnoredAny.visit_map(members).map(drop),
            _ => None,
        };
        let Some(map) = map else { return Err(A::Error::invalid_type(Unexpected::Map, &place)) };
        while let Some(name) = members.next_key::<String>()? {
            let Some(value) = map.entry(&name) else {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            };
            members.next_value_seed(value)?;
        }
        Ok(())
    }
}

/// The next element of a list.
struct Element<'a> {
    list: &'a mut dyn List,
    index: usize,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        if let Some(element) = self.list.element(self.index) {
            return element.deserialize(d);
        }
        Place::Ignored.deserialize(d)?;
        Err(D::Error::invalid_length(self.index + 1, &Place::List(self.list)))
    }
}

fn fill<'de, A: MapAccess<'de>>(object: &mut dyn Object, mut members: A) -> Result<(), A::Error> {
    let Names { all: names, firsts, required } = *object.names();
    let mut seen = [0u64; 4];
    // Most documents have the members in the order of the struct that wrote them.
    let mut next = 0;
    while let Some(key) = members.next_key_seed(Key { names, next })? {
        match key {
            Some(name) => {
                next = name + 1;
                let first = firsts[name];
                let index = usize::from(first);
                let (word, bit) = (&mut seen[index / 64], 1 << (index % 64));
                if *word & bit != 0 {
                    return Err(A::Error::duplicate_field(names[name]));
                }
                *word |= bit;
                let value = object.member(index);
                let taken = match required.contains(&first) {
                    true => members.next_value_seed(value),
                    false => members.next_value_seed(Given(value)),
                };
                taken.map_err(|e| in_member(names[name], &e))?;
            }
            None => drop(members.next_value::<IgnoredAny>()?),
        }
    }
    match required.iter().map(|first| usize::from(*first)).find(|index| seen[index / 64] & 1 << (index % 64) == 0) {
        Some(missing) => Err(A::Error::missing_field(names[missing])),
        None => Ok(()),
    }
}

/// The value of a member that `null` leaves as it is.
struct Given<'a>(Place<'a>);

impl<'de> DeserializeSeed<'de> for Given<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Given<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        self.0.deserialize(d)
    }
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
