//! Hot states: what aggregates look like after their newest decision, durable or not yet.
//!
//! Bounded by count and bytes with two generations: a state that was not touched while the young
//! generation filled is dropped. Dropping one is always right; it is folded from the log again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::decision::Hash;
use crate::faults::{Mutant, is_on};
use crate::names::StreamId;
use crate::runtime::State;
use crate::storage::log::Lineage;

/// A state and what it stands on.
#[derive(Clone, Debug, Default)]
pub(super) struct Hot {
    /// None before the first event.
    pub(super) state: Option<State>,
    /// BLAKE3 of the state.
    pub(super) hash: Option<Hash>,
    /// The stream's version that it is folded up to.
    pub(super) version: u64,
    /// The version that another component had folded it up to when this one took it over, and
    /// that component's digest; none where all of it is this one's work.
    pub(super) snapshot: Option<(u64, Hash)>,
    /// The decisions it stands on that may not be durable yet.
    pub(super) lineage: Arc<Lineage>,
}

impl Hot {
    fn bytes(&self) -> usize {
        // A rough figure for keys, hashes and the table itself.
        256 + self.state.as_ref().map_or(0, |state| state.as_bytes().len())
    }
}

/// The hot states of one worker.
#[derive(Debug)]
pub(super) struct HotStates {
    young: HashMap<StreamId, Hot>,
    old: HashMap<StreamId, Hot>,
    young_bytes: usize,
    /// Half of what all may use: each generation gets one half.
    half_bytes: usize,
}

impl HotStates {
    pub(super) fn new(bytes: usize) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Self { young, old, young_bytes: 0, half_bytes: bytes / 2 }
    }

    /// Takes a state out, unless something it stands on did not come to pass.
    pub(super) fn take(&mut self, stream: &StreamId) -> Option<Hot> {
        let young = self.young.remove(stream);
        if let Some(hot) = &young {
            self.young_bytes = self.young_bytes.saturating_sub(hot.bytes());
        }
        let stands = |hot: &Hot| is_on(Mutant::HotStateKept) || !hot.lineage.is_broken();
        young.or_else(|| self.old.remove(stream)).filter(stands)
    }

    /// Takes over what another worker leaves to one of the component `own`, which has no states
    /// yet, if it fits.
    pub(super) fn inherit(&mut self, mut left: Legacy, own: Hash) {
        if left.states.half_bytes > self.half_bytes {
            return;
        }
        let Self { young, old, .. } = &mut left.states;
        for generation in [young, old] {
            generation.retain(|stream, _| left.aggregates.contains(stream.category()));
            if left.digest != own {
                let taken_over = |hot: &mut Hot| hot.snapshot = Some((hot.version, left.digest));
                generation.values_mut().for_each(taken_over);
            }
        }
        *self = Self { half_bytes: self.half_bytes, ..left.states };
    }

    pub(super) fn put(&mut self, stream: StreamId, hot: Hot) {
        if self.young_bytes + hot.bytes() > self.half_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += hot.bytes();
        self.young.insert(stream, hot);
    }
}

/// What a worker leaves to the one that takes its streams over.
#[derive(Debug)]
pub(super) struct Legacy {
    pub(super) states: HotStates,
    /// Those whose states the other can go on with.
    pub(super) aggregates: Arc<HashSet<String>>,
    /// Whose work they are.
    pub(super) digest: Hash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_is_used_and_stays_within_its_bytes() {
        let mut states = HotStates::new(100 * 300);
        let stream = |n: u32| StreamId::parse(&format!("account-{n}")).expect("valid");
        let hot = || Hot { state: Some(State::Json("x".repeat(44))), ..Hot::default() };
        for n in 0..10_000 {
            states.put(stream(n), hot());
            let used = states.take(&stream(0)).expect("used again and again");
            states.put(stream(0), used);
        }
        assert!(states.young.len() + states.old.len() <= 100);
        assert!(states.take(&stream(5)).is_none());
    }
}
