//! The log's rows: tables of groups that only grow, in files that follow one another.
//!
//! After a failed commit nobody knows what became of the newest pages, and asking the system
//! proves nothing: so that file is closed for good and the next commit begins another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableTableMetadata, StorageError};

use super::archive::Archive;
use super::group::Group;
use super::moves::tidy;
use super::rows::{GROUPS, Rows, write_directory};
use super::segments::Directory;
use super::{LogLimits, OpenError, ReadError, row};
use crate::faults::{Point, fail_point};
use crate::storage::disk::Disk;
use crate::storage::unpanicked;

/// What is said of bytes that made the storage engine panic.
const DAMAGED: &str = "its pages do not hang together";
/// Closed files that are kept open for readers. 6: 96 MiB of page caches at the most.
const OPEN_FILES: usize = 6;

pub(super) struct LogFile {
    pub(super) directory: Directory,
    segment_bytes: u64,
    segments: RwLock<Segments>,
    /// The rows of closed files that were read lately, the latest last. Held while a file moves.
    pub(super) closed: Mutex<Vec<(u64, Arc<Rows>)>>,
    /// Which of the closed files are elsewhere.
    pub(super) archive: RwLock<Archive>,
}

struct Segments {
    /// The decision that each file begins with, in order.
    firsts: Vec<u64>,
    /// The file of the last of them; none after a commit of its that failed.
    newest: Option<Newest>,
}

struct Newest {
    database: Database,
    /// About how long the file is.
    bytes: AtomicU64,
}

/// Some rows of one file, as they are stored.
pub(super) struct Part {
    /// The file's path.
    pub(super) path: PathBuf,
    /// The number of each row's first record, and what is stored.
    pub(super) rows: Vec<(u64, Bytes)>,
    /// Whether these are the rows that the file's directory names, if it has one.
    pub(super) is_listed: bool,
    /// Where to go on; none after the last row of the last file.
    pub(super) next: Option<u64>,
}

/// One row: the number of its first record and its bytes.
pub(super) struct Row<'a> {
    pub(super) first: u64,
    pub(super) bytes: &'a [u8],
}

impl LogFile {
    /// Opens the files, repairing the newest where its last commit was cut off.
    pub(super) fn open(dir: &Path, limits: &LogLimits, disk: Disk) -> Result<Self, OpenError> {
        let page_cache_bytes = limits.page_cache_bytes;
        let directory = Directory { path: dir.to_owned(), disk, page_cache_bytes };
        let mut firsts = directory.list().map_err(OpenError::File)?;
        let archive = Archive::read(dir, limits.archive_dir.as_deref());
        let mut archive = archive.map_err(OpenError::File)?;
        if !directory.disk.is_still() {
            let tidied = tidy(&mut archive, &directory, &mut firsts);
            tidied.map_err(OpenError::File)?;
        }
        let next = archive.through() + 1;
        let opened = match firsts.last() {
            Some(newest) if firsts.binary_search(&next).is_ok() => unpanicked(|| {
                directory.open_newest(*newest)
            })
            .unwrap_or_else(|| Err(format!("{}: {}", directory.file(*newest).display(), DAMAGED))),
            None if directory.disk.is_still() => Err(format!("{} holds no log", dir.display())),
            None if next == 1 => {
                firsts.push(1);
                directory.create(1).map(|database| (database, 0))
            }
            _ => Err(format!("{} is missing", directory.file(next).display())),
        };
        let (database, bytes) = opened.map_err(OpenError::File)?;
        firsts.extend(archive.files.iter().map(|file| file.first));
        firsts.sort_unstable();
        firsts.dedup();
        let newest = Some(Newest { database, bytes: AtomicU64::new(bytes) });
        Ok(Self {
            directory,
            segment_bytes: limits.segment_bytes,
            segments: RwLock::new(Segments { firsts, newest }),
            closed: Mutex::default(),
            archive: RwLock::new(archive),
        })
    }

    /// Free bytes on the disk; none where the system does not say. The error says that the
    /// directory is gone.
    pub(super) fn free_disk_bytes(&self) -> Result<Option<u64>, String> {
        let path = &self.directory.path;
        let free = self.directory.disk.free_bytes(path);
        free.map_err(|error| format!("the data directory {}: {error}", path.display()))
    }

    /// Writes the rows in one durable transaction. After an error they can be given again.
    pub(super) fn append(&self, rows: &[Row<'_>]) -> Result<(), String> {
        let Some(row) = rows.first() else { return Ok(()) };
        self.roll_before(row.first)?;
        let written = unpanicked(|| self.write(rows)).unwrap_or_else(|| Err(DAMAGED.into()));
        if written.is_err() {
            drop(self.segments.write().newest.take());
        }
        written
    }

    fn write(&self, rows: &[Row<'_>]) -> Result<(), String> {
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
        fail_point(Point::Settle);
        write.commit().map_err(|error| error.to_string())
    }

    /// Begins another file where the newest is full, or was closed after a failed commit.
    fn roll_before(&self, first: u64) -> Result<(), String> {
        let mut segments = self.segments.upgradable_read();
        let has_room = segments
            .newest
            .as_ref()
            .is_some_and(|newest| newest.bytes.load(Ordering::Relaxed) < self.segment_bytes);
        // A file that holds nothing yet stays, however long it is.
        let is_empty = segments.firsts.last().is_some_and(|newest| *newest >= first);
        if has_room || (is_empty && segments.newest.is_some()) {
            return Ok(());
        }
        segments.with_upgraded(|segments| {
            if let Some(newest) = segments.newest.take() {
                write_directory(&newest.database).map_err(|error| error.to_string())?;
                newest.database.close().map_err(|error| error.to_string())?;
            }
            let database = self.directory.create(first)?;
            // It may stand in the place of one that took nothing and was read meanwhile.
            self.closed.lock().retain(|(number, _)| *number != first);
            if !is_empty {
                segments.firsts.push(first);
            }
            segments.newest = Some(Newest { database, bytes: AtomicU64::new(0) });
            Ok(())
        })
    }

    /// The newest row.
    pub(super) fn newest(&self) -> Result<Option<Group>, ReadError> {
        let segments = self.segments.read();
        let mut ends: Vec<_> = segments.firsts.iter().skip(1).map(|first| first - 1).collect();
        drop(segments);
        ends.push(u64::MAX);
        for end in ends.into_iter().rev() {
            if let Some(group) = self.row_of(end)? {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// The key of the row that holds a record, or would if there were one.
    pub(super) fn key_of(&self, decision: u64) -> Result<Option<u64>, ReadError> {
        let key = |rows: &Rows, _| Ok(rows.holding(decision)?.map(|(first, _)| first));
        self.read(decision, key).map(Option::flatten)
    }

    /// The row that holds a record, or would if there were one. Of a closed file it is what the
    /// storage engine has in memory; the newest is copied, since its writer reuses what it frees.
    pub(super) fn row_of(&self, decision: u64) -> Result<Option<Group>, ReadError> {
        let row = self.read(decision, |rows, last| {
            let Some((first, row)) = rows.holding(decision)? else { return Ok(None) };
            let is_closed = last < u64::MAX;
            let bytes = if is_closed { row.into() } else { Bytes::copy_from_slice(row.as_ref()) };
            Ok(Some((first, bytes)))
        })?;
        let Some((first, stored)) = row.flatten() else { return Ok(None) };
        let records = row::records(&stored)?.len();
        Ok(Some(Group::split(first, stored.slice(..records))?))
    }

    /// The bytes of records, in the order asked, copied into one piece; it ends before the first
    /// that there is not.
    pub(super) fn records(&self, decisions: &[u64]) -> Result<Vec<Bytes>, ReadError> {
        let mut bytes = BytesMut::new();
        let mut lengths = Vec::with_capacity(decisions.len());
        let mut damage = None;
        while let Some(next) = decisions.get(lengths.len()) {
            let before = lengths.len();
            self.read(*next, |rows, last| {
                for decision in decisions.iter().skip(before).take_while(|d| **d <= last) {
                    let Some((first, row)) = rows.holding(*decision)? else { break };
                    match row::nth(row.as_ref(), *decision - first) {
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
        let mut from = self.key_of(from_decision)?.unwrap_or(from_decision);
        loop {
            let (mut failed, mut last) = (None, u64::MAX);
            self.read(from, |rows, end| {
                last = end;
                for row in rows.table.range(from..=last)? {
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

    /// Rows as they are stored, from the first at or after a record on, of the file that would
    /// hold it, up to some bytes and the row that ends them. None beyond the last row.
    pub(super) fn part(&self, from: u64, bytes: usize) -> Result<Option<Part>, ReadError> {
        let (first, after) = self.file_of(from);
        let part = self.read(from, |rows, end| {
            let (mut part, mut size, mut whole) = (Vec::new(), 0, true);
            for row in rows.table.range(from..=end)? {
                if size >= bytes {
                    whole = false;
                    break;
                }
                let (first, stored) = row?;
                size += stored.value().len();
                part.push((first.value(), Bytes::copy_from_slice(stored.value())));
            }
            let last = if whole { end } else { part.last().map_or(from, |(row, _)| *row) };
            let listed = rows.listed(from, last);
            let is_listed = listed.is_none_or(|listed| listed.eq(part.iter().map(|row| row.0)));
            let next = if whole { after } else { Some(last + 1) };
            Ok(Part { path: self.path(first), rows: part, is_listed, next })
        })?;
        Ok(part.filter(|part| !part.rows.is_empty() || part.next.is_some()))
    }

    /// The file that would hold a record, by its first, and the first of the next file.
    pub(super) fn file_of(&self, decision: u64) -> (u64, Option<u64>) {
        let segments = self.segments.read();
        let after = segments.firsts.partition_point(|first| *first <= decision);
        let first = after.checked_sub(1).and_then(|at| segments.firsts.get(at));
        (first.copied().unwrap_or(1), segments.firsts.get(after).copied())
    }

    /// Where a file is.
    pub(super) fn path(&self, first: u64) -> PathBuf {
        let (here, archive) = (self.directory.file(first), self.archive.read());
        let archived = archive.file(first).filter(|_| !here.exists());
        archived.and_then(|file| archive.path(file.first)).unwrap_or(here)
    }

    /// The same, where it can be read.
    pub(super) fn path_to_read(&self, first: u64) -> Result<PathBuf, ReadError> {
        let path = self.path(first);
        let archive = self.archive.read();
        let archived = archive.file(first).map(|file| (file, std::fs::File::open(&path)));
        match archived {
            Some((file, Err(reason))) => Err(archive.out_of_reach(file, &reason)),
            _ => Ok(path),
        }
    }

    /// Bytes of the rows with their keys, as redb counts them.
    pub(super) fn stored_bytes(&self) -> Result<u64, ReadError> {
        let firsts = self.segments.read().firsts.clone();
        let mut bytes = 0;
        for first in firsts {
            let stats = self.read(first, |rows, _| rows.table.stats())?;
            bytes += stats.map_or(0, |stats| stats.stored_bytes());
        }
        Ok(bytes)
    }

    /// Reads in the file of a record, given the last record that can be in it. None when there is
    /// no such file.
    pub(super) fn read<T>(
        &self,
        decision: u64,
        read: impl FnOnce(&Rows, u64) -> Result<T, StorageError>,
    ) -> Result<Option<T>, ReadError> {
        let segments = self.segments.read();
        let after = segments.firsts.partition_point(|first| *first <= decision);
        let Some(first) = after.checked_sub(1).and_then(|at| segments.firsts.get(at)).copied()
        else {
            return Ok(None);
        };
        let last = segments.firsts.get(after).map_or(u64::MAX, |next| next - 1);
        let read = || {
            let rows = match (last, &segments.newest) {
                (u64::MAX, Some(newest)) => {
                    Rows::of(&newest.database, Vec::new()).map_err(unavailable)?.map(Arc::new)
                }
                _ => {
                    drop(segments);
                    self.closed(first)?
                }
            };
            match rows.map(|rows| read(&rows, last)).transpose() {
                Err(StorageError::Corrupted(reason)) => Err(ReadError::Damaged(reason)),
                read => read.map_err(unavailable),
            }
        };
        unpanicked(read).unwrap_or_else(|| Err(ReadError::Damaged(DAMAGED.into())))
    }

    /// The rows of a file that is closed for good.
    fn closed(&self, first: u64) -> Result<Option<Arc<Rows>>, ReadError> {
        let mut open = self.closed.lock();
        let rows = match open.iter().position(|(number, _)| *number == first) {
            Some(at) => open.remove(at).1,
            None => {
                let path = self.path_to_read(first)?;
                match self.directory.rows_of(&path).map_err(unavailable)? {
                    Some(rows) => Arc::new(rows),
                    None => return Ok(None),
                }
            }
        };
        if open.len() >= OPEN_FILES {
            open.remove(0);
        }
        open.push((first, Arc::clone(&rows)));
        Ok(Some(rows))
    }
}

fn unavailable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
