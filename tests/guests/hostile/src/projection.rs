//! The projection: honest until an event's `poison` says otherwise.

use factum_sdk::bindings::projection::{Change, RecordedEvent};
use factum_sdk::prelude::*;

use crate::aggregate::{Hostile, HostileEvent};
use crate::misdeeds;

/// One document a stream, counting its events.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct HostileRow {
    behaved: u64,
}

impl Document for HostileRow {
    const COLLECTION: Collection = Collection::new("hostile_rows");
}

pub(crate) struct HostileRows;

impl Projection for HostileRows {
    const NAME: &'static str = "hostile_rows";
    const COLLECTIONS: &'static [Collection] = &[HostileRow::COLLECTION];
    const CATEGORIES: &'static [&'static str] = &[Hostile::NAME];
    type Event = HostileEvent;

    fn project(recorded: &Recorded<HostileEvent>, rows: &mut Rows) -> Result<(), Fault> {
        let key = recorded.id().unwrap_or("none");
        rows.update(key, |row: &mut HostileRow| row.behaved += 1)
    }
}

/// A query that does what it is told to.
#[derive(Debug, Deserialize)]
pub(crate) struct Misbehave {
    how: String,
}

impl Query for Misbehave {
    const NAME: &'static str = "misbehave";
    type Projection = HostileRows;
    type Answer = String;

    fn answer(self, documents: &Documents) -> Result<String, Fault> {
        match self.how.as_str() {
            "trap" => misdeeds::trap(),
            "spin" => misdeeds::spin(),
            "refuse" => Err(Fault::new("not like this")),
            "peek" => {
                factum_sdk::bindings::read_models::get_many("accounts", &["1".to_owned()]);
                Ok("it may look at others".to_owned())
            }
            "count" => Ok(documents.iter::<HostileRow>("").count().to_string()),
            other => Ok(other.to_owned()),
        }
    }
}

/// What an event tells the projection to do.
pub(crate) fn poison_of(recorded: &RecordedEvent) -> Option<String> {
    poison_in(&recorded.event.data)
}

/// The same of an event's data.
pub(crate) fn poison_in(data: &str) -> Option<String> {
    let HostileEvent::Behaved { poison } = HostileEvent::decode("Behaved", 1, data).ok()?;
    poison
}

/// Does it. A change is added to the honest ones.
pub(crate) fn swallow(poison: &str) -> Option<Change> {
    let document = |collection: &str, json: &str| {
        Some(Change::Put((collection.to_owned(), "poisoned".to_owned(), json.to_owned())))
    };
    match poison {
        "trap" => misdeeds::trap(),
        "spin" => misdeeds::spin(),
        "bad_json" => document("hostile_rows", "{not json"),
        "foreign_collection" => document("accounts", "{}"),
        _ => None,
    }
}
