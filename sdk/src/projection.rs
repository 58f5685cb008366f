//! What the author of a projection writes: which events it wants, and what each does to its rows.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Event, Fault, Prefetch, Recorded, Rows};

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
    /// What each document depends on, so that the engine may build them on several cores.
    const PARTITION: Option<Partition> = None;

    /// The events it reads.
    type Event: Event;

    /// Applies one event. It sees the rows as the events before left them; everything it writes is
    /// stored together with how far it has come.
    fn project(event: &Recorded<Self::Event>, rows: &mut Rows) -> Result<(), Fault>;

    /// Names documents that [`Projection::project`] will read or change for an event, so that those
    /// of a whole batch are read at once. It is worth it where most events touch another document
    /// than those before; nothing but speed depends on it.
    fn prefetch(_event: &Recorded<Self::Event>, _documents: &mut Prefetch) {}
}

/// Which events belong together: a projection that says so reads and writes, for one event, only
/// documents that no event of another partition touches. The engine finds out where that is not so
/// and stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// The events of one stream.
    Stream,
    /// The events with the same values at these paths of their data, such as `"carrier"` or
    /// `"address.city"`.
    Data(&'static [&'static str]),
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
    indexes: &'static [Index],
}

impl Collection {
    /// A read model of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, indexes: &[] }
    }

    /// The same, with what its documents are found by besides their keys.
    pub const fn indexed(self, indexes: &'static [Index]) -> Self {
        Self { indexes, ..self }
    }

    /// The read model's name.
    pub const fn name(self) -> &'static str {
        self.name
    }

    pub(crate) const fn indexes(self) -> &'static [Index] {
        self.indexes
    }
}

/// An index of a read model: queries that filter and order by its fields look at no document too
/// many. Indexes may be added and removed without raising the projection's version.
///
/// ```
/// # use factum_sdk::{Collection, Index};
/// const ROUTES: Collection = Collection::new("routes").indexed(&[
///     Index::new("worst", &["-mean_arrival_delay", "origin", "dest"]),
///     Index::new("by_number", &["origin", "number"]).unique(),
/// ]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    pub(crate) name: &'static str,
    pub(crate) paths: &'static [&'static str],
    pub(crate) unique: bool,
}

impl Index {
    /// An index over fields, the first thing first: `"price"`, `"address.city"`, `"lines.0.amount"`,
    /// and with a dash before it, largest first.
    pub const fn new(name: &'static str, paths: &'static [&'static str]) -> Self {
        Self { name, paths, unique: false }
    }

    /// No two documents may have the same values; a projection that would write such stops at that
    /// event. Documents that lack one of the values, or have null there, are free. The engine then
    /// projects event by event, which costs speed.
    pub const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }
}

/// The documents of one read model. `Default` is the document before the first event touches it.
pub trait Document: Default + Serialize + DeserializeOwned + 'static {
    /// Where these documents live.
    const COLLECTION: Collection;
}
