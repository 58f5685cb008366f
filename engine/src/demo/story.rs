//! One flight's events, and a command that its aggregate refuses.

use serde::Deserialize;
use serde_json::{Value, json};

use super::commands::{Answer, command};
use super::flights::{AGGREGATE, Ending, Flight};
use crate::client::{Client, ClientError};
use crate::report::{Report, grouped};

/// What the demo shows of an event.
#[derive(Deserialize)]
struct Event {
    position: i64,
    stream_version: u64,
    #[serde(rename = "type")]
    event_type: String,
    data: Value,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Event>,
}

/// Data that the stream's name says already, or that is not worth its place on the line.
const LEFT_OUT: [&str; 5] = ["carrier", "date", "flight", "origin", "tail_number"];

/// Shows the history of the flight that arrived latest.
pub(crate) async fn history(
    client: &Client,
    flights: &[Flight],
    report: &mut Report,
) -> Result<(), ClientError> {
    let Some(flight) = flights.iter().max_by_key(|flight| flight.arr_delay) else { return Ok(()) };
    let stream = format!("{AGGREGATE}-{}", flight.id());
    report.heading(format_args!("The flight that arrived latest: {stream}"));
    let history: Events = client.get(&format!("/v1/streams/{stream}/events")).await?;
    for event in history.events {
        report.item(format_args!(
            "{:>7}  {}  {:9}  {}",
            grouped(event.position),
            event.stream_version,
            event.event_type,
            data(&event)
        ));
    }
    Ok(())
}

/// What the event says, without the quotes of JSON and cut to a line.
fn data(event: &Event) -> String {
    const WIDTH: usize = 75;
    let fields = event.data.as_object().into_iter().flatten();
    let told: Vec<_> = fields
        .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {value}"),
        })
        .collect();
    let text = told.join(", ");
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Asks a cancelled flight to depart. The answer is 1 if it does.
pub(crate) async fn rejection(
    client: &Client,
    flights: &[Flight],
    report: &mut Report,
) -> Result<u32, ClientError> {
    let cancelled = flights.iter().find(|flight| flight.ending() == Ending::Cancelled);
    let Some(flight) = cancelled else { return Ok(0) };
    report.heading(format_args!("A command that is refused: depart {}", flight.id()));
    let data = json!({ "delay_minutes": 5 });
    match command(client, AGGREGATE, &flight.id(), "depart", &data).await? {
        Answer::Rejected(rejected) => {
            report.item(format_args!("{} rejected: {}", rejected.status, rejected.reason));
            Ok(0)
        }
        Answer::Committed(_) => {
            report.item("it departed, and must not have: DIFFERENT");
            Ok(1)
        }
    }
}
