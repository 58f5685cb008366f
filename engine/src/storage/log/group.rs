//! A group: records that follow one another, as bytes with the place of each.

use bytes::Bytes;

use crate::decision::format::{Damage, split};

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
        let mut bounds = vec![0];
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

    /// The bytes of one of its records.
    #[must_use]
    pub fn record(&self, decision: u64) -> Option<Bytes> {
        let at = usize::try_from(decision.checked_sub(self.first)?).ok()?;
        let (start, end) = (*self.bounds.get(at)?, *self.bounds.get(at + 1)?);
        Some(self.bytes.slice(start..end))
    }

    /// The bytes of its records, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.bounds.iter().skip(1);
        self.bounds.iter().zip(ends).filter_map(|(start, end)| self.bytes.get(*start..*end))
    }

    /// The bytes of its records with their numbers, in order.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first..).zip(self.records())
    }

    /// Its records with their numbers, from `decision` on.
    pub fn records_from(&self, decision: u64) -> impl DoubleEndedIterator<Item = (u64, Bytes)> {
        (decision.max(self.first)..=self.last())
            .filter_map(|number| self.record(number).map(|record| (number, record)))
    }
}
