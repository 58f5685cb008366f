//! One batch: what comes next of the log or of a stream, within limits. It reads and may block.

use super::SubscriptionLimits;
use crate::decision::format::parse_header;
use crate::decision::{Decision, parse, parse_checked};
use crate::event::RecordedEvent;
use crate::names::StreamId;
use crate::query::Query;
use crate::storage::log::{Direction, FindError, Found, Log, ReadError};

/// Records of a stream that are fetched at once.
const STREAM_RECORDS: usize = 64;

/// How far a follower is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The newest position that was considered.
    pub(super) at: u64,
    /// A record that is not newer than the one to be read next; none before the first batch.
    pub(super) next: Option<u64>,
    /// Events that may still be taken.
    pub(super) left: u64,
}

/// A batch under way.
pub(super) struct Batch<'a, F> {
    log: &'a Log,
    limits: &'a SubscriptionLimits,
    /// The last position to be considered.
    end: u64,
    place: &'a mut Place,
    events: usize,
    bytes: usize,
    scanned: usize,
    take: F,
}

impl<'a, F: FnMut(&Decision<'_>, &RecordedEvent<'_>)> Batch<'a, F> {
    pub(super) fn new(
        log: &'a Log,
        limits: &'a SubscriptionLimits,
        end: u64,
        place: &'a mut Place,
        take: F,
    ) -> Self {
        Self { log, limits, end, place, events: 0, bytes: 0, scanned: 0, take }
    }

    /// Takes what matches a query.
    pub(super) fn read_log(&mut self, query: &Query) -> Result<(), ReadError> {
        if self.place.next.is_none() {
            self.place.next = Some(self.first_record()?);
        }
        if self.place.at >= self.end {
            return Ok(());
        }
        if query.is_everything() {
            return self.scan(query);
        }
        let before = self.place.at;
        let found = self.log.find(query, (before + 1, self.end), self.limits.batch_events);
        match found {
            Ok(found) => self.take_found(&found)?,
            Err(FindError::TooWide) => {}
            Err(FindError::Index(error)) => return Err(error.into()),
        }
        // Where a search gets nowhere, looking at the events does.
        if self.place.at == before { self.scan(query) } else { Ok(()) }
    }

    /// A record that is not newer than the first to be read: what is looked for may all be newer
    /// than what is archived out of reach.
    fn first_record(&self) -> Result<u64, ReadError> {
        match self.log.decision_after_position(self.place.at) {
            Err(ReadError::Archived(away)) => Ok(away.first),
            found => found,
        }
    }

    /// Takes the events that the index found.
    fn take_found(&mut self, found: &Found) -> Result<(), ReadError> {
        for of_record in found.hits.chunk_by(|a, b| a.1 == b.1) {
            let Some(&(_, number)) = of_record.first() else { continue };
            let record = self.log.record(number)?.ok_or_else(|| missing(number))?;
            let decision = parse(&record)?;
            for (position, _) in of_record {
                if self.is_spent() {
                    return Ok(());
                }
                let found = decision.events.iter().find(|event| event.position == *position);
                let event = found.ok_or_else(|| missing(number))?;
                self.take(&decision, event);
            }
            self.place.next = Some(number);
        }
        if found.hits.len() < self.limits.batch_events && !self.is_over() {
            // A search that ran out of steps has considered only what is before its stop.
            let considered = found.stopped_at.map_or(self.end, |at| at.saturating_sub(1));
            self.place.at = self.place.at.max(considered);
        }
        Ok(())
    }

    /// Looks at every record.
    fn scan(&mut self, query: &Query) -> Result<(), ReadError> {
        while !self.is_done() {
            let next = self.place.next.unwrap_or(1);
            let group = self.log.group(next)?.ok_or_else(|| missing(next))?;
            for (number, record) in group.records_from(next) {
                self.scanned += 1;
                if parse_header(record)?.event_count > 0 {
                    let decision = parse(record)?;
                    self.scan_record(&decision, query);
                    if self.place.at < decision.head_after() {
                        break;
                    }
                }
                self.place.next = Some(number + 1);
                if self.is_done() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes what matches of a record, as far as the batch goes.
    fn scan_record(&mut self, decision: &Decision<'_>, query: &Query) {
        let seen = self.place.at;
        for event in decision.events.iter().filter(|event| event.position > seen) {
            if self.is_done() {
                return;
            }
            self.scanned += 1;
            if query.matches(event) {
                self.take(decision, event);
            } else {
                self.place.at = event.position;
            }
        }
    }

    /// Takes what comes next of a stream after a version, and moves the version.
    pub(super) fn read_stream(
        &mut self,
        stream: &StreamId,
        version: &mut u64,
    ) -> Result<(), ReadError> {
        // The end was read before: all of the stream's events up to it are in this version.
        let newest = self.log.stream_version(stream)?.unwrap_or(0);
        if self.place.next.is_none() {
            *version = self.version_at(stream, newest)?.max(*version);
            self.place.next = Some(self.first_record()?);
        }
        while *version < newest && !self.is_done() {
            let before = *version;
            let next = self.log.stream_records(
                stream.as_str(),
                before,
                Direction::Forward,
                STREAM_RECORDS,
            )?;
            let mut is_beyond = false;
            for record in next.iter() {
                let decision = parse_checked(record)?;
                for event in of_stream(&decision, stream) {
                    is_beyond |= event.position > self.end;
                    let is_next = event.stream_version == *version + 1;
                    if is_next && !is_beyond && !self.is_spent() {
                        *version += 1;
                        self.take(&decision, event);
                    }
                }
            }
            if is_beyond && !self.is_spent() {
                break;
            }
            if *version == before {
                return Err(gap(stream, before + 1));
            }
        }
        if !self.is_spent() || (*version >= newest && !self.is_over()) {
            self.place.at = self.place.at.max(self.end);
        }
        Ok(())
    }

    /// The stream's version at the place where it was left.
    fn version_at(&self, stream: &StreamId, newest: u64) -> Result<u64, ReadError> {
        let at = self.place.at;
        if at == 0 {
            return Ok(0);
        }
        let (mut low, mut high) = (0, newest);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let forward = Direction::Forward;
            let records = match self.log.stream_records(stream.as_str(), middle - 1, forward, 1) {
                Err(ReadError::Archived(away)) if away.last_position <= at => {
                    low = middle;
                    continue;
                }
                found => found?,
            };
            let record = records.first().ok_or_else(|| gap(stream, middle))?;
            let decision = parse(record)?;
            let event = of_stream(&decision, stream).find(|e| e.stream_version == middle);
            if event.ok_or_else(|| gap(stream, middle))?.position <= at {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    fn take(&mut self, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
        self.place.at = event.position;
        self.place.left = self.place.left.saturating_sub(1);
        self.events += 1;
        self.bytes = self.bytes.saturating_add(event.data.len());
        (self.take)(decision, event);
    }

    /// Whether no more may be taken, ever.
    fn is_over(&self) -> bool {
        self.place.left == 0
    }

    /// Whether no more may be taken now.
    fn is_spent(&self) -> bool {
        self.is_over()
            || self.events >= self.limits.batch_events
            || self.bytes >= self.limits.batch_bytes
            || self.scanned >= self.limits.scan_events
    }

    fn is_done(&self) -> bool {
        self.place.at >= self.end || self.is_spent()
    }
}

fn of_stream<'a>(
    decision: &'a Decision<'a>,
    stream: &'a StreamId,
) -> impl Iterator<Item = &'a RecordedEvent<'a>> {
    decision.events.iter().filter(move |event| event.stream == Some(stream.as_str()))
}

fn missing(decision: u64) -> ReadError {
    ReadError::Damaged(format!("decision {decision} is missing"))
}

fn gap(stream: &StreamId, version: u64) -> ReadError {
    ReadError::Damaged(format!("stream {stream} has no version {version}"))
}
