//! Paths: names of fields and places in arrays, joined by dots.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The longest path in bytes.
const PATH_BYTES: usize = 255;
/// The most steps of a path.
const STEPS: usize = 16;

/// A path into a document: `price`, `address.city`, `lines.0.amount`. A step that is a number names
/// a place in an array, from 0, and a field of that name in an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathError;

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no path: it must be 1 to {STEPS} field names joined by dots, {PATH_BYTES} bytes at \
             most, without colons, commas, control characters or a dash at its start"
        )
    }
}

impl std::error::Error for PathError {}

impl Path {
    /// Parses a path.
    ///
    /// # Errors
    /// [`PathError`] when a step is empty or the text leaves the alphabet.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let is_plain = text.chars().all(|c| !matches!(c, ':' | ',') && !c.is_control());
        let has_steps = text.split('.').all(|step| !step.is_empty());
        let fits = text.len() <= PATH_BYTES && text.split('.').count() <= STEPS;
        if is_plain && has_steps && fits && !text.starts_with('-') {
            Ok(Self(Arc::from(text)))
        } else {
            Err(PathError)
        }
    }

    /// The path as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The JSON text that a document has here; none where it has nothing.
    #[must_use]
    pub fn find<'a>(&self, document: &'a str) -> Option<&'a str> {
        self.0.split('.').try_fold(document.trim_ascii_start(), |json, step| {
            let mut json_of = serde_json::Deserializer::from_str(json);
            // Numbers that are passed over stay text, however large.
            let found = match json.as_bytes().first()? {
                b'{' => json_of.deserialize_map(Field(step)),
                b'[' => json_of.deserialize_seq(Place(step)),
                _ => return None,
            };
            found.ok().flatten().map(RawValue::get)
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Finds the first field of a name.
struct Field<'s>(&'s str);

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsName(self.0))? {
            if is_it && found.is_none() {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Finds the element at a place.
struct Place<'s>(&'s str);

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
        let is_number = self.0.bytes().all(|byte| byte.is_ascii_digit());
        let place = self.0.parse::<usize>().ok().filter(|_| is_number);
        let (mut at, mut found) = (0, None);
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if place == Some(at) {
                found = Some(element);
            }
            at += 1;
        }
        Ok(found)
    }
}

/// Compares a key without keeping it.
struct IsName<'s>(&'s str);

impl<'de> serde::de::DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
