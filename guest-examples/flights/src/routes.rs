//! How late each route is: one document for each origin and destination.

use FlightEvent::Arrived;
use factum_sdk::prelude::*;

use crate::flight::{Flight, FlightEvent};

/// The arrivals of one route.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Route {
    origin: String,
    dest: String,
    arrivals: u32,
    arrival_delay_minutes: i32,
    mean_arrival_delay: f64,
}

impl Document for Route {
    const COLLECTION: Collection = Collection::new("routes")
        .indexed(&[Index::new("worst", &["-mean_arrival_delay", "origin", "dest"])]);
}

/// Makes the read model `routes`, with keys like `EWR-IAH`.
#[derive(Debug)]
pub struct Routes;

impl Projection for Routes {
    const NAME: &'static str = "routes";
    const COLLECTIONS: &'static [Collection] = &[Route::COLLECTION];
    const CATEGORIES: &'static [&'static str] = &[Flight::NAME];
    const EVENT_TYPES: &'static [&'static str] = &["Arrived"];
    const PARTITION: Option<Partition> = Some(Partition::Data(&["origin", "dest"]));
    type Event = FlightEvent;

    fn project(recorded: &Recorded<FlightEvent>, rows: &mut Rows) -> Result<(), Fault> {
        let Arrived { origin, dest, delay_minutes, .. } = &recorded.event else {
            return Ok(());
        };
        rows.update(&format!("{origin}-{dest}"), |row: &mut Route| {
            row.origin.clone_from(origin);
            row.dest.clone_from(dest);
            row.arrivals += 1;
            row.arrival_delay_minutes += delay_minutes;
            row.mean_arrival_delay = f64::from(row.arrival_delay_minutes) / f64::from(row.arrivals);
        })
    }
}

#[cfg(test)]
mod tests {
    use factum_sdk::testing::project;

    use super::{Route, Routes};
    use crate::flight::tests::events;

    #[test]
    fn a_route_has_the_mean_of_its_arrival_delays() {
        let flights = [10, -3, 0].map(|delay| events("UA", "EWR", "IAH", delay));
        let other = events("UA", "EWR", "SFO", 60);
        let projected = project::<Routes>(flights.into_iter().flatten().chain(other));
        let expected = Route {
            origin: "EWR".to_owned(),
            dest: "IAH".to_owned(),
            arrivals: 3,
            arrival_delay_minutes: 7,
            mean_arrival_delay: 7.0 / 3.0,
        };
        assert_eq!(projected.row("EWR-IAH"), Some(expected));
        assert_eq!(projected.rows::<Route>().len(), 2);
    }
}
