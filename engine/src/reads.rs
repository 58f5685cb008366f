//! Reading the log in pages: events of one stream, of the whole log, or one by its position;
//! streams; records.
//!
//! Promises: an answer is bounded in events, in bytes and in what it looks at; `next` continues
//! exactly where a page ended, whatever was appended meanwhile; a damaged record is an error and
//! never a gap. It reads and blocks, and knows nothing of how an answer is written.

mod decision_page;
mod log_page;
mod stream_page;
mod streams;

use bytes::Bytes;

use crate::decision::format::parse_header;
use crate::decision::{Decision, parse};
use crate::event::{RecordedEvent, derived_at_ms, derived_index};
use crate::storage::log::{Direction, Log, ReadError};

pub use decision_page::{
    DecisionFilter, DecisionKind, DecisionOutcome, DecisionPageEnd, decision_page,
};
pub use log_page::log_page;
pub use stream_page::{StreamPageEnd, stream_page};
pub use streams::{StreamSummary, streams};

/// The position of the newest event recorded no later than a time, in milliseconds since 1970; 0
/// before the first. Records are never older than the one before.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the file cannot be read.
pub fn position_at(log: &Log, time_ms: u64) -> Result<u64, ReadError> {
    decision_at(log, time_ms).map(|(_, position)| position)
}

/// The number of the newest record no later than a time, and the position of the newest event then.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the file cannot be read.
pub fn decision_at(log: &Log, time_ms: u64) -> Result<(u64, u64), ReadError> {
    // What is archived says when it ends, so what is newer is found without it.
    let (known, last) = log.around(|end| end.recorded_at_ms <= time_ms);
    let (mut before, mut position) =
        known.map_or((0, 0), |end| (end.head.decision, end.head.position));
    let mut after = last.unwrap_or_else(|| log.head().decision) + 1;
    while after - before > 1 {
        let middle = before.midpoint(after);
        let missing = || ReadError::Damaged(format!("record {middle} is missing"));
        let header = parse_header(&log.record(middle)?.ok_or_else(missing)?)?;
        if header.recorded_at_ms <= time_ms {
            before = middle;
            position = header.head_before + u64::from(header.event_count);
        } else {
            after = middle;
        }
    }
    Ok((before, position))
}

/// The record that holds the event with an id that was derived from it. It looks at the records of
/// the time that the id states.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the file cannot be read.
pub fn record_of_derived(log: &Log, id: &str) -> Result<Option<Bytes>, ReadError> {
    let Some(time_ms) = derived_at_ms(id) else { return Ok(None) };
    let before = time_ms.checked_sub(1).map_or(Ok((0, 0)), |before| decision_at(log, before))?;
    for decision in before.0 + 1.. {
        let Some(record) = log.record(decision)? else { break };
        let header = parse_header(&record)?;
        if header.recorded_at_ms != time_ms {
            break;
        }
        let index = derived_index(id, time_ms, &header.previous_hash);
        if index.is_some_and(|index| index < header.event_count) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Which part of a stream, by versions, or of the log, by positions, is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Events after this number; 0 for all.
    pub after: u64,
    /// Events before this number, if it is given.
    pub before: Option<u64>,
    /// Which way to go.
    pub direction: Direction,
}

impl Span {
    /// The first and the last number wanted where the newest is `newest`; none if there is none.
    fn bounds(&self, newest: u64) -> Option<(u64, u64)> {
        let first = self.after.checked_add(1)?;
        let last = self.before.map_or(newest, |before| newest.min(before.saturating_sub(1)));
        (first <= last).then_some((first, last))
    }
}

/// How much one page may hold and cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Events in the page.
    pub events: usize,
    /// Bytes of event data, after which the page ends.
    pub bytes: usize,
    /// Records looked at, after which a page of records ends.
    pub scan: u64,
}

/// Where a page of the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEnd {
    /// The newest position that was considered.
    pub head: u64,
    /// After (or, going backward, before) which the next page begins; none at the end.
    pub next: Option<u64>,
}

/// What gets the events of a page, one by one, each with its record.
pub trait Take: FnMut(&Decision<'_>, &RecordedEvent<'_>) {}

impl<F: FnMut(&Decision<'_>, &RecordedEvent<'_>)> Take for F {}

/// The record that holds the event at a position; none where there is no such event.
///
/// # Errors
/// [`ReadError`] when it is damaged or the file cannot be read.
pub fn record_at(log: &Log, position: u64) -> Result<Option<Bytes>, ReadError> {
    if position == 0 || position > log.head().position {
        return Ok(None);
    }
    log.record(log.decision_after_position(position - 1)?)
}

/// Counts what a page holds.
struct Budget {
    limits: PageLimits,
    events: usize,
    bytes: usize,
}

impl Budget {
    fn new(limits: PageLimits) -> Self {
        Self { limits, events: 0, bytes: 0 }
    }

    fn spend(&mut self, event: &RecordedEvent<'_>) {
        self.events += 1;
        self.bytes = self.bytes.saturating_add(event.data.len());
    }

    fn is_spent(&self) -> bool {
        self.events >= self.limits.events || self.bytes >= self.limits.bytes
    }
}

fn parsed(record: &[u8]) -> Result<Decision<'_>, ReadError> {
    Ok(parse(record)?)
}

#[cfg(test)]
mod tests;
