//! The whole log for those who take all of it: each part is read once, however many want it.
//!
//! Whoever asks for a part that another has just read gets the same; who is elsewhere reads for
//! itself. A part stays as long as the newest ones fit the limit. It blocks.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use metrics::Counter;
use parking_lot::Mutex;

use crate::decision::format::parse_header;
use crate::storage::log::{Log, ReadError};

/// What a feed may use. Each has a default with a reason.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    /// Records of one part. 2,000: more gains little and delays the first.
    pub part_records: usize,
    /// Bytes of records after which a part ends. 4 MiB.
    pub part_bytes: usize,
    /// Parts that are kept for others. 4: one for those at the head, some for those on their way.
    pub kept_parts: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self { part_records: 2_000, part_bytes: 4 << 20, kept_parts: 4 }
    }
}

/// Reads the log for many.
pub struct Feed {
    log: Log,
    limits: FeedLimits,
    /// The newest last. Held while a part is read, so that others wait for it.
    parts: Mutex<VecDeque<Arc<Part>>>,
    /// Counts what was read of the log, for however many.
    read_events: Counter,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

/// Records that follow each other.
#[derive(Debug)]
struct Part {
    first: u64,
    records: Vec<Bytes>,
}

/// Some records of the log in their order, at least one; cheap to clone and to cut.
#[derive(Clone, Debug)]
pub struct Records {
    part: Arc<Part>,
    range: Range<usize>,
}

impl From<Vec<Bytes>> for Records {
    fn from(records: Vec<Bytes>) -> Self {
        let range = 0..records.len();
        Self { part: Arc::new(Part { first: 0, records }), range }
    }
}

impl Feed {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(log: Log, limits: FeedLimits) -> Self {
        let read_events = metrics::counter!("factum_feed_read_events_total");
        Self { log, limits, parts: Mutex::default(), read_events }
    }

    /// The records from a decision on, within the limits; none at the head.
    ///
    /// # Errors
    /// [`ReadError`] when one is damaged or the file cannot be read.
    pub fn read(&self, from: u64) -> Result<Option<Records>, ReadError> {
        let mut parts = self.parts.lock();
        let part = match parts.iter().rev().find_map(|part| Some((part, part.place(from)?))) {
            Some((part, _)) => Arc::clone(part),
            None => {
                let part = Arc::new(self.read_part(from)?);
                if part.records.is_empty() {
                    return Ok(None);
                }
                if parts.len() >= self.limits.kept_parts {
                    parts.pop_front();
                }
                parts.push_back(Arc::clone(&part));
                part
            }
        };
        let (start, end) = (part.place(from).unwrap_or_default(), part.records.len());
        Ok(Some(Records { part, range: start..end }))
    }

    fn read_part(&self, first: u64) -> Result<Part, ReadError> {
        let (mut records, mut next, mut bytes) = (Vec::new(), first, 0);
        'groups: while let Some(group) = self.log.group(next)? {
            for (number, record) in
                (next..=group.last()).filter_map(|n| Some((n, group.record(n)?)))
            {
                if records.len() >= self.limits.part_records || bytes >= self.limits.part_bytes {
                    break 'groups;
                }
                next = number + 1;
                bytes += record.len();
                records.push(record);
            }
        }
        let events =
            |record: &Bytes| parse_header(record).map_or(0, |header| u64::from(header.event_count));
        self.read_events.increment(records.iter().map(events).sum());
        Ok(Part { first, records })
    }
}

impl Part {
    /// Where a decision is in it.
    fn place(&self, decision: u64) -> Option<usize> {
        let place = usize::try_from(decision.checked_sub(self.first)?).ok()?;
        (place < self.records.len()).then_some(place)
    }
}

impl Records {
    /// The bytes of each.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Bytes> {
        self.part.records.get(self.range.clone()).unwrap_or_default().iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none; a feed never answers that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Each by itself.
    pub fn singles(&self) -> impl Iterator<Item = Self> + '_ {
        self.range.clone().map(|at| Self { part: Arc::clone(&self.part), range: at..at + 1 })
    }
}
