//! The group that is being put together: its rows, what it does to streams, and who waits.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::work::{AppendError, AppendReply, Appended, Lineage};
use super::{Group, Head};
use crate::decision::format::{Damage, split};
use crate::decision::{Draft, Hash, Header, parse};
use crate::faults::{Point, fail_point};
use crate::names::StreamId;
use crate::query::Query;
use crate::storage::index::Labels;

/// Bytes of records that readers get in one group. 60 KiB: a batch of theirs.
const GROUP_BYTES: usize = 60 << 10;
/// Bytes that a group begins with: a small one needs no more.
const GROUP_CAPACITY: usize = 4 << 10;

/// An answer that waits for the group.
pub(super) enum Held {
    Appended(u64),
    Passed,
    Refused(AppendError),
}

/// Who waits for an answer.
pub(super) struct Waiting {
    pub(super) lineages: Vec<Arc<Lineage>>,
    pub(super) reply: AppendReply,
}

/// The records of one commit.
pub(super) struct Pending {
    /// The number of each row's first record, and the row.
    pub(super) rows: Vec<(u64, Vec<u8>)>,
    /// The head once it is committed.
    pub(super) head: Head,
    /// The versions of the streams it appends to, once it is committed.
    pub(super) versions: HashMap<StreamId, u64>,
    /// The hash of each record, in order.
    pub(super) hashes: Vec<Hash>,
    /// What its events can be found by, up to where a condition looked.
    labels: Labels,
    /// The row and the place in it up to which `labels` goes.
    labelled_to: (usize, usize),
    recorded_at_ms: u64,
    held: Vec<(Waiting, Held)>,
}

impl Pending {
    pub(super) fn new(head: Head, recorded_at_ms: u64, capacity: usize) -> Self {
        Self {
            rows: Vec::new(),
            head,
            versions: HashMap::with_capacity(capacity),
            hashes: Vec::with_capacity(capacity),
            labels: Labels::default(),
            labelled_to: (0, 0),
            recorded_at_ms,
            held: Vec::with_capacity(capacity),
        }
    }

    /// Adds a record and answers its number.
    pub(super) fn push(&mut self, draft: &Draft) -> u64 {
        let decision = self.head.decision + 1;
        let full = |row: &(u64, Vec<u8>)| row.1.len() + draft.record_bytes() > GROUP_BYTES;
        if self.rows.last().is_none_or(full) {
            self.rows.push((decision, Vec::with_capacity(GROUP_CAPACITY)));
        }
        let header = Header {
            decision,
            head_before: self.head.position,
            recorded_at_ms: self.recorded_at_ms,
            event_count: draft.event_count(),
            previous_hash: self.head.hash,
        };
        if let Some((_, row)) = self.rows.last_mut() {
            self.head.hash = draft.finish(&header, row);
        }
        self.hashes.push(self.head.hash);
        self.head.decision = decision;
        self.head.position += u64::from(draft.event_count());
        decision
    }

    pub(super) fn hold(&mut self, waiting: Waiting, held: Held) {
        if let Held::Refused(_) = &held {
            waiting.lineages.iter().for_each(|lineage| lineage.break_off());
        }
        self.held.push((waiting, held));
    }

    /// The first of its events that matches.
    pub(super) fn first_match(&mut self, query: &Query) -> Option<u64> {
        // Each record is looked at once, however many conditions the group has.
        while let Some((_, row)) = self.rows.get(self.labelled_to.0) {
            let rest = row.get(self.labelled_to.1..).unwrap_or_default();
            let Ok((record, after)) = split(rest) else {
                if self.labelled_to.0 + 1 == self.rows.len() {
                    break;
                }
                self.labelled_to = (self.labelled_to.0 + 1, 0);
                continue;
            };
            if let Ok(decision) = parse(record) {
                self.labels.add(&decision);
            }
            self.labelled_to.1 = row.len() - after.len();
        }
        self.labels.first_match(query)
    }

    /// Takes the records, as readers get them.
    pub(super) fn groups(&mut self) -> Result<Vec<Arc<Group>>, Damage> {
        let rows = std::mem::take(&mut self.rows).into_iter();
        rows.map(|(first, row)| Group::split(first, row.into()).map(Arc::new)).collect()
    }

    /// Answers everybody: the group is durable, and these are its groups of records.
    /// Answers how many that were.
    pub(super) fn answer(&mut self, groups: &[Arc<Group>]) -> usize {
        let held = std::mem::take(&mut self.held);
        let answered = held.len();
        for (waiting, held) in held {
            fail_point(Point::Acknowledge);
            let answer = match held {
                Held::Passed => Ok(Appended::Barrier),
                Held::Refused(error) => Err(error),
                Held::Appended(decision) => record_in(groups, decision)
                    .map(Appended::Record)
                    .ok_or_else(|| AppendError::Unknown("it cannot be read back".into())),
            };
            (waiting.reply)(answer);
        }
        answered
    }

    /// Answers everybody: the commit failed.
    pub(super) fn fail(self, reason: &str) {
        for (waiting, held) in self.held {
            waiting.lineages.iter().for_each(|lineage| lineage.break_off());
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
