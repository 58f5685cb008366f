//! The log as it is stored, for who looks at all of it: to check it or to copy it.
//!
//! Promises: nothing is changed; the log of a running server is read beside it, in parts, so that
//! no writer waits for long; damage is an error that names where, and reading goes on after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::file::LogFile;
use super::records::Records;
use super::{
    ArchivedFile, Chain, Head, IndexContent, LogLimits, OpenError, ReadError, Shared, journal, row,
    settle,
};
use crate::decision::format::{Damage, parse_header, split};
use crate::storage::disk::Disk;
use crate::storage::index::content_of;
use crate::storage::unpanicked;

/// Bytes of rows that are read at once. 256 KiB: a millisecond's work.
const PART_BYTES: usize = 256 << 10;

/// A log to look at.
pub struct Stored(Source);

enum Source {
    Live(Arc<Shared>),
    Still(Box<Still>),
}

/// A log that nobody writes to.
struct Still {
    dir: PathBuf,
    disk: Disk,
    records: Records,
    journal: Result<(), OpenError>,
    /// The newest record, as far as that can be told without reading all.
    end: u64,
}

/// Rows of one file, or records that are in no row yet.
#[derive(Debug)]
pub struct StoredPart {
    /// The file that they are in.
    pub path: PathBuf,
    /// The rows, in order.
    pub rows: Vec<StoredRow>,
    /// Whether these are the rows that the file itself says it has.
    pub is_listed: bool,
    /// Where to go on when there are none: the next file.
    pub next: u64,
}

/// A row as it is stored.
#[derive(Debug)]
pub struct StoredRow {
    /// The number of its first record, as its key says.
    pub first: u64,
    stored: Bytes,
}

/// Records that follow one another.
#[derive(Debug)]
pub struct Run {
    /// The number of the last.
    pub last: u64,
    /// All of them, one after the other.
    pub bytes: Vec<u8>,
}

impl Run {
    fn take(&mut self, records: &[u8], through: u64, most_bytes: usize) -> Result<(), ReadError> {
        let mut rest = records;
        while !rest.is_empty() && self.last < through {
            let (record, after) = split(rest)?;
            rest = after;
            let next = parse_header(record)?.decision;
            let is_full = !self.bytes.is_empty() && self.bytes.len() >= most_bytes;
            if next != self.last + 1 || is_full {
                continue;
            }
            self.bytes.extend_from_slice(record);
            self.last = next;
        }
        Ok(())
    }
}

impl StoredRow {
    /// Its records, one after the other.
    ///
    /// # Errors
    /// [`Damage`], when the row has no such part.
    pub fn records(&self) -> Result<&[u8], Damage> {
        row::records(&self.stored)
    }

    /// A row of these records.
    #[cfg(test)]
    pub(crate) fn of(first: u64, records: &[u8]) -> Self {
        let table = row::table(records).unwrap_or_default();
        Self { first, stored: [records, &*table].concat().into() }
    }

    /// Whether its table names the places of its records.
    #[must_use]
    pub fn has_whole_table(&self) -> bool {
        row::is_whole(&self.stored)
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stored")
    }
}

impl Stored {
    /// The log of a directory that no server uses, as it is, with what a crash left in the journal.
    ///
    /// # Errors
    /// [`OpenError`] when there is no log that could be looked at.
    pub fn open(dir: &Path, store_id: &str) -> Result<Self, OpenError> {
        let (disk, limits) = (Disk::still(), LogLimits::default());
        let records = Records::new(LogFile::open(dir, &limits, disk.clone())?);
        let genesis = Chain::genesis(store_id).head.hash;
        let tail = || {
            let newest = settle::newest(&records.file, genesis)?;
            Ok((newest.0, settle::unsettled(&journal::read(dir, &disk)?, newest)))
        };
        let (end, journal) = match tail() {
            Ok((newest, (groups, whole))) => {
                records.unsettled.push(&groups);
                (groups.last().map_or(newest, |group| group.last()), whole)
            }
            Err(error) => (0, Err(error)),
        };
        let still = Still { dir: dir.to_owned(), disk, records, journal, end };
        Ok(Self(Source::Still(Box::new(still))))
    }

    /// The log of a running server.
    pub(super) fn live(shared: Arc<Shared>) -> Self {
        Self(Source::Live(shared))
    }

    /// The newest record that was durable now, where a server runs.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        match &self.0 {
            Source::Live(shared) => Some(*shared.head.borrow()),
            Source::Still(_) => None,
        }
    }

    /// The number of the newest record, where that can be told without reading all of them.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        match &self.0 {
            Source::Live(shared) => Some(shared.head.borrow().decision),
            Source::Still(still) => Some(still.end).filter(|end| *end > 0),
        }
    }

    /// What is wrong with the journal of a directory.
    #[must_use]
    pub fn journal_fault(&self) -> Option<&OpenError> {
        match &self.0 {
            Source::Live(_) => None,
            Source::Still(still) => still.journal.as_ref().err(),
        }
    }

    fn records(&self) -> &Records {
        match &self.0 {
            Source::Live(shared) => &shared.records,
            Source::Still(still) => &still.records,
        }
    }

    /// Records one after the other, from one of them to another, both included, or until they are
    /// so many bytes; at least one.
    ///
    /// # Errors
    /// [`ReadError`] when one is missing or cannot be read.
    pub fn run(&self, from: u64, through: u64, most_bytes: usize) -> Result<Run, ReadError> {
        let mut run = Run { last: from - 1, bytes: Vec::with_capacity(most_bytes) };
        let mut at = self.records().file.key_of(from)?.unwrap_or(from);
        while run.last < through && (run.bytes.is_empty() || run.bytes.len() < most_bytes) {
            let next = run.last + 1;
            let missing = || ReadError::Damaged(format!("decision {next} is missing"));
            let part = self.part(at)?.ok_or_else(missing)?;
            let has_rows = !part.rows.is_empty();
            for row in &part.rows {
                run.take(row.records()?, through, most_bytes)?;
            }
            // The row that would hold what is in no row yet ends before it.
            if has_rows && run.last < next && at >= next {
                return Err(missing());
            }
            at = if has_rows { run.last + 1 } else { part.next };
        }
        Ok(run)
    }

    /// Some rows, from the first at or after a record on; none after the newest record.
    ///
    /// # Errors
    /// [`ReadError`] when they cannot be read; [`Stored::file_after`] tells where to go on.
    pub fn part(&self, from: u64) -> Result<Option<StoredPart>, ReadError> {
        let records = self.records();
        // What is settled meanwhile is found in rows by the second look.
        for _ in 0..2 {
            if let Some(part) = records.file.part(from, PART_BYTES)? {
                let row = |(first, stored)| StoredRow { first, stored };
                let end = part.rows.last().map_or(from, |(first, _)| first + 1);
                return Ok(Some(StoredPart {
                    path: part.path,
                    rows: part.rows.into_iter().map(row).collect(),
                    is_listed: part.is_listed,
                    next: part.next.unwrap_or(end),
                }));
            }
            if let Some(part) = self.unsettled(from)? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// Records that are in the journal so far.
    fn unsettled(&self, from: u64) -> Result<Option<StoredPart>, ReadError> {
        let Some(group) = self.records().unsettled.from(from) else { return Ok(None) };
        let mut stored = Vec::with_capacity(group.bytes());
        group.records_from(from).for_each(|(_, record)| stored.extend_from_slice(record));
        let table = row::table(&stored)?;
        stored.extend_from_slice(&table);
        Ok(Some(StoredPart {
            path: self.records().file.path(1).with_file_name("log-journal"),
            rows: vec![StoredRow { first: group.first().max(from), stored: stored.into() }],
            is_listed: true,
            next: group.last() + 1,
        }))
    }

    /// The file that would hold a record.
    #[must_use]
    pub fn path_of(&self, decision: u64) -> PathBuf {
        let file = &self.records().file;
        file.path(file.file_of(decision).0)
    }

    /// The record that the file after the one of a record begins with.
    #[must_use]
    pub fn file_after(&self, decision: u64) -> Option<u64> {
        self.records().file.file_of(decision).1
    }

    /// The archived files, in order.
    #[must_use]
    pub fn archived(&self) -> Vec<ArchivedFile> {
        self.records().file.archived()
    }

    /// Whether everything after a record can be read.
    ///
    /// # Errors
    /// [`ReadError::Archived`], naming the first file that cannot.
    pub fn reach_after(&self, decision: u64) -> Result<(), ReadError> {
        self.records().file.reach(|file| file.end.head.decision > decision)
    }

    /// The bytes of one record.
    ///
    /// # Errors
    /// [`ReadError`] when it is damaged or cannot be read.
    pub fn record(&self, decision: u64) -> Result<Option<Bytes>, ReadError> {
        self.records().record(decision)
    }

    /// What the index has in its file; none where it has nothing.
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    pub fn index(&self) -> Result<Option<IndexContent>, String> {
        let content = match &self.0 {
            Source::Live(shared) => shared.index.content(),
            Source::Still(still) => unpanicked(|| content_of(&still.disk, &still.dir))
                .ok_or("its pages do not hang together")?,
        };
        content.map_err(|error| error.to_string())
    }
}
