//! The documents of one collection that are in memory. Reading one is waiting for memory, so it is
//! a look into a small index and then at one place that holds all of it.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::arena::Arena;

/// What a document costs besides its place in the arena, about.
const INDEX_BYTES: usize = 16;
/// Bytes that a document may grow by before it has to move: a number gets longer.
const GROWTH: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Table {
    arena: Arena,
    places: HashTable<Place>,
    /// Seeded, since whoever sends events may choose keys.
    hasher: DefaultHashBuilder,
    /// The places that were not in the file yet when they were first changed. Some documents moved
    /// since.
    changed: Vec<usize>,
    /// What those take, about.
    pub(super) changed_bytes: usize,
}

/// Where a document begins, and some bits of its key's hash, so that another key is seldom looked
/// at in vain. It is small, so that many stay near the processor.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// As many bytes as an address has.
    at: [u8; 6],
    bits: [u8; 2],
}

impl Place {
    fn new(at: usize, hash: u64) -> Self {
        let [a, b, c, d, e, f, ..] = u64::try_from(at).unwrap_or(u64::MAX).to_le_bytes();
        Self { at: [a, b, c, d, e, f], bits: Self::bits(hash) }
    }

    fn at(self) -> usize {
        let [a, b, c, d, e, f] = self.at;
        usize::try_from(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])).unwrap_or(usize::MAX)
    }

    fn is_of(self, key: &str, hash: u64, arena: &Arena) -> bool {
        self.bits == Self::bits(hash) && arena.has_key(self.at(), key)
    }

    /// By the first bits and the last ones the table tells places apart itself.
    fn bits(hash: u64) -> [u8; 2] {
        let [_, _, _, _, one, other, ..] = hash.to_le_bytes();
        [one, other]
    }
}

impl Table {
    /// What all takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.arena.bytes() + self.places.len() * INDEX_BYTES
    }

    /// The documents at some keys: none where nothing is known of one, and none in that where there
    /// is no document.
    pub(super) fn get_many<'k>(
        &self,
        keys: impl Iterator<Item = &'k str> + Clone,
    ) -> impl Iterator<Item = Option<Option<&str>>> {
        let found = self.find_all(keys).into_iter();
        found.map(|(_, found)| found.map(|at| self.arena.json(at)))
    }

    /// Changes documents, one after another.
    pub(super) fn put<'c>(
        &mut self,
        changes: impl Iterator<Item = (&'c str, Option<&'c str>)> + Clone,
    ) {
        let found = self.find_all(changes.clone().map(|(key, _)| key));
        for ((key, json), (hash, found)) in changes.zip(found) {
            let at = match found.filter(|at| self.arena.set(*at, json)) {
                Some(at) => at,
                None => self.place(key, json, hash),
            };
            if self.arena.mark(at, true) {
                self.changed.push(at);
                self.changed_bytes += self.arena.size(at) + INDEX_BYTES;
            }
        }
    }

    /// Puts a document where there is room for it, and answers where.
    fn place(&mut self, key: &str, json: Option<&str>, hash: u64) -> usize {
        let Self { arena, places, hasher, .. } = self;
        match places.find_mut(hash, |place| place.is_of(key, hash, arena)) {
            None => {
                let at = arena.add(key, json, GROWTH);
                let hash_of = |place: &Place| hasher.hash_one(arena.key(place.at()));
                places.insert_unique(hash, Place::new(at, hash), hash_of);
                at
            }
            Some(place) if arena.set(place.at(), json) => place.at(),
            // One that grew will grow again.
            Some(place) => {
                arena.leave(place.at());
                let at = arena.add(key, json, (key.len() + json.map_or(0, str::len)) / 2);
                *place = Place::new(at, hash);
                at
            }
        }
    }

    /// The hashes of keys, and where their documents are. Nothing else is done meanwhile: so a
    /// processor waits for several pieces of memory at once.
    fn find_all<'k>(
        &self,
        keys: impl Iterator<Item = &'k str> + Clone,
    ) -> Vec<(u64, Option<usize>)> {
        let hashes: Vec<_> = keys.clone().map(|key| self.hasher.hash_one(key)).collect();
        keys.zip(hashes).map(|(key, hash)| (hash, self.find(key, hash))).collect()
    }

    fn find(&self, key: &str, hash: u64) -> Option<usize> {
        let is_it = |place: &Place| place.is_of(key, hash, &self.arena);
        self.places.find(hash, is_it).map(|place| place.at())
    }

    /// What changed is in the file now. Forgets the rest of what is known where there is no room.
    pub(super) fn written(&mut self, has_room: bool) {
        if !has_room {
            let mut kept = Self::default();
            kept.put(self.changes());
            *self = kept;
        }
        for at in self.changed.drain(..) {
            self.arena.mark(at, false);
        }
        self.changed_bytes = 0;
    }

    pub(super) fn is_written(&self) -> bool {
        self.changed.is_empty()
    }

    /// What changed, in the order of keys.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let mut documents: Vec<_> = self.changes().collect();
        documents.sort_unstable_by_key(|(key, _)| *key);
        documents.into_iter()
    }

    fn changes(&self) -> impl Iterator<Item = (&str, Option<&str>)> + Clone {
        let changed = self.changed.iter().copied().filter(|at| self.arena.is_changed(*at));
        changed.map(|at| (self.arena.key(at), self.arena.json(at)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<(u8, Option<String>)>),
        Written(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let json = "[a-zé]{0,40}";
        vec(
            prop_oneof![
                4 => vec((0..20_u8, of(json)), 1..8).prop_map(Step::Put),
                1 => any::<bool>().prop_map(Step::Written),
            ],
            0..60,
        )
    }

    fn name(key: u8) -> String {
        format!("key-{key}")
    }

    proptest! {
        /// Like two maps: of all that is known, and of what is not in the file.
        #[test]
        fn a_table_knows_the_last_of_each_document(steps in steps()) {
            let mut table = Table::default();
            let (mut known, mut changed) = (BTreeMap::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Put(changes) => {
                        let named = changes.into_iter().map(|(key, json)| (name(key), json));
                        let named: Vec<_> = named.collect();
                        table.put(named.iter().map(|(key, json)| (&**key, json.as_deref())));
                        known.extend(named.clone());
                        changed.extend(named);
                    }
                    Step::Written(has_room) => {
                        table.written(has_room);
                        if !has_room {
                            known = changed;
                        }
                        changed = BTreeMap::new();
                    }
                }
                let sorted = changed.iter().map(|(key, json)| (key.as_str(), json.as_deref()));
                prop_assert!(table.sorted().eq(sorted));
                prop_assert_eq!(table.is_written(), changed.is_empty());
                prop_assert_eq!(table.changed_bytes == 0, changed.is_empty());
                let keys: Vec<_> = (0..20).map(name).collect();
                let expected = keys.iter().map(|key| known.get(key).map(Option::as_deref));
                prop_assert!(table.get_many(keys.iter().map(String::as_str)).eq(expected));
            }
        }
    }
}
