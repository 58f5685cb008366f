//! Finding events by a query: the labels of an item are intersected by leaps, its alternatives
//! and the items are united. It looks at labels only, never at events.
//!
//! The leapfrog join of sorted lists: T. L. Veldhuizen, "Leapfrog Triejoin", 2014, section 3.

use super::Direction;
use super::blocks::Pair;
use super::labels::{Label, of_category, of_tag, of_type};
use crate::query::{Query, QueryItem};

/// Why a search found no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindError {
    /// It took more leaps than it may.
    TooWide,
    /// The index cannot be read.
    Index(String),
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Position and decision of each event, in the order of the search.
    pub hits: Vec<Pair>,
}

/// For each item its groups: an event must have a label of each group.
pub(super) struct Plan {
    items: Vec<Vec<Vec<Label>>>,
}

impl Plan {
    /// Only for queries that leave something out: [`Query::is_everything`] needs no index.
    pub(super) fn new(query: &Query) -> Self {
        let groups = |item: &QueryItem| {
            let tags = item.tags.iter().map(|tag| vec![of_tag(tag.as_str())]);
            let types: Vec<_> = item.types.iter().map(|name| of_type(name.as_str())).collect();
            let categories: Vec<_> =
                item.categories.iter().map(|name| of_category(name.as_str())).collect();
            tags.chain([types, categories]).filter(|group| !group.is_empty()).collect()
        };
        Self { items: query.items.iter().map(groups).collect() }
    }
}

/// One search in one place: `nearest` tells the nearest event of a label at or beyond a position.
pub(super) struct Search<'a, F> {
    pub(super) plan: &'a Plan,
    pub(super) direction: Direction,
    pub(super) nearest: F,
}

impl<'a, F> Search<'a, F>
where
    F: FnMut(&'a [u8], u64, Direction) -> Result<Option<Pair>, FindError>,
{
    /// Adds the events from `at` to `until`, both included, until `hits` holds `limit`.
    pub(super) fn run(
        &mut self,
        mut at: u64,
        until: u64,
        limit: usize,
        leaps: &mut u64,
        hits: &mut Vec<Pair>,
    ) -> Result<(), FindError> {
        while hits.len() < limit {
            let mut best = None;
            for item in &self.plan.items {
                let next = self.next(item, at, leaps)?;
                best = closer(self.direction, best, next);
            }
            let Some(hit) = best.filter(|hit| !is_beyond(self.direction, hit.0, until)) else {
                break;
            };
            hits.push(hit);
            let next = match self.direction {
                Direction::Forward => hit.0.checked_add(1),
                Direction::Backward => hit.0.checked_sub(1),
            };
            let Some(next) = next else { break };
            at = next;
        }
        Ok(())
    }

    /// The nearest event that has a label of every group.
    fn next(
        &mut self,
        groups: &'a [Vec<Label>],
        mut at: u64,
        leaps: &mut u64,
    ) -> Result<Option<Pair>, FindError> {
        'candidate: loop {
            let mut agreed = None;
            for group in groups {
                *leaps = leaps.checked_sub(1).ok_or(FindError::TooWide)?;
                let mut best = None;
                for label in group {
                    let next = (self.nearest)(label, at, self.direction)?;
                    best = closer(self.direction, best, next);
                }
                let Some(best) = best else { return Ok(None) };
                if best.0 != at && agreed.is_some() {
                    at = best.0;
                    continue 'candidate;
                }
                at = best.0;
                agreed = Some(best);
            }
            return Ok(agreed);
        }
    }
}

fn closer(direction: Direction, a: Option<Pair>, b: Option<Pair>) -> Option<Pair> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if is_beyond(direction, b.0, a.0) { a } else { b }),
        (found, None) | (None, found) => found,
    }
}

fn is_beyond(direction: Direction, position: u64, limit: u64) -> bool {
    match direction {
        Direction::Forward => position > limit,
        Direction::Backward => position < limit,
    }
}
