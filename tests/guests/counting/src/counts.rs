//! For tests: they read events that are appended directly; the key is the id of the event's stream.
//!
//! With the feature `indexed` it is version 1.1.0, whose counts have an index more; Cargo.toml says
//! what the others are.

use factum_sdk::prelude::*;

#[derive(Debug, Event, Deserialize, Serialize)]
enum Counted {
    /// One more; or a poison.
    Counted {
        #[serde(default)]
        poison: bool,
    },
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

/// What one event counts.
const STEP: u64 = if cfg!(any(feature = "twice", feature = "otherwise")) { 2 } else { 1 };

const MODULE_VERSION: &str = if cfg!(feature = "indexed") {
    "1.1.0"
} else if cfg!(feature = "mended") {
    "1.2.0"
} else if cfg!(feature = "otherwise") {
    "1.3.0"
} else if cfg!(feature = "twice") {
    "3.0.0"
} else {
    "1.0.0"
};

#[cfg(feature = "indexed")]
const INDEXES: &[Index] = &[Index::new("by_count", &["-count"])];
#[cfg(not(feature = "indexed"))]
const INDEXES: &[Index] = &[];

/// A read model that only version 3.0.0 has.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Last {
    position: u64,
}

impl Document for Last {
    const COLLECTION: Collection = Collection::new("lasts");
}

impl Document for Count {
    const COLLECTION: Collection = Collection::new("counts").indexed(INDEXES);
}

struct Counts;

impl Projection for Counts {
    const NAME: &'static str = "counts";
    const COLLECTIONS: &'static [Collection] = if cfg!(feature = "twice") {
        &[Count::COLLECTION, Last::COLLECTION]
    } else {
        &[Count::COLLECTION]
    };
    const VERSION: u32 = if cfg!(feature = "twice") { 2 } else { 1 };
    const EVENT_TYPES: &'static [&'static str] = &["Counted"];
    // Not true of streams of two categories with the same id, which a test has.
    const PARTITION: Option<Partition> =
        if cfg!(feature = "mended") { None } else { Some(Partition::Stream) };
    type Event = Counted;

    fn project(recorded: &Recorded<Counted>, rows: &mut Rows) -> Result<(), Fault> {
        let is_poison = matches!(recorded.event, Counted::Counted { poison: true });
        if is_poison && !cfg!(feature = "mended") {
            return Err(Fault::new("poisoned"));
        }
        let key = recorded.id().unwrap_or("none");
        if cfg!(feature = "twice") {
            rows.put(key, Last { position: recorded.position })?;
        }
        rows.update(key, |row: &mut Count| {
            row.count += STEP;
            row.positions += recorded.position;
        })
    }

    fn prefetch(recorded: &Recorded<Counted>, documents: &mut Prefetch) {
        documents.read::<Count>(recorded.id().unwrap_or("none"));
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
    const PARTITION: Option<Partition> = Some(Partition::Stream);
    type Event = Counted;

    fn project(recorded: &Recorded<Counted>, rows: &mut Rows) -> Result<(), Fault> {
        match &recorded.event {
            Counted::Named { name } => {
                rows.put(recorded.id().unwrap_or("none"), Name { name: name.clone() })
            }
            Counted::Counted { .. } => Ok(()),
        }
    }
}

factum_sdk::module! {
    name: "counting",
    version: MODULE_VERSION,
    projections: [Counts, Names],
}
