//! The one writer: drains what waits, checks it, commits it with one fsync, then answers all.
//!
//! Answers are held until the group they were computed beside is durable. When a commit fails,
//! its appends are `Unknown`, every other answer of the group is to be computed again, and nothing
//! is accepted until the file was opened again and shows what became of the group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::file::{LogFile, Row};
use super::{Group, Head, Index, OpenError, ReadError, Shared};
use crate::clock::Stopwatch;
use crate::decision::format::{record_hash, split};
use crate::decision::{Draft, Header, parse};
use crate::names::StreamId;

/// Bytes of records in one row. redb rounds a value up to a power of two of its pages, so rows
/// are filled to a little less than 64 KiB.
const ROW_BYTES: usize = 60 << 10;
/// How long to wait before a failed file is tried again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Decisions made one on top of the other before the first is durable share a lineage: when one
/// of them fails, it breaks, and no later one is accepted.
#[derive(Debug, Default)]
pub struct Lineage(AtomicBool);

impl Lineage {
    /// Whether one of its decisions did not come to pass.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn break_off(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The version a stream must have for an append to be made.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The stream that the record's events go to.
    pub stream: StreamId,
    /// The version that the decision was made on.
    pub version: u64,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Work {
    /// Append a record.
    Append {
        /// The record.
        draft: Draft,
        /// What must hold; a record of no stream expects nothing.
        expected: Option<Expectation>,
    },
    /// Append nothing, and answer once everything submitted before is durable.
    Barrier,
}

/// The answer to a submission, given on the writer's thread: it must not block.
pub type AppendReply = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// Work and where its answer goes.
pub struct Submission {
    /// What to do.
    pub work: Work,
    /// What it was computed on top of.
    pub lineage: Option<Arc<Lineage>>,
    /// Gets the answer.
    pub reply: AppendReply,
}

/// Work that was done and is durable.
#[derive(Clone, Debug)]
pub enum Appended {
    /// The record as it was stored.
    Record(Bytes),
    /// A barrier was passed.
    Barrier,
}

/// A stream is not at the version that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionConflict {
    /// The version expected.
    pub expected: u64,
    /// The stream's version.
    pub actual: u64,
}

/// Why appends are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk is nearly full.
    DiskFull {
        /// Free bytes.
        free_bytes: u64,
        /// Free bytes below which nothing is appended.
        min_free_bytes: u64,
    },
    /// A commit failed and the file is being opened again.
    Recovering(String),
    /// The engine is shutting down.
    Closed,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DiskFull { free_bytes, min_free_bytes } => write!(
                f,
                "the disk is nearly full: {free_bytes} bytes are free and appends need \
                 {min_free_bytes}; free some space, and appends go on by themselves"
            ),
            Self::Recovering(reason) => write!(
                f,
                "the log is being opened again after a failed write ({reason}); retry shortly"
            ),
            Self::Closed => f.write_str("the server is shutting down"),
        }
    }
}

/// Why a submission was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The stream moved on: decide again.
    Conflict(VersionConflict),
    /// What it was computed on top of did not come to pass: compute it again.
    Superseded,
    /// Nothing was written.
    NotAccepted(Refusal),
    /// The commit failed: it may or may not have been written. The same command id tells.
    Unknown(String),
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("work", &self.work).finish_non_exhaustive()
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    work: Receiver<Submission>,
    head: Head,
    recorded_at_ms: u64,
    append_seconds: metrics::Histogram,
    records_per_commit: metrics::Histogram,
}

/// An answer that waits for the group.
enum Held {
    Appended(u64),
    Passed,
    Refused(AppendError),
}

/// The records of one commit.
struct Pending {
    rows: Vec<(u64, Vec<u8>)>,
    head: Head,
    versions: HashMap<StreamId, u64>,
    held: Vec<(Waiting, Held)>,
}

/// Who waits for an answer.
struct Waiting {
    lineage: Option<Arc<Lineage>>,
    reply: AppendReply,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        work: Receiver<Submission>,
        recorded_at_ms: u64,
    ) -> Self {
        let head = *shared.head.borrow();
        let append_seconds = metrics::histogram!("factum_append_duration_seconds");
        let records_per_commit = metrics::histogram!("factum_records_per_commit");
        Self { shared, work, head, recorded_at_ms, append_seconds, records_per_commit }
    }

    pub(super) fn run(mut self) {
        while let Ok(first) = self.work.recv() {
            let group = self.drain(first);
            if let Err(reason) = self.commit(group) {
                tracing::error!(reason, "a commit failed; the log is opened again");
                *self.shared.trouble.lock() = Some(Refusal::Recovering(reason));
                self.recover();
            }
        }
    }

    fn drain(&self, first: Submission) -> Vec<Submission> {
        let limits = &self.shared.limits;
        let mut bytes = size(&first);
        let mut group = vec![first];
        while group.len() < limits.group_records && bytes < limits.group_bytes {
            let Ok(next) = self.work.try_recv() else { break };
            bytes += size(&next);
            group.push(next);
        }
        group
    }

    /// Commits what can be and answers all. The error is that of a failed commit.
    fn commit(&mut self, group: Vec<Submission>) -> Result<(), String> {
        let refusal = self.shared.disk_refusal();
        self.recorded_at_ms = self.recorded_at_ms.max(self.shared.clock.now_ms());
        let mut pending = Pending {
            rows: Vec::new(),
            head: self.head,
            versions: HashMap::new(),
            held: Vec::with_capacity(group.len()),
        };
        for submission in group {
            self.admit(&mut pending, submission, refusal.as_ref());
        }
        let mut groups = Vec::new();
        if !pending.rows.is_empty() {
            let rows: Vec<_> =
                pending.rows.iter().map(|(first, bytes)| Row { first: *first, bytes }).collect();
            let since = Stopwatch::start();
            if let Err(reason) = self.shared.file.append(&rows) {
                pending.fail(&reason);
                return Err(reason);
            }
            self.append_seconds.record(since.elapsed());
            let records = u32::try_from(pending.head.decision - self.head.decision);
            self.records_per_commit.record(records.unwrap_or(u32::MAX));
            self.head = pending.head;
            groups = self.publish(std::mem::take(&mut pending.rows));
        }
        pending.answer(&groups);
        Ok(())
    }

    fn admit(&self, pending: &mut Pending, submission: Submission, refusal: Option<&Refusal>) {
        let Submission { work, lineage, reply } = submission;
        let superseded = lineage.as_ref().is_some_and(|lineage| lineage.is_broken());
        let held = match work {
            _ if superseded => Held::Refused(AppendError::Superseded),
            Work::Barrier => Held::Passed,
            Work::Append { .. } if let Some(refusal) = refusal => {
                Held::Refused(AppendError::NotAccepted(refusal.clone()))
            }
            Work::Append { draft, expected } => match self.expect(pending, expected, &draft) {
                Err(conflict) => Held::Refused(AppendError::Conflict(conflict)),
                Ok(()) => Held::Appended(pending.push(&draft, self.recorded_at_ms)),
            },
        };
        if let (Held::Refused(_), Some(lineage)) = (&held, &lineage) {
            lineage.break_off();
        }
        pending.held.push((Waiting { lineage, reply }, held));
    }

    fn expect(
        &self,
        pending: &mut Pending,
        expected: Option<Expectation>,
        draft: &Draft,
    ) -> Result<(), VersionConflict> {
        let Some(Expectation { stream, version }) = expected else { return Ok(()) };
        let actual = match pending.versions.get(&stream) {
            Some(version) => *version,
            None => self.shared.index.read().stream_version(stream.as_str()).unwrap_or(0),
        };
        if actual != version {
            return Err(VersionConflict { expected: version, actual });
        }
        pending.versions.insert(stream, version + u64::from(draft.event_count()));
        Ok(())
    }

    /// Shows what is durable to readers: first the rows, then the index, then the head.
    fn publish(&self, rows: Vec<(u64, Vec<u8>)>) -> Vec<Arc<Group>> {
        let mut groups = Vec::with_capacity(rows.len());
        let mut index = self.shared.index.write();
        for (first, bytes) in rows {
            match Group::split(first, Bytes::from(bytes)) {
                Ok(group) => {
                    for (number, record) in group.records_from(first) {
                        match parse(&record) {
                            Ok(decision) => index.apply(&decision),
                            Err(damage) => tracing::error!(number, %damage, "wrote damage"),
                        }
                    }
                    let group = Arc::new(group);
                    self.shared.groups.insert(first, Arc::clone(&group));
                    groups.push(group);
                }
                Err(damage) => tracing::error!(first, %damage, "wrote a damaged group"),
            }
        }
        drop(index);
        self.shared.move_head(self.head);
        groups
    }

    /// Tries to open the file until it works, refusing what comes meanwhile.
    fn recover(&mut self) {
        loop {
            match self.reopen() {
                Ok(()) => break,
                Err(reason) => {
                    tracing::warn!(reason, "the log cannot be opened yet");
                    *self.shared.trouble.lock() = Some(Refusal::Recovering(reason));
                }
            }
            match self.work.recv_timeout(REOPEN_PAUSE) {
                Ok(submission) => self.refuse(submission),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        *self.shared.trouble.lock() = None;
        tracing::info!(decision = self.head.decision, "the log is open again");
    }

    fn refuse(&self, submission: Submission) {
        if let Some(lineage) = &submission.lineage {
            lineage.break_off();
        }
        let refusal = self.shared.trouble.lock().clone().unwrap_or(Refusal::Closed);
        (submission.reply)(Err(AppendError::NotAccepted(refusal)));
    }

    /// Opens the file again and takes in what the failed commit turns out to have written.
    fn reopen(&mut self) -> Result<(), String> {
        self.shared.file.reopen()?;
        let mut index = self.shared.index.write();
        let (head, recorded_at_ms) =
            replay(&self.shared.file, &mut index, self.head, self.recorded_at_ms)
                .map_err(|error| error.to_string())?;
        drop(index);
        self.head = head;
        self.recorded_at_ms = recorded_at_ms;
        self.shared.move_head(head);
        Ok(())
    }
}

impl Pending {
    fn push(&mut self, draft: &Draft, recorded_at_ms: u64) -> u64 {
        let decision = self.head.decision + 1;
        let full = |row: &(u64, Vec<u8>)| row.1.len() + draft.record_bytes() > ROW_BYTES;
        if self.rows.last().is_none_or(full) {
            self.rows.push((decision, Vec::new()));
        }
        let header = Header {
            decision,
            head_before: self.head.position,
            recorded_at_ms,
            event_count: draft.event_count(),
            previous_hash: self.head.hash,
        };
        if let Some((_, row)) = self.rows.last_mut() {
            self.head.hash = draft.finish(&header, row);
        }
        self.head.decision = decision;
        self.head.position += u64::from(draft.event_count());
        decision
    }

    fn answer(self, groups: &[Arc<Group>]) {
        for (waiting, held) in self.held {
            let answer = match held {
                Held::Passed => Ok(Appended::Barrier),
                Held::Refused(error) => Err(error),
                Held::Appended(decision) => record_in(groups, decision)
                    .map(Appended::Record)
                    .ok_or_else(|| AppendError::Unknown("it cannot be read back".into())),
            };
            (waiting.reply)(answer);
        }
    }

    fn fail(self, reason: &str) {
        for (waiting, held) in self.held {
            if let Some(lineage) = &waiting.lineage {
                lineage.break_off();
            }
            (waiting.reply)(Err(match held {
                Held::Appended(_) => AppendError::Unknown(reason.to_owned()),
                Held::Refused(AppendError::NotAccepted(refusal)) => {
                    AppendError::NotAccepted(refusal)
                }
                Held::Passed | Held::Refused(_) => AppendError::Superseded,
            }));
        }
    }
}

fn record_in(groups: &[Arc<Group>], decision: u64) -> Option<Bytes> {
    let after = groups.partition_point(|group| group.first() <= decision);
    groups.get(after.checked_sub(1)?)?.record(decision)
}

fn size(submission: &Submission) -> usize {
    match &submission.work {
        Work::Append { draft, .. } => draft.record_bytes(),
        Work::Barrier => 0,
    }
}

/// Reads every record after `head` into the index, checking each and the chain of hashes.
/// Answers the new head and the newest recorded time.
pub(super) fn replay(
    file: &LogFile,
    index: &mut Index,
    mut head: Head,
    mut recorded_at_ms: u64,
) -> Result<(Head, u64), OpenError> {
    file.for_each_row::<OpenError>(head.decision + 1, |row| {
        let mut rest = row.bytes;
        while !rest.is_empty() {
            let damaged =
                |reason: String| OpenError::Damaged { decision: head.decision + 1, reason };
            let (record, after) = split(rest).map_err(|damage| damaged(damage.to_string()))?;
            let decision = parse(record).map_err(|damage| damaged(damage.to_string()))?;
            let header = &decision.header;
            let follows = header.decision == head.decision + 1
                && header.head_before == head.position
                && header.previous_hash == head.hash
                && header.recorded_at_ms >= recorded_at_ms;
            if !follows {
                return Err(damaged("it does not follow the record before it".into()));
            }
            head = Head {
                position: decision.head_after(),
                decision: header.decision,
                hash: record_hash(record),
            };
            recorded_at_ms = header.recorded_at_ms;
            index.apply(&decision);
            rest = after;
        }
        Ok(())
    })?;
    Ok((head, recorded_at_ms))
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        Self::File(error.to_string())
    }
}

impl Shared {
    pub(super) fn disk_refusal(&self) -> Option<Refusal> {
        let free_bytes = self.file.free_disk_bytes()?;
        let min_free_bytes = self.limits.min_free_disk_bytes;
        (free_bytes < min_free_bytes).then_some(Refusal::DiskFull { free_bytes, min_free_bytes })
    }
}
