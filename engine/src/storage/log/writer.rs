//! The one writer: drains what waits, checks it, commits it with one fsync, then answers all.
//!
//! Answers are held until the group they were computed beside is durable. When a commit fails,
//! its appends are `Unknown`, every other answer of the group is to be computed again, and nothing
//! is accepted until all that was acknowledged is in rows and the journal has new files. The
//! failed group is then no part of the log; after a crash before that, it may turn out to be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::journal::Journal;
use super::pace::Pace;
use super::pending::{Held, Pending, Waiting};
use super::work::{
    AppendError, Appended, Condition, DirectAppend, Expectation, Refusal, Submission, Work,
};
use super::{Group, Head, Shared};
use crate::clock::Stopwatch;
use crate::decision::format::{Damage, parse_checked};
use crate::decision::{AppendRecord, Draft};
use crate::expected::VersionConflict;
use crate::faults::{Mutant, Point, fail_point, is_on};
use crate::names::StreamId;

/// How long to wait before a failed journal is tried again.
const RECOVERY_PAUSE: Duration = Duration::from_millis(200);
/// Streams whose version is remembered, before remembering starts anew. 200,000: some 20 MB.
const KNOWN_VERSIONS: usize = 200_000;

pub(super) struct Writer {
    shared: Arc<Shared>,
    work: Receiver<Submission>,
    journal: Journal,
    /// The newest record when the journal's other file was left.
    turned_at: u64,
    head: Head,
    recorded_at_ms: u64,
    /// Versions of streams that were written to lately: only this thread changes them.
    versions: HashMap<StreamId, u64>,
    pace: Pace,
    append_seconds: metrics::Histogram,
    records_per_commit: metrics::Histogram,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        work: Receiver<Submission>,
        journal: Journal,
        recorded_at_ms: u64,
    ) -> Self {
        let head = *shared.head.borrow();
        Self {
            shared,
            head,
            work,
            journal,
            turned_at: 0,
            recorded_at_ms,
            versions: HashMap::new(),
            pace: Pace::default(),
            append_seconds: metrics::histogram!("factum_append_duration_seconds"),
            records_per_commit: metrics::histogram!("factum_records_per_commit"),
        }
    }

    pub(super) fn run(mut self) {
        while let Ok(first) = self.work.recv() {
            let group = self.gather(first);
            if let Err(reason) = self.commit(group) {
                tracing::error!(reason, "a commit failed; the journal gets new files");
                *self.shared.trouble.lock() = Some(Refusal::Recovering(reason));
                self.recover();
            }
        }
    }

    /// Takes what waits, and for a moment what is about to come: see [`Pace`].
    fn gather(&self, first: Submission) -> Vec<Submission> {
        let limits = &self.shared.limits;
        let mut bytes = first.work.bytes();
        let mut group = vec![first];
        let (expected, mut patience) = (self.pace.expected(), None);
        while group.len() < limits.group_records && bytes < limits.group_bytes {
            let next = match self.work.try_recv() {
                Ok(next) => next,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    if group.len() >= expected {
                        break;
                    }
                    let patience = patience.get_or_insert_with(|| self.pace.patience());
                    let Some(left) = patience.left() else { break };
                    let Ok(next) = self.work.recv_timeout(left) else { break };
                    next
                }
            };
            bytes += next.work.bytes();
            group.push(next);
        }
        group
    }

    /// Commits what can be and answers all. The error is that of a failed commit.
    fn commit(&mut self, group: Vec<Submission>) -> Result<(), String> {
        let refusal = self.shared.disk_refusal().or_else(|| self.make_room().err());
        let refusal = refusal.or_else(|| self.shared.index.trouble().map(Refusal::Recovering));
        let last_ms = if is_on(Mutant::TimeGoesBack) { 0 } else { self.recorded_at_ms };
        self.recorded_at_ms = last_ms.max(self.shared.clock.now_ms());
        let mut pending = Pending::new(self.head, self.recorded_at_ms, group.len());
        for Submission { work, lineages, reply } in group {
            let held = if lineages.iter().any(|lineage| lineage.is_broken()) {
                Held::Refused(AppendError::Superseded)
            } else {
                match (&work, &refusal) {
                    (Work::Record { .. } | Work::Append(_), Some(refusal)) => {
                        Held::Refused(AppendError::NotAccepted(refusal.clone()))
                    }
                    _ => self.admit(&mut pending, work).unwrap_or_else(Held::Refused),
                }
            };
            pending.hold(Waiting { lineages, reply }, held);
        }
        let groups = pending.groups().map_err(|damage| damage.to_string());
        let written = groups.and_then(|groups| self.write(&mut pending, &groups).map(|()| groups));
        let groups = match written {
            Ok(groups) => groups,
            Err(reason) => {
                pending.fail(&reason);
                return Err(reason);
            }
        };
        let queued = self.work.len();
        let answered = pending.answer(&groups);
        self.pace.answered(answered + queued);
        Ok(())
    }

    /// Takes the journal's other file when this one is full. What that one holds has to be in
    /// rows; waiting for it is what keeps a settler that falls behind from falling behind for ever.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if !self.journal.is_full() {
            return Ok(());
        }
        if !is_on(Mutant::JournalReusedEarly) {
            self.shared.records.unsettled.wait(self.turned_at).map_err(Refusal::Recovering)?;
        }
        self.journal.turn().map_err(|error| Refusal::Recovering(error.to_string()))?;
        self.turned_at = self.head.decision;
        self.shared.records.unsettled.ask(self.turned_at);
        Ok(())
    }

    /// Makes what is pending durable, and then shows it to readers.
    fn write(&mut self, pending: &mut Pending, groups: &[Arc<Group>]) -> Result<(), String> {
        if groups.is_empty() {
            return Ok(());
        }
        if is_on(Mutant::AcknowledgeBeforeCommit) {
            pending.answer(groups);
        }
        if is_on(Mutant::ShowBeforeCommit) {
            self.show(pending, groups);
        }
        if is_on(Mutant::IndexAheadOfLog) {
            self.index(pending, groups);
        }
        fail_point(Point::Append);
        let since = Stopwatch::start();
        self.journal.append(groups).map_err(|error| error.to_string())?;
        self.append_seconds.record(since.elapsed());
        self.pace.committed(since.elapsed());
        fail_point(Point::Commit);
        let records = u32::try_from(pending.hashes.len());
        self.records_per_commit.record(records.unwrap_or(u32::MAX));
        self.head = pending.head;
        if self.versions.len() >= KNOWN_VERSIONS {
            self.versions.clear();
        }
        self.versions.extend(pending.versions.drain());
        if !is_on(Mutant::ShowBeforeCommit) {
            self.show(pending, groups);
        }
        Ok(())
    }

    /// Checks a piece of work against everything before it, this group included, and adds it.
    fn admit(&self, pending: &mut Pending, work: Work) -> Result<Held, AppendError> {
        match work {
            Work::Barrier => Ok(Held::Passed),
            Work::Record { draft, expected } => {
                if let Some(expected) = expected {
                    let version = self.expect(pending, &expected)?;
                    let after = version + u64::from(draft.event_count());
                    pending.versions.insert(expected.stream, after);
                }
                Ok(Held::Appended(pending.push(&draft)))
            }
            Work::Append(append) => {
                for expected in &append.expected {
                    self.expect(pending, expected)?;
                }
                if let Some(condition) = &append.condition {
                    self.check(pending, condition)?;
                }
                let draft = self.place(pending, &append)?;
                Ok(Held::Appended(pending.push(&draft)))
            }
        }
    }

    fn version(&self, pending: &Pending, stream: &StreamId) -> Result<u64, AppendError> {
        let in_group = pending.versions.get(stream);
        let in_group = in_group.filter(|_| !is_on(Mutant::VersionIgnoresGroup));
        let known = in_group.or_else(|| self.versions.get(stream));
        if let Some(version) = known {
            return Ok(*version);
        }
        let version = self.shared.index.stream_version(stream.as_str());
        let unreadable = |error| AppendError::NotAccepted(Refusal::Recovering(error));
        Ok(version.map_err(|error| unreadable(error.to_string()))?.unwrap_or(0))
    }

    fn expect(&self, pending: &Pending, expected: &Expectation) -> Result<u64, AppendError> {
        let actual = self.version(pending, &expected.stream)?;
        if expected.version.holds(actual) {
            return Ok(actual);
        }
        let Expectation { stream, version: expected } = expected.clone();
        Err(AppendError::Conflict(VersionConflict { stream, expected, actual }))
    }

    /// Looks only at what came after the submitter looked.
    fn check(&self, pending: &mut Pending, condition: &Condition) -> Result<(), AppendError> {
        let Condition { query, checked_to, .. } = condition;
        let first = match self.shared.first_match(query, *checked_to) {
            Ok(None) if !is_on(Mutant::ConditionIgnoresGroup) => pending.first_match(query),
            Ok(first) => first,
            // Too much has come since: the submitter is to look again.
            Err(_) => return Err(AppendError::Superseded),
        };
        first.map_or(Ok(()), |position| Err(AppendError::ConditionFailed { position }))
    }

    /// Gives each event its version; none, if one stream's is not to be known.
    fn place(&self, pending: &mut Pending, append: &DirectAppend) -> Result<Draft, AppendError> {
        let mut versions = Vec::with_capacity(append.events.len());
        let mut after: HashMap<StreamId, u64> = HashMap::new();
        for (_, stream) in &append.events {
            let Some(stream) = stream else {
                versions.push(0);
                continue;
            };
            if let Some(version) = after.get_mut(stream) {
                *version += 1;
                versions.push(*version);
                continue;
            }
            let version = self.version(pending, stream)? + 1;
            after.insert(stream.clone(), version);
            versions.push(version);
        }
        pending.versions.extend(after);
        let record = AppendRecord {
            command_id: append.key.as_ref().map(|(key, _)| key.as_str()),
            caller: append.caller.as_deref(),
            fingerprint: append.key.as_ref().map(|(_, fingerprint)| *fingerprint),
            correlation_id: append.correlation_id.as_deref(),
            causation_id: append.causation_id.as_deref(),
            condition: append.condition.as_ref().map(|condition| condition.text.as_str()),
        };
        let placed = append.events.iter().zip(versions).map(|((event, stream), version)| {
            (event, stream.as_ref().map(|stream| (stream.as_str(), version)))
        });
        Ok(Draft::append(&record, placed))
    }

    /// Shows what is durable to readers: first the records, then the index, then the head.
    fn show(&self, pending: &Pending, groups: &[Arc<Group>]) {
        self.shared.records.unsettled.push(groups);
        if !is_on(Mutant::IndexAheadOfLog) {
            self.index(pending, groups);
        }
        self.shared.move_head(pending.head);
    }

    fn index(&self, pending: &Pending, groups: &[Arc<Group>]) {
        let records = groups.iter().flat_map(|group| group.records_from(0));
        let decisions = records.zip(&pending.hashes).filter_map(|((_, record), hash)| {
            let damaged = |damage: &Damage| tracing::error!(%damage, "wrote a damaged record");
            parse_checked(record).inspect_err(damaged).ok().map(|decision| (decision, *hash))
        });
        self.shared.index.apply(decisions);
    }

    /// Tries to begin the journal anew until it works, refusing what comes meanwhile.
    fn recover(&mut self) {
        let mut said = String::new();
        while let Err(reason) = self.begin_anew() {
            if reason != said {
                tracing::warn!(reason, "the log cannot be written to yet");
                said.clone_from(&reason);
            }
            *self.shared.trouble.lock() = Some(Refusal::Recovering(reason));
            match self.work.recv_timeout(RECOVERY_PAUSE) {
                Ok(submission) => self.refuse(submission),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        *self.shared.trouble.lock() = None;
        tracing::info!(decision = self.head.decision, "the log is written to again");
    }

    /// Has all that was acknowledged put in rows, then leaves the journal's files for new ones:
    /// what a system says of a file after a failed sync proves nothing.
    fn begin_anew(&mut self) -> Result<(), String> {
        self.shared.records.unsettled.ask(self.head.decision);
        self.shared.records.unsettled.wait(self.head.decision)?;
        self.turned_at = self.head.decision;
        self.journal.create_again().map_err(|error| error.to_string())
    }

    /// What waits for nothing but durability goes on: the head is durable.
    fn refuse(&self, Submission { work, lineages, reply }: Submission) {
        if matches!(work, Work::Barrier) && !lineages.iter().any(|lineage| lineage.is_broken()) {
            return reply(Ok(Appended::Barrier));
        }
        lineages.iter().for_each(|lineage| lineage.break_off());
        let refusal = self.shared.trouble.lock().clone().unwrap_or(Refusal::Closed);
        reply(Err(AppendError::NotAccepted(refusal)));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.records.unsettled.close();
        self.shared.index.close();
    }
}
