//! What the writer is asked, and what it answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::decision::{Draft, Hash};
use crate::event::NewEvent;
use crate::expected::{ExpectedVersion, VersionConflict};
use crate::faults::{Mutant, is_on};
use crate::names::StreamId;
use crate::query::Query;

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

    pub(super) fn break_off(&self) {
        self.0.store(!is_on(Mutant::LineageNeverBreaks), Ordering::Release);
    }
}

/// The version a stream must have for an append to be made.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The stream.
    pub stream: StreamId,
    /// What it must be like.
    pub version: ExpectedVersion,
}

/// "No event that matches the query after the position."
#[derive(Clone, Debug)]
pub struct Condition {
    /// What must not have happened.
    pub query: Query,
    /// Events up to this position do not count.
    pub after: u64,
    /// Up to this position, at least `after`, the submitter has made sure.
    pub checked_to: u64,
    /// The query as JSON, as it is recorded.
    pub text: String,
}

/// Events to be appended without a module.
#[derive(Clone, Debug, Default)]
pub struct DirectAppend {
    /// The events, each with its stream or none, in order.
    pub events: Vec<(NewEvent, Option<StreamId>)>,
    /// What must hold of streams.
    pub expected: Vec<Expectation>,
    /// What must not have happened.
    pub condition: Option<Condition>,
    /// The client's idempotency key, with the fingerprint of what was asked.
    pub key: Option<(String, Hash)>,
    /// Who asks.
    pub caller: Option<String>,
    /// The conversation.
    pub correlation_id: Option<String>,
    /// The direct cause.
    pub causation_id: Option<String>,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Work {
    /// Append a record that is whole but for its header.
    Record {
        /// The record.
        draft: Draft,
        /// The exact version that it was decided on; a record of no stream expects nothing.
        expected: Option<Expectation>,
    },
    /// Append events, giving them their versions.
    Append(Box<DirectAppend>),
    /// Append nothing, and answer once everything submitted before is durable.
    Barrier,
}

impl Work {
    /// Bytes that it will about add to the log.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Record { draft, .. } => draft.record_bytes(),
            Self::Append(append) => {
                append.events.iter().map(|(event, _)| event.data.len() + 128).sum()
            }
            Self::Barrier => 0,
        }
    }
}

/// The answer to a submission, given on the writer's thread: it must not block.
pub type AppendReply = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// Work and where its answer goes.
pub struct Submission {
    /// What to do.
    pub work: Work,
    /// What it was computed on top of.
    pub lineages: Vec<Arc<Lineage>>,
    /// Gets the answer.
    pub reply: AppendReply,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission").field("work", &self.work).finish_non_exhaustive()
    }
}

/// Work that was done and is durable.
#[derive(Clone, Debug)]
pub enum Appended {
    /// The record as it was stored.
    Record(Bytes),
    /// A barrier was passed.
    Barrier,
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
    /// A commit failed, or the disk cannot take what is behind; it is tried again.
    Recovering(String),
    /// The engine is shutting down.
    Closed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull { free_bytes, min_free_bytes } => write!(
                f,
                "the disk is nearly full: {free_bytes} bytes are free and appends need \
                 {min_free_bytes}; free some space, and appends go on by themselves"
            ),
            Self::Recovering(reason) => {
                write!(f, "the log cannot be written to at present ({reason}); retry shortly")
            }
            Self::Closed => f.write_str("the server is shutting down"),
        }
    }
}

/// Why a submission was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// A stream is not as expected.
    Conflict(VersionConflict),
    /// An event matches the condition's query.
    ConditionFailed {
        /// The first one's position.
        position: u64,
    },
    /// What it was computed on top of did not come to pass: compute it again.
    Superseded,
    /// Nothing was written.
    NotAccepted(Refusal),
    /// The commit failed: it may or may not have been written. The same command id tells.
    Unknown(String),
}
