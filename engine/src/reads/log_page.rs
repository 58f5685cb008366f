//! Pages of the whole log, by positions: group after group where every event is wanted, else by
//! the index.

use super::{Budget, PageEnd, PageLimits, Span, Take, parsed};
use crate::decision::Decision;
use crate::decision::format::parse_header;
use crate::event::RecordedEvent;
use crate::query::Query;
use crate::storage::log::{Direction, Log, ReadError};

/// Reads a page of the events that match a query.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the log or its index cannot be read.
pub fn log_page(
    log: &Log,
    query: &Query,
    span: &Span,
    limits: PageLimits,
    take: impl Take,
) -> Result<PageEnd, ReadError> {
    let newest = log.head().position;
    let Some((first, last)) = span.bounds(newest) else {
        return Ok(PageEnd { head: newest, next: None });
    };
    let direction = span.direction;
    let budget = Budget::new(limits);
    let mut page = Page { first, last, direction, at: None, budget, take };
    if query.is_everything() {
        page.scan(log)?;
    } else {
        page.find(log, query)?;
    }
    Ok(page.end())
}

fn missing(decision: u64) -> ReadError {
    ReadError::Damaged(format!("decision {decision} is missing"))
}

struct Page<T> {
    first: u64,
    last: u64,
    direction: Direction,
    /// The position considered last.
    at: Option<u64>,
    budget: Budget,
    take: T,
}

impl<T: Take> Page<T> {
    /// Takes every event.
    fn scan(&mut self, log: &Log) -> Result<(), ReadError> {
        let start = match self.direction {
            Direction::Forward => self.first,
            Direction::Backward => self.last,
        };
        let mut decision = log.decision_after_position(start - 1)?;
        while !self.is_done() {
            let group = match log.group(decision) {
                // What there is of the page is answered; the next one says why it cannot be.
                Err(ReadError::Archived(_)) if self.at.is_some() => break,
                found => found?.ok_or_else(|| missing(decision))?,
            };
            match self.direction {
                Direction::Forward => {
                    self.take_all(group.records_from(decision))?;
                    decision = group.last() + 1;
                }
                Direction::Backward => {
                    let newest_first = group.records_from(group.first()).rev();
                    self.take_all(newest_first.skip_while(|(number, _)| *number > decision))?;
                    decision = group.first().saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    fn take_all<'g>(
        &mut self,
        records: impl Iterator<Item = (u64, &'g [u8])>,
    ) -> Result<(), ReadError> {
        for (_, record) in records {
            // Rejections hold no events: they cost a look at their header.
            if parse_header(record)?.event_count > 0 {
                let decision = parsed(record)?;
                match self.direction {
                    Direction::Forward => {
                        decision.events.iter().for_each(|event| self.look(&decision, event));
                    }
                    Direction::Backward => {
                        decision.events.iter().rev().for_each(|event| self.look(&decision, event));
                    }
                }
            }
            if self.is_done() {
                break;
            }
        }
        Ok(())
    }

    /// Takes the events that the index names.
    fn find(&mut self, log: &Log, query: &Query) -> Result<(), ReadError> {
        let (range, back) = match self.direction {
            Direction::Forward => ((self.first, self.last), -1),
            Direction::Backward => ((self.last, self.first), 1),
        };
        let found = log.find(query, range, self.budget.limits.events)?;
        for hits in found.hits.chunk_by(|a, b| a.1 == b.1) {
            let Some((_, number)) = hits.first().filter(|_| !self.budget.is_spent()) else { break };
            let record = log.record(*number)?.ok_or_else(|| missing(*number))?;
            let decision = parsed(&record)?;
            for (position, _) in hits {
                let place = position.checked_sub(decision.header.head_before + 1);
                let place = place.and_then(|place| usize::try_from(place).ok());
                let event = place.and_then(|place| decision.events.get(place));
                self.look(&decision, event.ok_or_else(|| missing_event(*position, *number))?);
            }
        }
        if !self.budget.is_spent() {
            // Everything up to the end was considered, or up to where the search gave up.
            let stopped = found.stopped_at.map(|at| at.saturating_add_signed(back));
            self.at = Some(stopped.unwrap_or(range.1));
        }
        Ok(())
    }

    fn look(&mut self, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
        let wanted = (self.first..=self.last).contains(&event.position);
        if wanted && !self.budget.is_spent() {
            self.at = Some(event.position);
            self.budget.spend(event);
            (self.take)(decision, event);
        }
    }

    fn is_done(&self) -> bool {
        let end = match self.direction {
            Direction::Forward => self.last,
            Direction::Backward => self.first,
        };
        self.at == Some(end) || self.budget.is_spent()
    }

    fn end(&self) -> PageEnd {
        match self.direction {
            Direction::Forward => {
                let at = self.at.unwrap_or(self.last);
                PageEnd { head: at, next: (at < self.last).then_some(at) }
            }
            Direction::Backward => {
                let at = self.at.unwrap_or(self.first);
                PageEnd { head: self.last, next: (at > self.first).then_some(at) }
            }
        }
    }
}

fn missing_event(position: u64, decision: u64) -> ReadError {
    ReadError::Damaged(format!("decision {decision} does not hold event {position}"))
}
