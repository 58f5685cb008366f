//! A file at one moment: documents by key, and by the indexes that are whole.

use std::ops::Bound;

use redb::{Database, ReadOnlyTable, ReadableDatabase, TableError, TableHandle};

use super::indexes::{StoredIndex, entries, stored};
use super::{CHECKPOINT, Checkpoint, META, ROWS, Result, decode, failed, rows};
use crate::document::{Index, complement, entry_key, next_after};

/// The documents at one moment.
pub struct View {
    checkpoint: Option<Checkpoint>,
    /// By the names of their tables, in order.
    rows: Vec<(String, ReadOnlyTable<&'static str, &'static str>)>,
    indexes: Vec<IndexView>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

impl View {
    pub(super) fn of(database: &Database) -> Result<Self> {
        let read = database.begin_read().map_err(failed)?;
        let mut view = Self { checkpoint: None, rows: Vec::new(), indexes: Vec::new() };
        for table in read.list_tables().map_err(failed)? {
            if let Some(collection) = table.name().strip_prefix(ROWS) {
                let table = read.open_table(rows(table.name())).map_err(failed)?;
                view.rows.push((collection.to_owned(), table));
            }
        }
        let meta = match read.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => return Ok(view),
            Err(error) => return Err(failed(error)),
        };
        let checkpoint = meta.get(CHECKPOINT).map_err(failed)?;
        view.checkpoint = checkpoint.map(|row| decode(row.value())).transpose()?;
        for stored in stored(&meta)? {
            let table = read.open_table(entries(&stored.table_name())).map_err(failed)?;
            view.indexes.push(IndexView { index: stored.index()?, stored, table });
        }
        Ok(view)
    }

    /// How far it has read; none in a new file.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    /// All indexes, whole or not.
    pub(super) fn indexes(&self) -> impl Iterator<Item = &IndexView> {
        self.indexes.iter()
    }

    /// The indexes of a read model, whole or not.
    pub fn indexes_of<'v>(&'v self, collection: &'v str) -> impl Iterator<Item = &'v IndexView> {
        self.indexes.iter().filter(move |index| index.stored.collection == collection)
    }

    /// The document at a key.
    ///
    /// # Errors
    /// [`super::ReadModelError`] when it cannot be read.
    pub fn get(&self, collection: &str, key: &str) -> Result<Option<String>> {
        let Some(table) = self.table(collection) else { return Ok(None) };
        Ok(table.get(key).map_err(failed)?.map(|row| row.value().to_owned()))
    }

    /// Gives the documents after a key, in the order of their keys, to `each`, until it answers
    /// false.
    ///
    /// # Errors
    /// [`super::ReadModelError`] when they cannot be read.
    pub fn scan(
        &self,
        collection: &str,
        from: Bound<&str>,
        mut each: impl FnMut(&str, &str) -> bool,
    ) -> Result<()> {
        let Some(table) = self.table(collection) else { return Ok(()) };
        for row in table.range::<&str>((from, Bound::Unbounded)).map_err(failed)? {
            let (key, document) = row.map_err(failed)?;
            if !each(key.value(), document.value()) {
                break;
            }
        }
        Ok(())
    }

    /// All documents with their keys, in the order of those.
    ///
    /// # Errors
    /// [`super::ReadModelError`] when they cannot be read, of all or of one.
    pub fn rows(&self, collection: &str) -> Result<impl Iterator<Item = Result<(String, String)>>> {
        let rows = self.table(collection).map(redb::ReadableTable::iter).transpose();
        Ok(rows.map_err(failed)?.into_iter().flatten().map(|row| {
            let (key, document) = row.map_err(failed)?;
            Ok((key.value().to_owned(), document.value().to_owned()))
        }))
    }

    fn table(&self, collection: &str) -> Option<&ReadOnlyTable<&'static str, &'static str>> {
        self.rows.iter().find(|(name, _)| name == collection).map(|(_, table)| table)
    }
}

/// An index at one moment.
pub struct IndexView {
    index: Index,
    stored: StoredIndex,
    table: ReadOnlyTable<&'static [u8], u32>,
}

impl std::fmt::Debug for IndexView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("IndexView").field(&self.stored).finish()
    }
}

impl IndexView {
    /// What it is over.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Whether all documents are in it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.stored.built_to.is_none()
    }

    pub(super) fn stored(&self) -> &StoredIndex {
        &self.stored
    }

    /// Gives the keys of the documents whose entries lie from `from` on and before `to`, if there
    /// is such, in their order or backward, to `each`, until it answers false.
    ///
    /// # Errors
    /// [`super::ReadModelError`] when they cannot be read.
    pub fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Option<&[u8]>,
        backward: bool,
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let is_empty = match (from, to) {
            (Bound::Included(from) | Bound::Excluded(from), Some(to)) => from >= to,
            _ => false,
        };
        if is_empty {
            return Ok(());
        }
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = self.table.range::<&[u8]>((from, to)).map_err(failed)?;
        let descending = self.index.key_descending();
        while let Some(row) = if backward { range.next_back() } else { range.next() } {
            let (entry, values) = row.map_err(failed)?;
            let key = key_in(entry.value(), values.value(), descending)?;
            if !each(&key) {
                break;
            }
        }
        Ok(())
    }

    /// The document that a unique index has for these values.
    ///
    /// # Errors
    /// [`super::ReadModelError`] when it cannot be read.
    pub fn owner(&self, values: &[u8]) -> Result<Option<String>> {
        let mut owner = None;
        self.scan(Bound::Included(values), next_after(values).as_deref(), false, |key| {
            owner = Some(key.to_owned());
            false
        })?;
        Ok(owner)
    }
}

/// The document's key at the end of an entry.
pub(super) fn key_in(entry: &[u8], values: u32, descending: bool) -> Result<String> {
    let start = usize::try_from(values).map_err(failed)?;
    let key = entry.get(start..entry.len().saturating_sub(1));
    let key = key.ok_or_else(|| failed("an index entry is cut short"))?;
    let key = if descending { complement(key) } else { key.to_vec() };
    String::from_utf8(key).map_err(failed)
}

/// An entry: the values, then the key.
pub(super) fn entry(index: &Index, values: &[u8], key: &str) -> Vec<u8> {
    let mut entry = values.to_vec();
    entry.extend_from_slice(&entry_key(key, index.key_descending()));
    entry
}
