//! The rows of one file, and finding the one that holds a record.
//!
//! A file that is closed for good says in one value which records its rows begin with, so that a
//! row is found by a look in memory and one way down the tree instead of two. A file without it,
//! because its last moments were a crash, is as good and slower.

use bytes::Bytes;
use redb::{
    AccessGuard, Database, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError,
};

/// Number of the first record -> the records of the group, as `row` draws them.
pub(super) const GROUPS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("groups");
/// The first records of all rows, in order, each as 8 bytes, big-endian.
const DIRECTORY: TableDefinition<'_, (), &[u8]> = TableDefinition::new("directory");

/// One row as it is stored, in the storage engine's own memory.
pub(super) struct StoredRow(AccessGuard<'static, &'static [u8]>);

impl AsRef<[u8]> for StoredRow {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

impl From<StoredRow> for Bytes {
    fn from(row: StoredRow) -> Self {
        Self::from_owner(row)
    }
}

/// The rows of a file at one moment.
pub(super) struct Rows {
    pub(super) table: redb::ReadOnlyTable<u64, &'static [u8]>,
    directory: Vec<u64>,
}

impl Rows {
    /// The rows that there are now; none where nothing was ever written.
    pub(super) fn of(
        database: &impl ReadableDatabase,
        directory: Vec<u64>,
    ) -> Result<Option<Self>, redb::Error> {
        match database.begin_read()?.open_table(GROUPS) {
            Ok(table) => Ok(Some(Self { table, directory })),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The rows that the directory names between two records, if there is one.
    pub(super) fn listed(&self, from: u64, last: u64) -> Option<impl Iterator<Item = u64>> {
        let within = self.directory.iter().copied().filter(move |row| (from..=last).contains(row));
        (!self.directory.is_empty()).then_some(within)
    }

    /// The row that holds a record, or would if there were one, and its first.
    pub(super) fn holding(&self, decision: u64) -> Result<Option<(u64, StoredRow)>, StorageError> {
        let after = self.directory.partition_point(|first| *first <= decision);
        let known = after.checked_sub(1).and_then(|at| self.directory.get(at));
        if let Some(first) = known {
            return Ok(self.table.get(first)?.map(|row| (*first, StoredRow(row))));
        }
        let row = self.table.range(..=decision)?.next_back().transpose()?;
        Ok(row.map(|(first, row)| (first.value(), StoredRow(row))))
    }
}

/// Writes the directory of a file that is about to be closed.
pub(super) fn write_directory(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let rows = write.open_table(GROUPS)?;
        let mut firsts = Vec::new();
        for row in rows.iter()? {
            firsts.extend_from_slice(&row?.0.value().to_be_bytes());
        }
        write.open_table(DIRECTORY)?.insert((), &*firsts)?;
    }
    Ok(write.commit()?)
}

/// The directory of a closed file; empty where it has none.
pub(super) fn read_directory(database: &impl ReadableDatabase) -> Result<Vec<u64>, redb::Error> {
    let table = match database.begin_read()?.open_table(DIRECTORY) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let Some(firsts) = table.get(())? else { return Ok(Vec::new()) };
    let (firsts, _) = firsts.value().as_chunks();
    Ok(firsts.iter().map(|first| u64::from_be_bytes(*first)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_with_and_without_a_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let database = Database::create(dir.path().join("rows.redb")).expect("creates");
        let write = database.begin_write().expect("begins");
        {
            let mut table = write.open_table(GROUPS).expect("opens");
            for first in [3, 7, 8, 40] {
                table.insert(first, &first.to_be_bytes()[..]).expect("inserts");
            }
        }
        write.commit().expect("commits");
        assert!(read_directory(&database).expect("reads").is_empty());
        write_directory(&database).expect("writes");
        let directory = read_directory(&database).expect("reads");
        assert_eq!(directory, [3, 7, 8, 40]);
        let rows = |directory| Rows::of(&database, directory).expect("opens").expect("a table");
        let (with, without) = (rows(directory), rows(Vec::new()));
        let found = |rows: &Rows, decision| {
            let row = rows.holding(decision).expect("reads");
            row.map(|(first, row)| (first, row.as_ref().to_vec()))
        };
        for decision in 0..50 {
            let by_tree = found(&without, decision);
            assert_eq!(found(&with, decision), by_tree);
            assert_eq!(by_tree.is_some(), decision >= 3);
        }
    }
}
