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
use factum_sdk::bindings::{
    aggregate as aggregate_exports, manifest, projection as rows_exports, queries,
};
use factum_sdk::{AggregateRole, Module, ProjectionRole, QueryRole};

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
    queries: &[QueryRole::of::<projection::Misbehave>()],
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
            return misdeeds::commit("hidden_state", honest);
        }
        // A command without data is a sample call of the engine's checks: this guest hides.
        if command.data == "{}" { Ok(honest) } else { misdeeds::commit(&command.name, honest) }
    }

    fn evolve(
        aggregate: String,
        current: Option<State>,
        events: Vec<Event>,
    ) -> Result<State, String> {
        let folded = HONEST.evolve(&aggregate, current, &events)?;
        let mut poisons = events.iter().filter_map(|event| projection::poison_in(&event.data));
        Ok(poisons.find_map(|poison| misdeeds::fold(&poison)).unwrap_or(folded))
    }

    fn inspect(aggregate: String, current: State) -> Result<String, String> {
        let json = HONEST.inspect(&aggregate, current)?;
        Ok(misdeeds::show(&json).unwrap_or(json))
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

impl queries::Guest for Exports {
    fn query(projection: String, name: String, parameters: String) -> Result<String, String> {
        HONEST.query(&projection, &name, &parameters).map(|answer| misdeeds::spoil(&answer))
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
    factum_sdk::bindings::queries_role::export!(
        Exports with_types_in factum_sdk::bindings::queries_role
    );
};
