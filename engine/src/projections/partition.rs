//! Partitions: which events of a batch belong together, and whether what several instances made of
//! it, each of its own partitions, is what one would have made.
//!
//! All begin with the same documents, so it is the same if none changed a document that another
//! touched. If one did, what the projection says of itself is not true, and nothing is taken.

use std::collections::HashMap;
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;

use super::batch::Look;
use crate::document::Index;
use crate::event::{RecordedEvent, guest_data};
use crate::manifest::{Partition, ProjectionManifest};
use crate::runtime::{Change, ReadModelLook};

/// What the events of one partition have in common.
pub(super) struct Key {
    /// Values of their data; none: their stream.
    values: Option<Index>,
    hasher: DefaultHashBuilder,
}

impl Key {
    /// What a projection says; none where it says nothing.
    pub(super) fn of(spec: &ProjectionManifest) -> Option<Self> {
        let values = match spec.partition.as_ref()? {
            Partition::Stream => None,
            // They were checked with the manifest.
            Partition::Data(paths) => Some(Index::new("partition", paths, false).ok()?),
        };
        Some(Self { values, hasher: DefaultHashBuilder::default() })
    }

    /// The same for all events of a partition.
    pub(super) fn hash(&self, event: &RecordedEvent<'_>) -> u64 {
        match &self.values {
            None => self.hasher.hash_one(event.stream),
            Some(values) => {
                let data = guest_data(event.content_type, event.data);
                self.hasher.hash_one(values.entry(&data).values)
            }
        }
    }
}

/// The partitions that one of several instances takes.
#[derive(Clone, Copy)]
pub(super) struct Share<'a> {
    pub(super) key: &'a Key,
    /// Its number, from 0.
    pub(super) at: usize,
    /// How many there are.
    pub(super) of: usize,
}

impl Share<'_> {
    pub(super) fn holds(&self, event: &RecordedEvent<'_>) -> bool {
        let [at, of] = [self.at, self.of].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        self.key.hash(event) % of.max(1) == at
    }
}

/// A document, by the place of its collection among the projection's.
type Place = (usize, String);

/// What an instance looked at.
#[derive(Debug, Default)]
pub(super) struct Reads {
    keys: Vec<Place>,
    prefixes: Vec<Place>,
}

impl Reads {
    pub(super) fn holds(&self, (collection, key): &Place) -> bool {
        let mut prefixes = self.prefixes.iter();
        self.keys.iter().any(|place| place.0 == *collection && place.1 == *key)
            || prefixes.any(|(of, prefix)| of == collection && key.starts_with(prefix))
    }
}

/// A look that remembers what was looked at.
pub(super) struct Watched {
    look: Look,
    reads: Mutex<Reads>,
}

impl Watched {
    pub(super) fn new(look: Look) -> Self {
        Self { look, reads: Mutex::default() }
    }

    pub(super) fn reads(&self) -> Reads {
        std::mem::take(&mut *self.reads.lock())
    }
}

impl ReadModelLook for Watched {
    fn get_many(&self, collection: &str, keys: &[String]) -> Result<Vec<Option<String>>, String> {
        let at = place(&self.look.spec, collection);
        self.reads.lock().keys.extend(keys.iter().map(|key| (at, key.clone())));
        self.look.get_many(collection, keys)
    }

    fn scan(
        &self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, String)>, String> {
        let at = place(&self.look.spec, collection);
        self.reads.lock().prefixes.push((at, prefix.to_owned()));
        self.look.scan(collection, prefix, after, limit)
    }
}

/// What one of several instances made of its share.
pub(super) struct Done {
    pub(super) changes: Vec<Change>,
    pub(super) reads: Reads,
}

/// All changes, or a document that one changed and another touched.
pub(super) fn merge(spec: &ProjectionManifest, shares: Vec<Done>) -> Result<Vec<Change>, Place> {
    let count = shares.iter().map(|done| done.changes.len()).sum();
    let hasher = DefaultHashBuilder::default();
    let mut changed = HashMap::<(usize, &str), usize, _>::with_capacity_and_hasher(count, hasher);
    for (at, done) in shares.iter().enumerate() {
        for change in &done.changes {
            let (collection, key) = changed_by(spec, change);
            if changed.insert((collection, key), at).is_some_and(|other| other != at) {
                return Err((collection, key.to_owned()));
            }
        }
    }
    for (at, done) in shares.iter().enumerate() {
        let is_foreign = |key: &(usize, &str)| changed.get(key).is_some_and(|other| *other != at);
        let keys = done.reads.keys.iter().map(|(collection, key)| (*collection, key.as_str()));
        let scanned = done.reads.prefixes.iter().flat_map(|(collection, prefix)| {
            let of_prefix = changed.keys().copied();
            of_prefix.filter(move |(of, key)| of == collection && key.starts_with(prefix))
        });
        if let Some((collection, key)) = keys.chain(scanned).find(is_foreign) {
            return Err((collection, key.to_owned()));
        }
    }
    Ok(shares.into_iter().flat_map(|done| done.changes).collect())
}

/// The document that a change is of.
pub(super) fn changed_by<'c>(spec: &ProjectionManifest, change: &'c Change) -> (usize, &'c str) {
    (place(spec, change.collection()), change.key())
}

/// What is not its own is refused elsewhere.
fn place(spec: &ProjectionManifest, collection: &str) -> usize {
    spec.collections.iter().position(|own| own.name == collection).unwrap_or(usize::MAX)
}

/// A document that events of two partitions touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SharedDocument {
    pub(super) projection: String,
    pub(super) partition: Option<Partition>,
    pub(super) collection: String,
    pub(super) key: String,
    /// The positions of the first two such events, where each touches it by itself.
    pub(super) positions: Option<(u64, u64)>,
}

impl std::fmt::Display for SharedDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { projection, partition, collection, key, positions } = self;
        let partition = partition.as_ref().map(ToString::to_string).unwrap_or_default();
        write!(
            f,
            "projection {projection} says that each of its documents depends on the events of \
             {partition}, and {key:?} of {collection} does not: "
        )?;
        match positions {
            Some((one, other)) => {
                write!(f, "the events at positions {one} and {other}, which have not the same,")?;
            }
            None => f.write_str("events that have not the same")?,
        }
        f.write_str(
            " both touch it; mend the projection's partition in the manifest, or leave it out, and \
             activate that version of the module",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ProjectionManifest {
        let json = r#"{"name":"p","collections":[{"name":"a"},{"name":"b"}]}"#;
        serde_json::from_str(json).expect("is one")
    }

    fn done(puts: &[(&str, &str)], keys: &[(usize, &str)], prefixes: &[(usize, &str)]) -> Done {
        let owned = |places: &[(usize, &str)]| {
            places.iter().map(|(at, key)| (*at, (*key).to_owned())).collect::<Vec<_>>()
        };
        let put = |(collection, key): &(&str, &str)| {
            Change::Put(((*collection).to_owned(), (*key).to_owned(), "{}".to_owned()))
        };
        let reads = Reads { keys: owned(keys), prefixes: owned(prefixes) };
        Done { changes: puts.iter().map(put).collect(), reads }
    }

    #[test]
    fn what_nobody_else_touched_is_taken() {
        let shares = vec![
            done(&[("a", "x"), ("b", "y")], &[(0, "x"), (0, "z")], &[(0, "x")]),
            done(&[("a", "y"), ("b", "x")], &[(1, "x"), (0, "z")], &[(1, "x")]),
        ];
        assert_eq!(merge(&spec(), shares).map(|changes| changes.len()), Ok(4));
    }

    #[test]
    fn a_document_that_one_changes_and_another_touches_is_found() {
        let writes = || done(&[("a", "xy")], &[], &[]);
        for other in [
            done(&[("a", "xy")], &[], &[]),
            done(&[], &[(0, "q"), (0, "xy")], &[]),
            done(&[], &[], &[(0, "x")]),
        ] {
            let merged = merge(&spec(), vec![writes(), other]).map(|changes| changes.len());
            assert_eq!(merged, Err((0, "xy".to_owned())));
        }
    }
}
