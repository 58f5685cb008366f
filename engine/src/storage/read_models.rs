//! The file of one projection generation: its documents, their indexes and how far it has read,
//! moving together.
//!
//! Promises: documents, index entries and checkpoint are never apart; after a crash the file shows
//! a state it once had, and its checkpoint says which; an index that is not whole yet answers
//! nothing. It may be deleted at any time.

mod error;
mod indexes;
mod view;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};

use crate::decision::Hash;
use crate::document::Index;
use crate::faults::{Mutant, Point, fail_point, is_on};
use crate::storage::disk::{Damage, Disk};
use crate::storage::unpanicked;

pub use error::{Conflict, ReadModelError, WriteError};
use error::{damaged, failed};
pub use view::{IndexView, View};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const CHECKPOINT: &str = "checkpoint";
/// The digest of the component that makes it.
const MAKER: &str = "maker";
/// What the names of the tables of documents begin with.
const ROWS: &str = "rows:";

/// redb's page cache of one file, in bytes. 16 MiB: the hot rows of a busy projection.
const PAGE_CACHE_BYTES: usize = 16 << 20;

/// How far a file has read, by the file as it is: nothing of it is changed. None in a new one.
///
/// # Errors
/// [`ReadModelError`] when it cannot be read.
pub fn checkpoint_of(path: &Path) -> Result<Option<Checkpoint>> {
    let read = || Ok(View::of(&open_database(&Disk::still(), path)?.0)?.checkpoint());
    unpanicked(read).unwrap_or_else(damaged)
}

/// How far a projection has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest position that was considered.
    pub position: u64,
    /// The newest record that was considered.
    pub decision: u64,
    /// BLAKE3 of that record: a log that differs there is another log.
    pub hash: Hash,
}

impl Checkpoint {
    /// Before everything.
    pub const START: Self = Self { position: 0, decision: 0, hash: [0; 32] };
}

/// A read model: what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// What its documents are found by besides their keys.
    pub indexes: Vec<Index>,
}

/// One write: a document, or none to delete it.
#[derive(Clone, Copy, Debug)]
pub struct RowChange<'a> {
    /// The read model.
    pub collection: &'a str,
    /// The document's key.
    pub key: &'a str,
    /// The document, JSON.
    pub document: Option<&'a str>,
}

type Result<T> = std::result::Result<T, ReadModelError>;

/// An open file.
pub struct ReadModelFile {
    disk: Disk,
    path: RwLock<PathBuf>,
    collections: RwLock<Vec<Collection>>,
    /// Which component makes it, where that was said.
    maker: RwLock<Option<Hash>>,
    /// None while it is being opened again.
    open: RwLock<Option<Open>>,
}

struct Open {
    /// What is read until the next commit: opening tables costs as much as looking something up.
    /// It goes first, so that the file is closed without readers.
    view: RwLock<Arc<View>>,
    database: Database,
    damage: Damage,
}

impl std::fmt::Debug for ReadModelFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadModelFile")
    }
}

impl ReadModelFile {
    /// Opens it, creating it where there is none.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be used, or was made for other read models.
    pub fn open(path: &Path, collections: Vec<Collection>) -> Result<Self> {
        Self::open_on(&Disk::default(), path, collections)
    }

    /// As [`ReadModelFile::open`], on a disk of the caller's.
    pub(super) fn open_on(disk: &Disk, path: &Path, collections: Vec<Collection>) -> Result<Self> {
        let is_new = !disk.has(path).map_err(failed)?;
        let file = Self {
            disk: disk.clone(),
            path: RwLock::new(path.to_owned()),
            collections: RwLock::new(collections),
            maker: RwLock::new(None),
            open: RwLock::new(None),
        };
        file.open_again()?;
        if is_new {
            path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir)).map_err(failed)?;
        }
        Ok(file)
    }

    /// Closes the file and opens it again, as redb asks for after a failed write. One that was
    /// found to be damaged goes, and an empty one takes its place.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be opened; reads then fail until it can.
    pub fn reopen(&self) -> Result<()> {
        drop(self.open.write().take());
        let path = self.path.read().clone();
        let is_damaged = |error: std::io::Error| error.kind() == std::io::ErrorKind::InvalidData;
        if !self.disk.checked(&path).is_err_and(is_damaged) {
            return self.open_again();
        }
        self.disk.remove(&path).map_err(failed)?;
        self.open_again()?;
        let maker = *self.maker.read();
        maker.map_or(Ok(()), |maker| self.with(|open| open.say_maker(&maker)))
    }

    fn open_again(&self) -> Result<()> {
        let mut slot = self.open.write();
        drop(slot.take());
        let open = || {
            let (database, damage) = open_database(&self.disk, &self.path.read())?;
            indexes::reconcile(&database, &self.collections.read())?;
            let view = RwLock::new(Arc::new(View::of(&database)?));
            Ok(Open { view, database, damage })
        };
        *slot = Some(unpanicked(open).unwrap_or_else(damaged)?);
        Ok(())
    }

    /// What was found to be damaged since it was opened, if anything was.
    #[must_use]
    pub fn damage(&self) -> Option<ReadModelError> {
        let open = self.open.read();
        open.as_ref()?.damage.get().map(failed)
    }

    /// Says which component makes it from now on, and changes which indexes there are. New ones
    /// answer once [`ReadModelFile::build`] has made them; those that are no longer declared go
    /// when all declared ones do.
    ///
    /// # Errors
    /// [`ReadModelError`]; each of the two is changed or not.
    pub fn declare(&self, collections: Vec<Collection>, maker: &Hash) -> Result<()> {
        self.with(|open| {
            indexes::reconcile(&open.database, &collections)?;
            *self.collections.write() = collections;
            open.say_maker(maker)?;
            *self.maker.write() = Some(*maker);
            open.look_again()
        })
    }

    /// The component that makes a file; none where the file does not say, or cannot be read.
    #[must_use]
    pub fn maker_of(path: &Path) -> Option<Hash> {
        Self::maker_on(&Disk::default(), path)
    }

    pub(super) fn maker_on(disk: &Disk, path: &Path) -> Option<Hash> {
        let (database, _) = open_database(disk, path).ok()?;
        let meta = database.begin_read().ok()?.open_table(META).ok()?;
        meta.get(MAKER).ok()??.value().try_into().ok()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.path.read().clone()
    }

    /// Gives the file another name, durably, in place of what has it.
    ///
    /// # Errors
    /// [`ReadModelError`] when it may have the one that it had.
    pub fn move_to(&self, path: &Path) -> Result<()> {
        let mut current = self.path.write();
        self.disk.rename(&current, path).map_err(failed)?;
        path.clone_into(&mut current);
        path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir)).map_err(failed)
    }

    /// Whether it is of these read models, whatever their indexes.
    #[must_use]
    pub fn is_of(&self, collections: &[Collection]) -> bool {
        let names = |collections: &[Collection]| {
            collections.iter().map(|collection| collection.name.clone()).collect::<BTreeSet<_>>()
        };
        names(&self.collections.read()) == names(collections)
    }

    /// Puts some more documents into an index that is not whole yet. False: all are whole.
    ///
    /// # Errors
    /// [`WriteError`] when nothing was written.
    pub fn build(&self, documents: usize) -> std::result::Result<bool, WriteError> {
        self.with(|open| {
            let built =
                indexes::build(&open.database, &open.view(), &self.collections.read(), documents);
            if let Ok(true) = built {
                open.look_again()?;
            }
            built
        })
    }

    /// How far it has read; none in a new file.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        Ok(self.view()?.checkpoint())
    }

    /// Writes documents, each once, and the checkpoint they belong to, all or nothing. Unless
    /// `durable`, a crash may lose it together with everything written since the last durable one.
    ///
    /// # Errors
    /// [`WriteError`] when nothing was written.
    pub fn apply<'a>(
        &self,
        changes: impl Iterator<Item = RowChange<'a>>,
        checkpoint: &Checkpoint,
        durable: bool,
    ) -> std::result::Result<(), WriteError> {
        self.with(|open| {
            let mut write = open.begin(durable || is_on(Mutant::CheckpointApart))?;
            write::rows(&write, &open.view(), changes)?;
            if is_on(Mutant::CheckpointApart) {
                write.commit().map_err(failed)?;
                write = open.begin(durable)?;
            }
            let mut meta = write.open_table(META).map_err(failed)?;
            meta.insert(CHECKPOINT, &*encode(checkpoint)).map_err(failed)?;
            drop(meta);
            fail_point(Point::Write);
            write.commit().map_err(failed)?;
            fail_point(Point::Write);
            Ok(open.look_again()?)
        })
    }

    /// The newest state; it stays as it is while others write.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be read.
    pub fn view(&self) -> Result<Arc<View>> {
        self.with(|open| Ok(open.view()))
    }

    fn with<T, E: From<ReadModelError>>(
        &self,
        act: impl FnOnce(&Open) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let slot = self.open.read();
        act(slot.as_ref().ok_or_else(|| failed("it is being opened again"))?)
    }
}

impl Open {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
    }

    fn begin(&self, durable: bool) -> Result<WriteTransaction> {
        let mut write = self.database.begin_write().map_err(failed)?;
        let durability = if durable { Durability::Immediate } else { Durability::None };
        write.set_durability(durability).map_err(failed)?;
        // A crash must not make the next start read the whole file. It also syncs twice, what was
        // written before what leads to it: so a sync that fails loses nothing that is led to,
        // whatever the system shows of it.
        write.set_quick_repair(durable);
        Ok(write)
    }

    fn say_maker(&self, maker: &Hash) -> Result<()> {
        let write = self.begin(true)?;
        let mut meta = write.open_table(META).map_err(failed)?;
        meta.insert(MAKER, maker.as_slice()).map_err(failed)?;
        drop(meta);
        write.commit().map_err(failed)
    }

    fn look_again(&self) -> Result<()> {
        let view = Arc::new(View::of(&self.database)?);
        *self.view.write() = view;
        Ok(())
    }
}

/// The database, and what tells of damage that is found later.
fn open_database(disk: &Disk, path: &Path) -> Result<(Database, Damage)> {
    let file = disk.checked(path).map_err(failed)?;
    let damage = file.damage();
    let mut builder = Database::builder();
    let database = builder.set_cache_size(PAGE_CACHE_BYTES).create_with_backend(file);
    Ok((database.map_err(failed)?, damage))
}

fn table_name(collection: &str) -> String {
    format!("{ROWS}{collection}")
}

fn rows(name: &str) -> TableDefinition<'_, &'static str, &'static str> {
    TableDefinition::new(name)
}

/// Opens the table of a read model's documents for writing.
fn rows_of<'t>(
    write: &'t WriteTransaction,
    collection: &str,
) -> Result<redb::Table<'t, &'static str, &'static str>> {
    write.open_table(rows(&table_name(collection))).map_err(failed)
}

/// Position, decision, hash: big-endian.
fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.extend_from_slice(&checkpoint.position.to_be_bytes());
    out.extend_from_slice(&checkpoint.decision.to_be_bytes());
    out.extend_from_slice(&checkpoint.hash);
    out
}

fn decode(bytes: &[u8]) -> Result<Checkpoint> {
    let whole = || {
        let (position, rest) = bytes.split_first_chunk::<8>()?;
        let (decision, hash) = rest.split_first_chunk::<8>()?;
        Some(Checkpoint {
            position: u64::from_be_bytes(*position),
            decision: u64::from_be_bytes(*decision),
            hash: hash.try_into().ok()?,
        })
    };
    whole().ok_or_else(|| ReadModelError("its checkpoint is damaged".into()))
}

#[cfg(test)]
mod tests;
