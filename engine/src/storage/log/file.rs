//! The log's redb file: one table of groups that only grows.
//!
//! After a failed commit redb wants the file opened again; [`LogFile::reopen`] does it in place,
//! so that handles stay good. Readers meanwhile get [`ReadError::Unavailable`].

use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition, TableError};

use super::group::Group;
use super::{OpenError, ReadError};
use crate::storage::disk::Disk;

/// Number of the first record -> the records of the group, one after the other.
const GROUPS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("groups");

type Rows = redb::ReadOnlyTable<u64, &'static [u8]>;

pub(super) struct LogFile {
    path: PathBuf,
    disk: Disk,
    page_cache_bytes: usize,
    /// None while it is being opened again.
    database: RwLock<Option<Database>>,
}

/// One row: the number of its first record and its bytes.
pub(super) struct Row<'a> {
    pub(super) first: u64,
    pub(super) bytes: &'a [u8],
}

impl LogFile {
    pub(super) fn open(dir: &Path, page_cache_bytes: usize, disk: Disk) -> Result<Self, OpenError> {
        let path = dir.join("log.redb");
        let file = Self { path, disk, page_cache_bytes, database: RwLock::new(None) };
        file.reopen().map_err(OpenError::File)?;
        Ok(file)
    }

    /// Closes the file and opens it again, repairing it where the last commit was cut off.
    pub(super) fn reopen(&self) -> Result<(), String> {
        let mut slot = self.database.write();
        drop(slot.take());
        let database = Database::builder()
            .set_cache_size(self.page_cache_bytes)
            .create_with_backend(self.disk.file(&self.path).map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        *slot = Some(database);
        Ok(())
    }

    /// Free bytes on the disk; none where the system does not say.
    pub(super) fn free_disk_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Writes the rows in one durable transaction.
    pub(super) fn append(&self, rows: &[Row<'_>]) -> Result<(), String> {
        let slot = self.database.read();
        let database = slot.as_ref().ok_or("the file is closed")?;
        let write = database.begin_write().map_err(|error| error.to_string())?;
        {
            let mut table = write.open_table(GROUPS).map_err(|error| error.to_string())?;
            for row in rows {
                table.insert(row.first, row.bytes).map_err(|error| error.to_string())?;
            }
        }
        write.commit().map_err(|error| error.to_string())
    }

    /// The key of the row that holds a record.
    pub(super) fn row_of(&self, decision: u64) -> Result<Option<u64>, ReadError> {
        self.read(|table| {
            let row = table.range(..=decision)?.next_back().transpose()?;
            Ok(row.map(|(key, _)| key.value()))
        })
        .map(Option::flatten)
    }

    /// The row at a key.
    pub(super) fn group(&self, first: u64) -> Result<Group, ReadError> {
        let bytes = self
            .read(|table| Ok(table.get(first)?.map(|row| Bytes::copy_from_slice(row.value()))))?
            .flatten()
            .ok_or_else(|| ReadError::Damaged(format!("the row of decision {first} is missing")))?;
        Ok(Group::split(first, bytes)?)
    }

    /// The bytes of one record.
    pub(super) fn record(&self, decision: u64) -> Result<Option<Bytes>, ReadError> {
        let Some(row) = self.row_of(decision)? else { return Ok(None) };
        Ok(self.group(row)?.record(decision))
    }

    /// Gives every row from the one that holds a record on to `each`, in order, until that
    /// answers an error.
    pub(super) fn for_each_row<E: From<ReadError>>(
        &self,
        from_decision: u64,
        mut each: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = self.row_of(from_decision)?.unwrap_or(0);
        let mut failed = None;
        self.read(|table| {
            for row in table.range(first..)? {
                let (first, bytes) = row?;
                let row = Row { first: first.value(), bytes: bytes.value() };
                if let Err(error) = each(row) {
                    failed = Some(error);
                    break;
                }
            }
            Ok(())
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Bytes of the rows with their keys, as redb counts them.
    pub(super) fn stored_bytes(&self) -> Result<u64, ReadError> {
        Ok(self.read(|table| Ok(table.stats()?.stored_bytes()))?.unwrap_or(0))
    }

    /// Reads in a transaction of its own; none when nothing was ever appended.
    fn read<T>(
        &self,
        read: impl FnOnce(&Rows) -> Result<T, redb::StorageError>,
    ) -> Result<Option<T>, ReadError> {
        let unavailable = |error: &dyn std::fmt::Display| ReadError::Unavailable(error.to_string());
        let slot = self.database.read();
        let database = slot.as_ref().ok_or_else(|| unavailable(&"it is being opened again"))?;
        let transaction = database.begin_read().map_err(|error| unavailable(&error))?;
        match transaction.open_table(GROUPS) {
            Ok(table) => match read(&table) {
                Ok(value) => Ok(Some(value)),
                Err(redb::StorageError::Corrupted(reason)) => Err(ReadError::Damaged(reason)),
                Err(error) => Err(unavailable(&error)),
            },
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }
}
