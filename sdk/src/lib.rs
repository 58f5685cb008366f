//! Write a Factum module in Rust: plain types, pure functions, one macro.
//!
//! The crate turns them into a WebAssembly component and back into ordinary Rust for tests. It
//! promises that nothing of the contract (`wit/factum.wit`) shows in a module's source, that a
//! component exports only the roles its module plays, and that no call panics on what it is given.
//! It must not offer time, randomness or any effect of its own: a decision is a function of its
//! arguments, and [`Context`] holds all there is.
//!
//! ```
//! use factum_sdk::prelude::*;
//!
//! #[derive(Debug, Default, Serialize, Deserialize)]
//! pub struct Door { open: bool }
//!
//! #[derive(Debug, Command, Deserialize)]
//! pub enum DoorCommand { Open { by: String }, Close }
//!
//! #[derive(Debug, Event, Serialize, Deserialize)]
//! pub enum DoorEvent { Opened { by: String }, Closed }
//!
//! impl Aggregate for Door {
//!     const NAME: &'static str = "door";
//!     type Command = DoorCommand;
//!     type Event = DoorEvent;
//!
//!     fn decide(&self, command: DoorCommand, _context: &Context) -> Decision<DoorEvent> {
//!         match command {
//!             DoorCommand::Open { .. } if self.open => reject("open", "the door is open already"),
//!             DoorCommand::Open { by } => emit(DoorEvent::Opened { by }),
//!             DoorCommand::Close => emit(DoorEvent::Closed),
//!         }
//!     }
//!
//!     fn evolve(&mut self, event: DoorEvent) {
//!         self.open = matches!(event, DoorEvent::Opened { .. });
//!     }
//! }
//!
//! factum_sdk::module! { name: "doors", aggregates: [Door] }
//!
//! factum_sdk::testing::given::<Door>([])
//!     .when(DoorCommand::Open { by: "Ann".into() })
//!     .then(DoorEvent::Opened { by: "Ann".into() });
//! ```

// The derives name this crate, and its own tests use them.
#[cfg(test)]
extern crate self as factum_sdk;

mod aggregate;
mod command;
mod context;
mod decision;
mod event;
mod projection;
mod query;
mod rows;

mod module;

mod dispatch;
mod fault;
mod manifest;
mod panics;
mod variant;

pub mod log;
pub mod testing;

#[doc(hidden)]
pub mod bindings;

pub use aggregate::Aggregate;
pub use command::Command;
pub use context::{Context, Random};
pub use decision::{Decision, Events, NewEvent, Rejection, emit, nothing, reject};
pub use event::{Event, EventType, Recorded};
pub use factum_sdk_macros::{Command, Event};
pub use fault::{DecodeError, Fault};
pub use module::{AggregateRole, Module, ProjectionRole, QueryRole};
pub use projection::{Collection, Document, Index, Partition, Projection};
pub use query::{Documents, Query};
pub use rows::{Prefetch, Rows};

/// All that a module's source needs.
pub mod prelude {
    pub use crate::{
        Aggregate, Collection, Command, Context, Decision, Document, Documents, Event, Fault,
        Index, Partition, Prefetch, Projection, Query, Recorded, Rejection, Rows, emit, log,
        nothing, reject,
    };
    pub use serde::{Deserialize, Serialize};
}
