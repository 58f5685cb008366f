//! A guest whose manifest says what its data looks like, for the tests of schemas, of examples and
//! of what is compared at activation. Outside of tests this crate has no use.

use std::sync::atomic::{AtomicU64, Ordering};

use factum_sdk::prelude::*;

static CALLS: AtomicU64 = AtomicU64::new(0);

#[derive(Default, Deserialize, Serialize)]
struct Parcel {
    sent: u32,
}

#[derive(Command, Deserialize)]
enum ParcelCommand {
    Send {
        to: String,
        grams: u32,
    },
    /// Answers an event that does not fit its own schema.
    Mislabel,
    /// Is in another mood every second time, where it is told so: only an example does that.
    Muse {
        #[serde(default)]
        moody: bool,
    },
}

#[derive(Event, Deserialize, Serialize)]
enum ParcelEvent {
    Sent { to: String, grams: u32 },
}

impl Aggregate for Parcel {
    const NAME: &'static str = "parcel";
    const COMMAND_SCHEMAS: &'static [(&'static str, &'static str)] = &[(
        "send",
        r##"{
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": { "place": { "type": "string", "minLength": 1, "pattern": "^[A-Z]" } },
            "type": "object",
            "required": ["to", "grams"],
            "properties": {
                "to": { "$ref": "#/$defs/place" },
                "grams": { "type": "integer", "minimum": 1, "maximum": 30000 }
            }
        }"##,
    )];
    const EVENT_SCHEMAS: &'static [(&'static str, &'static str)] =
        &[("Sent", r#"{ "properties": { "grams": { "minimum": 1 } } }"#)];
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("send", r#"{"to":"Oslo","grams":200}"#),
        ("send", r#"{"to":"Bergen","grams":1}"#),
        ("muse", if cfg!(feature = "moody") { r#"{"moody":true}"# } else { "{}" }),
    ];
    type Command = ParcelCommand;
    type Event = ParcelEvent;

    fn decide(&self, command: ParcelCommand, _context: &Context) -> Decision<ParcelEvent> {
        match command {
            ParcelCommand::Send { to, grams } => emit(ParcelEvent::Sent { to, grams }),
            ParcelCommand::Mislabel => emit(ParcelEvent::Sent { to: String::new(), grams: 0 }),
            ParcelCommand::Muse { moody: false } => nothing(),
            ParcelCommand::Muse { moody: true } => {
                reject("mood", format!("mood {}", CALLS.fetch_add(1, Ordering::Relaxed) % 2))
            }
        }
    }

    fn evolve(&mut self, _event: ParcelEvent) {
        self.sent += 1;
    }
}

/// What was sent to a place.
struct Places;

#[derive(Default, Deserialize, Serialize)]
struct Place {
    parcels: u32,
    #[serde(rename = "grams")]
    weight: u64,
}

impl Document for Place {
    const COLLECTION: Collection = Collection::new("places");
}

impl Projection for Places {
    const NAME: &'static str = "places";
    const VERSION: u32 = if cfg!(feature = "projection_v2") { 2 } else { 1 };
    const COLLECTIONS: &'static [Collection] = &[Place::COLLECTION];
    type Event = ParcelEvent;

    fn project(recorded: &Recorded<ParcelEvent>, rows: &mut Rows) -> Result<(), Fault> {
        let ParcelEvent::Sent { to, grams } = &recorded.event;
        rows.update(to, |place: &mut Place| {
            place.parcels += 1;
            place.weight +=
                u64::from(*grams) * if cfg!(feature = "relabelled") { 1_000 } else { 1 };
        })
    }
}

factum_sdk::module! {
    name: "parcels",
    version: if cfg!(feature = "projection_v2") {
        "1.2.0"
    } else if cfg!(feature = "relabelled") {
        "1.1.0"
    } else if cfg!(feature = "moody") {
        "1.3.0"
    } else {
        "1.0.0"
    },
    aggregates: [Parcel],
    projections: [Places],
}
