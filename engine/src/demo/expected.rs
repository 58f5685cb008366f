//! The figures that the read models must show, computed from the rows of the file alone.
//!
//! It must never ask the engine: it is what the engine's answers are held against.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::flights::{Ending, Flight};

/// Arrivals that a route needs to be ranked by its mean.
pub(crate) const RANKED_ARRIVALS: i64 = 20;

/// What became of a carrier's flights. The read model `carriers` has these documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Carrier {
    /// The airline's code.
    pub(crate) carrier: String,
    /// Its flights.
    pub(crate) scheduled: i64,
    /// Those that left.
    pub(crate) departed: i64,
    /// Those that arrived.
    pub(crate) arrived: i64,
    /// Those that never left.
    pub(crate) cancelled: i64,
    /// Those that landed elsewhere.
    pub(crate) diverted: i64,
    /// Sum over all departures.
    pub(crate) departure_delay_minutes: i64,
    /// Sum over all arrivals.
    pub(crate) arrival_delay_minutes: i64,
}

/// How late a route's flights arrive. The read model `routes` has these documents.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Route {
    /// From here.
    pub(crate) origin: String,
    /// To there.
    pub(crate) dest: String,
    /// Flights that arrived.
    pub(crate) arrivals: i64,
    /// Sum over all arrivals.
    pub(crate) arrival_delay_minutes: i64,
    /// The sum by arrivals; the projection's own division.
    #[serde(default)]
    pub(crate) mean_arrival_delay: f64,
}

/// All carriers by code.
pub(crate) fn carriers(flights: &[Flight]) -> Vec<Carrier> {
    let mut carriers = BTreeMap::<&str, Carrier>::new();
    for flight in flights {
        let carrier = carriers
            .entry(&flight.carrier)
            .or_insert_with(|| Carrier { carrier: flight.carrier.clone(), ..Carrier::default() });
        carrier.scheduled += 1;
        match flight.ending() {
            Ending::Cancelled => carrier.cancelled += 1,
            Ending::Diverted { departed } => {
                carrier.departed(departed);
                carrier.diverted += 1;
            }
            Ending::Arrived { departed, arrived } => {
                carrier.departed(departed);
                carrier.arrived += 1;
                carrier.arrival_delay_minutes += arrived;
            }
        }
    }
    carriers.into_values().collect()
}

impl Carrier {
    fn departed(&mut self, delay: i64) {
        self.departed += 1;
        self.departure_delay_minutes += delay;
    }
}

/// The routes with the highest mean arrival delay among those with enough arrivals, worst first;
/// ties by origin, then destination.
pub(crate) fn worst_routes(flights: &[Flight], count: usize) -> Vec<Route> {
    let mut routes = BTreeMap::<(&str, &str), Route>::new();
    for flight in flights {
        let Ending::Arrived { arrived, .. } = flight.ending() else { continue };
        let route = routes.entry((&flight.origin, &flight.dest)).or_insert_with(|| Route {
            origin: flight.origin.clone(),
            dest: flight.dest.clone(),
            ..Route::default()
        });
        route.arrivals += 1;
        route.arrival_delay_minutes += arrived;
    }
    let mut ranked: Vec<_> =
        routes.into_values().filter(|route| route.arrivals >= RANKED_ARRIVALS).collect();
    // A stable sort of what is in the order of origin and destination already.
    ranked.sort_by(worse_first);
    ranked.truncate(count);
    for route in &mut ranked {
        route.mean_arrival_delay = route.mean();
    }
    ranked
}

/// Exact: the fractions are compared, not their quotients.
fn worse_first(a: &Route, b: &Route) -> Ordering {
    let cross = |delay: i64, arrivals: i64| i128::from(delay) * i128::from(arrivals);
    cross(b.arrival_delay_minutes, a.arrivals).cmp(&cross(a.arrival_delay_minutes, b.arrivals))
}

impl Route {
    /// The mean arrival delay in minutes.
    pub(crate) fn mean(&self) -> f64 {
        quotient(self.arrival_delay_minutes, self.arrivals)
    }

    /// Whether both say the same; JSON may cost the mean its last digit.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let counts = |route: &Self| (route.arrivals, route.arrival_delay_minutes);
        (&self.origin, &self.dest) == (&other.origin, &other.dest)
            && counts(self) == counts(other)
            && (self.mean_arrival_delay - other.mean_arrival_delay).abs() < 1e-6
    }
}

fn quotient(sum: i64, count: i64) -> f64 {
    let exact = |number: i64| i32::try_from(number).map_or(f64::NAN, f64::from);
    if count == 0 { 0.0 } else { exact(sum) / exact(count) }
}

#[cfg(test)]
mod tests {
    use super::super::flights::{parse, tests::week};
    use super::*;

    const ROWS: &str = "date,carrier,flight,tailnum,origin,dest,distance,sched_dep,sched_arr,dep_delay,arr_delay,air_time
2013-01-01,UA,1,N1,EWR,IAH,1400,0515,0819,2,11,227
2013-01-01,UA,2,,EWR,IAH,1400,0615,0919,,,
2013-01-02,UA,3,N3,EWR,IAH,1400,0715,1019,-4,,
2013-01-02,AA,4,N4,JFK,MIA,1089,0540,0850,33,-5,160
";

    #[test]
    fn a_carriers_flights_are_counted_by_their_ending() {
        let flights = parse(ROWS).expect("rows");
        let carriers = carriers(&flights);
        let united = Carrier {
            carrier: "UA".to_owned(),
            scheduled: 3,
            departed: 2,
            arrived: 1,
            cancelled: 1,
            diverted: 1,
            departure_delay_minutes: -2,
            arrival_delay_minutes: 11,
        };
        assert_eq!(carriers.len(), 2);
        assert_eq!(carriers.last(), Some(&united));
    }

    #[test]
    fn routes_are_ranked_by_mean_then_by_name_and_only_with_enough_arrivals() {
        let row = |dest: &str, delay: i64| {
            format!("2013-01-01,UA,1,N1,EWR,{dest},1,0515,0819,0,{delay},10\n")
        };
        let mut rows = ROWS.lines().next().map(|header| format!("{header}\n")).unwrap_or_default();
        for dest in ["BBB", "AAA"] {
            rows.extend((0..20).map(|_| row(dest, 5)));
        }
        rows.extend((0..21).map(|_| row("CCC", 6)));
        rows.extend((0..19).map(|_| row("DDD", 900)));
        let ranked = worst_routes(&parse(&rows).expect("rows"), 10);
        let order: Vec<_> = ranked.iter().map(|route| route.dest.as_str()).collect();
        assert_eq!(order, ["CCC", "AAA", "BBB"]);
        assert_eq!(ranked.first().map(|route| route.mean_arrival_delay), Some(6.0));
    }

    #[test]
    fn every_flight_of_the_week_is_in_the_figures() {
        let flights = week();
        let carriers = carriers(&flights);
        let sum = |of: fn(&Carrier) -> i64| carriers.iter().map(of).sum::<i64>();
        assert_eq!(sum(|carrier| carrier.scheduled), 6_099);
        assert_eq!(sum(|carrier| carrier.scheduled - carrier.cancelled - carrier.departed), 0);
        assert_eq!(sum(|carrier| carrier.departed - carrier.diverted - carrier.arrived), 0);
        assert_eq!(worst_routes(&flights, 10).len(), 10);
    }
}
