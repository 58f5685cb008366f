//! The order of commands that one client sends to one stream without waiting for the answers.
//!
//! They are decided one on top of the other. Where one has to be decided again, because a module
//! was swapped or somebody else appended, those behind it wait until it has its answer: otherwise
//! a later command could be decided, and refused, before an earlier one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::names::StreamId;
use crate::storage::log::Lineage;

/// Streams remembered before those with nothing under way are forgotten. 1,024: a few times what
/// one request may have in flight.
const STREAMS: usize = 1_024;

/// The order of one request's commands, stream by stream.
#[derive(Debug, Default)]
pub struct Order(HashMap<StreamId, Arc<Queue>>);

/// The place of a command among those of its request to its stream.
#[derive(Clone, Debug)]
pub struct Turn {
    queue: Arc<Queue>,
    number: u64,
}

/// The commands of one request to one stream, numbered from 0.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// All before this number have their answers.
    answered: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    issued: u64,
    /// The command to be decided next on top of what was decided before.
    next: u64,
    /// What that stands on.
    lineage: Option<Arc<Lineage>>,
    /// Answers that came before those of their predecessors.
    early: BTreeSet<u64>,
}

impl Order {
    /// The turn of the next command to a stream.
    pub fn turn(&mut self, stream: &StreamId) -> Turn {
        if self.0.len() >= STREAMS {
            self.0.retain(|_, queue| *queue.answered.borrow() < queue.state.lock().issued);
        }
        let queue = self.0.entry(stream.clone()).or_insert_with(|| {
            Arc::new(Queue { state: Mutex::default(), answered: watch::Sender::new(0) })
        });
        let mut state = queue.state.lock();
        let number = state.issued;
        state.issued += 1;
        drop(state);
        Turn { queue: Arc::clone(queue), number }
    }
}

impl Turn {
    /// Whether a state of this lineage has everything before it in it: it was decided on it, and
    /// that stands; or it has its answer, so that any state has it.
    pub(super) fn has_come(&self, lineage: &Arc<Lineage>) -> bool {
        let state = self.queue.state.lock();
        let is_on_it = state.lineage.as_ref().is_some_and(|last| Arc::ptr_eq(last, lineage));
        let stands = state.next == self.number && is_on_it && !lineage.is_broken();
        stands || *self.queue.answered.borrow() >= self.number
    }

    /// It was decided on top of `lineage`.
    pub(super) fn decided(&self, lineage: &Arc<Lineage>) {
        let mut state = self.queue.state.lock();
        state.next = self.number + 1;
        state.lineage = Some(Arc::clone(lineage));
    }

    /// It has its answer.
    pub(super) fn answered(&self) {
        let mut state = self.queue.state.lock();
        state.early.insert(self.number);
        self.queue.answered.send_modify(|answered| {
            while state.early.remove(answered) {
                *answered += 1;
            }
        });
    }

    /// Waits until everything before it has its answer.
    pub(super) async fn wait(&self) {
        let mut answered = self.queue.answered.subscribe();
        // The sender lives as long as this turn.
        let _ = answered.wait_for(|answered| *answered >= self.number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_comes_when_those_before_it_are_decided_or_answered() {
        let stream = StreamId::parse("account-1").expect("valid");
        let mut order = Order::default();
        let turns: Vec<_> = (0..4).map(|_| order.turn(&stream)).collect();
        let lineage = Arc::new(Lineage::default());
        assert!(turns[0].has_come(&lineage) && !turns[1].has_come(&lineage));
        turns[0].decided(&lineage);
        assert!(turns[1].has_come(&lineage) && !turns[2].has_come(&lineage));
        // Another version's worker may have a state without the one before.
        let elsewhere = Arc::new(Lineage::default());
        assert!(!turns[1].has_come(&elsewhere));
        // An answer out of turn counts only when those before it have theirs.
        turns[1].answered();
        assert!(!turns[2].has_come(&lineage));
        turns[0].answered();
        assert!(turns[2].has_come(&elsewhere) && !turns[3].has_come(&lineage));
        let other = StreamId::parse("account-2").expect("valid");
        assert!(order.turn(&other).has_come(&elsewhere));
    }
}
