//! Changes that are not in the file yet. A projection that is behind gathers many before it writes
//! them: a document that is changed a hundred times is then written once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::document::Index;
use crate::runtime::Change;
use crate::storage::read_models::{Conflict, ReadModelError, RowChange, View, WriteError};

/// What an entry costs besides its bytes, about.
const ENTRY_BYTES: usize = 96;

/// By key. Not in their order: looking one up is what costs, and they are sorted when they are
/// written.
type Documents = HashMap<String, Option<String>>;

/// Changes over a file, each document's last.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// By collection; there are few.
    collections: Vec<(String, Documents)>,
    bytes: usize,
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
    /// Bytes that it holds, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it should stay small, since someone wants documents in their order.
    pub(super) fn was_scanned(&self) -> bool {
        self.was_scanned.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.collections.iter().all(|(_, documents)| documents.is_empty())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
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

    fn put(&mut self, collection: String, key: String, document: Option<String>) {
        let at = self.collections.iter().position(|(name, _)| *name == collection);
        let at = at.unwrap_or_else(|| {
            self.collections.push((collection, Documents::new()));
            self.collections.len() - 1
        });
        let Some((_, documents)) = self.collections.get_mut(at) else { return };
        let added = document.as_ref().map_or(0, String::len);
        match documents.entry(key) {
            Entry::Occupied(mut entry) => {
                let gone = entry.insert(document).map_or(0, |document| document.len());
                self.bytes = (self.bytes + added).saturating_sub(gone);
            }
            Entry::Vacant(entry) => {
                self.bytes += entry.key().len() + added + ENTRY_BYTES;
                entry.insert(document);
            }
        }
    }

    /// All changes, as the storage takes them: by collection, in the order of their keys.
    pub(super) fn changes(&self) -> impl Iterator<Item = RowChange<'_>> {
        self.collections.iter().flat_map(|(collection, documents)| {
            let mut sorted: Vec<_> = documents.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            sorted.into_iter().map(move |(key, document)| RowChange {
                collection,
                key,
                document: document.as_deref(),
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
        match self.documents(collection).and_then(|documents| documents.get(key)) {
            Some(document) => Ok(document.clone()),
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
        let documents = self.documents(collection).into_iter().flatten();
        let inside =
            documents.filter(|(key, _)| RangeBounds::<str>::contains(&range, key.as_str()));
        let sorted: BTreeMap<_, _> = inside.collect();
        let mut changed = sorted.into_iter().peekable();
        let mut offer = |key: &str, document: &Option<String>| {
            document.as_ref().is_none_or(|document| each(key, document))
        };
        let mut go_on = true;
        view.scan(collection, from, |key, document| {
            while let Some((changed, document)) =
                changed.next_if(|(changed, _)| changed.as_str() < key)
            {
                go_on = go_on && offer(changed, document);
            }
            go_on = go_on
                && match changed.next_if(|(changed, _)| changed.as_str() == key) {
                    Some((_, document)) => offer(key, document),
                    None => offer(key, &Some(document.to_owned())),
                };
            go_on
        })?;
        for (key, document) in changed {
            go_on = go_on && offer(key, document);
        }
        Ok(())
    }

    fn documents(&self, collection: &str) -> Option<&Documents> {
        self.collections.iter().find(|(name, _)| name == collection).map(|(_, found)| found)
    }
}

/// The unique indexes of a collection, with their places in the list.
fn of_collection<'u>(
    unique: &'u [Unique],
    collection: &str,
) -> impl Iterator<Item = (usize, &'u Unique)> {
    unique.iter().enumerate().filter(move |(_, unique)| unique.collection == collection)
}
