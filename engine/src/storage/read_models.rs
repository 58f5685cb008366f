//! The file of one projection generation: its documents and how far it has read, moving together.
//!
//! Promises: documents and checkpoint are never apart; after a crash the file shows a state it
//! once had, and its checkpoint says which. It may be deleted at any time.

use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition, TableError,
    WriteTransaction,
};

use crate::decision::Hash;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const CHECKPOINT: &str = "checkpoint";

/// redb's page cache of one file, in bytes. 16 MiB: the hot rows of a busy projection.
const PAGE_CACHE_BYTES: usize = 16 << 20;

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

/// Why a file of documents failed. It can always be deleted and built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadModelError(
    /// What the storage said.
    pub String,
);

impl std::fmt::Display for ReadModelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the read model's file: {}", self.0)
    }
}

impl std::error::Error for ReadModelError {}

fn failed(error: impl std::fmt::Display) -> ReadModelError {
    ReadModelError(error.to_string())
}

type Result<T> = std::result::Result<T, ReadModelError>;

/// An open file.
pub struct ReadModelFile {
    path: PathBuf,
    /// None while it is being opened again.
    database: RwLock<Option<Database>>,
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
    /// [`ReadModelError`] when it cannot be used.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Self { path: path.to_owned(), database: RwLock::new(None) };
        file.reopen()?;
        Ok(file)
    }

    /// Closes the file and opens it again, as redb asks for after a failed write.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be opened; reads then fail until it can.
    pub fn reopen(&self) -> Result<()> {
        let mut slot = self.database.write();
        drop(slot.take());
        let builder = Database::builder().set_cache_size(PAGE_CACHE_BYTES).create(&self.path);
        *slot = Some(builder.map_err(failed)?);
        Ok(())
    }

    fn begin_read(&self) -> Result<ReadTransaction> {
        let slot = self.database.read();
        let database = slot.as_ref().ok_or_else(|| failed("it is being opened again"))?;
        database.begin_read().map_err(failed)
    }

    /// How far it has read; none in a new file.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let read = self.begin_read()?;
        let table = match read.open_table(META) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let Some(row) = table.get(CHECKPOINT).map_err(failed)? else { return Ok(None) };
        decode(row.value()).map(Some)
    }

    /// Writes documents and the checkpoint they belong to, all or nothing. Unless `durable`, a
    /// crash may lose it together with everything written since the last durable one.
    ///
    /// # Errors
    /// [`ReadModelError`] when nothing was written.
    pub fn apply<'a>(
        &self,
        changes: impl Iterator<Item = RowChange<'a>>,
        checkpoint: &Checkpoint,
        durable: bool,
    ) -> Result<()> {
        let slot = self.database.read();
        let database = slot.as_ref().ok_or_else(|| failed("it is being opened again"))?;
        let mut write = database.begin_write().map_err(failed)?;
        let durability = if durable { Durability::Immediate } else { Durability::None };
        write.set_durability(durability).map_err(failed)?;
        write_rows(&write, changes)?;
        let mut meta = write.open_table(META).map_err(failed)?;
        meta.insert(CHECKPOINT, &*encode(checkpoint)).map_err(failed)?;
        drop(meta);
        write.commit().map_err(failed)
    }

    /// A view that stays as it is while others write.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be read.
    pub fn view(&self) -> Result<View> {
        Ok(View(self.begin_read()?))
    }
}

fn write_rows<'a>(
    write: &WriteTransaction,
    changes: impl Iterator<Item = RowChange<'a>>,
) -> Result<()> {
    // A guest answers its changes collection by collection, so each table is opened rarely.
    let mut changes = changes.peekable();
    while let Some(collection) = changes.peek().map(|change| change.collection) {
        let name = table_name(collection);
        let mut table = write.open_table(rows(&name)).map_err(failed)?;
        while let Some(change) = changes.next_if(|change| change.collection == collection) {
            match change.document {
                Some(document) => drop(table.insert(change.key, document).map_err(failed)?),
                None => drop(table.remove(change.key).map_err(failed)?),
            }
        }
    }
    Ok(())
}

/// The documents at one moment.
pub struct View(ReadTransaction);

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl View {
    /// The document at a key.
    ///
    /// # Errors
    /// [`ReadModelError`] when it cannot be read.
    pub fn get(&self, collection: &str, key: &str) -> Result<Option<String>> {
        let Some(table) = self.table(collection)? else { return Ok(None) };
        Ok(table.get(key).map_err(failed)?.map(|row| row.value().to_owned()))
    }

    /// Gives the documents after a key, in the order of their keys, to `each`, until it answers
    /// false.
    ///
    /// # Errors
    /// [`ReadModelError`] when they cannot be read.
    pub fn scan(
        &self,
        collection: &str,
        from: std::ops::Bound<&str>,
        mut each: impl FnMut(&str, &str) -> bool,
    ) -> Result<()> {
        let Some(table) = self.table(collection)? else { return Ok(()) };
        let range = (from, std::ops::Bound::Unbounded);
        for row in table.range::<&str>(range).map_err(failed)? {
            let (key, document) = row.map_err(failed)?;
            if !each(key.value(), document.value()) {
                break;
            }
        }
        Ok(())
    }

    fn table(
        &self,
        collection: &str,
    ) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static str>>> {
        match self.0.open_table(rows(&table_name(collection))) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

fn table_name(collection: &str) -> String {
    format!("rows:{collection}")
}

fn rows(name: &str) -> TableDefinition<'_, &'static str, &'static str> {
    TableDefinition::new(name)
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
mod tests {
    use std::ops::Bound;

    use super::*;

    fn put<'a>(key: &'a str, document: &'a str) -> RowChange<'a> {
        RowChange { collection: "c", key, document: Some(document) }
    }

    #[test]
    fn documents_and_checkpoint_move_together() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.redb");
        let checkpoint = |n| Checkpoint { position: n, decision: n, hash: [7; 32] };
        {
            let file = ReadModelFile::open(&path).expect("opens");
            assert_eq!(file.checkpoint(), Ok(None));
            let changes = [put("b", "1"), put("a", "2"), put("ä", "3")];
            file.apply(changes.into_iter(), &checkpoint(1), true).expect("writes");
            let old = file.view().expect("reads");
            let gone = RowChange { collection: "c", key: "b", document: None };
            file.apply([gone].into_iter(), &checkpoint(2), false).expect("writes");
            assert_eq!(old.get("c", "b"), Ok(Some("1".into())));
            assert_eq!(file.view().expect("reads").get("c", "b"), Ok(None));
            assert_eq!(file.checkpoint(), Ok(Some(checkpoint(2))));
        }
        let file = ReadModelFile::open(&path).expect("opens");
        let mut keys = Vec::new();
        let view = file.view().expect("reads");
        view.scan("c", Bound::Excluded("a"), |key, _| {
            keys.push(key.to_owned());
            true
        })
        .expect("reads");
        let expected: &[&str] =
            if file.checkpoint() == Ok(Some(checkpoint(2))) { &["ä"] } else { &["b", "ä"] };
        assert_eq!(keys, expected);
    }
}
