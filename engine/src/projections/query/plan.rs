//! Ways to answer a query: which index, which part of it, and what is left to do. Pure.

use std::cmp::Reverse;

use super::Query;
use super::filter::{Span, after};
use crate::document::{Index, Part, Path, complement};

/// One way to answer a query.
#[derive(Debug)]
pub(super) struct Plan {
    /// The index, by its place in the list; none: all documents, in the order of their keys.
    pub(super) index: Option<usize>,
    /// What its entries begin with.
    pub(super) prefix: Vec<u8>,
    /// Which of its entries are looked at, in their order.
    pub(super) spans: Vec<Span>,
    /// Whether they are read from the last to the first.
    pub(super) backward: bool,
    /// Whether the rows then come in the order that is asked for.
    pub(super) in_order: bool,
    /// The paths whose conditions chose the entries.
    pub(super) narrowed: Vec<Path>,
    /// How many of those are fixed to one value.
    fixed: usize,
}

impl Plan {
    /// Whether a path's condition has to be looked at in the documents.
    pub(super) fn checks(&self, path: &Path) -> bool {
        !self.narrowed.contains(path)
    }
}

/// All ways, the most promising first.
pub(super) fn plans(query: &Query, indexes: &[&Index]) -> Vec<Plan> {
    let by_key = Plan {
        index: None,
        prefix: Vec::new(),
        spans: Vec::new(),
        backward: false,
        in_order: query.order.is_empty() && !query.key_descending,
        narrowed: Vec::new(),
        fixed: 0,
    };
    let mut plans = vec![by_key];
    plans.extend(indexes.iter().enumerate().filter_map(|(at, index)| by_index(query, at, index)));
    plans.sort_by_key(|plan| {
        let is_all = plan.narrowed.len() == query.conditions.len();
        let parts = plan.index.and_then(|at| indexes.get(at)).map_or(0, |index| index.parts.len());
        Reverse((
            is_all && plan.in_order,
            plan.fixed,
            plan.in_order,
            plan.narrowed.len(),
            Reverse(parts),
        ))
    });
    plans
}

/// None where the index neither narrows nor orders.
fn by_index(query: &Query, at: usize, index: &Index) -> Option<Plan> {
    let (mut prefix, mut narrowed) = (Vec::new(), Vec::new());
    let mut rest = &*index.parts;
    while let [part, others @ ..] = rest {
        let Some([one]) = query.conditions.get(&part.path).map(Vec::as_slice) else { break };
        if !one.is_point {
            break;
        }
        prefix.extend_from_slice(&part.directed(&one.from));
        narrowed.push(part.path.clone());
        rest = others;
    }
    let fixed = narrowed.len();
    let spans = match rest.first().map(|part| (part, query.conditions.get(&part.path))) {
        Some((part, Some(spans))) => {
            narrowed.push(part.path.clone());
            directed(&prefix, part, spans)
        }
        // All that begins with the prefix; without one, all there is.
        _ => vec![Span { from: prefix.clone(), to: after(&prefix), is_point: false }],
    };
    let backward = backward(query, index, rest);
    if narrowed.is_empty() && backward.is_none() {
        return None;
    }
    Some(Plan {
        index: Some(at),
        prefix,
        spans,
        backward: backward.unwrap_or(false),
        in_order: backward.is_some(),
        narrowed,
        fixed,
    })
}

/// Which way the entries must be read to come in the query's order; none: neither.
fn backward(query: &Query, index: &Index, rest: &[Part]) -> Option<bool> {
    let backward = index.key_descending() != query.key_descending;
    let is_order = rest.len() == query.order.len()
        && rest.iter().zip(&query.order).all(|(part, wanted)| {
            part.path == wanted.path && (part.descending != wanted.descending) == backward
        });
    is_order.then_some(backward)
}

/// Ranges of a value as ranges of the entries that begin with `prefix`, in their order.
fn directed(prefix: &[u8], part: &Part, spans: &[Span]) -> Vec<Span> {
    let joined = |value: Vec<u8>| [prefix, &*value].concat();
    let directed = |span: &Span| {
        let (from, to) = match part.descending {
            false => (span.from.clone(), span.to.clone()),
            // Turned over, what was before `to` comes after everything that begins with it.
            true => (after(&complement(&span.to)), after(&complement(&span.from))),
        };
        Span { from: joined(from), to: joined(to), is_point: span.is_point }
    };
    let mut directed: Vec<_> = spans.iter().map(directed).collect();
    directed.sort_unstable();
    directed
}
