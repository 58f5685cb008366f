//! The rows a projection works on: each document is read at most once and written at most once a
//! batch, however many events touch it.
//!
//! Documents stay typed values while the batch lasts. Where a batch ends must make no difference
//! to what is stored, so a document must survive being written and read unchanged.

mod prefetch;

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::slice::from_ref;

use crate::bindings::projection::Change;
use crate::bindings::read_models;
use crate::{Collection, Document, Fault};

pub use prefetch::Prefetch;

/// A projection's own rows.
#[derive(Debug)]
pub struct Rows {
    declared: &'static [Collection],
    stored: Stored,
    touched: Touched,
}

/// The rows a batch has met, by collection and key.
type Touched = BTreeMap<&'static str, BTreeMap<String, Row>>;

/// Where documents come from that this batch has not touched yet.
#[derive(Debug)]
pub(crate) enum Stored {
    Engine,
    Memory(Tables),
}

/// Documents as JSON, by collection and key.
pub(crate) type Tables = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Debug)]
struct Row {
    document: Option<Box<dyn AnyDocument>>,
    changed: bool,
}

/// A document whose type only the projection knows.
trait AnyDocument: Any + std::fmt::Debug {
    fn to_json(&self) -> serde_json::Result<String>;
}

struct Typed<D>(D);

impl<D: Document> AnyDocument for Typed<D> {
    fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.0)
    }
}

impl<D: Document> std::fmt::Debug for Typed<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_json().unwrap_or_default())
    }
}

impl Rows {
    pub(crate) fn new(declared: &'static [Collection], stored: Stored) -> Self {
        Self { declared, stored, touched: BTreeMap::new() }
    }

    /// The document under `key`, if there is one.
    pub fn get<D: Document>(&mut self, key: &str) -> Result<Option<&D>, Fault> {
        match &self.row::<D>(key)?.document {
            Some(document) => typed(&**document).map(Some),
            None => Ok(None),
        }
    }

    /// Writes the document under `key`, whatever was there.
    pub fn put<D: Document>(&mut self, key: &str, document: D) -> Result<(), Fault> {
        self.write::<D>(key, Row { document: Some(Box::new(Typed(document))), changed: true })
    }

    /// Changes the document under `key`, beginning with the default where there is none.
    pub fn update<D: Document>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut D),
    ) -> Result<(), Fault> {
        let row = self.row::<D>(key)?;
        row.changed = true;
        let document = row.document.get_or_insert_with(|| Box::new(Typed(D::default())));
        change(typed_mut(&mut **document)?);
        Ok(())
    }

    /// Removes the document under `key`, if there is one.
    pub fn delete<D: Document>(&mut self, key: &str) -> Result<(), Fault> {
        self.write::<D>(key, Row { document: None, changed: true })
    }

    /// What the batch changed, in the order of collections and keys.
    pub(crate) fn into_changes(self) -> Result<Vec<Change>, Fault> {
        let mut changes = Vec::new();
        for (collection, rows) in self.touched {
            for (key, row) in rows.into_iter().filter(|(_, row)| row.changed) {
                changes.push(match row.document {
                    Some(document) => {
                        let json = document.to_json().map_err(|error| {
                            Fault::new(format!("document `{key}` of `{collection}`: {error}"))
                        })?;
                        Change::Put((collection.to_owned(), key, json))
                    }
                    None => Change::Delete((collection.to_owned(), key)),
                });
            }
        }
        Ok(changes)
    }

    /// The row under `key`, read from the store if the batch meets it for the first time.
    fn row<D: Document>(&mut self, key: &str) -> Result<&mut Row, Fault> {
        match table(self.declared, &mut self.touched, D::COLLECTION)?.entry(key.to_owned()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let stored = self.stored.get_many(D::COLLECTION.name(), from_ref(entry.key()));
                let stored = stored.into_iter().next().flatten();
                let document = stored.map(|json| read::<D>(key, &json)).transpose()?;
                Ok(entry.insert(Row { document, changed: false }))
            }
        }
    }

    fn write<D: Document>(&mut self, key: &str, row: Row) -> Result<(), Fault> {
        table(self.declared, &mut self.touched, D::COLLECTION)?.insert(key.to_owned(), row);
        Ok(())
    }
}

/// The touched rows of a collection.
fn table<'a>(
    declared: &[Collection],
    touched: &'a mut Touched,
    collection: Collection,
) -> Result<&'a mut BTreeMap<String, Row>, Fault> {
    match touched.entry(collection.name()) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) if declared.contains(&collection) => Ok(entry.insert(BTreeMap::new())),
        Entry::Vacant(entry) => {
            Err(Fault::new(format!("collection `{}` is not in COLLECTIONS", entry.key())))
        }
    }
}

impl Stored {
    pub(crate) fn get_many(&self, collection: &str, keys: &[String]) -> Vec<Option<String>> {
        match self {
            Self::Engine => read_models::get_many(collection, keys),
            Self::Memory(tables) => {
                let documents = tables.get(collection);
                keys.iter().map(|key| documents?.get(key).cloned()).collect()
            }
        }
    }

    /// Up to `limit` documents whose keys begin with `prefix` and come after one, in their order.
    pub(crate) fn scan(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Vec<(String, String)> {
        match self {
            Self::Engine => read_models::scan(collection, prefix, after, limit),
            Self::Memory(tables) => {
                let documents = tables.get(collection).into_iter().flatten();
                let wanted = documents.filter(|(key, _)| {
                    key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
                });
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                wanted.take(limit).map(|(key, json)| (key.clone(), json.clone())).collect()
            }
        }
    }
}

fn read<D: Document>(key: &str, json: &str) -> Result<Box<dyn AnyDocument>, Fault> {
    match serde_json::from_str::<D>(json) {
        Ok(document) => Ok(Box::new(Typed(document))),
        Err(error) => {
            let collection = D::COLLECTION.name();
            Err(Fault::new(format!("document `{key}` of `{collection}` does not fit: {error}")))
        }
    }
}

fn typed<D: Document>(document: &dyn AnyDocument) -> Result<&D, Fault> {
    let document: &dyn Any = document;
    document.downcast_ref::<Typed<D>>().map(|typed| &typed.0).ok_or_else(two_types::<D>)
}

fn typed_mut<D: Document>(document: &mut dyn AnyDocument) -> Result<&mut D, Fault> {
    let document: &mut dyn Any = document;
    document.downcast_mut::<Typed<D>>().map(|typed| &mut typed.0).ok_or_else(two_types::<D>)
}

fn two_types<D: Document>() -> Fault {
    Fault::new(format!("two document types share the collection `{}`", D::COLLECTION.name()))
}

#[cfg(test)]
mod tests;
