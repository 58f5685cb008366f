//! The file of the Merkle tree: the roots of its whole tiles, so that a checkpoint and a proof read
//! a few hundred records, however long the log is. It may be deleted at any time.
//!
//! ```text
//! an entry a tile
//!     32  root hash of the tile
//!     32  BLAKE3 of the tile's last record: a log that has another there is another log
//!      4  CRC-32 of these, big-endian
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::merkle::{Growing, Known, TILE, leaf};
use crate::decision::format::{record_hash, split};
use crate::decision::{Hash, Header};
use crate::storage::log::{ReadError, Stored};

const ENTRY: usize = 68;
/// Bytes of records that are read at once.
const RUN_BYTES: usize = 1 << 20;

/// The tree over the records of a log.
#[derive(Debug)]
pub(super) struct Tree {
    path: PathBuf,
    tiles: Vec<Hash>,
}

/// One tile as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The root of its records.
    pub root: Hash,
    /// BLAKE3 of its last record.
    pub last: Hash,
}

/// What a file has, up to the first entry that is cut short or damaged.
///
/// # Errors
/// The system's; a file that is not there has nothing.
pub fn entries(path: &Path) -> io::Result<Vec<Entry>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    Ok(entries.iter().map_while(entry).collect())
}

fn entry(bytes: &[u8; ENTRY]) -> Option<Entry> {
    let (checked, check) = bytes.split_last_chunk::<4>()?;
    let (root, last) = checked.split_first_chunk::<32>()?;
    let is_whole = crc32fast::hash(checked).to_be_bytes() == *check;
    is_whole.then_some(Entry { root: *root, last: last.try_into().ok()? })
}

impl Tree {
    /// Takes what the file has, if the log agrees.
    pub(super) fn open(path: PathBuf, stored: &Stored) -> Result<Self, CheckpointError> {
        let entries = entries(&path).map_err(|error| CheckpointError::file(&path, error))?;
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let agrees = match entries.last() {
            None => true,
            Some(newest) => stored
                .record(count.saturating_mul(TILE))?
                .is_some_and(|record| record_hash(&record) == newest.last),
        };
        let tiles = if agrees { entries.iter().map(|entry| entry.root).collect() } else { vec![] };
        let tree = Self { path, tiles };
        tree.cut().map_err(|error| CheckpointError::file(&tree.path, error))?;
        Ok(tree)
    }

    /// Leaves nothing in the file but the tiles that are known.
    fn cut(&self) -> io::Result<()> {
        let file = File::options().create(true).append(true).open(&self.path)?;
        file.set_len(u64::try_from(self.tiles.len() * ENTRY).map_err(io::Error::other)?)
    }

    /// Takes in the whole tiles up to a record.
    pub(super) fn extend(&mut self, stored: &Stored, size: u64) -> Result<(), CheckpointError> {
        let (mut tiles, mut entries) = (Vec::new(), Vec::new());
        let (mut tile, mut from) = (Growing::default(), self.size() + 1);
        let whole = size / TILE * TILE;
        while from <= whole {
            let run = stored.run(from, whole, RUN_BYTES)?;
            each(&run.bytes, |record| {
                let hash = record_hash(record);
                tile.push(leaf(&hash));
                if tile.size() == TILE {
                    let root = std::mem::take(&mut tile).root();
                    tiles.push(root);
                    let mut entry = [root, hash].concat();
                    entry.extend_from_slice(&crc32fast::hash(&entry).to_be_bytes());
                    entries.extend_from_slice(&entry);
                }
            })?;
            from = run.last + 1;
        }
        if tiles.is_empty() {
            return Ok(());
        }
        // What is lost of it in a crash is found to be and made again; what an append that failed
        // left is cut off.
        let append = || {
            self.cut()?;
            File::options().append(true).open(&self.path)?.write_all(&entries)
        };
        append().map_err(|error| CheckpointError::file(&self.path, error))?;
        self.tiles.append(&mut tiles);
        Ok(())
    }

    fn size(&self) -> u64 {
        u64::try_from(self.tiles.len()).unwrap_or(0) * TILE
    }

    /// The root over the first records, which the tiles must reach.
    pub(super) fn root(&self, stored: &Stored, size: u64) -> Result<Hash, CheckpointError> {
        let mut growing = Growing::default();
        let tiles = usize::try_from(size / TILE).unwrap_or(usize::MAX);
        self.tiles.iter().take(tiles).for_each(|root| growing.join(TILE, *root));
        leaves(stored, size / TILE, size)?.into_iter().for_each(|leaf| growing.push(leaf));
        Ok(growing.root())
    }

    /// The path from a leaf to that root.
    pub(super) fn path(
        &self,
        stored: &Stored,
        index: u64,
        size: u64,
    ) -> Result<Vec<Hash>, CheckpointError> {
        let mut of_tiles = HashMap::new();
        for tile in [index / TILE, size / TILE] {
            of_tiles.insert(tile, leaves(stored, tile, size)?);
        }
        let known = Known { tiles: &self.tiles, leaves: of_tiles };
        let missing = || ReadError::Damaged("the tree over the log has a hole".into()).into();
        known.path(index, size).ok_or_else(missing)
    }
}

/// The leaves of a tile that are within a size.
fn leaves(stored: &Stored, tile: u64, size: u64) -> Result<Vec<Hash>, CheckpointError> {
    let (mut from, through) = (tile * TILE + 1, size.min((tile + 1) * TILE));
    let mut leaves = Vec::new();
    while from <= through {
        let run = stored.run(from, through, RUN_BYTES)?;
        each(&run.bytes, |record| leaves.push(leaf(&record_hash(record))))?;
        from = run.last + 1;
    }
    Ok(leaves)
}

fn each(records: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), ReadError> {
    let mut rest = records;
    while !rest.is_empty() {
        let (record, after) = split(rest)?;
        take(record);
        rest = after;
    }
    Ok(())
}

/// Header and hash of a record.
pub(super) fn record(stored: &Stored, decision: u64) -> Result<(Header, Hash), CheckpointError> {
    let missing = || ReadError::Damaged(format!("decision {decision} is missing"));
    let record = stored.record(decision)?.ok_or_else(missing)?;
    let parsed = crate::decision::parse(&record).map_err(ReadError::from)?;
    Ok((parsed.header, record_hash(&record)))
}
