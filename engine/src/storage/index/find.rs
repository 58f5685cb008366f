//! Finding events by a query: the labels of an item are intersected by leaps, its alternatives
//! and the items are united. It looks at labels only, never at events.
//!
//! The leapfrog join of sorted lists: T. L. Veldhuizen, "Leapfrog Triejoin", 2014, section 3.

use super::Direction;
use super::IndexError;
use super::blocks::Pair;
use super::labels::{Label, of_category, of_tag, of_type};
use crate::query::{Query, QueryItem};

/// Why a search found no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindError {
    /// It took more steps than it may.
    TooWide,
    /// The index cannot be read.
    Index(IndexError),
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Position and decision of each event, in the order of the search.
    pub hits: Vec<Pair>,
    /// Where the search has to go on, where it ran out of steps: everything before, in its order,
    /// was considered.
    pub stopped_at: Option<u64>,
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

/// One search: from where to where, both included, which way, and what it may still cost.
pub(super) struct Search<'p> {
    items: Vec<Item<'p>>,
    pub(super) direction: Direction,
    limit: usize,
    steps: u64,
    pub(super) found: Found,
}

/// One item of the plan: everything before `at` was considered.
struct Item<'p> {
    groups: &'p [Vec<Label>],
    at: u64,
    /// How many groups in a row, up to the one asked last, have the event at `at`.
    agreed: usize,
    /// The group to ask next.
    turn: usize,
    /// What is at `at`, once all agree.
    hit: Option<Pair>,
    /// There is nothing more in the place that is searched.
    exhausted: bool,
}

impl<'p> Search<'p> {
    /// A search may always ask each label once, however few `steps` it has: that takes every item
    /// to a hit or beyond where it began, so whoever goes on where it stopped gets to the end.
    pub(super) fn new(plan: &'p Plan, direction: Direction, limit: usize, steps: u64) -> Self {
        let labels: usize = plan.items.iter().flatten().map(Vec::len).sum();
        let steps = steps.max(u64::try_from(labels).unwrap_or(u64::MAX));
        let item = |groups: &'p Vec<Vec<Label>>| Item {
            groups,
            at: 0,
            agreed: 0,
            turn: 0,
            hit: None,
            exhausted: false,
        };
        let items = plan.items.iter().map(item).collect();
        Self { items, direction, limit, steps, found: Found::default() }
    }

    /// Whether there is nothing more to look for.
    pub(super) fn is_over(&self) -> bool {
        self.found.hits.len() >= self.limit || self.found.stopped_at.is_some()
    }

    /// Searches one place from `from` to `until`, both included. `nearest` tells the nearest event
    /// of a label there, at or beyond a position.
    ///
    /// The item that is furthest behind always goes next. So all of them get on, however far
    /// apart their events lie, and a search that runs out of steps has got somewhere.
    pub(super) fn run(
        &mut self,
        (from, until): (u64, u64),
        mut nearest: impl FnMut(&'p [u8], u64, Direction) -> Result<Option<Pair>, FindError>,
    ) -> Result<(), FindError> {
        for item in &mut self.items {
            item.begin(from);
        }
        let direction = self.direction;
        while !self.is_over() {
            let open = self
                .items
                .iter_mut()
                .filter(|item| !item.exhausted && !is_beyond(direction, item.at, until));
            let behind = match direction {
                Direction::Forward => open.min_by_key(|item| item.at),
                Direction::Backward => open.max_by_key(|item| item.at),
            };
            let Some(item) = behind else { break };
            if let Some(hit) = item.hit {
                self.found.hits.push(hit);
                // No other item needs to find it again.
                let here = self.items.iter_mut().filter(|item| item.at == hit.0);
                here.for_each(|item| item.pass(direction));
            } else if !item.step(direction, &mut self.steps, &mut nearest)? {
                self.found.stopped_at = Some(item.at);
            }
        }
        Ok(())
    }
}

impl<'p> Item<'p> {
    fn begin(&mut self, at: u64) {
        *self = Self { groups: self.groups, at, agreed: 0, turn: 0, hit: None, exhausted: false };
    }

    /// Leaves the hit behind.
    fn pass(&mut self, direction: Direction) {
        let next = match direction {
            Direction::Forward => self.at.checked_add(1),
            Direction::Backward => self.at.checked_sub(1),
        };
        match next {
            Some(at) => self.begin(at),
            None => self.exhausted = true,
        }
    }

    /// Asks the next group; false when that would take more steps than are left.
    fn step(
        &mut self,
        direction: Direction,
        steps: &mut u64,
        nearest: &mut impl FnMut(&'p [u8], u64, Direction) -> Result<Option<Pair>, FindError>,
    ) -> Result<bool, FindError> {
        let Some(group) = self.groups.get(self.turn) else {
            self.exhausted = true;
            return Ok(true);
        };
        match steps.checked_sub(u64::try_from(group.len()).unwrap_or(u64::MAX)) {
            Some(left) => *steps = left,
            None => return Ok(false),
        }
        let mut best = None;
        for label in group {
            best = closer(direction, best, nearest(label, self.at, direction)?);
        }
        let Some(best) = best else {
            self.exhausted = true;
            return Ok(true);
        };
        self.agreed = if best.0 == self.at { self.agreed + 1 } else { 1 };
        self.at = best.0;
        self.turn = (self.turn + 1) % self.groups.len();
        self.hit = (self.agreed == self.groups.len()).then_some(best);
        Ok(true)
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
