//! Pages of the whole log, by positions.

use bytes::Bytes;

use super::{Budget, EventFilter, PageEnd, PageLimits, Span, Take, parsed};
use crate::decision::Decision;
use crate::decision::format::parse_header;
use crate::event::RecordedEvent;
use crate::storage::log::{Direction, Log, ReadError};

/// Reads a page of the events that a filter asks for.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the file cannot be read.
pub fn log_page(
    log: &Log,
    filter: &EventFilter,
    span: &Span,
    limits: PageLimits,
    take: impl Take,
) -> Result<PageEnd, ReadError> {
    let newest = log.head().position;
    let Some((first, last)) = span.bounds(newest) else {
        return Ok(PageEnd { head: newest, next: None });
    };
    let mut page = Page { filter, first, last, at: None, budget: Budget::new(limits), take };
    match span.direction {
        Direction::Forward => {
            let mut decision = log.decision_after_position(first - 1)?;
            while !page.is_done(last) {
                let group = log.group(decision)?.ok_or_else(|| missing(decision))?;
                for (_, record) in group.records_from(decision) {
                    page.consider(&record, span.direction)?;
                    if page.is_done(last) {
                        break;
                    }
                }
                decision = group.last() + 1;
            }
            let at = page.at.unwrap_or(last);
            Ok(PageEnd { head: at, next: (at < last).then_some(at) })
        }
        Direction::Backward => {
            let mut decision = log.decision_after_position(last - 1)?;
            while !page.is_done(first) {
                let group = log.group(decision)?.ok_or_else(|| missing(decision))?;
                let newest_first = group.records_from(group.first()).rev();
                for (_, record) in newest_first.skip_while(|(number, _)| *number > decision) {
                    page.consider(&record, span.direction)?;
                    if page.is_done(first) {
                        break;
                    }
                }
                decision = group.first().saturating_sub(1);
            }
            let at = page.at.unwrap_or(first);
            Ok(PageEnd { head: last, next: (at > first).then_some(at) })
        }
    }
}

fn missing(decision: u64) -> ReadError {
    ReadError::Damaged(format!("decision {decision} is missing"))
}

struct Page<'a, T> {
    filter: &'a EventFilter,
    first: u64,
    last: u64,
    /// The position looked at last.
    at: Option<u64>,
    budget: Budget,
    take: T,
}

impl<T: Take> Page<'_, T> {
    fn is_done(&self, end: u64) -> bool {
        self.at == Some(end) || self.budget.is_spent()
    }

    fn consider(&mut self, record: &Bytes, direction: Direction) -> Result<(), ReadError> {
        // Rejections hold no events: they cost a look at their header.
        if parse_header(record)?.event_count == 0 {
            return Ok(());
        }
        let decision = parsed(record)?;
        match direction {
            Direction::Forward => {
                decision.events.iter().for_each(|event| self.look(&decision, event));
            }
            Direction::Backward => {
                decision.events.iter().rev().for_each(|event| self.look(&decision, event));
            }
        }
        Ok(())
    }

    fn look(&mut self, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
        let wanted = (self.first..=self.last).contains(&event.position);
        if !wanted || self.budget.is_spent() {
            return;
        }
        self.at = Some(event.position);
        self.budget.scanned += 1;
        if self.filter.matches(event) {
            self.budget.spend(event);
            (self.take)(decision, event);
        }
    }
}
