//! Indexes over documents: which values make an entry, and how an entry is written.

use std::fmt;

use super::path::{Path, PathError};
use super::value::{Kind, Value, complement};

/// One value of an index, and which way it is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Where the value is.
    pub path: Path,
    /// Largest first.
    pub descending: bool,
}

impl Part {
    /// Parses `path` or `-path`.
    ///
    /// # Errors
    /// [`PathError`] when it is no path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let (path, descending) = match text.strip_prefix('-') {
            Some(path) => (path, true),
            None => (text, false),
        };
        Ok(Self { path: Path::parse(path)?, descending })
    }

    /// The bytes of a value, in this part's direction.
    #[must_use]
    pub fn directed(&self, value: &[u8]) -> Vec<u8> {
        if self.descending { complement(value) } else { value.to_vec() }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.descending { "-" } else { "" }, self.path)
    }
}

/// An index of a read model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Index {
    /// Its name, unique in the read model.
    pub name: String,
    /// Its values, the first thing first.
    pub parts: Vec<Part>,
    /// No two documents have the same values. Documents that lack one of them, or have null there,
    /// may be any number.
    pub unique: bool,
}

/// Why an index cannot be as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexError(String);

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IndexError {}

/// What a document is found by in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its values, one after the other.
    pub values: Vec<u8>,
    /// Whether a unique index lets no other document have them.
    pub claims: bool,
}

impl Index {
    /// An index over paths, each with a dash before it for largest first.
    ///
    /// # Errors
    /// [`IndexError`] when there is no path, a path is none, or one is named twice.
    pub fn new(name: &str, paths: &[String], unique: bool) -> Result<Self, IndexError> {
        let part = |text: &String| {
            Part::parse(text).map_err(|error| IndexError(format!("{text:?} is {error}")))
        };
        let parts: Vec<Part> = paths.iter().map(part).collect::<Result<_, _>>()?;
        if !(1..=MOST_PARTS).contains(&parts.len()) {
            return Err(IndexError(format!("it must have 1 to {MOST_PARTS} paths")));
        }
        for (at, part) in parts.iter().enumerate() {
            if parts.iter().take(at).any(|before| before.path == part.path) {
                return Err(IndexError(format!("the path {} is named twice", part.path)));
            }
        }
        Ok(Self { name: name.to_owned(), parts, unique })
    }

    /// What a document is found by.
    #[must_use]
    pub fn entry(&self, document: &str) -> Entry {
        let mut entry = Entry { values: Vec::with_capacity(32), claims: self.unique };
        for part in &self.parts {
            let value = Value::of(part.path.find(document));
            entry.claims &= !matches!(value.kind(), Kind::Missing | Kind::Null);
            entry.values.extend_from_slice(&part.directed(value.as_bytes()));
        }
        entry
    }

    /// Whether documents with the same values come with the largest key first: the key takes the
    /// direction of the last value, so that an index read backward is the opposite order.
    #[must_use]
    pub fn key_descending(&self) -> bool {
        self.parts.last().is_some_and(|part| part.descending)
    }
}

/// The most values of an index.
const MOST_PARTS: usize = 8;

/// A document's key as the end of an entry. Keys hold no control characters.
#[must_use]
pub fn entry_key(key: &str, descending: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.extend_from_slice(key.as_bytes());
    out.push(0);
    if descending { complement(&out) } else { out }
}
