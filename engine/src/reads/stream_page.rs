//! Pages of one stream, by versions.

use super::{Budget, PageLimits, Span, Take};
use crate::decision::{Decision, parse_checked};
use crate::event::RecordedEvent;
use crate::faults::{Mutant, is_on};
use crate::names::StreamId;
use crate::storage::log::{Direction, Log, ReadError};

/// Events fetched at once: few enough that a page of large events does not fetch far beyond its
/// end.
const BATCH: usize = 100;

/// Where a page of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPageEnd {
    /// The newest position that was considered.
    pub head: u64,
    /// The stream's version.
    pub version: u64,
    /// After (or, going backward, before) which version the next page begins; none at the end.
    pub next: Option<u64>,
}

/// Reads a page of a stream; none if the stream never had an event.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the file cannot be read.
pub fn stream_page(
    log: &Log,
    stream: &StreamId,
    span: &Span,
    limits: PageLimits,
    take: impl Take,
) -> Result<Option<StreamPageEnd>, ReadError> {
    let head = log.head().position;
    let Some(version) = log.stream_version(stream)? else { return Ok(None) };
    let Some((first, last)) = span.bounds(version) else {
        return Ok(Some(StreamPageEnd { head, version, next: None }));
    };
    let (at, end) = match span.direction {
        Direction::Forward => (first - 1, last),
        Direction::Backward => (last.saturating_add(1), first),
    };
    let direction = span.direction;
    let budget = Budget::new(limits);
    let mut page = Page { stream: stream.as_str(), direction, at, end, newest: 0, budget, take };
    while !page.is_done() {
        let before = page.at;
        for record in log.stream_records(stream.as_str(), before, direction, BATCH)?.iter() {
            page.consider(&parse_checked(record)?);
        }
        if page.at == before {
            let reason = format!("stream {stream} has a gap beside version {before}");
            return Err(ReadError::Damaged(reason));
        }
    }
    let next = (page.at != page.end).then_some(page.at);
    // The stream may have grown since the head was read.
    let head = match (direction, next) {
        (Direction::Forward, Some(_)) => page.newest,
        _ => head.max(page.newest),
    };
    Ok(Some(StreamPageEnd { head, version, next }))
}

struct Page<'s, T> {
    stream: &'s str,
    direction: Direction,
    /// The version taken last, or the one beside the first.
    at: u64,
    /// The last version wanted.
    end: u64,
    /// The newest position that was taken.
    newest: u64,
    budget: Budget,
    take: T,
}

impl<T: Take> Page<'_, T> {
    fn is_done(&self) -> bool {
        self.at == self.end || self.budget.is_spent()
    }

    fn consider(&mut self, decision: &Decision<'_>) {
        match self.direction {
            Direction::Forward => {
                decision.events.iter().for_each(|event| self.look(decision, event));
            }
            Direction::Backward => {
                decision.events.iter().rev().for_each(|event| self.look(decision, event));
            }
        }
    }

    fn look(&mut self, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
        let is_next = match self.direction {
            Direction::Forward => event.stream_version == self.at + 1,
            Direction::Backward => event.stream_version + 1 == self.at,
        };
        // A record may hold events of other streams, and theirs have versions too.
        let is_own = event.stream == Some(self.stream) || is_on(Mutant::PageOfOthers);
        if is_next && is_own && !self.is_done() {
            self.at = event.stream_version;
            self.newest = self.newest.max(event.position);
            self.budget.spend(event);
            (self.take)(decision, event);
        }
    }
}
