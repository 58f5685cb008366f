//! How busy each airport is: one document for each origin and date.

use FlightEvent::{Cancelled, Scheduled};
use factum_sdk::prelude::*;

use crate::flight::{Flight, FlightEvent};

/// The flights that were to leave one airport on one day.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct AirportDay {
    pub(crate) origin: String,
    pub(crate) date: String,
    pub(crate) scheduled: u32,
    pub(crate) cancelled: u32,
}

impl Document for AirportDay {
    const COLLECTION: Collection = Collection::new("airport_days").indexed(&[
        Index::new("by_origin_and_date", &["origin", "date"]).unique(),
        Index::new("by_date", &["date", "origin"]),
    ]);
}

/// Makes the read model `airport_days`, with keys like `EWR-2013-01-01`.
#[derive(Debug)]
pub struct AirportDays;

impl Projection for AirportDays {
    const NAME: &'static str = "airport_days";
    const COLLECTIONS: &'static [Collection] = &[AirportDay::COLLECTION];
    const CATEGORIES: &'static [&'static str] = &[Flight::NAME];
    const EVENT_TYPES: &'static [&'static str] = &["Scheduled", "Cancelled"];
    type Event = FlightEvent;

    fn project(recorded: &Recorded<FlightEvent>, rows: &mut Rows) -> Result<(), Fault> {
        let (Scheduled { origin, date, .. } | Cancelled { origin, date, .. }) = &recorded.event
        else {
            return Ok(());
        };
        rows.update(&format!("{origin}-{date}"), |row: &mut AirportDay| {
            row.origin.clone_from(origin);
            row.date.clone_from(date);
            match recorded.event {
                Cancelled { .. } => row.cancelled += 1,
                _ => row.scheduled += 1,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use factum_sdk::testing::project;

    use super::{AirportDay, AirportDays};
    use crate::flight::tests::events;

    #[test]
    fn flights_are_counted_where_and_when_they_leave() {
        let newark = events("UA", "EWR", "IAH", 0);
        let kennedy = events("AA", "JFK", "MIA", 0);
        let again = newark.clone().into_iter().take(1);
        let projected = project::<AirportDays>(newark.into_iter().chain(kennedy).chain(again));
        let expected = AirportDay {
            origin: "EWR".to_owned(),
            date: "2013-01-01".to_owned(),
            scheduled: 2,
            cancelled: 1,
        };
        assert_eq!(projected.row("EWR-2013-01-01"), Some(expected));
        assert_eq!(projected.rows::<AirportDay>().len(), 2);
    }
}
