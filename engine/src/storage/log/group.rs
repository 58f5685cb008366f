//! A group: records that follow one another, as bytes with the place of each.

use bytes::Bytes;

use crate::decision::format::{Damage, split};

/// What a small record takes: the first guess at how many there are.
const TYPICAL_RECORD_BYTES: usize = 256;

/// Records that follow one another: those of a row, or some that were committed together.
#[derive(Clone, Debug)]
pub struct Group {
    first: u64,
    bytes: Bytes,
    /// Where each record begins, and the end of the last.
    bounds: Vec<usize>,
}

impl Group {
    /// Finds the records in bytes. Their content is checked when it is parsed.
    pub(super) fn split(first: u64, bytes: Bytes) -> Result<Self, Damage> {
        let mut bounds = Vec::with_capacity(bytes.len() / TYPICAL_RECORD_BYTES);
        bounds.push(0);
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let (_, after) = split(rest)?;
            rest = after;
            bounds.push(bytes.len() - rest.len());
        }
        Ok(Self { first, bytes, bounds })
    }

    /// The number of its first record.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number of its last record.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + u64::try_from(self.bounds.len()).unwrap_or(u64::MAX).saturating_sub(2)
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of one of its records.
    #[must_use]
    pub fn record(&self, decision: u64) -> Option<Bytes> {
        let at = usize::try_from(decision.checked_sub(self.first)?).ok()?;
        let (start, end) = (*self.bounds.get(at)?, *self.bounds.get(at + 1)?);
        Some(self.bytes.slice(start..end))
    }

    /// Its records with their numbers, from `decision` on.
    pub fn records_from(&self, decision: u64) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        let first = decision.max(self.first);
        let skipped = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        let places = self.bounds.get(skipped..).unwrap_or_default().windows(2).enumerate();
        places.map(move |(at, place)| {
            let record = match place {
                [start, end] => self.bytes.get(*start..*end).unwrap_or_default(),
                _ => &[],
            };
            (first.saturating_add(u64::try_from(at).unwrap_or(u64::MAX)), record)
        })
    }
}
