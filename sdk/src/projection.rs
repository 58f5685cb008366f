//! What the author of a projection writes: which events it wants, and what each does to its rows.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Event, Fault, Recorded, Rows};

/// Makes read models from events.
pub trait Projection: 'static {
    /// The projection's name.
    const NAME: &'static str;
    /// Raised when the same events must give other rows: the engine then builds them anew.
    const VERSION: u32 = 1;
    /// The read models it makes. Each name is unique among all active modules.
    const COLLECTIONS: &'static [Collection];
    /// Only events of these aggregates; none given: of any.
    const CATEGORIES: &'static [&'static str] = &[];
    /// Only events of these types; none given: all types of `Event`.
    const EVENT_TYPES: &'static [&'static str] = &[];

    /// The events it reads.
    type Event: Event;

    /// Applies one event. It sees the rows as the events before left them; everything it writes is
    /// stored together with how far it has come.
    fn project(event: &Recorded<Self::Event>, rows: &mut Rows) -> Result<(), Fault>;
}

/// Whether the projection asked for events of this type.
pub(crate) fn wants<P: Projection>(event_type: &str) -> bool {
    if P::EVENT_TYPES.is_empty() {
        P::Event::TYPES.iter().any(|known| known.name == event_type)
    } else {
        P::EVENT_TYPES.contains(&event_type)
    }
}

/// A read model, as its projection declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    name: &'static str,
}

impl Collection {
    /// A read model of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// The read model's name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// The documents of one read model. `Default` is the document before the first event touches it.
pub trait Document: Default + Serialize + DeserializeOwned + 'static {
    /// Where these documents live.
    const COLLECTION: Collection;
}
