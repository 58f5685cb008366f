//! Real flights: each is an aggregate, from being scheduled to its end, and three projections count
//! them by carrier, by airport and day, and by route.
//!
//! A flight's id is carrier, number, date, origin and scheduled departure:
//! `UA-1545-20130101-EWR-0515`. Events repeat the plan of their flight, so that a projection needs
//! no other event to place them.

mod airport_days;
mod cancellations;
mod carriers;
mod flight;
mod routes;

pub use airport_days::{AirportDay, AirportDays};
pub use cancellations::{Cancellations, Share};
pub use carriers::{Carrier, Carriers};
pub use flight::{Flight, FlightCommand, FlightEvent};
pub use routes::{Route, Routes};

factum_sdk::module! {
    name: "flights",
    aggregates: [Flight],
    projections: [Carriers, AirportDays, Routes],
    queries: [Cancellations],
}
