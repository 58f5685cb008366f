//! Which indexes a file has, and how a new one is made beside what runs.
//!
//! An index that was declared anew takes in the documents in the order of their keys, some at a
//! time; changes of documents that it has passed are written to it as to any other. It answers from
//! the commit on that takes in the last.

use std::collections::BTreeSet;
use std::ops::Bound;

use redb::{
    Database, Durability, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::view::View;
use super::write::Edits;
use super::{CHECKPOINT, Collection, META, ROWS, Result, WriteError, failed, rows_of};
use crate::document::Index;

const INDEXES: &str = "indexes";
/// How values become bytes: an index of another version is made anew.
const ENCODING: u32 = 1;

/// An index as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredIndex {
    /// Its table.
    pub(super) id: u32,
    encoding: u32,
    pub(super) collection: String,
    name: String,
    paths: Vec<String>,
    unique: bool,
    /// Up to which key documents were taken in, at first the empty one; none once all are.
    pub(super) built_to: Option<String>,
}

impl StoredIndex {
    pub(super) fn index(&self) -> Result<Index> {
        Index::new(&self.name, &self.paths, self.unique).map_err(failed)
    }

    pub(super) fn table_name(&self) -> String {
        format!("index:{}", self.id)
    }

    fn is(&self, collection: &str, index: &Index) -> bool {
        let paths = index.parts.iter().map(ToString::to_string);
        self.encoding == ENCODING
            && self.collection == collection
            && self.name == index.name
            && self.unique == index.unique
            && paths.eq(self.paths.iter().cloned())
    }

    fn is_declared(&self, collections: &[Collection]) -> bool {
        let mut all = collections.iter().flat_map(|c| c.indexes.iter().map(|i| (&c.name, i)));
        all.any(|(collection, index)| self.is(collection, index))
    }
}

/// Document entry -> how many of its bytes are values; the rest is the document's key.
pub(super) fn entries(name: &str) -> TableDefinition<'_, &'static [u8], u32> {
    TableDefinition::new(name)
}

/// The indexes of a file, from a table of what it says about itself.
pub(super) fn stored(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Vec<StoredIndex>> {
    let Some(row) = meta.get(INDEXES).map_err(failed)? else { return Ok(Vec::new()) };
    serde_json::from_slice(row.value())
        .map_err(|error| failed(format_args!("its list of indexes: {error}")))
}

fn store(write: &WriteTransaction, indexes: &[StoredIndex]) -> Result<()> {
    let json = serde_json::to_vec(indexes).map_err(failed)?;
    let mut meta = write.open_table(META).map_err(failed)?;
    meta.insert(INDEXES, &*json).map_err(failed)?;
    Ok(())
}

/// Makes the tables that are declared and not there, and notes what is to be built.
pub(super) fn reconcile(database: &Database, collections: &[Collection]) -> Result<()> {
    let mut write = database.begin_write().map_err(failed)?;
    write.set_quick_repair(true);
    let has_all = has_rows_of(&write, collections)?;
    let before = {
        let meta = write.open_table(META).map_err(failed)?;
        // One that has read some of the log has the documents of what it was made for.
        if meta.get(CHECKPOINT).map_err(failed)?.is_some() && !has_all {
            return Err(failed("it is of other read models"));
        }
        stored(&meta)?
    };
    let mut after = before.clone();
    for collection in collections {
        let has_rows = !rows_of(&write, &collection.name)?.is_empty().map_err(failed)?;
        for index in &collection.indexes {
            if after.iter().any(|stored| stored.is(&collection.name, index)) {
                continue;
            }
            let index = StoredIndex {
                id: after.iter().map(|stored| stored.id + 1).max().unwrap_or(0),
                encoding: ENCODING,
                collection: collection.name.clone(),
                name: index.name.clone(),
                paths: index.parts.iter().map(ToString::to_string).collect(),
                unique: index.unique,
                built_to: has_rows.then(String::new),
            };
            write.open_table(entries(&index.table_name())).map_err(failed)?;
            after.push(index);
        }
    }
    retire(&write, &mut after, |index| index.is_declared(collections))?;
    if before != after {
        store(&write, &after)?;
    } else if has_all {
        return write.abort().map_err(failed);
    }
    write.commit().map_err(failed)
}

/// Whether there are tables of documents for just these read models.
fn has_rows_of(write: &WriteTransaction, collections: &[Collection]) -> Result<bool> {
    let tables = write.list_tables().map_err(failed)?;
    let there: BTreeSet<_> =
        tables.filter_map(|table| table.name().strip_prefix(ROWS).map(ToOwned::to_owned)).collect();
    let declared: BTreeSet<_> =
        collections.iter().map(|collection| collection.name.clone()).collect();
    Ok(there == declared)
}

/// Deletes what is no longer declared, once nothing is being built that may take its place.
fn retire(
    write: &WriteTransaction,
    indexes: &mut Vec<StoredIndex>,
    is_declared: impl Fn(&StoredIndex) -> bool,
) -> Result<()> {
    let is_building = indexes.iter().any(|index| index.built_to.is_some() && is_declared(index));
    let gone = indexes.extract_if(.., |index| {
        let is_of_use = index.encoding == ENCODING && index.built_to.is_none();
        !(is_declared(index) || is_building && is_of_use)
    });
    for index in gone {
        write.delete_table(entries(&index.table_name())).map_err(failed)?;
    }
    Ok(())
}

/// Takes some more documents into the first index that is not whole. False: all are.
pub(super) fn build(
    database: &Database,
    view: &View,
    collections: &[Collection],
    documents: usize,
) -> std::result::Result<bool, WriteError> {
    let Some(building) = view.indexes().find(|index| !index.is_whole()) else { return Ok(false) };
    let mut write = database.begin_write().map_err(failed)?;
    write.set_durability(Durability::None).map_err(failed)?;
    let mut edits = Edits::of(building);
    let mut last = None;
    {
        let rows = rows_of(&write, &building.stored().collection)?;
        let from = Bound::Excluded(building.stored().built_to.as_deref().unwrap_or_default());
        let range = rows.range::<&str>((from, Bound::Unbounded)).map_err(failed)?;
        let mut count = 0;
        for row in range.take(documents) {
            let (key, document) = row.map_err(failed)?;
            edits.replace(key.value(), None, Some(document.value()));
            last = Some(key.value().to_owned());
            count += 1;
        }
        if count < documents {
            last = None;
        }
    }
    edits.write(&write)?;
    let mut all = {
        let meta = write.open_table(META).map_err(failed)?;
        stored(&meta)?
    };
    for index in all.iter_mut().filter(|index| index.id == building.stored().id) {
        index.built_to.clone_from(&last);
    }
    retire(&write, &mut all, |index| index.is_declared(collections))?;
    store(&write, &all)?;
    write.commit().map_err(failed)?;
    Ok(true)
}
