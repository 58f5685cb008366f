//! Documents and the index entries that change with them, in one transaction.

use std::ops::Bound;

use redb::{ReadableTable, WriteTransaction};

use super::indexes::entries;
use super::view::{IndexView, View, entry, key_in};
use super::{Conflict, Result, RowChange, WriteError, failed, rows_of};
use crate::document::next_after;

/// Writes documents, each once, and what their indexes have of them. `before` is the newest commit.
pub(super) fn rows<'a>(
    write: &WriteTransaction,
    before: &View,
    changes: impl Iterator<Item = RowChange<'a>>,
) -> std::result::Result<(), WriteError> {
    // A batch has its changes collection by collection, so each table is opened rarely.
    let mut changes = changes.peekable();
    while let Some(collection) = changes.peek().map(|change| change.collection) {
        let mut table = rows_of(write, collection)?;
        let mut edits: Vec<_> = before.indexes_of(collection).map(Edits::of).collect();
        while let Some(change) = changes.next_if(|change| change.collection == collection) {
            let old = match change.document {
                Some(document) => table.insert(change.key, document),
                None => table.remove(change.key),
            };
            let old = old.map_err(failed)?;
            let old = old.as_ref().map(redb::AccessGuard::value);
            for edits in edits.iter_mut().filter(|edits| edits.covers(change.key)) {
                edits.replace(change.key, old, change.document);
            }
        }
        for edits in edits {
            edits.write(write)?;
        }
    }
    Ok(())
}

/// What changes in one index.
pub(super) struct Edits<'a> {
    of: &'a IndexView,
    edits: Vec<Edit>,
}

/// An entry that comes or goes, in the order of their bytes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Edit {
    entry: Vec<u8>,
    values: usize,
    comes: bool,
    claims: bool,
}

impl<'a> Edits<'a> {
    pub(super) fn of(index: &'a IndexView) -> Self {
        Self { of: index, edits: Vec::new() }
    }

    /// Whether a document is, or would be, in the index: one that is being built passes by keys.
    fn covers(&self, key: &str) -> bool {
        self.of.stored().built_to.as_deref().is_none_or(|built_to| key <= built_to)
    }

    pub(super) fn replace(&mut self, key: &str, old: Option<&str>, new: Option<&str>) {
        let index = self.of.index();
        let [old, new] = [old, new].map(|document| document.map(|text| index.entry(text)));
        if old == new {
            return;
        }
        for (found, comes) in [(old, false), (new, true)] {
            let Some(found) = found else { continue };
            self.edits.push(Edit {
                entry: entry(index, &found.values, key),
                values: found.values.len(),
                comes,
                claims: found.claims,
            });
        }
    }

    /// Writes them in the order of the table, which costs least, and then looks whether what is
    /// unique still is.
    pub(super) fn write(mut self, write: &WriteTransaction) -> std::result::Result<(), WriteError> {
        if self.edits.is_empty() {
            return Ok(());
        }
        self.edits.sort_unstable();
        let name = self.of.stored().table_name();
        let mut table = write.open_table(entries(&name)).map_err(failed)?;
        for edit in &self.edits {
            if edit.comes {
                let values = u32::try_from(edit.values).map_err(failed)?;
                table.insert(&*edit.entry, values).map_err(failed)?;
            } else {
                table.remove(&*edit.entry).map_err(failed)?;
            }
        }
        for edit in self.edits.iter().filter(|edit| edit.comes && edit.claims) {
            let values = edit.entry.get(..edit.values).unwrap_or_default();
            if let [one, other, ..] = &*self.owners(&table, values)? {
                return Err(WriteError::Conflict(Conflict {
                    collection: self.of.stored().collection.clone(),
                    index: self.of.index().name.clone(),
                    keys: [one.clone(), other.clone()],
                }));
            }
        }
        Ok(())
    }

    /// The first two documents with these values.
    fn owners(
        &self,
        table: &impl ReadableTable<&'static [u8], u32>,
        values: &[u8],
    ) -> Result<Vec<String>> {
        let end = next_after(values);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = table.range::<&[u8]>((Bound::Included(values), to)).map_err(failed)?;
        let key = |row: redb::Result<
            (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, u32>),
            redb::StorageError,
        >| {
            let (entry, values) = row.map_err(failed)?;
            key_in(entry.value(), values.value(), self.of.index().key_descending())
        };
        range.take(2).map(key).collect()
    }
}
