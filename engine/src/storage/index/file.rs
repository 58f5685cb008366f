//! The index's redb file: what was flushed. Every key ends in a number, so that the entries of a
//! label or a stream lie together in their order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    TableDefinition, WriteTransaction,
};

use super::blocks::{BLOCK_PAIRS, pack};
use super::fresh::Fresh;
use super::view::FileView;
use super::{ActiveModules, GivenKey, Head, IndexError, IndexLimits};
use crate::decision::wire::{self, Reader, put_bytes, put_int};
use crate::faults::{Mutant, Point, fail_point, is_on};
use crate::storage::disk::{Damage, Disk};

pub(super) type Bytes = &'static [u8];

/// Label, 0, first position -> block of (position, decision).
pub(super) const POSTINGS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("postings");
/// Stream, 0, version before the first record -> newest version, block of (version before,
/// decision).
pub(super) const STREAMS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("streams");
/// Caller and command id, hashed -> decision.
pub(super) const COMMANDS: TableDefinition<'_, u128, u64> = TableDefinition::new("commands");
/// Decision -> the key of its command id and its recorded time: the order of forgetting.
pub(super) const ARRIVALS: TableDefinition<'_, u64, (u128, u64)> = TableDefinition::new("arrivals");
/// Source and id of an event that was given them elsewhere, hashed -> decision. None is forgotten.
pub(super) const GIVEN: TableDefinition<'_, u128, u64> = TableDefinition::new("given");
/// Module -> active version and digest.
const ACTIVE: TableDefinition<'_, &str, Bytes> = TableDefinition::new("active");
/// Act and subject -> decision of the newest one.
pub(super) const ACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("acts");
const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
const CHECKPOINT: &str = "checkpoint";
/// How many tables there are.
const TABLES: usize = 8;

/// redb's page cache, in bytes. 32 MiB: the upper levels of the trees and what is asked for often.
const PAGE_CACHE_BYTES: usize = 32 << 20;

pub(super) struct IndexFile {
    disk: Disk,
    path: PathBuf,
    /// What is read until the next flush: opening tables costs as much as looking something up.
    /// It goes first, so that the file is closed without readers. None while it is opened again.
    view: RwLock<Option<Arc<FileView>>>,
    writing: Mutex<Writing>,
    /// Of the file as it is open now.
    damage: RwLock<Damage>,
}

/// The database, as the flushing thread sees it.
struct Writing {
    /// None after it could not be opened again.
    database: Option<Database>,
    /// Its last commit failed: it can be read and takes no more.
    failed: bool,
}

/// How far a file goes, and what is active there.
type Start = (Head, ActiveModules);

impl IndexFile {
    /// Opens the file, and answers how far it goes and what is active there; none when it is new.
    pub(super) fn open(disk: &Disk, path: &Path) -> Result<(Self, Option<Start>), IndexError> {
        let suspect = suspect(path);
        if disk.has(&suspect)? {
            disk.remove(path)?;
            // A crash must not take back the first and leave the second.
            path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))?;
            disk.remove(&suspect)?;
        }
        let (database, damage) = open_database(disk, path)?;
        let start = start(&database)?;
        let view = RwLock::new(Some(Arc::new(FileView::of(&database)?)));
        let (disk, path) = (disk.clone(), path.to_owned());
        let writing = Mutex::new(Writing { database: Some(database), failed: false });
        Ok((Self { disk, path, view, writing, damage: RwLock::new(damage) }, start))
    }

    /// Writes what is fresh and moves the checkpoint, all or nothing. After an error it can be
    /// called again: the file is opened anew. What the disk made of the failed write is unknown,
    /// so the next start builds the index again.
    pub(super) fn flush(&self, fresh: &Fresh, limits: &IndexLimits) -> Result<(), IndexError> {
        let mut writing = self.writing.lock();
        if writing.failed {
            self.suspect()?;
            writing.failed = false;
            drop(self.view.write().take());
            drop(writing.database.take());
        }
        if writing.database.is_none() {
            let (database, damage) = open_database(&self.disk, &self.path)?;
            writing.database = Some(database);
            *self.damage.write() = damage;
        }
        let Some(database) = &writing.database else { return Ok(()) };
        let flushed = write(database, fresh, limits).and_then(|()| FileView::of(database));
        match flushed {
            Ok(view) => *self.view.write() = Some(Arc::new(view)),
            Err(error) => {
                writing.failed = true;
                self.suspect()?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Leaves word for the next start. While even that fails, the file that was open stays so, for
    /// those who read it.
    fn suspect(&self) -> Result<(), IndexError> {
        self.disk.file(&suspect(&self.path))?.sync_data()?;
        self.path.parent().map_or(Ok(()), |dir| Ok(self.disk.sync_dir(dir)?))
    }

    pub(super) fn command(&self, key: u128) -> Result<Option<u64>, IndexError> {
        Ok(self.view()?.commands.get(key)?.map(|row| row.value()))
    }

    /// Puts what there is beside each key; the keys are in order.
    pub(super) fn given(
        &self,
        wanted: Vec<(&GivenKey, &mut Option<u64>)>,
    ) -> Result<(), IndexError> {
        let view = self.view()?;
        // New ids with a time in them are mostly newer than all.
        let Some(newest) = view.given.last()?.map(|(key, _)| key.value()) else { return Ok(()) };
        for (key, found) in wanted.into_iter().take_while(|(key, _)| key.0 <= newest) {
            *found = view.given.get(key.0)?.map(|row| row.value());
        }
        Ok(())
    }

    pub(super) fn act(&self, key: &str) -> Result<Option<u64>, IndexError> {
        Ok(self.view()?.acts.get(key)?.map(|row| row.value()))
    }

    /// Subject and decision of the newest act of a name about each subject.
    pub(super) fn acts(&self, prefix: &str) -> Result<Vec<(String, u64)>, IndexError> {
        let view = self.view()?;
        let mut found = Vec::new();
        for row in view.acts.range(prefix..)? {
            let (key, decision) = row?;
            let Some(subject) = key.value().strip_prefix(prefix) else { break };
            found.push((subject.to_owned(), decision.value()));
        }
        Ok(found)
    }

    /// Gives the database to who looks at all of it.
    pub(super) fn with_database<T>(
        &self,
        look: impl FnOnce(&Database) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let writing = self.writing.lock();
        look(writing.database.as_ref().ok_or_else(reopening)?)
    }

    /// The file as it was last flushed.
    pub(super) fn view(&self) -> Result<Arc<FileView>, IndexError> {
        if let Some(error) = self.damage() {
            return Err(error);
        }
        self.view.read().clone().ok_or_else(reopening)
    }

    /// What was found to be damaged, if anything was.
    pub(super) fn damage(&self) -> Option<IndexError> {
        self.damage.read().get().cloned().map(IndexError::Damaged)
    }
}

fn reopening() -> IndexError {
    IndexError::Unavailable("it is being opened again".into())
}

pub(super) fn suspect(path: &Path) -> PathBuf {
    path.with_extension("suspect")
}

/// The database, and what tells of damage that is found later.
pub(super) fn open_database(disk: &Disk, path: &Path) -> Result<(Database, Damage), IndexError> {
    let file = disk.checked(path)?;
    let damage = file.damage();
    let mut builder = Database::builder();
    let builder = builder.set_cache_size(PAGE_CACHE_BYTES);
    let database = builder.create_with_backend(file)?;
    let mut write = database.begin_write()?;
    if write.list_tables()?.count() == TABLES {
        write.abort()?;
        return Ok((database, damage));
    }
    // Every commit must leave a file that a crash does not make the next start read whole.
    write.set_quick_repair(true);
    write.open_table(POSTINGS)?;
    write.open_table(STREAMS)?;
    write.open_table(COMMANDS)?;
    write.open_table(ARRIVALS)?;
    write.open_table(GIVEN)?;
    write.open_table(ACTIVE)?;
    write.open_table(ACTS)?;
    write.open_table(META)?;
    write.commit()?;
    Ok((database, damage))
}

/// How far the file goes, and what is active there; none when it is new.
pub(super) fn start(database: &Database) -> Result<Option<Start>, IndexError> {
    let read = database.begin_read()?;
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

fn write(database: &Database, fresh: &Fresh, limits: &IndexLimits) -> Result<(), IndexError> {
    let mut write = database.begin_write()?;
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
        let mut given = write.open_table(GIVEN)?;
        let mut keys: Vec<_> = fresh.given.iter().collect();
        keys.sort_unstable();
        for (key, decision) in keys {
            given.insert(key.0, decision)?;
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
    fail_point(Point::Index);
    write.commit()?;
    Ok(())
}

pub(super) fn key(name: &[u8], number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 9);
    key.extend_from_slice(name);
    key.push(0);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn flush_commands(
    write: &WriteTransaction,
    fresh: &Fresh,
    limits: &IndexLimits,
) -> Result<(), IndexError> {
    let mut commands = write.open_table(COMMANDS)?;
    let mut arrivals = write.open_table(ARRIVALS)?;
    let mut keys: Vec<_> = fresh.commands.iter().collect();
    if is_on(Mutant::FlushForgetsCommandIds) {
        keys.clear();
    }
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

pub(super) fn oldest_arrival(database: &Database) -> Result<Option<u64>, IndexError> {
    let arrivals = database.begin_read()?.open_table(ARRIVALS)?;
    Ok(arrivals.first()?.map(|(decision, _)| decision.value()))
}

fn oldest(
    arrivals: &redb::Table<'_, u64, (u128, u64)>,
) -> Result<Option<(u64, u128, u64)>, IndexError> {
    let Some((decision, arrival)) = arrivals.first()? else { return Ok(None) };
    let (key, recorded_at_ms) = arrival.value();
    Ok(Some((decision.value(), key, recorded_at_ms)))
}

macro_rules! is_index_error {
    ($($error:ty),*) => {
        $(impl From<$error> for IndexError {
            fn from(error: $error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(error) => error.into(),
                    other => Self::Unavailable(other.to_string()),
                }
            }
        })*
    };
}

is_index_error!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

impl From<std::io::Error> for IndexError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<wire::Damage> for IndexError {
    fn from(damage: wire::Damage) -> Self {
        Self::Damaged(damage.to_string())
    }
}
