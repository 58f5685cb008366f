//! Documents in memory over a file: those that changed and are not in it yet, and those that were
//! written last, since who changes a document reads it first.
//!
//! A projection that is behind gathers many changes before it writes them: a document that is
//! changed a hundred times is then written once, and never read back.

mod arena;
mod table;

use std::collections::BTreeMap;
use std::iter::{once, repeat};
use std::ops::{Bound, RangeBounds};
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::document::Index;
use crate::runtime::Change;
use crate::storage::read_models::{Conflict, ReadModelError, RowChange, View, WriteError};

use table::Table;

/// Changes over a file, each document's last, and what is in the file as far as it is remembered.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// By collection.
    tables: BTreeMap<String, Table>,
    /// Whether someone wanted documents in their order.
    was_scanned: AtomicBool,
    owners: Owners,
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
        self.tables.values().map(|table| table.changed_bytes).sum()
    }

    /// Whether it should stay small, since someone wants documents in their order.
    pub(super) fn was_scanned(&self) -> bool {
        self.was_scanned.load(Ordering::Relaxed)
    }

    /// Whether everything is in the file.
    pub(super) fn is_written(&self) -> bool {
        self.tables.values().all(Table::is_written)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What changed is in the file now, and is kept as long as there is room.
    pub(super) fn written(&mut self, most_bytes: usize) {
        let has_room = self.tables.values().map(Table::bytes).sum::<usize>() <= most_bytes;
        self.tables.values_mut().for_each(|table| table.written(has_room));
        self.owners.clear();
        self.was_scanned = AtomicBool::new(false);
    }

    /// Takes changes in, the last of each document.
    pub(super) fn take(&mut self, changes: &[Change]) {
        for changes in changes.chunk_by(|one, next| one.collection() == next.collection()) {
            let Some(first) = changes.first() else { continue };
            let changes = changes.iter().map(|change| (change.key(), change.document()));
            self.tables.entry(first.collection().to_owned()).or_default().put(changes);
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
        for ((collection, key), document) in &net {
            let table = self.tables.entry(collection.clone()).or_default();
            table.put(once((&**key, document.as_deref())));
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
                let document = self.get_many(view, collection, from_ref(key))?.pop().flatten();
                let Some(document) = document else { continue };
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

    /// All changes, as the storage takes them: by collection, in the order of their keys.
    pub(super) fn changes(&self) -> impl Iterator<Item = RowChange<'_>> {
        self.tables.iter().flat_map(|(collection, table)| {
            table.sorted().map(move |(key, document)| RowChange { collection, key, document })
        })
    }

    /// The documents at some keys, as they are after the changes.
    pub(super) fn get_many(
        &self,
        view: &View,
        collection: &str,
        keys: &[String],
    ) -> Result<Vec<Option<String>>, ReadModelError> {
        let table = self.tables.get(collection).into_iter();
        let known = table.flat_map(|table| table.get_many(keys.iter().map(String::as_str)));
        let get = |(key, known): (&String, Option<Option<&str>>)| match known {
            Some(document) => Ok(document.map(str::to_owned)),
            None => view.get(collection, key),
        };
        keys.iter().zip(known.chain(repeat(None))).map(get).collect()
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
        let changed = self.tables.get(collection).into_iter().flat_map(Table::sorted);
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
}

/// The unique indexes of a collection, with their places in the list.
fn of_collection<'u>(
    unique: &'u [Unique],
    collection: &str,
) -> impl Iterator<Item = (usize, &'u Unique)> {
    unique.iter().enumerate().filter(move |(_, unique)| unique.collection == collection)
}
