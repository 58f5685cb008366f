//! A month of flights, the days of the committed week one after the other, projected from zero into
//! sums by carrier: by the guest of the example, and by a native function in its place.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ground::{Ground, Rebuild};
use super::rebuild::{changes, row};
use crate::bench::log::append_all;
use crate::demo::flights::{AGGREGATE, Flight, FlightCommand};
use crate::event::{JSON, NewEvent};
use crate::names::{EventType, StreamId};
use crate::runtime::{Change, ReadModelLook, RecordedEvent};

/// The guest's projection.
const PROJECTION: &str = "carriers";
const DAYS: u32 = 31;

pub(super) fn measure(guest: &Bytes, week: &[Flight], runs: u32) -> anyhow::Result<Rebuild> {
    let mut ground = Ground::of(guest, PROJECTION)?;
    let mut events = Vec::new();
    for day in 1..=DAYS {
        let of_week = format!("2013-01-{:02}", (day - 1) % 7 + 1);
        for flight in week.iter().filter(|flight| flight.date == of_week) {
            let flight = Flight { date: format!("2013-01-{day:02}"), ..flight.clone() };
            let stream = StreamId::parse(&format!("{AGGREGATE}-{}", flight.id()))?;
            for event in flight_events(&flight)? {
                events.push((event, stream.clone()));
            }
        }
    }
    append_all(&ground.log, events)?;
    let rebuild = ground.compare(runs, native)?;
    ground.close();
    Ok(rebuild)
}

/// The events that a flight's commands come to: each repeats the plan.
fn flight_events(flight: &Flight) -> anyhow::Result<Vec<NewEvent>> {
    let commands = flight.commands();
    let plan = commands.first().context("a flight without commands")?.data.clone();
    let event = |FlightCommand { name, mut data }: FlightCommand| {
        let event_type = match name {
            "schedule" => "Scheduled",
            "depart" => "Departed",
            "cancel" => "Cancelled",
            "divert" => "Diverted",
            _ => "Arrived",
        };
        if let Value::Object(fields) = &mut data {
            for name in ["carrier", "date", "origin", "dest"] {
                fields.insert(name.to_owned(), plan.get(name).cloned().unwrap_or_default());
            }
        }
        Ok(NewEvent {
            event_type: EventType::parse(event_type)?,
            schema_version: 1,
            content_type: JSON.to_owned(),
            data: data.to_string().into_bytes(),
            tags: Vec::new(),
            time_ms: None,
            origin: None,
        })
    };
    commands.into_iter().map(event).collect()
}

/// What the events of a flight say: all that the guest reads of them.
#[derive(Deserialize)]
struct Told {
    carrier: String,
    #[serde(rename = "date")]
    _date: String,
    #[serde(rename = "origin")]
    _origin: String,
    #[serde(rename = "dest")]
    _dest: String,
    #[serde(default)]
    delay_minutes: i64,
    #[serde(default, rename = "air_time_minutes")]
    _air_time_minutes: u32,
    #[serde(default, rename = "flight")]
    _flight: u32,
    #[serde(default, rename = "scheduled_departure")]
    _scheduled_departure: String,
    #[serde(default, rename = "scheduled_arrival")]
    _scheduled_arrival: String,
    #[serde(default, rename = "distance")]
    _distance: u32,
    #[serde(default, rename = "tail_number")]
    _tail_number: Option<String>,
}

/// The guest's document.
#[derive(Default, Deserialize, Serialize)]
struct Carrier {
    carrier: String,
    scheduled: u32,
    departed: u32,
    arrived: u32,
    cancelled: u32,
    diverted: u32,
    departure_delay_minutes: i64,
    arrival_delay_minutes: i64,
}

/// What the guest does, without a guest.
fn native(
    collection: &str,
    events: &[RecordedEvent<'_>],
    look: &dyn ReadModelLook,
) -> Result<Vec<Change>, String> {
    let mut rows = BTreeMap::<String, Carrier>::new();
    for recorded in events {
        let told: Told = serde_json::from_str(recorded.event.data).map_err(|e| e.to_string())?;
        let row = row(&mut rows, collection, told.carrier.clone(), look)?;
        row.carrier = told.carrier;
        match recorded.event.event_type {
            "Scheduled" => row.scheduled += 1,
            "Departed" => {
                row.departed += 1;
                row.departure_delay_minutes += told.delay_minutes;
            }
            "Arrived" => {
                row.arrived += 1;
                row.arrival_delay_minutes += told.delay_minutes;
            }
            "Cancelled" => row.cancelled += 1,
            _ => row.diverted += 1,
        }
    }
    changes(collection, rows)
}
