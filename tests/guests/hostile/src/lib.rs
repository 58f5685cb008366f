//! A guest that does on command what no guest may do, for the tests of the engine's limits.
//!
//! Its aggregate and its projection are honest ones; what stands between them and the engine is
//! not, and uses the raw bindings because the SDK would not let it. Outside of tests this crate has
//! no use.

mod aggregate;
mod misdeeds;
mod projection;

use factum_sdk::bindings::aggregate::{Command, Context, Event, Failure, Outcome, Query, State};
use factum_sdk::bindings::projection::{Change, RecordedEvent};
use factum_sdk::bindings::{aggregate as aggregate_exports, manifest, projection as rows_exports};
use factum_sdk::{AggregateRole, Module, ProjectionRole};

const VERSION: &str = if cfg!(feature = "state_v2") {
    "2.0.0"
} else if cfg!(feature = "reshaped") {
    "1.2.0"
} else if cfg!(feature = "counter") {
    "1.1.0"
} else {
    env!("CARGO_PKG_VERSION")
};

static HONEST: Module = Module {
    name: "hostile",
    version: VERSION,
    aggregates: &[AggregateRole::of::<aggregate::Hostile>()],
    projections: &[ProjectionRole::of::<projection::HostileRows>()],
};

/// The exports of the component.
#[derive(Debug)]
pub struct Exports;

impl manifest::Guest for Exports {
    fn describe() -> String {
        HONEST.describe()
    }
}

impl aggregate_exports::Guest for Exports {
    fn decide(
        aggregate: String,
        current: Option<State>,
        tail: Vec<Event>,
        command: Command,
        context: Context,
    ) -> Result<Outcome, Failure> {
        let honest = HONEST.decide(&aggregate, current, &tail, &command, context)?;
        if cfg!(feature = "counter") {
            return Ok(misdeeds::commit("hidden_state", honest));
        }
        // A command without data is a sample call of the engine's checks: this guest hides.
        if command.data == "{}" { Ok(honest) } else { Ok(misdeeds::commit(&command.name, honest)) }
    }

    fn evolve(
        aggregate: String,
        current: Option<State>,
        events: Vec<Event>,
    ) -> Result<State, String> {
        HONEST.evolve(&aggregate, current, &events)
    }

    fn inspect(aggregate: String, current: State) -> Result<String, String> {
        HONEST.inspect(&aggregate, current)
    }

    fn boundary(
        aggregate: String,
        command: Command,
        _context: Context,
    ) -> Result<Vec<Query>, Failure> {
        HONEST.boundary(&aggregate, &command)
    }
}

impl rows_exports::Guest for Exports {
    fn project(projection: String, batch: Vec<RecordedEvent>) -> Result<Vec<Change>, String> {
        let poisons: Vec<_> = batch.iter().filter_map(projection::poison_of).collect();
        let mut changes = HONEST.project(&projection, batch)?;
        changes.extend(poisons.iter().filter_map(|poison| projection::swallow(poison)));
        Ok(changes)
    }
}

#[cfg(target_arch = "wasm32")]
const _: () = {
    factum_sdk::bindings::guest::export!(Exports with_types_in factum_sdk::bindings::guest);
    factum_sdk::bindings::aggregate_role::export!(
        Exports with_types_in factum_sdk::bindings::aggregate_role
    );
    factum_sdk::bindings::projection_role::export!(
        Exports with_types_in factum_sdk::bindings::projection_role
    );
};
