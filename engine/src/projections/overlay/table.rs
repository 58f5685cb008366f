//! The documents of one collection that are in memory. Reading one is waiting for memory, so it is
//! a look into a small index and then one piece that holds key and JSON.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// What a document costs besides its bytes, about.
const DOCUMENT_BYTES: usize = 96;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) collection: String,
    documents: Vec<Document>,
    /// Their places by key.
    places: HashTable<usize>,
    hasher: RandomState,
    /// The places of those that are not in the file yet.
    changed: Vec<usize>,
    /// Bytes of all, about, and of those that changed.
    pub(super) bytes: usize,
    pub(super) changed_bytes: usize,
}

/// A document, or that there is none.
#[derive(Debug)]
struct Document {
    /// The key, then the JSON.
    text: String,
    key_bytes: usize,
    is_there: bool,
    /// Whether it is not in the file yet.
    is_changed: bool,
}

impl Document {
    fn key(&self) -> &str {
        self.text.get(..self.key_bytes).unwrap_or_default()
    }

    fn json(&self) -> Option<&str> {
        self.is_there.then(|| self.text.get(self.key_bytes..).unwrap_or_default())
    }

    fn set(&mut self, json: Option<&str>) {
        self.text.truncate(self.key_bytes);
        self.text.push_str(json.unwrap_or_default());
        self.is_there = json.is_some();
    }

    fn bytes(&self) -> usize {
        self.text.len() + DOCUMENT_BYTES
    }
}

impl Table {
    pub(super) fn new(collection: String) -> Self {
        Self {
            collection,
            documents: Vec::new(),
            places: HashTable::new(),
            hasher: RandomState::new(),
            changed: Vec::new(),
            bytes: 0,
            changed_bytes: 0,
        }
    }

    /// The document at a key: none where nothing is known of it, and none in that where there is
    /// no document.
    pub(super) fn get(&self, key: &str) -> Option<Option<&str>> {
        self.place(key).and_then(|place| self.documents.get(place)).map(Document::json)
    }

    /// Changes the document at a key.
    pub(super) fn put(&mut self, key: &str, json: Option<&str>) {
        let place = self.place(key).unwrap_or_else(|| self.add(key));
        let Some(document) = self.documents.get_mut(place) else { return };
        let before = document.bytes();
        document.set(json);
        let after = document.bytes();
        self.bytes = (self.bytes + after).saturating_sub(before);
        if document.is_changed {
            self.changed_bytes = (self.changed_bytes + after).saturating_sub(before);
        } else {
            document.is_changed = true;
            self.changed.push(place);
            self.changed_bytes += after;
        }
    }

    /// What changed is in the file now. Forgets the rest of what is known where there is no room.
    pub(super) fn written(&mut self, has_room: bool) {
        if !has_room {
            self.documents.retain(|document| document.is_changed);
            self.bytes = self.changed_bytes;
            self.changed = (0..self.documents.len()).collect();
            self.places.clear();
            for (place, document) in self.documents.iter().enumerate() {
                let hash = self.hasher.hash_one(document.key());
                let (documents, hasher) = (&self.documents, &self.hasher);
                self.places.insert_unique(hash, place, |at| hash_of(documents, hasher, *at));
            }
        }
        for place in self.changed.drain(..) {
            if let Some(document) = self.documents.get_mut(place) {
                document.is_changed = false;
            }
        }
        self.changed_bytes = 0;
    }

    pub(super) fn is_written(&self) -> bool {
        self.changed.is_empty()
    }

    /// What changed, in the order of keys.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let changed = self.changed.iter().filter_map(|place| self.documents.get(*place));
        let mut documents: Vec<_> = changed.map(|found| (found.key(), found.json())).collect();
        documents.sort_unstable_by_key(|(key, _)| *key);
        documents.into_iter()
    }

    fn place(&self, key: &str) -> Option<usize> {
        let is_it =
            |place: &usize| self.documents.get(*place).is_some_and(|found| found.key() == key);
        self.places.find(self.hasher.hash_one(key), is_it).copied()
    }

    /// Takes in that nothing is at a key.
    fn add(&mut self, key: &str) -> usize {
        let (place, hash) = (self.documents.len(), self.hasher.hash_one(key));
        let document = Document {
            text: key.to_owned(),
            key_bytes: key.len(),
            is_there: false,
            is_changed: false,
        };
        self.bytes += document.bytes();
        self.documents.push(document);
        let (documents, hasher) = (&self.documents, &self.hasher);
        self.places.insert_unique(hash, place, |at| hash_of(documents, hasher, *at));
        place
    }
}

fn hash_of(documents: &[Document], hasher: &RandomState, place: usize) -> u64 {
    hasher.hash_one(documents.get(place).map_or("", Document::key))
}
