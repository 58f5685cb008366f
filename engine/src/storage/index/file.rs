//! The index's redb file: what was flushed. Every key ends in a number, so that the entries of a
//! label or a stream lie together in their order.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

use super::blocks::{BLOCK_PAIRS, Pair, at_or_after, at_or_before, pack, unpack};
use super::fresh::Fresh;
use super::{ActiveModules, Direction, Head, IndexError, IndexLimits};
use crate::decision::wire::{Damage, Reader, put_bytes, put_int};
use crate::storage::disk::Disk;

type Bytes = &'static [u8];

/// Label, 0, first position -> block of (position, decision).
const POSTINGS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("postings");
/// Stream, 0, version before the first record -> newest version, block of (version before,
/// decision).
const STREAMS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("streams");
/// Caller and command id, hashed -> decision.
const COMMANDS: TableDefinition<'_, u128, u64> = TableDefinition::new("commands");
/// Decision -> the key of its command id and its recorded time: the order of forgetting.
const ARRIVALS: TableDefinition<'_, u64, (u128, u64)> = TableDefinition::new("arrivals");
/// Module -> active version and digest.
const ACTIVE: TableDefinition<'_, &str, Bytes> = TableDefinition::new("active");
/// Act and subject -> decision of the newest one.
const ACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("acts");
const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
const CHECKPOINT: &str = "checkpoint";

/// redb's page cache, in bytes. 32 MiB: the upper levels of the trees and what is asked for often.
const PAGE_CACHE_BYTES: usize = 32 << 20;

pub(super) struct IndexFile {
    /// What is read until the next flush: opening tables costs as much as looking something up.
    /// It goes first, so that the file is closed without readers.
    view: RwLock<Arc<FileView>>,
    database: Database,
}

/// A stream's records in one block, and the stream's version after them.
pub(super) struct StreamBlock {
    pub(super) version: u64,
    pub(super) records: Vec<Pair>,
}

impl IndexFile {
    pub(super) fn open(disk: Disk, path: &Path) -> Result<Self, IndexError> {
        let file = disk.file(path).map_err(|error| IndexError(error.to_string()))?;
        let mut builder = Database::builder();
        let database = builder.set_cache_size(PAGE_CACHE_BYTES).create_with_backend(file)?;
        let mut write = database.begin_write()?;
        // Every commit must leave a file that a crash does not make the next start read whole.
        write.set_quick_repair(true);
        write.open_table(POSTINGS)?;
        write.open_table(STREAMS)?;
        write.open_table(COMMANDS)?;
        write.open_table(ARRIVALS)?;
        write.open_table(ACTIVE)?;
        write.open_table(ACTS)?;
        write.open_table(META)?;
        write.commit()?;
        let view = RwLock::new(Arc::new(FileView::of(&database)?));
        Ok(Self { view, database })
    }

    /// How far the file goes, and what is active there; none when it is new.
    pub(super) fn start(&self) -> Result<Option<(Head, ActiveModules)>, IndexError> {
        let read = self.database.begin_read()?;
        let meta = read.open_table(META)?;
        let Some(row) = meta.get(CHECKPOINT)? else { return Ok(None) };
        let mut reader = Reader::new(row.value());
        let checkpoint =
            Head { position: reader.int()?, decision: reader.int()?, hash: reader.array()? };
        let mut active = ActiveModules::new();
        for row in read.open_table(ACTIVE)?.range::<&str>(..)? {
            let (module, version) = row?;
            let mut reader = Reader::new(version.value());
            active.insert(module.value().to_owned(), (reader.text()?.to_owned(), reader.array()?));
        }
        Ok(Some((checkpoint, active)))
    }

    /// Writes what is fresh and moves the checkpoint, all or nothing.
    pub(super) fn flush(&self, fresh: &Fresh, limits: &IndexLimits) -> Result<(), IndexError> {
        let mut write = self.database.begin_write()?;
        // A crash in the middle of a flush must not make the next start read the whole file.
        write.set_quick_repair(true);
        {
            let mut postings = write.open_table(POSTINGS)?;
            let mut labels: Vec<_> = fresh.labels.iter().collect();
            labels.sort_unstable();
            for (label, pairs) in labels {
                for block in pairs.chunks(BLOCK_PAIRS) {
                    let first = block.first().map_or(0, |pair| pair.0);
                    postings.insert(&*key(label, first), &*pack(block))?;
                }
            }
            let mut streams = write.open_table(STREAMS)?;
            let mut names: Vec<_> = fresh.streams.iter().collect();
            names.sort_unstable_by_key(|(name, _)| *name);
            for (name, stream) in names {
                for block in stream.records.chunks(BLOCK_PAIRS) {
                    let first = block.first().map_or(0, |pair| pair.0);
                    let mut value = Vec::new();
                    put_int(&mut value, stream.version);
                    value.extend_from_slice(&pack(block));
                    streams.insert(&*key(name.as_bytes(), first), &*value)?;
                }
            }
            let mut acts = write.open_table(ACTS)?;
            for (key, decision) in &fresh.acts {
                acts.insert(key.as_str(), decision)?;
            }
            let mut active = write.open_table(ACTIVE)?;
            for (module, version) in &fresh.active {
                match version {
                    Some((version, digest)) => {
                        let mut value = Vec::new();
                        put_bytes(&mut value, version.as_bytes());
                        value.extend_from_slice(digest);
                        active.insert(module.as_str(), &*value)?;
                    }
                    None => drop(active.remove(module.as_str())?),
                }
            }
        }
        flush_commands(&write, fresh, limits)?;
        let mut checkpoint = Vec::new();
        put_int(&mut checkpoint, fresh.through.position);
        put_int(&mut checkpoint, fresh.through.decision);
        checkpoint.extend_from_slice(&fresh.through.hash);
        write.open_table(META)?.insert(CHECKPOINT, &*checkpoint)?;
        write.commit()?;
        *self.view.write() = Arc::new(FileView::of(&self.database)?);
        Ok(())
    }

    pub(super) fn act(&self, key: &str) -> Result<Option<u64>, IndexError> {
        let read = self.database.begin_read()?;
        Ok(read.open_table(ACTS)?.get(key)?.map(|row| row.value()))
    }

    pub(super) fn command(&self, key: u128) -> Result<Option<u64>, IndexError> {
        Ok(self.view().commands.get(key)?.map(|row| row.value()))
    }

    /// The file as it was last flushed.
    pub(super) fn view(&self) -> Arc<FileView> {
        Arc::clone(&self.view.read())
    }
}

fn flush_commands(
    write: &WriteTransaction,
    fresh: &Fresh,
    limits: &IndexLimits,
) -> Result<(), IndexError> {
    let mut commands = write.open_table(COMMANDS)?;
    let mut arrivals = write.open_table(ARRIVALS)?;
    let mut keys: Vec<_> = fresh.commands.iter().collect();
    keys.sort_unstable();
    for (key, decision) in keys {
        commands.insert(key, decision)?;
    }
    let mut newest_ms = 0;
    for (decision, key, recorded_at_ms) in &fresh.arrivals {
        arrivals.insert(decision, (*key, *recorded_at_ms))?;
        newest_ms = *recorded_at_ms;
    }
    let mut count = arrivals.len()?;
    while let Some((decision, key, recorded_at_ms)) = oldest(&arrivals)? {
        let expired = recorded_at_ms.saturating_add(limits.idempotency_window_ms) < newest_ms;
        if !expired && count <= limits.idempotency_ids {
            break;
        }
        arrivals.remove(decision)?;
        // A later use of an expired id is a new command: only its own entry goes.
        if commands.get(key)?.is_some_and(|row| row.value() == decision) {
            commands.remove(key)?;
        }
        count -= 1;
    }
    Ok(())
}

fn oldest(
    arrivals: &redb::Table<'_, u64, (u128, u64)>,
) -> Result<Option<(u64, u128, u64)>, IndexError> {
    let Some((decision, arrival)) = arrivals.first()? else { return Ok(None) };
    let (key, recorded_at_ms) = arrival.value();
    Ok(Some((decision.value(), key, recorded_at_ms)))
}

fn key(name: &[u8], number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 9);
    key.extend_from_slice(name);
    key.push(0);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The file at one moment.
pub(super) struct FileView {
    postings: redb::ReadOnlyTable<Bytes, Bytes>,
    streams: redb::ReadOnlyTable<Bytes, Bytes>,
    commands: redb::ReadOnlyTable<u128, u64>,
}

impl FileView {
    fn of(database: &Database) -> Result<Self, IndexError> {
        let read = database.begin_read()?;
        Ok(Self {
            postings: read.open_table(POSTINGS)?,
            streams: read.open_table(STREAMS)?,
            commands: read.open_table(COMMANDS)?,
        })
    }

    /// The block of a label that holds a position or lies nearest beyond it.
    pub(super) fn block(
        &self,
        label: &[u8],
        position: u64,
        direction: Direction,
    ) -> Result<Option<Vec<Pair>>, IndexError> {
        let (least, at, most) = (key(label, 0), key(label, position), key(label, u64::MAX));
        // Positions begin at 1: a search from there on has nothing before it.
        let before = match direction {
            Direction::Forward if position <= 1 => None,
            _ => self.postings.range::<&[u8]>(&*least..=&*at)?.next_back().transpose()?,
        };
        if let Some((_, block)) = before {
            let pairs = unpack(block.value())?;
            if direction == Direction::Backward || at_or_after(&pairs, position).is_some() {
                return Ok(Some(pairs));
            }
        }
        if direction == Direction::Backward {
            return Ok(None);
        }
        let after = self.postings.range::<&[u8]>(&*at..=&*most)?.next().transpose()?;
        after.map(|(_, block)| Ok(unpack(block.value())?)).transpose()
    }

    /// A stream's newest version.
    pub(super) fn version(&self, stream: &str) -> Result<Option<u64>, IndexError> {
        Ok(self.stream_block(stream, u64::MAX)?.map(|block| block.version))
    }

    /// The block of a stream that holds the record with the event after `version`.
    pub(super) fn stream_block(
        &self,
        stream: &str,
        version: u64,
    ) -> Result<Option<StreamBlock>, IndexError> {
        let (least, most) = (key(stream.as_bytes(), 0), key(stream.as_bytes(), version));
        let row = self.streams.range::<&[u8]>(&*least..=&*most)?.next_back().transpose()?;
        row.map(|(_, value)| read_stream_block(value.value())).transpose()
    }

    /// A stream's records from the one with the event after `version` on, block by block.
    pub(super) fn stream_blocks(
        &self,
        stream: &str,
        version: u64,
        mut each: impl FnMut(StreamBlock) -> bool,
    ) -> Result<(), IndexError> {
        if let Some(block) = self.stream_block(stream, version)?
            && !each(block)
        {
            return Ok(());
        }
        let Some(next) = version.checked_add(1) else { return Ok(()) };
        let (from, most) = (key(stream.as_bytes(), next), key(stream.as_bytes(), u64::MAX));
        for row in self.streams.range::<&[u8]>(&*from..=&*most)? {
            let (_, value) = row?;
            if !each(read_stream_block(value.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// The first stream at or after a name, with its newest version.
    pub(super) fn next_stream(&self, from: &[u8]) -> Result<Option<(String, u64)>, IndexError> {
        let Some((found, _)) = self.streams.range::<&[u8]>(from..)?.next().transpose()? else {
            return Ok(None);
        };
        let name = found.value().split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let version = self.version(&name)?.unwrap_or(0);
        Ok(Some((name, version)))
    }
}

fn read_stream_block(value: &[u8]) -> Result<StreamBlock, IndexError> {
    let mut reader = Reader::new(value);
    let version = reader.int()?;
    Ok(StreamBlock { version, records: unpack(reader.rest())? })
}

macro_rules! is_index_error {
    ($($error:ty),*) => {
        $(impl From<$error> for IndexError {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        })*
    };
}

is_index_error!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    Damage
);

/// A cursor over the events of one label in the file.
pub(super) struct LabelCursor<'a> {
    view: &'a FileView,
    label: &'a [u8],
    block: Vec<Pair>,
}

impl<'a> LabelCursor<'a> {
    pub(super) fn new(view: &'a FileView, label: &'a [u8]) -> Self {
        Self { view, label, block: Vec::new() }
    }

    pub(super) fn nearest(
        &mut self,
        position: u64,
        direction: Direction,
    ) -> Result<Option<Pair>, IndexError> {
        let (first, last) = (self.block.first().copied(), self.block.last().copied());
        let inside =
            first.zip(last).is_some_and(|(first, last)| (first.0..=last.0).contains(&position));
        if !inside {
            self.block = self.view.block(self.label, position, direction)?.unwrap_or_default();
        }
        Ok(match direction {
            Direction::Forward => at_or_after(&self.block, position),
            Direction::Backward => at_or_before(&self.block, position),
        })
    }
}
