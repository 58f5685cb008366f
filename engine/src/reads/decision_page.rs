//! Pages of records of any kind, by their numbers.

use bytes::Bytes;

use super::{PageLimits, parsed};
use crate::decision::{Decision, Kind, Outcome};
use crate::names::Name;
use crate::storage::log::{Log, ReadError};

/// Which records are wanted. What is none excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// Of this kind.
    pub kind: Option<DecisionKind>,
    /// With this outcome; an activation has none.
    pub outcome: Option<DecisionOutcome>,
    /// About this category: the one addressed, or one that events were appended to.
    pub aggregate: Option<Name>,
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionKind {
    /// A command that a component decided.
    Command,
    /// Events appended without a component.
    Append,
    /// A change of what is active.
    Activation,
    /// Something an administrator set.
    Act,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionOutcome {
    /// A command that was decided with events, or a direct append.
    Committed,
    /// A command that the domain refused.
    Rejected,
}

impl DecisionFilter {
    /// Whether a record is wanted.
    #[must_use]
    pub fn matches(&self, decision: &Decision<'_>) -> bool {
        let (kind, outcome) = match &decision.kind {
            Kind::Command(record) => {
                let outcome = match record.outcome {
                    Outcome::Committed { .. } => DecisionOutcome::Committed,
                    Outcome::Rejected(_) => DecisionOutcome::Rejected,
                };
                (DecisionKind::Command, Some(outcome))
            }
            Kind::Append(_) => (DecisionKind::Append, Some(DecisionOutcome::Committed)),
            Kind::Activation(_) => (DecisionKind::Activation, None),
            Kind::Act(_) => (DecisionKind::Act, None),
            Kind::Erased(_) => (DecisionKind::Command, Some(DecisionOutcome::Rejected)),
        };
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.outcome.is_none_or(|wanted| Some(wanted) == outcome)
            && self.aggregate.as_ref().is_none_or(|wanted| is_about(decision, wanted))
    }
}

fn is_about(decision: &Decision<'_>, aggregate: &Name) -> bool {
    let is_of = |stream: &str| {
        stream.split_once('-').is_some_and(|(category, _)| category == aggregate.as_str())
    };
    match &decision.kind {
        Kind::Command(record) => is_of(record.context.stream),
        Kind::Append(_) => decision.events.iter().any(|event| event.stream.is_some_and(is_of)),
        Kind::Activation(_) | Kind::Act(_) | Kind::Erased(_) => false,
    }
}

/// Where a page of records ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionPageEnd {
    /// The newest record that was considered.
    pub head: u64,
    /// After which the next page begins; none at the end.
    pub next: Option<u64>,
}

/// Reads a page of the records after a number, oldest first.
///
/// # Errors
/// [`ReadError`] when a record is damaged or the file cannot be read.
pub fn decision_page(
    log: &Log,
    filter: &DecisionFilter,
    after: u64,
    limits: PageLimits,
    mut take: impl FnMut(&Bytes, &Decision<'_>),
) -> Result<DecisionPageEnd, ReadError> {
    let newest = log.head().decision;
    let (mut at, mut looked, mut taken, mut bytes) = (after.min(newest), 0, 0, 0_usize);
    while at < newest && looked < limits.scan && taken < limits.events && bytes < limits.bytes {
        let missing = || ReadError::Damaged(format!("decision {} is missing", at + 1));
        let record = log.record(at + 1)?.ok_or_else(missing)?;
        at += 1;
        looked += 1;
        let decision = parsed(&record)?;
        if filter.matches(&decision) {
            taken += 1;
            bytes = bytes.saturating_add(record.len());
            take(&record, &decision);
        }
    }
    Ok(DecisionPageEnd { head: at, next: (at < newest).then_some(at) })
}
