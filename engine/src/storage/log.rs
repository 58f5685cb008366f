//! The log: the only truth. Decision records in one order, appended by one thread.
//!
//! Promises: nothing is readable before it is durable; what is read was checked against its
//! checksum; after a failed commit nothing is acknowledged until the file was opened again.
//! It knows records, streams and command ids, and nothing of what they mean.

mod alone;
mod archive;
mod chain;
mod copy;
mod erase;
mod error;
mod file;
mod found;
mod group;
mod journal;
mod moves;
mod pace;
mod pending;
mod recent;
mod records;
mod replay;
mod row;
mod rows;
mod search;
mod segments;
mod settle;
mod stored;
mod work;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::clock::{Clock, Stopwatch};
use crate::decision::Hash;
use crate::decision::format::check;
use crate::names::StreamId;
use crate::tasks::{Spawner, Thread};

use super::disk::Disk;
use super::index::Index;
pub use super::index::{FindError, Found, GivenKey, IndexContent, IndexLimits, IndexTally};
pub use archive::{ArchivedFile, OutOfReach};
pub use chain::Chain;
pub use copy::LogCopy;
pub use error::{LogLimits, OpenError, ReadError};
use file::LogFile;
pub use group::Group;
use journal::Journal;
pub use moves::{ArchiveError, Copied};
use recent::RecentStreams;
use records::{Records, unless_missing};
pub use stored::{Run, Stored, StoredPart, StoredRow};
pub use work::{
    AppendError, AppendReply, Appended, Condition, DirectAppend, Expectation, Lineage, Refusal,
    Submission, Work,
};

/// The newest durable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the newest event; 0 in an empty log.
    pub position: u64,
    /// Number of the newest record; 0 in an empty log.
    pub decision: u64,
    /// BLAKE3 of the newest record; of the store's id in an empty log.
    pub hash: Hash,
}

/// Which way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// A handle to the log; cheap to clone.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    submit: Sender<Submission>,
}

/// What readers and the writer share.
struct Shared {
    records: Records,
    index: Arc<Index>,
    recent: RecentStreams,
    head: watch::Sender<Head>,
    /// Wakes threads that wait for the head; tasks watch `head` itself.
    moved: (Mutex<()>, Condvar),
    /// Why appends are refused, while they are.
    trouble: Mutex<Option<Refusal>>,
    /// When the disk was last found to have room.
    room: Mutex<Option<Stopwatch>>,
    limits: LogLimits,
    clock: Clock,
}

/// How long a disk that had room is taken to have it: asking costs as much as a small commit's
/// hashing, and nothing fills 64 MiB unseen in that time.
const ROOM_LASTS: Duration = Duration::from_millis(50);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("head", &self.head()).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `dir`, creating it where there is none, checks every record and starts
    /// the writer and the index. Their threads end, in the order given, when the last handle is
    /// dropped.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be used or a record is damaged.
    pub fn open(
        dir: &Path,
        store_id: &str,
        limits: LogLimits,
        clock: Clock,
        spawner: &Spawner,
    ) -> Result<(Self, Vec<Thread>), OpenError> {
        Self::open_on(&Disk::default(), dir, store_id, limits, clock, spawner)
    }

    /// As [`Log::open`], on a disk of the caller's: for benches and tests.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be used or a record is damaged.
    pub fn open_on(
        disk: &Disk,
        dir: &Path,
        store_id: &str,
        mut limits: LogLimits,
        clock: Clock,
        spawner: &Spawner,
    ) -> Result<(Self, Vec<Thread>), OpenError> {
        // Several stores may share an archive.
        let own = limits.archive_dir.map(|archive| std::path::absolute(archive.join(store_id)));
        limits.archive_dir = own.transpose().map_err(|error| OpenError::File(error.to_string()))?;
        let file = LogFile::open(dir, &limits, disk.clone())?;
        let genesis = Chain::genesis(store_id).head;
        let frames = journal::read(dir, disk)?;
        settle::settle_frames(&file, &frames, settle::newest(&file, genesis.hash)?)?;
        let created = Journal::create(dir, disk, limits.journal_bytes);
        let journal = created.map_err(|error| OpenError::File(error.to_string()))?;
        let has = |head: &Head| match file.chain_at(head.decision) {
            Ok(chain) => chain.is_some_and(|chain| chain.head.hash == head.hash),
            // What cannot be compared is not thrown away.
            Err(ReadError::Archived(_)) => true,
            Err(_) => false,
        };
        let index = Index::open(disk, dir, genesis, limits.index, has)
            .map_err(|error| OpenError::File(error.to_string()))?;
        let index = Arc::new(index);
        let flusher = index.flusher();
        let flusher = spawner.thread("index-flusher", move || flusher.run());
        let replayed = replay::replay(&file, &index);
        let (head, recorded_at_ms) = replayed.inspect_err(|_| index.close())?;
        clock.warn_if_behind(recorded_at_ms);
        let (submit, work) = crossbeam_channel::bounded(limits.queue_records);
        let shared = Arc::new(Shared {
            records: Records::new(file),
            index,
            recent: RecentStreams::new(limits.stream_cache_bytes),
            head: watch::Sender::new(head),
            moved: Default::default(),
            trouble: Mutex::new(None),
            room: Mutex::new(None),
            limits,
            clock,
        });
        let settling = Arc::clone(&shared);
        let settler = move || settling.records.unsettled.run(&settling.records.file);
        let settler = spawner.thread("log-settler", settler);
        let writer = writer::Writer::new(Arc::clone(&shared), work, journal, recorded_at_ms);
        let writer = spawner.thread("log-writer", move || writer.run());
        Ok((Self { shared, submit }, vec![writer, settler, flusher]))
    }

    /// The newest durable record.
    #[must_use]
    pub fn head(&self) -> Head {
        *self.shared.head.borrow()
    }

    /// Tells of every move of the head.
    #[must_use]
    pub fn watch_head(&self) -> watch::Receiver<Head> {
        self.shared.head.subscribe()
    }

    /// Holds a thread until there is a record after `decision`, or the time is up.
    #[must_use]
    pub fn wait_past(&self, decision: u64, at_most: Duration) -> Head {
        let (lock, condvar) = &self.shared.moved;
        let mut guard = lock.lock();
        let head = self.head();
        if head.decision > decision {
            return head;
        }
        condvar.wait_for(&mut guard, at_most);
        self.head()
    }

    /// Why appends are refused at present, if they are.
    #[must_use]
    pub fn trouble(&self) -> Option<Refusal> {
        let trouble = self.shared.trouble.lock().clone();
        let unsettled = || self.shared.records.unsettled.trouble().map(Refusal::Recovering);
        trouble.or_else(|| self.shared.disk_refusal()).or_else(unsettled)
    }

    /// What was found to be damaged of the index, if anything was. The next start builds it again.
    #[must_use]
    pub fn index_damage(&self) -> Option<String> {
        self.shared.index.damage()
    }

    /// The active version of each module: its name, version and digest.
    #[must_use]
    pub fn active_modules(&self) -> Vec<(String, String, Hash)> {
        let active = self.shared.index.active().into_iter();
        active.map(|(name, (version, digest))| (name, version, digest)).collect()
    }

    /// Hands work to the writer, waiting while its queue is full. The answer comes through the
    /// submission's reply, on the writer's thread.
    pub fn submit(&self, submission: Submission) {
        if let Err(crossbeam_channel::SendError(submission)) = self.submit.send(submission) {
            (submission.reply)(Err(AppendError::NotAccepted(Refusal::Closed)));
        }
    }

    /// The newest version of a stream; none if it never had an event.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read.
    pub fn stream_version(&self, stream: &StreamId) -> Result<Option<u64>, ReadError> {
        Ok(self.shared.index.stream_version(stream.as_str())?)
    }

    /// Streams whose names begin with `prefix`, after a name, in order, with their versions.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read.
    pub fn streams(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, ReadError> {
        Ok(self.shared.index.streams(prefix, after, limit)?)
    }

    /// The record that holds a caller's command, if it was recorded within the window.
    ///
    /// # Errors
    /// [`ReadError`] when the index cannot be read.
    pub fn find_command(
        &self,
        caller: Option<&str>,
        command_id: &str,
    ) -> Result<Option<u64>, ReadError> {
        Ok(self.shared.index.command(caller, command_id)?)
    }

    /// The bytes of one record.
    ///
    /// # Errors
    /// [`ReadError`] when it is damaged or the file cannot be read.
    pub fn record(&self, decision: u64) -> Result<Option<Bytes>, ReadError> {
        let head = self.head().decision;
        unless_missing(decision, head, self.shared.records.record(decision)?)
    }

    /// The group that holds a record. None after the newest.
    ///
    /// # Errors
    /// [`ReadError`] when it is damaged or the file cannot be read.
    pub fn group(&self, decision: u64) -> Result<Option<Arc<Group>>, ReadError> {
        let head = self.head().decision;
        unless_missing(decision, head, self.shared.records.group(decision)?)
    }

    /// The records that hold up to `limit` events of a stream, in the order of reading, beginning
    /// after (or before) a version. The first and the last may also hold events outside. All were
    /// compared with their checksums.
    ///
    /// # Errors
    /// [`ReadError`] when one is damaged or the file cannot be read.
    pub fn stream_records(
        &self,
        stream: &str,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Arc<[Bytes]>, ReadError> {
        let Some(version) = self.shared.index.stream_version(stream)? else {
            return Ok(Arc::default());
        };
        let span = (from, direction, limit);
        if let Some(records) = self.shared.recent.get(stream, span, version) {
            return Ok(records);
        }
        let decisions = self.shared.index.records(stream, from, direction, limit)?;
        let records: Arc<[_]> = self.shared.records.records(&decisions)?.into();
        if let Some(decision) = decisions.get(records.len()) {
            return Err(ReadError::Damaged(format!("decision {decision} is missing")));
        }
        for record in records.iter() {
            check(record)?;
        }
        self.shared.recent.put(stream, span, version, &records);
        Ok(records)
    }

    /// The log as it is stored, to check or to copy.
    #[must_use]
    pub fn stored(&self) -> Stored {
        Stored::live(Arc::clone(&self.shared))
    }

    /// Bytes of its rows with their keys, as the storage engine counts them.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read.
    pub fn stored_bytes(&self) -> Result<u64, ReadError> {
        self.shared.records.file.stored_bytes()
    }

    /// The record that holds the first event after a position: the head's successor if none does.
    ///
    /// # Errors
    /// [`ReadError`] when the file cannot be read.
    pub fn decision_after_position(&self, position: u64) -> Result<u64, ReadError> {
        self.shared.records.after_position(&self.head(), position)
    }
}

impl Shared {
    /// Why the disk takes no appends, if it does not.
    fn disk_refusal(&self) -> Option<Refusal> {
        let mut room = self.room.lock();
        if room.is_some_and(|found| found.elapsed() < ROOM_LASTS) {
            return None;
        }
        let free_bytes = match self.records.file.free_disk_bytes() {
            Ok(free_bytes) => free_bytes?,
            // What is open would still be written, and could not be found by the next start.
            Err(gone) => return Some(Refusal::Recovering(gone)),
        };
        let min_free_bytes = self.limits.min_free_disk_bytes;
        let has_room = free_bytes >= min_free_bytes;
        *room = has_room.then(Stopwatch::start);
        (!has_room).then_some(Refusal::DiskFull { free_bytes, min_free_bytes })
    }

    fn move_head(&self, head: Head) {
        self.head.send_replace(head);
        drop(self.moved.0.lock());
        self.moved.1.notify_all();
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod model;
#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;
