//! Moving the oldest closed files of the log to an archive and back: when asked to, and by policy.
//!
//! Promises: a file moves only once its copy was read back and its records follow those before
//! them; what is newer needs no archive to be read, verified, signed and written on. One at a time
//! moves files, and waits for no reader; what is written anew changes under nobody who reads the
//! whole log without a word. It decides which files move, and nothing about how they are stored.

mod reading;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::checkpoints::{CheckpointError, CheckpointLimits, Checkpoints, Growing, leaf};
use crate::clock::Clock;
use crate::decision::{ActRecord, Draft, ERASED_BY};
use crate::reads::decision_at;
use crate::storage::data_dir::DataDir;
use crate::storage::log::{AppendError, ArchivedFile, Chain, Log, LogLimits, ReadError};
use crate::tasks::{Spawner, Thread};

pub use crate::storage::log::ArchiveError;
use reading::Readers;
pub use reading::Reading;

/// When files move without being asked for. Each has a default with a reason.
#[derive(Clone, Copy, Debug)]
pub struct ArchivePolicy {
    /// The age of a file's newest record from which on it is moved. None: nothing moves by itself,
    /// since nobody said where another disk is.
    pub after: Option<Duration>,
    /// The age of a file's newest record from which on what refused commands said is taken out of
    /// the archived file. None: for ever.
    pub rejections: Option<Duration>,
    /// How often is looked. 1 hour: little beside any age that is worth an archive.
    pub every: Duration,
    /// How long files that are due to be written anew wait for those who read the whole log; then
    /// these must begin again. 24 hours: a daily backup has ended once by then.
    pub erase_wait: Duration,
}

impl Default for ArchivePolicy {
    fn default() -> Self {
        let [every, erase_wait] = [1, 24].map(|hours| Duration::from_secs(hours * 3600));
        Self { after: None, rejections: None, every, erase_wait }
    }
}

/// A point in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// An event.
    Position(u64),
    /// A recorded time, in milliseconds since 1970.
    Time(u64),
}

impl std::str::FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let time = text.parse::<Timestamp>();
        let time = time.map_err(|_| {
            format!("{text:?} is neither a position nor a time such as 2026-01-31T12:00:00Z")
        })?;
        Ok(Self::Time(u64::try_from(time.as_millisecond()).unwrap_or(0)))
    }
}

impl Serialize for Point {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Position(position) => serializer.serialize_u64(*position),
            Self::Time(ms) => {
                let time =
                    i64::try_from(*ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
                serializer.collect_str(&time.unwrap_or(Timestamp::MAX))
            }
        }
    }
}

/// A file of the log that is archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// The file's name, in the archive as in the data directory.
    pub file: String,
    /// Its first record.
    pub first_decision: u64,
    /// Its last record.
    pub last_decision: u64,
    /// The newest position up to its end.
    pub last_position: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Whether it can be read where it is now.
    pub within_reach: bool,
}

/// What is archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveView {
    /// Where; none where no place was named.
    pub dir: Option<PathBuf>,
    /// The last archived record; 0 where there is none.
    pub through_decision: u64,
    /// The newest position up to it.
    pub through_position: u64,
    /// The archived files, in order.
    pub files: Vec<FileView>,
}

/// Moves files of one log.
pub struct Archiver {
    log: Log,
    checkpoints: Arc<Checkpoints>,
    store_id: String,
    policy: ArchivePolicy,
    clock: Clock,
    /// Taken while files move or are written anew.
    moving: Mutex<()>,
    readers: Arc<Readers>,
    /// Dropped to end the thread that moves files by policy.
    open: Mutex<Option<Sender<()>>>,
    closed: Receiver<()>,
}

impl std::fmt::Debug for Archiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archiver").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Archiver {
    /// Moves files of the log of a store.
    #[must_use]
    pub fn new(
        log: Log,
        checkpoints: Arc<Checkpoints>,
        store_id: &str,
        policy: ArchivePolicy,
        clock: Clock,
    ) -> Self {
        let (open, closed) = crossbeam_channel::bounded(0);
        let (moving, readers, open) = (Mutex::default(), Arc::default(), Mutex::new(Some(open)));
        let store_id = store_id.to_owned();
        Self { log, checkpoints, store_id, policy, clock, moving, readers, open, closed }
    }

    /// What is archived now.
    #[must_use]
    pub fn view(&self) -> ArchiveView {
        let files = self.log.archived();
        let (through_decision, through_position) =
            files.last().map_or((0, 0), |file| (file.end.head.decision, file.end.head.position));
        let files = files.iter().map(|file| self.file_view(file)).collect();
        ArchiveView { dir: self.log.archive_dir(), through_decision, through_position, files }
    }

    fn file_view(&self, file: &ArchivedFile) -> FileView {
        FileView {
            file: file.name(),
            first_decision: file.first,
            last_decision: file.end.head.decision,
            last_position: file.end.head.position,
            bytes: file.bytes,
            within_reach: self.log.is_within_reach(file),
        }
    }

    /// Moves every closed file to the archive that has nothing at or after a point; without one,
    /// every closed file. `moved` is told of each, and answers whether to go on. It blocks.
    ///
    /// # Errors
    /// [`ArchiveError`]; what was moved before stays moved.
    pub fn archive(
        &self,
        before: Option<Point>,
        mut moved: impl FnMut(FileView) -> bool,
    ) -> Result<(), ArchiveError> {
        let _alone = self.moving.lock();
        if self.log.archive_dir().is_none() {
            return Err(ArchiveError::NoPlace);
        }
        let through = match before {
            None => u64::MAX,
            Some(Point::Position(position)) => {
                self.log.decision_after_position(position.saturating_sub(1))? - 1
            }
            Some(Point::Time(ms)) => decision_at(&self.log, ms.saturating_sub(1))?.0,
        };
        // So that the tree is whole up to here, and goes on without what is moved.
        self.checkpoints.at(None).map_err(unsigned)?;
        while let Some(copied) = self.log.copy_to_archive(through)? {
            let (chain, mut tree) = self.after(self.log.archived().last())?;
            let end = copied.check(chain, |hash| tree.push(leaf(hash)))?;
            let file = self.log.archive(copied, end, tree.roots())?;
            tracing::info!(through = end.head.decision, "a file of the log was archived");
            if !moved(self.file_view(&file)) {
                break;
            }
        }
        Ok(())
    }

    /// Chain and tree after an archived file, or before the first.
    fn after(&self, file: Option<&ArchivedFile>) -> Result<(Chain, Growing), ReadError> {
        let Some(file) = file else {
            return Ok((Chain::genesis(&self.store_id), Growing::default()));
        };
        let tree = Growing::of(file.end.head.decision, &file.tree);
        let damaged = || ReadError::Damaged("the archive's tree is not that of its log".into());
        Ok((file.end, tree.ok_or_else(damaged)?))
    }

    /// Begins to read the whole log, up to a head that is looked at afterwards.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.readers.begin()
    }

    /// Takes out of archived files within reach what refused commands said, once a file's newest
    /// record is older than the policy keeps and no retry could ask for it. The log says so first.
    /// Where somebody reads the whole log, nothing is done until it has waited for long enough.
    ///
    /// # Errors
    /// [`ArchiveError`]; what was done before stays.
    pub fn erase_rejections(&self) -> Result<(), ArchiveError> {
        let Some(keep) = self.policy.rejections else { return Ok(()) };
        let _alone = self.moving.lock();
        let before_ms = self.clock.now_ms().saturating_sub(millis(keep));
        let known = self.log.oldest_known_command()?.unwrap_or(u64::MAX);
        let files = self.log.archived();
        let is_old = |file: &ArchivedFile| {
            let is_kept = file.end.recorded_at_ms >= before_ms || file.end.head.decision >= known;
            !file.is_erased && !is_kept && self.log.is_within_reach(file)
        };
        let old: Vec<_> = files.iter().enumerate().filter(|(_, file)| is_old(file)).collect();
        let Some((_, newest)) = old.last() else { return Ok(()) };
        let through = newest.end.head.decision;
        let record = || self.record_erasure(through, keep);
        if !self.readers.begin_erasure(self.policy.erase_wait, record)? {
            return Ok(());
        }
        for (at, file) in old {
            let before = at.checked_sub(1).and_then(|at| files.get(at));
            let (chain, mut tree) = self.after(before)?;
            let push = |hash: &_| tree.push(leaf(hash));
            let (copied, count, end) = self.log.copy_erased(file, chain, push)?;
            if end != file.end || tree.roots() != file.tree {
                let reason = format!("{} would not be what it was", file.name());
                return Err(ArchiveError::Log(ReadError::Damaged(reason)));
            }
            self.log.replace_archived(&copied)?;
            tracing::info!(count, through = end.head.decision, "refused commands were erased");
        }
        Ok(())
    }

    fn record_erasure(&self, through: u64, keep: Duration) -> Result<(), ArchiveError> {
        let days = keep.as_secs() / (24 * 3600);
        let value = serde_json::json!({"through_decision": through, "older_than_days": days});
        let (act, subject) = ERASED_BY;
        let value = value.to_string();
        let record = ActRecord { act, subject, value: &value, caller: None };
        let recorded = self.log.append_alone_blocking(Draft::act(&record));
        let reason = match recorded {
            Ok(_) => return Ok(()),
            Err(AppendError::NotAccepted(refusal)) => refusal.to_string(),
            Err(_) => "whether it was is unknown".to_owned(),
        };
        Err(ArchiveError::NotRecorded(reason))
    }

    /// Brings every archived file back that has something after a point; without one, all. `moved`
    /// is told of each, and answers whether to go on. It blocks.
    ///
    /// # Errors
    /// [`ArchiveError`]; what came back before stays.
    pub fn unarchive(
        &self,
        after: Option<Point>,
        mut moved: impl FnMut(FileView) -> bool,
    ) -> Result<(), ArchiveError> {
        let _alone = self.moving.lock();
        let is_wanted = |file: &ArchivedFile| match after {
            None => true,
            Some(Point::Position(position)) => file.end.head.position > position,
            Some(Point::Time(ms)) => file.end.recorded_at_ms > ms,
        };
        while let Some(file) = self.log.bring_back(is_wanted)? {
            tracing::info!(from = file.first, "a file of the log came back from the archive");
            if !moved(self.file_view(&file)) {
                break;
            }
        }
        Ok(())
    }

    /// Moves files by policy, until [`Archiver::close`].
    pub fn keep_policy(&self) {
        if self.policy.after.is_none() && self.policy.rejections.is_none() {
            return;
        }
        let mut wait = Duration::ZERO;
        while self.closed.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            wait = self.policy.every;
            let is_open = || self.open.lock().is_some();
            let moved = self.policy.after.map_or(Ok(()), |after| {
                let before = Point::Time(self.clock.now_ms().saturating_sub(millis(after)));
                self.archive(Some(before), |_| is_open())
            });
            if let Err(error) = moved.and_then(|()| self.erase_rejections()) {
                tracing::warn!(%error, "the log could not be archived");
            }
        }
    }

    /// Ends [`Archiver::keep_policy`].
    pub fn close(&self) {
        drop(self.open.lock().take());
    }
}

/// Works on the archive of a store that no server uses; answers what is archived then. It blocks.
///
/// # Errors
/// A sentence, when the directory cannot be used, or why not all was moved.
pub fn offline(
    data: &Path,
    archive_dir: Option<PathBuf>,
    work: impl FnOnce(&Arc<Archiver>) -> Result<(), ArchiveError>,
) -> Result<ArchiveView, String> {
    fn text(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    // Nothing is made where there is no store.
    drop(DataDir::look(data).map_err(text)?);
    let dir = DataDir::open(data).map_err(text)?;
    if dir.is_live_copy().map_err(text)? {
        return Err(format!(
            "{} was copied while it was used; start a server first",
            data.display()
        ));
    }
    dir.begin_use().map_err(text)?;
    let (clock, spawner) = (Clock::system(), Spawner::default());
    let limits = LogLimits { archive_dir, ..LogLimits::default() };
    let opened = Log::open(dir.path(), dir.store_id(), limits, clock.clone(), &spawner);
    let (log, threads) = opened.map_err(text)?;
    let checkpoints =
        Checkpoints::new(log.clone(), dir.path(), dir.store_id(), CheckpointLimits::default());
    let policy = ArchivePolicy::default();
    let archiver = Archiver::new(log, Arc::new(checkpoints), dir.store_id(), policy, clock);
    let archiver = Arc::new(archiver);
    let done = work(&archiver).map(|()| archiver.view()).map_err(text);
    drop(archiver);
    threads.into_iter().for_each(Thread::join);
    done
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unsigned(error: CheckpointError) -> ArchiveError {
    match error {
        CheckpointError::Log(error) => ArchiveError::Log(error),
        other => ArchiveError::Io(PathBuf::from("log-tree"), other.to_string()),
    }
}
