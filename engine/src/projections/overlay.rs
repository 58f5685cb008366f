//! Documents in memory over a file: those that changed and are not in it yet, and those that were
//! written last, since who changes a document reads it first.
//!
//! A projection that is behind gathers many changes before it writes them: a document that is
//! changed a hundred times is then written once, and never read back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::document::Index;
use crate::runtime::Change;
use crate::storage::read_models::{Conflict, ReadModelError, RowChange, View, WriteError};

/// What an entry costs besides its bytes, about.
const ENTRY_BYTES: usize = 96;

/// By key. Not in their order: looking one up is what costs, and those that changed are sorted when
/// they are written.
type Documents = HashMap<String, Document>;

/// A document, or that there is none.
#[derive(Debug)]
struct Document {
    json: Option<String>,
    /// Whether it is not in the file yet.
    is_changed: bool,
}

/// Changes over a file, each document's last, and what is in the file as far as it is remembered.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// By collection; there are few.
    tables: Vec<Table>,
    /// Bytes of all, about.
    bytes: usize,
    /// Bytes of what changed, about.
    changed_bytes: usize,
    /// Whether someone wanted documents in their order.
    was_scanned: AtomicBool,
    owners: Owners,
}

/// The documents of one collection.
#[derive(Debug)]
struct Table {
    collection: String,
    documents: Documents,
    /// The keys of those that changed.
    changed: Vec<String>,
}

/// Who has which values of which unique index, as far as it changed: the index by its place in the
/// projection's list.
type Owners = BTreeMap<(usize, Vec<u8>), Option<String>>;

/// A unique index of a collection.
#[derive(Clone, Debug)]
pub(super) struct Unique {
    pub(super) collection: String,
    pub(super) index: Index,
}

/// What one record changes.
type Net = BTreeMap<(String, String), Option<String>>;

impl Overlay {
    /// Bytes of what is not in the file yet, about.
    pub(super) fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    /// Whether it should stay small, since someone wants documents in their order.
    pub(super) fn was_scanned(&self) -> bool {
        self.was_scanned.load(Ordering::Relaxed)
    }

    /// Whether everything is in the file.
    pub(super) fn is_written(&self) -> bool {
        self.tables.iter().all(|table| table.changed.is_empty())
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What changed is in the file now, and is kept as long as there is room.
    pub(super) fn written(&mut self, most_bytes: usize) {
        let is_full = self.bytes > most_bytes;
        for Table { documents, changed, .. } in &mut self.tables {
            if is_full {
                documents.retain(|_, document| document.is_changed);
            }
            for key in changed.drain(..) {
                if let Some(document) = documents.get_mut(&key) {
                    document.is_changed = false;
                }
            }
        }
        if is_full {
            self.bytes = self.changed_bytes;
        }
        self.changed_bytes = 0;
        self.owners.clear();
        self.was_scanned = AtomicBool::new(false);
    }

    /// Takes changes in, the last of each document.
    pub(super) fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            let (collection, key, document) = match change {
                Change::Put((collection, key, document)) => (collection, key, Some(document)),
                Change::Delete((collection, key)) => (collection, key, None),
            };
            self.put(collection, key, document);
        }
    }

    /// As [`Overlay::take`], for a projection with unique indexes and what one record changes:
    /// nothing is taken if two documents would have the same values.
    pub(super) fn take_unique(
        &mut self,
        changes: Vec<Change>,
        unique: &[Unique],
        view: &View,
    ) -> Result<(), WriteError> {
        let mut net = Net::new();
        for change in changes {
            match change {
                Change::Put((collection, key, document)) => {
                    net.insert((collection, key), Some(document))
                }
                Change::Delete((collection, key)) => net.insert((collection, key), None),
            };
        }
        let mut owners = self.released(&net, unique, view)?;
        for ((collection, key), document) in &net {
            let Some(document) = document else { continue };
            for (at, unique) in of_collection(unique, collection) {
                let entry = unique.index.entry(document);
                if entry.claims {
                    self.claim(&mut owners, (at, entry.values), key, unique, view)?;
                }
            }
        }
        self.owners.append(&mut owners);
        for ((collection, key), document) in net {
            self.put(collection, key, document);
        }
        Ok(())
    }

    /// The values that the changed documents had, free again.
    fn released(
        &self,
        net: &Net,
        unique: &[Unique],
        view: &View,
    ) -> Result<Owners, ReadModelError> {
        let mut owners = Owners::new();
        for (collection, key) in net.keys() {
            for (at, unique) in of_collection(unique, collection) {
                let Some(document) = self.get(view, collection, key)? else { continue };
                let entry = unique.index.entry(&document);
                if entry.claims {
                    owners.insert((at, entry.values), None);
                }
            }
        }
        Ok(owners)
    }

    fn claim(
        &self,
        owners: &mut Owners,
        values: (usize, Vec<u8>),
        key: &str,
        unique: &Unique,
        view: &View,
    ) -> Result<(), WriteError> {
        let owner = match owners.get(&values).or_else(|| self.owners.get(&values)) {
            Some(owner) => owner.clone(),
            None => {
                // One that is being built is looked at when the changes are written.
                let index = view
                    .indexes_of(&unique.collection)
                    .find(|found| found.index() == &unique.index && found.is_whole());
                index.map(|index| index.owner(&values.1)).transpose()?.flatten()
            }
        };
        match owner {
            Some(owner) if owner != key => Err(WriteError::Conflict(Conflict {
                collection: unique.collection.clone(),
                index: unique.index.name.clone(),
                keys: [owner, key.to_owned()],
            })),
            _ => {
                owners.insert(values, Some(key.to_owned()));
                Ok(())
            }
        }
    }

    fn put(&mut self, collection: String, key: String, json: Option<String>) {
        let at = self.tables.iter().position(|table| table.collection == collection);
        let at = at.unwrap_or_else(|| {
            let (documents, changed) = (Documents::new(), Vec::new());
            self.tables.push(Table { collection, documents, changed });
            self.tables.len() - 1
        });
        let Some(table) = self.tables.get_mut(at) else { return };
        let after = bytes(&key, json.as_ref());
        match table.documents.entry(key) {
            Entry::Occupied(mut entry) => {
                let before = bytes(entry.key(), entry.get().json.as_ref());
                let old = entry.insert(Document { json, is_changed: true });
                self.bytes = (self.bytes + after).saturating_sub(before);
                if old.is_changed {
                    self.changed_bytes = (self.changed_bytes + after).saturating_sub(before);
                    return;
                }
                table.changed.push(entry.key().clone());
            }
            Entry::Vacant(entry) => {
                table.changed.push(entry.key().clone());
                self.bytes += after;
                entry.insert(Document { json, is_changed: true });
            }
        }
        self.changed_bytes += after;
    }

    /// All changes, as the storage takes them: by collection, in the order of their keys.
    pub(super) fn changes(&self) -> impl Iterator<Item = RowChange<'_>> {
        self.tables.iter().flat_map(|table| {
            table.sorted().map(|(key, document)| RowChange {
                collection: &table.collection,
                key,
                document,
            })
        })
    }

    /// The document at a key, as it is after the changes.
    pub(super) fn get(
        &self,
        view: &View,
        collection: &str,
        key: &str,
    ) -> Result<Option<String>, ReadModelError> {
        match self.table(collection).and_then(|table| table.documents.get(key)) {
            Some(document) => Ok(document.json.clone()),
            None => view.get(collection, key),
        }
    }

    /// Gives the documents from a key on, as they are after the changes, to `each`, in the order of
    /// their keys, until it answers false.
    pub(super) fn scan(
        &self,
        view: &View,
        collection: &str,
        from: Bound<&str>,
        mut each: impl FnMut(&str, &str) -> bool,
    ) -> Result<(), ReadModelError> {
        self.was_scanned.store(true, Ordering::Relaxed);
        let range = (from, Bound::Unbounded);
        let changed = self.table(collection).into_iter().flat_map(Table::sorted);
        let mut changed =
            changed.filter(|(key, _)| RangeBounds::<str>::contains(&range, *key)).peekable();
        let mut offer =
            |key: &str, document: Option<&str>| document.is_none_or(|document| each(key, document));
        let mut go_on = true;
        view.scan(collection, from, |key, document| {
            while let Some((changed, document)) = changed.next_if(|(changed, _)| *changed < key) {
                go_on = go_on && offer(changed, document);
            }
            go_on = go_on
                && match changed.next_if(|(changed, _)| *changed == key) {
                    Some((_, document)) => offer(key, document),
                    None => offer(key, Some(document)),
                };
            go_on
        })?;
        for (key, document) in changed {
            go_on = go_on && offer(key, document);
        }
        Ok(())
    }

    fn table(&self, collection: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.collection == collection)
    }
}

impl Table {
    /// What changed, in the order of keys.
    fn sorted(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let mut keys: Vec<&str> = self.changed.iter().map(String::as_str).collect();
        keys.sort_unstable();
        let found = |key| Some((key, self.documents.get(key)?.json.as_deref()));
        keys.into_iter().filter_map(found)
    }
}

/// Bytes of an entry, about.
fn bytes(key: &str, json: Option<&String>) -> usize {
    key.len() + json.map_or(0, String::len) + ENTRY_BYTES
}

/// The unique indexes of a collection, with their places in the list.
fn of_collection<'u>(
    unique: &'u [Unique],
    collection: &str,
) -> impl Iterator<Item = (usize, &'u Unique)> {
    unique.iter().enumerate().filter(move |(_, unique)| unique.collection == collection)
}
