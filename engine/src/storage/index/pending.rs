//! What the events of a group that is not durable yet can be found by: conditions look there too.

use std::collections::HashMap;

use super::Direction;
use super::blocks::{Pair, at_or_after};
use super::find::{Plan, Search};
use super::labels::{Label, for_each_label};
use crate::decision::Decision;
use crate::query::Query;

/// Label -> position and decision of each event that has it.
#[derive(Debug, Default)]
pub(in crate::storage) struct Labels {
    labels: HashMap<Label, Vec<Pair>>,
    first: Option<u64>,
    newest: u64,
    scratch: Label,
}

impl Labels {
    /// Adds the events of the next record.
    pub(in crate::storage) fn add(&mut self, decision: &Decision<'_>) {
        for event in &decision.events {
            let pair = (event.position, decision.header.decision);
            self.first = self.first.or(Some(event.position));
            self.newest = event.position;
            for_each_label(event, &mut self.scratch, |label| match self.labels.get_mut(label) {
                Some(pairs) => pairs.push(pair),
                None => drop(self.labels.insert(label.to_vec(), vec![pair])),
            });
        }
    }

    /// The position of the first event that matches.
    pub(in crate::storage) fn first_match(&self, query: &Query) -> Option<u64> {
        let first = self.first?;
        if query.is_everything() {
            return Some(first);
        }
        let plan = Plan::new(query);
        // A group is bounded: no search in it is too wide.
        let mut search = Search::new(&plan, Direction::Forward, 1, u64::MAX);
        let nearest = |label: &[u8], at, _| {
            Ok(self.labels.get(label).and_then(|pairs| at_or_after(pairs, at)))
        };
        search.run((first, self.newest), nearest).ok()?;
        search.found.hits.first().map(|hit| hit.0)
    }
}
