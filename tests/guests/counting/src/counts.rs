//! For tests: they read events that are appended directly; the key is the id of the event's stream.
//!
//! With the feature `indexed` it is version 1.1.0, whose counts have an index more.

use factum_sdk::prelude::*;

#[derive(Debug, Event, Deserialize, Serialize)]
enum Counted {
    /// One more.
    Counted {},
    /// Takes a name that no other stream has.
    Named { name: String },
}

/// How often something was counted, and the sum of the positions: an order that is not kept, an
/// event that comes twice or not at all changes it.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Count {
    count: u64,
    positions: u64,
}

#[cfg(feature = "indexed")]
const INDEXES: &[Index] = &[Index::new("by_count", &["-count"])];
#[cfg(not(feature = "indexed"))]
const INDEXES: &[Index] = &[];

impl Document for Count {
    const COLLECTION: Collection = Collection::new("counts").indexed(INDEXES);
}

struct Counts;

impl Projection for Counts {
    const NAME: &'static str = "counts";
    const COLLECTIONS: &'static [Collection] = &[Count::COLLECTION];
    const EVENT_TYPES: &'static [&'static str] = &["Counted"];
    type Event = Counted;

    fn project(recorded: &Recorded<Counted>, rows: &mut Rows) -> Result<(), Fault> {
        rows.update(recorded.id().unwrap_or("none"), |row: &mut Count| {
            row.count += 1;
            row.positions += recorded.position;
        })
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Name {
    name: String,
}

impl Document for Name {
    const COLLECTION: Collection =
        Collection::new("names").indexed(&[Index::new("by_name", &["name"]).unique()]);
}

struct Names;

impl Projection for Names {
    const NAME: &'static str = "names";
    const COLLECTIONS: &'static [Collection] = &[Name::COLLECTION];
    const EVENT_TYPES: &'static [&'static str] = &["Named"];
    type Event = Counted;

    fn project(recorded: &Recorded<Counted>, rows: &mut Rows) -> Result<(), Fault> {
        match &recorded.event {
            Counted::Named { name } => {
                rows.put(recorded.id().unwrap_or("none"), Name { name: name.clone() })
            }
            Counted::Counted {} => Ok(()),
        }
    }
}

factum_sdk::module! {
    name: "counting",
    version: if cfg!(feature = "indexed") { "1.1.0" } else { "1.0.0" },
    projections: [Counts, Names],
}
