//! Which share of its flights each airport cancelled: a sum over days, which no index can say.

use std::collections::BTreeMap;

use factum_sdk::prelude::*;

use crate::airport_days::{AirportDay, AirportDays};

/// Asks about the days from one on and up to another, both included.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancellations {
    from: String,
    to: String,
}

/// The flights of one airport.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Share {
    scheduled: u32,
    cancelled: u32,
    share: f64,
}

impl Query for Cancellations {
    const NAME: &'static str = "cancellations";
    type Projection = AirportDays;
    type Answer = BTreeMap<String, Share>;

    fn answer(self, documents: &Documents) -> Result<Self::Answer, Fault> {
        if self.from > self.to {
            return Err(Fault::new("`from` comes after `to`"));
        }
        let mut airports = Self::Answer::new();
        for day in documents.iter::<AirportDay>("") {
            let (_, day) = day?;
            if day.date < self.from || day.date > self.to {
                continue;
            }
            let airport = airports.entry(day.origin).or_default();
            airport.scheduled += day.scheduled;
            airport.cancelled += day.cancelled;
        }
        for airport in airports.values_mut() {
            airport.share = f64::from(airport.cancelled) / f64::from(airport.scheduled);
        }
        Ok(airports)
    }
}

#[cfg(test)]
mod tests {
    use factum_sdk::testing::project;

    use super::{Cancellations, Share};
    use crate::airport_days::AirportDays;
    use crate::flight::tests::events;

    #[test]
    fn days_are_summed_by_airport() {
        let newark = events("UA", "EWR", "IAH", 0);
        let again = newark.clone().into_iter().take(1);
        let projected = project::<AirportDays>(newark.into_iter().chain(again));
        let ask = |from: &str, to: &str| {
            projected.query(Cancellations { from: from.to_owned(), to: to.to_owned() })
        };
        let expected = Share { scheduled: 2, cancelled: 1, share: 0.5 };
        let found = ask("2013-01-01", "2013-01-01").map(|mut airports| airports.remove("EWR"));
        assert_eq!(found, Ok(Some(expected)));
        assert_eq!(ask("2013-01-02", "2013-01-03").map(|airports| airports.len()), Ok(0));
        assert!(ask("2013-01-02", "2013-01-01").is_err());
    }
}
