//! Sends flights to the server as commands, in bulk, and checks every answer.
//!
//! It promises that the commands of one flight are sent in order and that each has an id of its
//! own, so that sending the same flights again changes nothing.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;

use super::flights::{AGGREGATE, Flight};
use crate::client::Client;
use crate::clock::Stopwatch;

/// Flights a request. 500: some 1,500 lines, a fraction of the size that a request may have, and
/// enough to keep the server busy.
const FLIGHTS_A_REQUEST: usize = 500;

/// What came of sending flights.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    /// Commands sent, each answered.
    pub(crate) commands: usize,
    /// The highest position among the answers.
    pub(crate) position: u64,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl Loaded {
    /// Commands a second.
    pub(crate) fn rate(&self) -> f64 {
        u32::try_from(self.commands).map_or(0.0, f64::from) / self.seconds
    }
}

/// The answer to one line.
#[derive(Deserialize)]
struct Answer {
    status: u16,
    #[serde(default)]
    position: u64,
    #[serde(default)]
    detail: String,
}

/// Sends all commands of the flights. `copy` tells the flights of one call from those of another:
/// empty for the real ones.
pub(crate) async fn send(
    client: &Client,
    flights: &[Flight],
    copy: &str,
) -> anyhow::Result<Loaded> {
    let total: usize = flights.iter().map(|flight| flight.commands().len()).sum();
    let progress = progress(total)?;
    let started = Stopwatch::start();
    let mut loaded = Loaded::default();
    for part in flights.chunks(FLIGHTS_A_REQUEST) {
        send_part(client, part, copy, &mut loaded, &progress).await?;
    }
    loaded.seconds = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    Ok(loaded)
}

async fn send_part(
    client: &Client,
    flights: &[Flight],
    copy: &str,
    loaded: &mut Loaded,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let lines: Vec<String> = flights.iter().flat_map(|flight| lines(flight, copy)).collect();
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut answers = client.lines("/v1/commands", Bytes::from(body)).await?;
    let mut sent = lines.iter();
    while let Some(answer) = answers.next::<Answer>().await? {
        let line = sent.next().context("the server answered more lines than it was sent")?;
        if answer.status != 200 {
            bail!("{} {} to {line}", answer.status, answer.detail);
        }
        loaded.commands += 1;
        loaded.position = loaded.position.max(answer.position);
        progress.inc(1);
    }
    match sent.len() {
        0 => Ok(()),
        missing => bail!("the server left {missing} commands without an answer"),
    }
}

/// The lines of one flight, in order.
fn lines(flight: &Flight, copy: &str) -> Vec<String> {
    let id = format!("{}{copy}", flight.id());
    let line = |command: super::flights::FlightCommand| {
        json!({
            "aggregate": AGGREGATE,
            "id": id,
            "command": command.name,
            "data": command.data,
            "command_id": format!("{id}:{}", command.name),
        })
        .to_string()
    };
    flight.commands().into_iter().map(line).collect()
}

/// A bar on a terminal, nothing elsewhere.
fn progress(total: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(
        "  {bar:40} {human_pos}/{human_len} commands, {per_sec} {msg}",
    )?;
    Ok(ProgressBar::new(u64::try_from(total)?).with_style(style))
}

#[cfg(test)]
mod tests {
    use super::super::flights::tests::week;
    use super::*;

    #[test]
    fn every_command_of_the_week_has_an_id_of_its_own() {
        let ids: std::collections::HashSet<String> = week()
            .iter()
            .flat_map(|flight| lines(flight, ""))
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                line["command_id"].as_str().expect("text").to_owned()
            })
            .collect();
        assert_eq!(ids.len(), 18_262);
    }
}
