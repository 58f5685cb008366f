//! The rows of the flights file, and the commands that each of them becomes.
//!
//! This is the only place that knows the file's columns. It must not compute figures.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

/// The aggregate that takes the commands.
pub(crate) const AGGREGATE: &str = "flight";

const HEADER: &str = "date,carrier,flight,tailnum,origin,dest,distance,sched_dep,sched_arr,\
                      dep_delay,arr_delay,air_time";

/// One flight, as its row tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// The day it was to depart, such as `2013-01-01`.
    pub(crate) date: String,
    /// The airline's code.
    pub(crate) carrier: String,
    /// The flight's number.
    pub(crate) number: u32,
    /// The aircraft, where it is known.
    pub(crate) tailnum: Option<String>,
    /// The airport it leaves from.
    pub(crate) origin: String,
    /// The airport it goes to.
    pub(crate) dest: String,
    /// In miles.
    pub(crate) distance: u32,
    /// Local time, `hhmm`.
    pub(crate) sched_dep: String,
    /// Local time, `hhmm`.
    pub(crate) sched_arr: String,
    /// In minutes; none when it was cancelled.
    pub(crate) dep_delay: Option<i64>,
    /// In minutes; none when it never arrived.
    pub(crate) arr_delay: Option<i64>,
    /// In minutes.
    pub(crate) air_time: Option<u32>,
}

/// How a flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It never left.
    Cancelled,
    /// It left, with a delay in minutes, and landed elsewhere.
    Diverted {
        /// Of the departure.
        departed: i64,
    },
    /// It left and arrived, with delays in minutes.
    Arrived {
        /// Of the departure.
        departed: i64,
        /// Of the arrival.
        arrived: i64,
    },
}

/// A command for one flight.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FlightCommand {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its data.
    pub(crate) data: Value,
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowError {
    line: usize,
    reason: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the flights: {}", self.line, self.reason)
    }
}

impl std::error::Error for RowError {}

/// All flights of a file.
pub(crate) fn parse(csv: &str) -> Result<Vec<Flight>, RowError> {
    let mut lines = csv.lines();
    if lines.next() != Some(HEADER) {
        return Err(RowError { line: 1, reason: format!("the header is not {HEADER}") });
    }
    let row = |(at, line): (usize, &str)| {
        Flight::parse(line).map_err(|reason| RowError { line: at + 2, reason })
    };
    lines.enumerate().map(row).collect()
}

impl Flight {
    fn parse(line: &str) -> Result<Self, String> {
        let mut fields = line.split(',');
        let mut next = || fields.next().ok_or("it has too few fields");
        let flight = Self {
            date: next()?.to_owned(),
            carrier: next()?.to_owned(),
            number: number(next()?)?,
            tailnum: Some(next()?).filter(|text| !text.is_empty()).map(str::to_owned),
            origin: next()?.to_owned(),
            dest: next()?.to_owned(),
            distance: number(next()?)?,
            sched_dep: next()?.to_owned(),
            sched_arr: next()?.to_owned(),
            dep_delay: optional(next()?)?,
            arr_delay: optional(next()?)?,
            air_time: optional(next()?)?,
        };
        match fields.next() {
            None => Ok(flight),
            Some(_) => Err("it has too many fields".to_owned()),
        }
    }

    /// What tells the flight from all others, such as `UA-1545-20130101-EWR-0515`.
    pub(crate) fn id(&self) -> String {
        let Self { carrier, number, origin, sched_dep, .. } = self;
        let date = self.date.replace('-', "");
        format!("{carrier}-{number}-{date}-{origin}-{sched_dep}")
    }

    /// How it ended.
    pub(crate) fn ending(&self) -> Ending {
        match (self.dep_delay, self.arr_delay) {
            (None, _) => Ending::Cancelled,
            (Some(departed), None) => Ending::Diverted { departed },
            (Some(departed), Some(arrived)) => Ending::Arrived { departed, arrived },
        }
    }

    /// What is asked of the aggregate, in order: one command an event.
    pub(crate) fn commands(&self) -> Vec<FlightCommand> {
        let command = |name, data| FlightCommand { name, data };
        let depart = |delay: i64| command("depart", json!({ "delay_minutes": delay }));
        let mut commands = vec![command("schedule", self.schedule())];
        match self.ending() {
            Ending::Cancelled => commands.push(command("cancel", json!({}))),
            Ending::Diverted { departed } => {
                commands.extend([depart(departed), command("divert", json!({}))]);
            }
            Ending::Arrived { departed, arrived } => {
                let data = json!({ "delay_minutes": arrived, "air_time_minutes": self.air_time });
                commands.extend([depart(departed), command("arrive", data)]);
            }
        }
        commands
    }

    fn schedule(&self) -> Value {
        json!({
            "carrier": self.carrier,
            "flight": self.number,
            "date": self.date,
            "origin": self.origin,
            "dest": self.dest,
            "scheduled_departure": self.sched_dep,
            "scheduled_arrival": self.sched_arr,
            "distance": self.distance,
            "tail_number": self.tailnum,
        })
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not such a number"))
}

fn optional<T: FromStr>(text: &str) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { number(text).map(Some) }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The week that the demo plays.
    pub(crate) fn week() -> Vec<Flight> {
        let csv = include_str!("../../../guest-examples/flights/data/january-week1.csv");
        parse(csv).expect("the committed file is whole")
    }

    #[test]
    fn the_week_has_its_flights_and_events() {
        let flights = week();
        assert_eq!(flights.len(), 6_099);
        assert_eq!(flights.iter().map(|flight| flight.commands().len()).sum::<usize>(), 18_262);
        let ids: HashSet<_> = flights.iter().map(Flight::id).collect();
        assert_eq!(ids.len(), flights.len());
    }

    #[test]
    fn a_row_becomes_what_happened_to_the_flight() {
        let names = |row: &str| -> Vec<_> {
            let flight = Flight::parse(row).expect("a row");
            flight.commands().into_iter().map(|command| command.name).collect()
        };
        let route = "2013-01-01,UA,1545,N14228,EWR,IAH,1400,0515,0819";
        assert_eq!(names(&format!("{route},2,11,227")), ["schedule", "depart", "arrive"]);
        assert_eq!(names(&format!("{route},2,,")), ["schedule", "depart", "divert"]);
        assert_eq!(names(&format!("{route},,,")), ["schedule", "cancel"]);
    }

    #[test]
    fn a_damaged_row_is_named() {
        let damaged = format!("{HEADER}\n2013-01-01,UA,many,,EWR,IAH,1400,0515,0819,,,\n");
        let error = parse(&damaged).expect_err("not a number");
        assert_eq!(error.to_string(), "line 2 of the flights: \"many\" is not such a number");
        assert!(parse("date\n").is_err());
    }
}
