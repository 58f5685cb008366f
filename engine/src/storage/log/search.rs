//! Finding events in the log by what they are: what the index finds, up to the head.

use super::{FindError, Found, Log, Shared};
use crate::query::Query;

impl Log {
    /// The first event after a position that matches, and up to where was looked.
    ///
    /// # Errors
    /// [`FindError`] when it takes too many steps or the index cannot be read.
    pub fn first_match(&self, query: &Query, after: u64) -> Result<(Option<u64>, u64), FindError> {
        let looked_to = self.head().position.max(after);
        Ok((self.shared.first_match(query, after)?, looked_to))
    }

    /// Whether what the index knows of everything after a position is in memory.
    #[must_use]
    pub fn is_in_memory_after(&self, position: u64) -> bool {
        self.shared.index.base().position <= position
    }

    /// Up to `limit` events that match a query, from one position to another, both included, in
    /// that order. The query must leave something out. A search that takes too many steps stops
    /// and says where.
    ///
    /// # Errors
    /// [`FindError`] when the index cannot be read.
    pub fn find(&self, query: &Query, range: (u64, u64), limit: usize) -> Result<Found, FindError> {
        self.shared.index.find(query, range, limit)
    }
}

impl Shared {
    /// The first durable event after a position that matches.
    pub(super) fn first_match(&self, query: &Query, after: u64) -> Result<Option<u64>, FindError> {
        let newest = self.head.borrow().position;
        if newest <= after {
            return Ok(None);
        }
        if query.is_everything() {
            return Ok(Some(after + 1));
        }
        let found = self.index.find(query, (after + 1, newest), 1)?;
        match (found.hits.first(), found.stopped_at) {
            (Some(hit), _) => Ok(Some(hit.0)),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(FindError::TooWide),
        }
    }
}
