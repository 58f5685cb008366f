//! Reading documents before they are asked for: the engine answers a thousand at once in much less
//! time than one after another.

use std::collections::BTreeMap;

use super::{AnyDocument, Row, Rows, read, table};
use crate::{Collection, Document, Fault};

/// Documents that are asked for at once: as many are held as JSON and as values.
const AT_ONCE: usize = 1_000;

/// The documents that the events of a batch say they will touch.
#[derive(Debug, Default)]
pub struct Prefetch {
    wanted: BTreeMap<&'static str, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    collection: Collection,
    keys: Vec<String>,
    read: Read,
}

/// Makes a document of a key and its JSON.
type Read = fn(&str, &str) -> Result<Box<dyn AnyDocument>, Fault>;

impl Prefetch {
    /// The document under `key` will be asked for.
    pub fn read<D: Document>(&mut self, key: &str) {
        let collection = D::COLLECTION;
        let new = || Wanted { collection, keys: Vec::new(), read: read::<D> };
        self.wanted.entry(collection.name()).or_insert_with(new).keys.push(key.to_owned());
    }
}

impl Rows {
    /// Reads what is wanted, before the batch touches anything.
    pub(crate) fn prefetch(&mut self, prefetch: Prefetch) -> Result<(), Fault> {
        for Wanted { collection, mut keys, read } in prefetch.wanted.into_values() {
            let rows = table(self.declared, &mut self.touched, collection)?;
            keys.sort_unstable();
            keys.dedup();
            let mut documents = Vec::with_capacity(keys.len());
            for keys in keys.chunks(AT_ONCE) {
                let stored = self.stored.get_many(collection.name(), keys);
                let read = |(key, json): (&String, Option<String>)| {
                    json.map(|json| read(key, &json)).transpose()
                };
                for document in keys.iter().zip(stored).map(read) {
                    documents.push(Row { document: document?, changed: false });
                }
            }
            // Sorted, so that no place is looked for.
            rows.append(&mut keys.into_iter().zip(documents).collect());
        }
        Ok(())
    }
}
