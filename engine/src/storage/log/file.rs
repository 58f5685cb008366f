//! The log's rows: tables of groups that only grow, in files that follow one another.
//!
//! After a failed commit redb wants the file opened again; [`LogFile::reopen`] does it in place,
//! so that handles stay good. Readers meanwhile get [`ReadError::Unavailable`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use redb::{
    Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTableMetadata,
    TableDefinition, TableError,
};

use super::group::Group;
use super::segments::Directory;
use super::{LogLimits, OpenError, ReadError, row};
use crate::storage::disk::Disk;

/// Number of the first record -> the records of the group, as `row` draws them.
pub(super) const GROUPS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("groups");

/// Closed files that are kept open for readers. 6: 96 MiB of page caches at the most.
const OPEN_FILES: usize = 6;

type Rows = redb::ReadOnlyTable<u64, &'static [u8]>;

pub(super) struct LogFile {
    directory: Directory,
    segment_bytes: u64,
    segments: RwLock<Segments>,
    /// The closed files that were read lately, the latest last.
    closed: Mutex<Vec<(u64, Arc<ReadOnlyDatabase>)>>,
}

#[derive(Default)]
struct Segments {
    /// The decision that each file begins with, in order.
    firsts: Vec<u64>,
    /// The file of the last of them; none while it is being opened again.
    newest: Option<Newest>,
}

struct Newest {
    database: Database,
    /// About how long the file is.
    bytes: AtomicU64,
}

/// One row: the number of its first record and its bytes.
pub(super) struct Row<'a> {
    pub(super) first: u64,
    pub(super) bytes: &'a [u8],
}

impl LogFile {
    pub(super) fn open(dir: &Path, limits: &LogLimits, disk: Disk) -> Result<Self, OpenError> {
        let page_cache_bytes = limits.page_cache_bytes;
        let file = Self {
            directory: Directory { path: dir.to_owned(), disk, page_cache_bytes },
            segment_bytes: limits.segment_bytes,
            segments: RwLock::default(),
            closed: Mutex::default(),
        };
        file.reopen().map_err(OpenError::File)?;
        Ok(file)
    }

    /// Closes the files and opens the newest again, repairing it where the last commit was cut off.
    pub(super) fn reopen(&self) -> Result<(), String> {
        let mut segments = self.segments.write();
        drop(segments.newest.take());
        self.closed.lock().clear();
        segments.firsts = self.directory.list()?;
        let (database, bytes) = match segments.firsts.last() {
            Some(first) => self.directory.open_newest(*first)?,
            None => {
                let database = self.directory.create(1)?;
                segments.firsts.push(1);
                (database, 0)
            }
        };
        segments.newest = Some(Newest { database, bytes: AtomicU64::new(bytes) });
        Ok(())
    }

    /// Free bytes on the disk; none where the system does not say.
    pub(super) fn free_disk_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.directory.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Writes the rows in one durable transaction.
    pub(super) fn append(&self, rows: &[Row<'_>]) -> Result<(), String> {
        if let Some(row) = rows.first() {
            self.roll_before(row.first)?;
        }
        let segments = self.segments.read();
        let newest = segments.newest.as_ref().ok_or("the file is closed")?;
        let write = newest.database.begin_write().map_err(|error| error.to_string())?;
        {
            let mut table = write.open_table(GROUPS).map_err(|error| error.to_string())?;
            for row in rows {
                let places = row::table(row.bytes).map_err(|damage| damage.to_string())?;
                let length = row.bytes.len() + places.len();
                let reserved = table.insert_reserve(row.first, length);
                let mut stored = reserved.map_err(|error| error.to_string())?;
                let (records, table) = stored.as_mut().split_at_mut(row.bytes.len());
                records.copy_from_slice(row.bytes);
                table.copy_from_slice(&places);
                let bytes = u64::try_from(length).unwrap_or(u64::MAX);
                newest.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        write.commit().map_err(|error| error.to_string())
    }

    /// When the newest file is full, closes it for good and begins another.
    fn roll_before(&self, first: u64) -> Result<(), String> {
        let mut segments = self.segments.upgradable_read();
        let full = segments
            .newest
            .as_ref()
            .is_some_and(|newest| newest.bytes.load(Ordering::Relaxed) >= self.segment_bytes);
        // A file that holds nothing yet stays, however long it is.
        if !full || segments.firsts.last().is_some_and(|newest| *newest >= first) {
            return Ok(());
        }
        segments.with_upgraded(|segments| {
            let closed = segments.newest.take().map(|newest| newest.database.close());
            closed.transpose().map_err(|error| error.to_string())?;
            let database = self.directory.create(first)?;
            segments.firsts.push(first);
            segments.newest = Some(Newest { database, bytes: AtomicU64::new(0) });
            Ok(())
        })
    }

    /// The key of the row that holds a record.
    pub(super) fn row_of(&self, decision: u64) -> Result<Option<u64>, ReadError> {
        self.read(decision, |table, _| {
            let row = table.range(..=decision)?.next_back().transpose()?;
            Ok(row.map(|(key, _)| key.value()))
        })
        .map(Option::flatten)
    }

    /// The row at a key.
    pub(super) fn group(&self, first: u64) -> Result<Group, ReadError> {
        let copy = |row: redb::AccessGuard<'_, &[u8]>| {
            row::records(row.value()).map(Bytes::copy_from_slice)
        };
        let bytes = self.read(first, |table, _| Ok(table.get(first)?.map(copy)))?.flatten();
        Ok(Group::split(first, bytes.ok_or_else(|| missing(first))??)?)
    }

    /// The bytes of one record.
    pub(super) fn record(&self, decision: u64) -> Result<Option<Bytes>, ReadError> {
        Ok(self.records(&[decision])?.pop())
    }

    /// The bytes of records, in the order asked, copied into one piece; it ends before the first
    /// that there is not.
    pub(super) fn records(&self, decisions: &[u64]) -> Result<Vec<Bytes>, ReadError> {
        let mut bytes = BytesMut::new();
        let mut lengths = Vec::with_capacity(decisions.len());
        let mut damage = None;
        while let Some(next) = decisions.get(lengths.len()) {
            let before = lengths.len();
            self.read(*next, |table, last| {
                for decision in decisions.iter().skip(before).take_while(|d| **d <= last) {
                    let Some(row) = table.range(..=*decision)?.next_back().transpose()? else {
                        break;
                    };
                    match row::nth(row.1.value(), *decision - row.0.value()) {
                        Ok(None) => break,
                        Ok(Some(record)) => {
                            bytes.extend_from_slice(record);
                            lengths.push(record.len());
                        }
                        Err(wrong) => {
                            damage = Some(wrong);
                            break;
                        }
                    }
                }
                Ok(())
            })?;
            if let Some(damage) = damage {
                return Err(damage.into());
            }
            if lengths.len() == before {
                break;
            }
        }
        let mut bytes = bytes.freeze();
        Ok(lengths.into_iter().map(|length| bytes.split_to(length)).collect())
    }

    /// Gives every row from the one that holds a record on to `each`, in order, until that
    /// answers an error.
    pub(super) fn for_each_row<E: From<ReadError>>(
        &self,
        from_decision: u64,
        mut each: impl FnMut(Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = self.row_of(from_decision)?.unwrap_or(from_decision);
        loop {
            let (mut failed, mut last) = (None, u64::MAX);
            self.read(from, |table, last_here| {
                last = last_here;
                for row in table.range(from..)? {
                    let (first, stored) = row?;
                    let row = row::records(stored.value()).map_err(|wrong| E::from(wrong.into()));
                    let row = row.map(|bytes| Row { first: first.value(), bytes });
                    if let Err(error) = row.and_then(&mut each) {
                        failed = Some(error);
                        break;
                    }
                }
                Ok(())
            })?;
            match failed {
                Some(error) => return Err(error),
                None if last == u64::MAX => return Ok(()),
                None => from = last + 1,
            }
        }
    }

    /// Bytes of the rows with their keys, as redb counts them.
    pub(super) fn stored_bytes(&self) -> Result<u64, ReadError> {
        let firsts = self.segments.read().firsts.clone();
        let mut bytes = 0;
        for first in firsts {
            let stats = self.read(first, |table, _| table.stats())?;
            bytes += stats.map_or(0, |stats| stats.stored_bytes());
        }
        Ok(bytes)
    }

    /// Reads in the file of a record, in a transaction of its own; `read` is also told the last
    /// record that can be in that file. None when there is no such file.
    fn read<T>(
        &self,
        decision: u64,
        read: impl FnOnce(&Rows, u64) -> Result<T, redb::StorageError>,
    ) -> Result<Option<T>, ReadError> {
        let segments = self.segments.read();
        let after = segments.firsts.partition_point(|first| *first <= decision);
        let Some(first) = after.checked_sub(1).and_then(|at| segments.firsts.get(at)).copied()
        else {
            return Ok(None);
        };
        let Some(next) = segments.firsts.get(after).copied() else {
            let newest = segments.newest.as_ref();
            let newest = newest.ok_or_else(|| unavailable("it is being opened again"))?;
            return read_in(newest.database.begin_read(), |table| read(table, u64::MAX));
        };
        drop(segments);
        let closed = self.closed(first)?;
        read_in(closed.begin_read(), |table| read(table, next - 1))
    }

    /// A file that is closed for good, opened for reading.
    fn closed(&self, first: u64) -> Result<Arc<ReadOnlyDatabase>, ReadError> {
        let mut open = self.closed.lock();
        let file = match open.iter().position(|(number, _)| *number == first) {
            Some(at) => open.remove(at),
            None => {
                let file = self.directory.open_closed(first).map_err(unavailable)?;
                (first, Arc::new(file))
            }
        };
        if open.len() >= OPEN_FILES {
            open.remove(0);
        }
        let database = Arc::clone(&file.1);
        open.push(file);
        Ok(database)
    }
}

fn read_in<T>(
    transaction: Result<ReadTransaction, redb::TransactionError>,
    read: impl FnOnce(&Rows) -> Result<T, redb::StorageError>,
) -> Result<Option<T>, ReadError> {
    match transaction.map_err(unavailable)?.open_table(GROUPS) {
        Ok(table) => match read(&table) {
            Ok(value) => Ok(Some(value)),
            Err(redb::StorageError::Corrupted(reason)) => Err(ReadError::Damaged(reason)),
            Err(error) => Err(unavailable(error)),
        },
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

fn missing(first: u64) -> ReadError {
    ReadError::Damaged(format!("the row of decision {first} is missing"))
}

fn unavailable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
