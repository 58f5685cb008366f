//! What is derived from the log to find things in it: streams, labels, command ids, what is
//! active.
//!
//! Fresh entries live in memory; a thread of its own writes them behind, in large sorted batches,
//! to a file with a checkpoint. After a crash the records after the checkpoint are indexed again;
//! a file whose checkpoint the log does not have is deleted and built anew. It only ever holds
//! durable records, and memory is bounded by `fresh_records`, whatever the log holds.

mod blocks;
mod content;
mod file;
mod find;
mod flush;
mod fresh;
mod labels;
mod pending;
mod streams;
mod view;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock};

use super::disk::Disk;
use super::log::{Direction, Head};
use super::unpanicked;
use crate::decision::{Decision, Hash, Kind};
use crate::event::derived_at_ms;
use crate::query::Query;
use file::IndexFile;
use find::{Plan, Search};
use fresh::Fresh;
use view::LabelCursor;

pub(super) use content::content_of;
pub use content::{IndexContent, IndexTally};
pub use find::{FindError, Found};
pub(super) use pending::Labels;

/// What the index may use. Each has a default with a reason.
#[derive(Clone, Copy, Debug)]
pub struct IndexLimits {
    /// Records in memory before they are flushed; one of several events counts as many. 16,384: a
    /// flush amortises its fsync, and what a crash leaves to be indexed again takes less than a
    /// tenth of a second.
    pub fresh_records: usize,
    /// Command ids older than this are new again, in milliseconds; more than a day without any does
    /// not count (`window.rs`). 7 days: longer than any client's retries.
    pub idempotency_window_ms: u64,
    /// Time without command ids that is taken for time that passed, in milliseconds. 1 day: whoever
    /// rests for longer keeps some ids for longer, and no window should be as short.
    pub longest_rest_ms: u64,
    /// Most command ids kept. 10 million: half a gigabyte of disk.
    pub idempotency_ids: u64,
    /// Steps that one search may take. 100,000: some ten milliseconds.
    pub search_leaps: u64,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self {
            fresh_records: 16_384,
            idempotency_window_ms: 7 * 24 * 3600 * 1000,
            longest_rest_ms: 24 * 3600 * 1000,
            idempotency_ids: 10_000_000,
            search_leaps: 100_000,
        }
    }
}

/// The index cannot be read or written. It can always be built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// The system refused, or it is being opened again.
    Unavailable(String),
    /// The disk changed it. The next start builds it again.
    Damaged(String),
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable(reason) => write!(f, "the index: {reason}"),
            Self::Damaged(reason) => write!(
                f,
                "the index: {reason}; a restart of the server builds it again from the log"
            ),
        }
    }
}

impl std::error::Error for IndexError {}

impl From<IndexError> for FindError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

type ActiveModules = BTreeMap<String, (String, Hash)>;

/// The index of one log. Shared by the writer, the readers and the thread that flushes.
pub(super) struct Index {
    layers: RwLock<Layers>,
    file: IndexFile,
    limits: IndexLimits,
    /// What the flushing thread is to write; it waits on the condition.
    work: (Mutex<flush::Work>, Condvar),
}

/// What is in memory. Entries up to `base` are in the file, those after it here.
struct Layers {
    base: Head,
    flushing: Option<Arc<Fresh>>,
    fresh: Fresh,
    active: ActiveModules,
}

impl Layers {
    /// The newest first.
    fn memory(&self) -> impl Iterator<Item = &Fresh> {
        std::iter::once(&self.fresh).chain(self.flushing.as_deref())
    }
}

impl Index {
    /// Opens the index of a log with the genesis `genesis`. `has` tells whether the log has a
    /// record; an index that goes on from another one is deleted. Records after
    /// [`Index::through`] are to be applied next.
    pub(super) fn open(
        disk: &Disk,
        dir: &Path,
        genesis: Head,
        limits: IndexLimits,
        has: impl FnOnce(&Head) -> bool,
    ) -> Result<Self, IndexError> {
        let path = dir.join("index.redb");
        let damaged = || Err(IndexError::Damaged("its file is damaged".into()));
        let opened = unpanicked(|| IndexFile::open(disk, &path)).unwrap_or_else(damaged);
        let (base, active, file) = match opened {
            Ok((file, Some((base, active)))) if has(&base) => (base, active, file),
            Ok((file, None)) => (genesis, ActiveModules::new(), file),
            refused => {
                tracing::warn!("the index does not agree with the log and is built again");
                drop(refused);
                disk.remove(&path).map_err(IndexError::from)?;
                (genesis, ActiveModules::new(), IndexFile::open(disk, &path)?.0)
            }
        };
        let layers = Layers { base, flushing: None, fresh: Fresh::after(base), active };
        let work = Default::default();
        Ok(Self { layers: RwLock::new(layers), file, limits, work })
    }

    /// Waits until nothing is being written behind.
    #[cfg(test)]
    pub(super) fn rest(&self) {
        let (work, moved) = &self.work;
        let mut work = work.lock();
        while work.is_under_way() {
            moved.wait(&mut work);
        }
    }

    /// Whether nothing is being written behind.
    #[cfg(test)]
    pub(super) fn rests(&self) -> bool {
        !self.work.0.lock().is_under_way()
    }

    /// What was found to be damaged of it, if anything was.
    pub(super) fn damage(&self) -> Option<String> {
        self.file.damage().map(|error| error.to_string())
    }

    /// The newest record in it.
    pub(super) fn through(&self) -> Head {
        self.layers.read().fresh.through
    }

    /// The newest record that is in the file.
    pub(super) fn base(&self) -> Head {
        self.layers.read().base
    }

    /// Takes in the next records at once, so that readers see all or none.
    pub(super) fn apply<'a>(&self, decisions: impl Iterator<Item = (Decision<'a>, Hash)>) {
        let mut layers = self.layers.write();
        for (decision, hash) in decisions {
            if let Kind::Activation(record) = &decision.kind {
                match record.version {
                    Some((version, digest)) => {
                        layers.active.insert(record.module.into(), (version.into(), digest))
                    }
                    None => layers.active.remove(record.module),
                };
            }
            layers.fresh.apply(&decision, hash);
        }
        let full = layers.fresh.records >= self.limits.fresh_records;
        drop(layers);
        if full {
            self.start_flush();
        }
    }

    /// The active version of each module.
    pub(super) fn active(&self) -> ActiveModules {
        self.layers.read().active.clone()
    }

    /// The record of a caller's command.
    pub(super) fn command(
        &self,
        caller: Option<&str>,
        command_id: &str,
    ) -> Result<Option<u64>, IndexError> {
        let key = command_key(caller, command_id);
        let fresh = self.layers.read().memory().find_map(|fresh| fresh.commands.get(&key).copied());
        match fresh {
            Some(decision) => Ok(Some(decision)),
            None => self.file.command(key),
        }
    }

    /// The record of each event that was given its id elsewhere.
    pub(super) fn given(&self, keys: &[GivenKey]) -> Result<Vec<Option<u64>>, IndexError> {
        // Memory first: what is flushed meanwhile is then in the file.
        let layers = self.layers.read();
        let in_memory =
            |key: &GivenKey| layers.memory().find_map(|fresh| fresh.given.get(key).copied());
        let mut found: Vec<_> = keys.iter().map(in_memory).collect();
        drop(layers);
        let mut missing: Vec<_> =
            keys.iter().zip(&mut found).filter(|(_, found)| found.is_none()).collect();
        // In their order, so that those that lie together are found together.
        missing.sort_unstable_by_key(|(key, _)| **key);
        self.file.given(missing)?;
        Ok(found)
    }

    /// The oldest record in the file whose command id is still known.
    pub(super) fn oldest_arrival(&self) -> Result<Option<u64>, IndexError> {
        self.file.with_database(file::oldest_arrival)
    }

    /// The records of the newest acts, of all names about all subjects.
    pub(super) fn newest_acts(&self) -> Result<Vec<u64>, IndexError> {
        Ok(self.acts_under("")?.into_values().collect())
    }

    /// The record of the newest act of a name about each subject.
    pub(super) fn acts(&self, act: &str) -> Result<BTreeMap<String, u64>, IndexError> {
        self.acts_under(&act_key(act, ""))
    }

    fn acts_under(&self, prefix: &str) -> Result<BTreeMap<String, u64>, IndexError> {
        // Memory first: what is flushed meanwhile is then in the file.
        let fresh: Vec<_> = self
            .layers
            .read()
            .memory()
            .flat_map(|fresh| fresh.acts.range(prefix.to_owned()..))
            .filter_map(|(key, decision)| Some((key.strip_prefix(prefix)?.to_owned(), *decision)))
            .collect();
        let mut newest = BTreeMap::new();
        for (subject, decision) in self.file.acts(prefix)?.into_iter().chain(fresh) {
            let known = newest.entry(subject).or_insert(decision);
            *known = decision.max(*known);
        }
        Ok(newest)
    }

    /// The record of the newest act of a name about a subject.
    pub(super) fn act(&self, act: &str, subject: &str) -> Result<Option<u64>, IndexError> {
        let key = act_key(act, subject);
        let fresh = self.layers.read().memory().find_map(|fresh| fresh.acts.get(&key).copied());
        match fresh {
            Some(decision) => Ok(Some(decision)),
            None => self.file.act(&key),
        }
    }

    /// The events that match, from one position to another, both included, in that order.
    pub(super) fn find(
        &self,
        query: &Query,
        (from, until): (u64, u64),
        limit: usize,
    ) -> Result<Found, FindError> {
        let plan = Plan::new(query);
        let direction = if from <= until { Direction::Forward } else { Direction::Backward };
        let mut search = Search::new(&plan, direction, limit, self.limits.search_leaps);
        match direction {
            Direction::Backward => {
                let base = self.find_in_memory(&mut search, from, until)?;
                self.find_in_file(&mut search, from.min(base.position), until)?;
            }
            Direction::Forward => {
                let mut at = from;
                loop {
                    let base = self.layers.read().base;
                    self.find_in_file(&mut search, at, until.min(base.position))?;
                    at = at.max(base.position.saturating_add(1));
                    let base = self.find_in_memory(&mut search, at, until)?;
                    // What was flushed meanwhile is no longer in memory: it is looked for in the
                    // file.
                    if search.is_over() || at > until || at > base.position {
                        break;
                    }
                }
            }
        }
        Ok(search.found)
    }

    /// Searches what is in memory, and answers what the file then held. Forward, it does nothing
    /// when that includes `from`.
    fn find_in_memory(
        &self,
        search: &mut Search<'_>,
        from: u64,
        until: u64,
    ) -> Result<Head, FindError> {
        let layers = self.layers.read();
        // Older events are in the file.
        let oldest = layers.base.position.saturating_add(1);
        let (span, is_empty) = match search.direction {
            Direction::Forward => ((from, until), from < oldest || from > until),
            Direction::Backward => ((from, until.max(oldest)), from < until.max(oldest)),
        };
        if !is_empty && !search.is_over() {
            search.run(span, |label, at, direction| {
                let pairs = layers.memory().filter_map(|fresh| fresh.nearest(label, at, direction));
                Ok(match direction {
                    Direction::Forward => pairs.min(),
                    Direction::Backward => pairs.max(),
                })
            })?;
        }
        Ok(layers.base)
    }

    fn find_in_file(
        &self,
        search: &mut Search<'_>,
        from: u64,
        until: u64,
    ) -> Result<(), FindError> {
        let is_empty = match search.direction {
            Direction::Forward => from > until,
            Direction::Backward => from < until || from == 0,
        };
        if is_empty || search.is_over() {
            return Ok(());
        }
        let view = self.file.view()?;
        let mut cursors: HashMap<&[u8], LabelCursor<'_>> = HashMap::new();
        search.run((from, until), |label, at, direction| {
            let cursor = cursors.entry(label).or_insert_with(|| LabelCursor::new(&view, label));
            Ok(cursor.nearest(at, direction)?)
        })
    }
}

/// No name of an act contains a slash.
fn act_key(act: &str, subject: &str) -> String {
    format!("{act}/{subject}")
}

/// A caller's scope and the id in it, as one number that does not collide.
fn command_key(caller: Option<&str>, command_id: &str) -> u128 {
    let mut hasher = blake3::Hasher::new();
    // No caller contains a NUL, so the two parts cannot be confused.
    hasher.update(caller.unwrap_or_default().as_bytes());
    hasher.update(&[0, u8::from(caller.is_some())]);
    hasher.update(command_id.as_bytes());
    first_half(&hasher)
}

/// Source and id of an event that was given them elsewhere, as one number that does not collide.
/// That of an id with a time in it (UUID version 7) begins with the time, so that those of one
/// import lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GivenKey(u128);

impl GivenKey {
    /// Of an event.
    #[must_use]
    pub fn of(source: &str, id: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(source.as_bytes()).update(&[0]).update(id.as_bytes());
        let hash = first_half(&hasher);
        Self(match derived_at_ms(id) {
            Some(ms) => (u128::from(ms) << 80) | (hash >> 48),
            None => hash,
        })
    }
}

fn first_half(hasher: &blake3::Hasher) -> u128 {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(hasher.finalize().as_bytes()) {
        *to = *from;
    }
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests;
