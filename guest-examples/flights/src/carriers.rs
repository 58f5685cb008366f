//! How each carrier is doing: one document a carrier.

use FlightEvent::{Arrived, Cancelled, Departed, Diverted, Scheduled};
use factum_sdk::prelude::*;

use crate::flight::{Flight, FlightEvent};

/// A carrier's flights so far. Delays are sums of minutes.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Carrier {
    carrier: String,
    scheduled: u32,
    departed: u32,
    arrived: u32,
    cancelled: u32,
    diverted: u32,
    departure_delay_minutes: i64,
    arrival_delay_minutes: i64,
}

impl Document for Carrier {
    const COLLECTION: Collection = Collection::new("carriers")
        .indexed(&[Index::new("by_arrival_delay", &["-arrival_delay_minutes", "carrier"])]);
}

/// Makes the read model `carriers`.
#[derive(Debug)]
pub struct Carriers;

impl Projection for Carriers {
    const NAME: &'static str = "carriers";
    const COLLECTIONS: &'static [Collection] = &[Carrier::COLLECTION];
    const CATEGORIES: &'static [&'static str] = &[Flight::NAME];
    const PARTITION: Option<Partition> = Some(Partition::Data(&["carrier"]));
    type Event = FlightEvent;

    fn project(recorded: &Recorded<FlightEvent>, rows: &mut Rows) -> Result<(), Fault> {
        let (Scheduled { carrier, .. }
        | Departed { carrier, .. }
        | Cancelled { carrier, .. }
        | Arrived { carrier, .. }
        | Diverted { carrier, .. }) = &recorded.event;
        rows.update(carrier, |row: &mut Carrier| {
            row.carrier.clone_from(carrier);
            row.count(&recorded.event);
        })
    }
}

impl Carrier {
    fn count(&mut self, event: &FlightEvent) {
        match event {
            Scheduled { .. } => self.scheduled += 1,
            Departed { delay_minutes, .. } => {
                self.departed += 1;
                self.departure_delay_minutes += i64::from(*delay_minutes);
            }
            Cancelled { .. } => self.cancelled += 1,
            Arrived { delay_minutes, .. } => {
                self.arrived += 1;
                self.arrival_delay_minutes += i64::from(*delay_minutes);
            }
            Diverted { .. } => self.diverted += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use factum_sdk::testing::project;

    use super::{Carrier, Carriers};
    use crate::flight::tests::events;

    #[test]
    fn each_carrier_has_its_own_sums() {
        let united = events("UA", "EWR", "IAH", 7);
        let american = events("AA", "JFK", "MIA", -2);
        let projected =
            project::<Carriers>(united.clone().into_iter().chain(american).chain(united));
        let expected = Carrier {
            carrier: "UA".to_owned(),
            scheduled: 2,
            departed: 2,
            arrived: 2,
            cancelled: 2,
            diverted: 2,
            departure_delay_minutes: 14,
            arrival_delay_minutes: 14,
        };
        assert_eq!(projected.row("UA"), Some(expected));
        let american: Option<Carrier> = projected.row("AA");
        assert_eq!(american.map(|row| row.arrival_delay_minutes), Some(-2));
    }
}
