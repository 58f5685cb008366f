//! Which ids are being decided right now. What was decided is in the log's index.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::faults::{Mutant, is_on};
use crate::storage::log::GivenKey;

type Scope = (Option<String>, String);

/// The client's command ids, and the ids of events that were given them elsewhere, between arrival
/// and answer.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    commands: Arc<Mutex<HashSet<Scope>>>,
    events: Arc<Mutex<HashSet<GivenKey>>>,
}

/// A command id that is being decided. It travels with the work, so that a client that goes away
/// does not open the way for a second decision while the first is under way.
#[derive(Debug)]
pub(crate) struct Running {
    all: InFlight,
    scope: Scope,
}

/// Events that are being appended, as [`Running`].
#[derive(Debug)]
pub(crate) struct RunningEvents {
    all: InFlight,
    keys: Vec<GivenKey>,
}

impl InFlight {
    /// Takes an id; none when it is taken.
    pub(super) fn enter(&self, caller: Option<&str>, command_id: &str) -> Option<Running> {
        let scope = (caller.map(str::to_owned), command_id.to_owned());
        let is_new = self.commands.lock().insert(scope.clone());
        let is_free = is_new || is_on(Mutant::CommandIdNotHeld);
        is_free.then(|| Running { all: self.clone(), scope })
    }

    /// Takes the ids of events, each of which is there once; none when one is taken.
    pub(super) fn enter_events(&self, keys: Vec<GivenKey>) -> Option<RunningEvents> {
        let mut taken = self.events.lock();
        let free = keys.iter().take_while(|key| taken.insert(**key)).count();
        if free < keys.len() {
            for key in keys.iter().take(free) {
                taken.remove(key);
            }
            return None;
        }
        drop(taken);
        Some(RunningEvents { all: self.clone(), keys })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.commands.lock().remove(&self.scope);
    }
}

impl Drop for RunningEvents {
    fn drop(&mut self) {
        let mut taken = self.all.events.lock();
        for key in &self.keys {
            taken.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_free_again_when_it_is_dropped_and_not_before() {
        let all = InFlight::default();
        let key = |id| GivenKey::of("/s", id);
        let first = all.enter_events(vec![key("a"), key("b")]).expect("free");
        assert!(all.enter_events(vec![key("c"), key("b"), key("d")]).is_none());
        let others =
            all.enter_events(vec![key("c"), key("d")]).expect("what was refused took none");
        drop(first);
        assert!(all.enter_events(vec![key("a"), key("b")]).is_some());
        assert!(all.enter_events(vec![key("d")]).is_none());
        drop(others);
        let command = all.enter(None, "a").expect("free");
        assert!(all.enter(None, "a").is_none() && all.enter(Some(""), "a").is_some());
        drop(command);
        assert!(all.enter(None, "a").is_some());
    }
}
