//! What the author of an aggregate writes: two pure functions over a state.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Command, Context, Decision, Event};

/// A consistency boundary. `Default` is the state before the first event.
///
/// The state is stored as JSON and compared byte for byte, so it must serialise the same way each
/// time: use `BTreeMap`, not `HashMap`.
pub trait Aggregate: Default + Serialize + DeserializeOwned + 'static {
    /// The aggregate's name, which is also the category of its streams: `account` for `account-42`.
    const NAME: &'static str;
    /// Raised when the state changes its meaning or its JSON.
    const STATE_VERSION: u32 = 1;
    /// The versions of stored state this code can continue from.
    const READS_STATE_VERSIONS: &'static [u32] = &[Self::STATE_VERSION];
    /// JSON Schemas (2020-12) of commands' data, by the command's name. The engine answers what does
    /// not fit, with the place, before it comes here.
    const COMMAND_SCHEMAS: &'static [(&'static str, &'static str)] = &[];
    /// JSON Schemas of events' data, by the event's type. An event that does not fit is a fault.
    const EVENT_SCHEMAS: &'static [(&'static str, &'static str)] = &[];
    /// Data of commands, by the command's name, that the module is tried with before it becomes
    /// active; a command with none is tried with `{}`.
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[];

    /// What may be asked.
    type Command: Command;
    /// What may happen.
    type Event: Event;

    /// Answers a command with the events that follow from it, or with a rejection.
    fn decide(&self, command: Self::Command, context: &Context) -> Decision<Self::Event>;

    /// Takes in what happened. It cannot refuse: the event is a fact.
    fn evolve(&mut self, event: Self::Event);
}
