//! Which command ids are being decided right now. What was decided is in the log's index.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::faults::{Mutant, is_on};

type Scope = (Option<String>, String);

/// The client's command ids between arrival and answer.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<Scope>>>);

/// A command id that is being decided. It travels with the work, so that a client that goes away
/// does not open the way for a second decision while the first is under way.
#[derive(Debug)]
pub(crate) struct Running {
    all: InFlight,
    scope: Scope,
}

impl InFlight {
    /// Takes an id; none when it is taken.
    pub(super) fn enter(&self, caller: Option<&str>, command_id: &str) -> Option<Running> {
        let scope = (caller.map(str::to_owned), command_id.to_owned());
        let is_free = self.0.lock().insert(scope.clone()) || is_on(Mutant::CommandIdNotHeld);
        is_free.then(|| Running { all: self.clone(), scope })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.scope);
    }
}
