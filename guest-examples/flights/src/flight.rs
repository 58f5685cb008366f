//! One flight: scheduled, then cancelled or departed, then arrived or diverted.

use FlightCommand::{Arrive, Cancel, Depart, Divert, Schedule};
use FlightEvent::{Arrived, Cancelled, Departed, Diverted, Scheduled};
use factum_sdk::prelude::*;

/// What is known of a flight.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Flight {
    plan: Option<Plan>,
    status: Status,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Plan {
    carrier: String,
    date: String,
    origin: String,
    dest: String,
}

/// How far a scheduled flight has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    #[default]
    Waiting,
    Cancelled,
    InTheAir,
    Arrived,
    Diverted,
}

/// What may be asked of a flight.
#[derive(Clone, Debug, Command, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum FlightCommand {
    /// Times are local `hhmm`, the date is `yyyy-mm-dd`, the distance in miles.
    Schedule {
        carrier: String,
        flight: u32,
        date: String,
        origin: String,
        dest: String,
        scheduled_departure: String,
        scheduled_arrival: String,
        distance: u32,
        tail_number: Option<String>,
    },
    /// Negative delays are early.
    Depart {
        delay_minutes: i32,
    },
    Cancel,
    Arrive {
        delay_minutes: i32,
        air_time_minutes: u32,
    },
    Divert,
}

/// What happens to a flight.
#[derive(Clone, Debug, Event, Deserialize, Serialize)]
pub enum FlightEvent {
    Scheduled {
        carrier: String,
        flight: u32,
        date: String,
        origin: String,
        dest: String,
        scheduled_departure: String,
        scheduled_arrival: String,
        distance: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        tail_number: Option<String>,
    },
    Departed {
        carrier: String,
        date: String,
        origin: String,
        dest: String,
        delay_minutes: i32,
    },
    Cancelled {
        carrier: String,
        date: String,
        origin: String,
        dest: String,
    },
    Arrived {
        carrier: String,
        date: String,
        origin: String,
        dest: String,
        delay_minutes: i32,
        air_time_minutes: u32,
    },
    Diverted {
        carrier: String,
        date: String,
        origin: String,
        dest: String,
    },
}

impl Aggregate for Flight {
    const NAME: &'static str = "flight";
    type Command = FlightCommand;
    type Event = FlightEvent;

    fn decide(&self, command: FlightCommand, _context: &Context) -> Decision<FlightEvent> {
        let Some(plan) = &self.plan else {
            return schedule(command);
        };
        let Plan { carrier, date, origin, dest } = plan.clone();
        match (self.status, command) {
            (_, Schedule { .. }) => reject("already_scheduled", "this flight is scheduled already"),
            (Status::Waiting, Cancel) => emit(Cancelled { carrier, date, origin, dest }),
            (Status::Waiting, Depart { delay_minutes }) => {
                emit(Departed { carrier, date, origin, dest, delay_minutes })
            }
            (Status::Waiting, _) => reject("not_departed", "this flight has not departed"),
            (Status::InTheAir, Divert) => emit(Diverted { carrier, date, origin, dest }),
            (Status::InTheAir, Arrive { delay_minutes, air_time_minutes }) => {
                emit(Arrived { carrier, date, origin, dest, delay_minutes, air_time_minutes })
            }
            (Status::InTheAir, _) => reject("already_departed", "this flight has departed"),
            (Status::Cancelled, _) => reject("cancelled", "this flight was cancelled"),
            (Status::Arrived, _) => reject("already_arrived", "this flight has arrived"),
            (Status::Diverted, _) => reject("diverted", "this flight was diverted"),
        }
    }

    fn evolve(&mut self, event: FlightEvent) {
        self.status = match event {
            Scheduled { carrier, date, origin, dest, .. } => {
                self.plan = Some(Plan { carrier, date, origin, dest });
                Status::Waiting
            }
            Departed { .. } => Status::InTheAir,
            Cancelled { .. } => Status::Cancelled,
            Arrived { .. } => Status::Arrived,
            Diverted { .. } => Status::Diverted,
        };
    }
}

/// The only command for a flight that nobody knows yet.
fn schedule(command: FlightCommand) -> Decision<FlightEvent> {
    let Schedule {
        carrier,
        flight,
        date,
        origin,
        dest,
        scheduled_departure,
        scheduled_arrival,
        distance,
        tail_number,
    } = command
    else {
        return reject("not_scheduled", "this flight is not scheduled");
    };
    emit(Scheduled {
        carrier,
        flight,
        date,
        origin,
        dest,
        scheduled_departure,
        scheduled_arrival,
        distance,
        tail_number,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use factum_sdk::testing::given;

    use super::*;

    fn schedule() -> FlightCommand {
        Schedule {
            carrier: "UA".to_owned(),
            flight: 1545,
            date: "2013-01-01".to_owned(),
            origin: "EWR".to_owned(),
            dest: "IAH".to_owned(),
            scheduled_departure: "0515".to_owned(),
            scheduled_arrival: "0819".to_owned(),
            distance: 1400,
            tail_number: None,
        }
    }

    /// All events that can happen to a flight, in this order: scheduled, departed, cancelled,
    /// arrived and diverted.
    pub(crate) fn events(carrier: &str, origin: &str, dest: &str, delay: i32) -> [FlightEvent; 5] {
        let plan = || {
            let date = "2013-01-01".to_owned();
            (carrier.to_owned(), date, origin.to_owned(), dest.to_owned())
        };
        let (carrier, date, origin, dest) = plan();
        let scheduled = Scheduled {
            carrier,
            flight: 1545,
            date,
            origin,
            dest,
            scheduled_departure: "0515".to_owned(),
            scheduled_arrival: "0819".to_owned(),
            distance: 1400,
            tail_number: None,
        };
        let (carrier, date, origin, dest) = plan();
        let departed = Departed { carrier, date, origin, dest, delay_minutes: delay };
        let (carrier, date, origin, dest) = plan();
        let cancelled = Cancelled { carrier, date, origin, dest };
        let (carrier, date, origin, dest) = plan();
        let (delay_minutes, air_time_minutes) = (delay, 227);
        let arrived = Arrived { carrier, date, origin, dest, delay_minutes, air_time_minutes };
        let (carrier, date, origin, dest) = plan();
        let diverted = Diverted { carrier, date, origin, dest };
        [scheduled, departed, cancelled, arrived, diverted]
    }

    fn united() -> [FlightEvent; 5] {
        events("UA", "EWR", "IAH", 11)
    }

    fn depart() -> FlightCommand {
        Depart { delay_minutes: 11 }
    }

    fn arrive() -> FlightCommand {
        Arrive { delay_minutes: 11, air_time_minutes: 227 }
    }

    #[test]
    fn a_flight_is_scheduled_departs_and_arrives() {
        let [scheduled, departed, _, arrived, _] = united();
        given::<Flight>([]).when(schedule()).then(scheduled.clone());
        given::<Flight>([scheduled.clone()]).when(depart()).then(departed.clone());
        given::<Flight>([scheduled, departed]).when(arrive()).then(arrived);
    }

    #[test]
    fn a_flight_may_be_cancelled_before_and_diverted_after_departure() {
        let [scheduled, departed, cancelled, _, diverted] = united();
        given::<Flight>([scheduled.clone()]).when(Cancel).then(cancelled);
        given::<Flight>([scheduled, departed]).when(Divert).then(diverted);
    }

    #[test]
    fn every_command_at_the_wrong_time_is_rejected() {
        let [scheduled, departed, cancelled, arrived, diverted] = united();
        let rejects = |past: &[FlightEvent], command: FlightCommand, code: &str| {
            given::<Flight>(past.to_vec()).when(command).then_rejected(code);
        };
        for command in [depart(), Cancel, arrive(), Divert] {
            rejects(&[], command, "not_scheduled");
        }
        let waiting = [scheduled.clone()];
        rejects(&waiting, schedule(), "already_scheduled");
        for command in [arrive(), Divert] {
            rejects(&waiting, command, "not_departed");
        }
        let in_the_air = [scheduled.clone(), departed.clone()];
        for command in [depart(), Cancel] {
            rejects(&in_the_air, command, "already_departed");
        }
        for command in [depart(), Cancel, arrive(), Divert] {
            rejects(&[scheduled.clone(), cancelled.clone()], command.clone(), "cancelled");
            let ended = |end: &FlightEvent| [scheduled.clone(), departed.clone(), end.clone()];
            rejects(&ended(&arrived), command.clone(), "already_arrived");
            rejects(&ended(&diverted), command, "diverted");
        }
    }
}
