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
use crate::decision::format::{Damage, parse_header, record_hash, split};
use crate::decision::{Draft, Header, parse};
use crate::names::StreamId;

/// Bytes of records in one row. redb rounds a value up to a power of two of its pages, so rows
/// are filled to a little less than 64 KiB.
const ROW_BYTES: usize = 60 << 10;
/// How long to wait before a failed file is tried again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// Streams whose version is remembered, before remembering starts anew. 200,000: some 20 MB.
const KNOWN_VERSIONS: usize = 200_000;

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
    /// Versions of streams that were written to lately: only this thread changes them.
    versions: HashMap<StreamId, u64>,
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
        let versions = HashMap::new();
        Self { shared, work, head, recorded_at_ms, versions, append_seconds, records_per_commit }
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
            if self.versions.len() >= KNOWN_VERSIONS {
                self.versions.clear();
            }
            self.versions.extend(pending.versions.drain());
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
                Err(error) => Held::Refused(error),
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
    ) -> Result<(), AppendError> {
        let Some(Expectation { stream, version }) = expected else { return Ok(()) };
        let known = pending.versions.get(&stream).or_else(|| self.versions.get(&stream));
        let actual = match known {
            Some(version) => *version,
            None => self
                .shared
                .index
                .stream_version(stream.as_str())
                .map_err(|error| AppendError::NotAccepted(Refusal::Recovering(error.to_string())))?
                .unwrap_or(0),
        };
        if actual != version {
            let conflict = VersionConflict { expected: version, actual };
            return Err(AppendError::Conflict(conflict));
        }
        pending.versions.insert(stream, version + u64::from(draft.event_count()));
        Ok(())
    }

    /// Shows what is durable to readers: first the rows, then the index, then the head.
    fn publish(&self, rows: Vec<(u64, Vec<u8>)>) -> Vec<Arc<Group>> {
        let mut groups = Vec::with_capacity(rows.len());
        for (first, bytes) in rows {
            match Group::split(first, Bytes::from(bytes)) {
                Ok(group) => groups.push(Arc::new(group)),
                Err(damage) => tracing::error!(first, %damage, "wrote a damaged group"),
            }
        }
        let records: Vec<_> =
            groups.iter().flat_map(|group| group.records_from(group.first())).collect();
        let decisions = records.iter().filter_map(|(number, record)| {
            parse(record)
                .inspect_err(|damage| tracing::error!(number, %damage, "wrote damage"))
                .ok()
                .map(|decision| (decision, record_hash(record)))
        });
        self.shared.index.apply(decisions);
        for group in &groups {
            self.shared.groups.insert(group.first(), Arc::clone(group));
        }
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
        self.versions.clear();
        let (head, recorded_at_ms) =
            replay(&self.shared.file, &self.shared.index).map_err(|error| error.to_string())?;
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

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.index.close();
    }
}

/// Reads every record that the index does not have into it, checking each and the chain of
/// hashes. Answers the head and the newest recorded time.
pub(super) fn replay(file: &LogFile, index: &Index) -> Result<(Head, u64), OpenError> {
    let mut head = index.through();
    let newest = file.record(head.decision)?;
    let mut recorded_at_ms = match newest.as_deref().map(parse_header).transpose() {
        Ok(header) => header.map_or(0, |header| header.recorded_at_ms),
        Err(damage) => return Err(damaged(head.decision, damage.to_string())),
    };
    let start = head.decision;
    file.for_each_row::<OpenError>(start + 1, |row| {
        let mut rest = row.bytes;
        while !rest.is_empty() {
            let next = head.decision + 1;
            let wrong = |damage: Damage| damaged(next, damage.to_string());
            let (record, after) = split(rest).map_err(wrong)?;
            rest = after;
            if parse_header(record).map_err(wrong)?.decision <= start {
                continue;
            }
            let decision = parse(record).map_err(wrong)?;
            let header = &decision.header;
            let follows = header.decision == next
                && header.head_before == head.position
                && header.previous_hash == head.hash
                && header.recorded_at_ms >= recorded_at_ms;
            if !follows {
                return Err(damaged(next, "it does not follow the record before it".into()));
            }
            let (position, hash) = (decision.head_after(), record_hash(record));
            head = Head { position, decision: next, hash };
            recorded_at_ms = header.recorded_at_ms;
            index.apply(std::iter::once((decision, hash)));
        }
        Ok(())
    })?;
    Ok((head, recorded_at_ms))
}

fn damaged(decision: u64, reason: String) -> OpenError {
    OpenError::Damaged { decision, reason }
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
