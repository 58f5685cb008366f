//! A module: its roles by name, and the macro that makes a component of them.
//!
//! Roles are tables of functions, so that the exports are the same few lines for every module and
//! everything behind them runs natively too.

use crate::bindings::aggregate::{Command, Context, Event, Failure, Outcome, Query, State};
use crate::bindings::projection::{Change, RecordedEvent};
use crate::dispatch;
use crate::manifest::{AggregateManifest, Manifest, ProjectionManifest};
use crate::{Aggregate, Projection, panics};

/// What [`module!`](crate::module) makes: a name, a version and the roles played.
#[derive(Debug)]
pub struct Module {
    #[doc(hidden)]
    pub name: &'static str,
    #[doc(hidden)]
    pub version: &'static str,
    #[doc(hidden)]
    pub aggregates: &'static [AggregateRole],
    #[doc(hidden)]
    pub projections: &'static [ProjectionRole],
    #[doc(hidden)]
    pub queries: &'static [QueryRole],
}

type Decide = fn(Option<State>, &[Event], &Command, Context) -> Result<Outcome, Failure>;

/// The functions of one aggregate.
#[derive(Debug)]
pub struct AggregateRole {
    name: &'static str,
    pub(crate) describe: fn() -> AggregateManifest,
    decide: Decide,
    evolve: fn(Option<State>, &[Event]) -> Result<State, String>,
    inspect: fn(State) -> Result<String, String>,
}

/// The functions of one projection.
#[derive(Debug)]
pub struct ProjectionRole {
    name: &'static str,
    pub(crate) describe: fn() -> ProjectionManifest,
    project: fn(Vec<RecordedEvent>) -> Result<Vec<Change>, String>,
}

/// One query of a projection.
#[derive(Debug)]
pub struct QueryRole {
    pub(crate) projection: &'static str,
    pub(crate) name: &'static str,
    answer: fn(&str) -> Result<String, String>,
}

impl QueryRole {
    /// The role that `Q` plays.
    #[doc(hidden)]
    pub const fn of<Q: crate::Query>() -> Self {
        assert!(is_name(Q::NAME), "NAME is 1 to 63 of [a-z0-9_] and starts with a letter");
        Self { projection: Q::Projection::NAME, name: Q::NAME, answer: dispatch::answer::<Q> }
    }
}

impl AggregateRole {
    /// The role that `A` plays.
    #[doc(hidden)]
    pub const fn of<A: Aggregate>() -> Self {
        assert!(is_name(A::NAME), "NAME is 1 to 63 of [a-z0-9_] and starts with a letter");
        Self {
            name: A::NAME,
            describe: AggregateManifest::of::<A>,
            decide: dispatch::decide::<A>,
            evolve: dispatch::evolve::<A>,
            inspect: dispatch::inspect,
        }
    }
}

impl ProjectionRole {
    /// The role that `P` plays.
    #[doc(hidden)]
    pub const fn of<P: Projection>() -> Self {
        assert!(is_name(P::NAME), "NAME is 1 to 63 of [a-z0-9_] and starts with a letter");
        Self {
            name: P::NAME,
            describe: ProjectionManifest::of::<P>,
            project: dispatch::project::<P>,
        }
    }
}

/// The component's exports. Each finds the role by name and hands over.
#[doc(hidden)]
impl Module {
    pub fn describe(&self) -> String {
        panics::install();
        serde_json::to_string(&Manifest::of(self)).unwrap_or_default()
    }

    pub fn decide(
        &self,
        aggregate: &str,
        current: Option<State>,
        tail: &[Event],
        command: &Command,
        context: Context,
    ) -> Result<Outcome, Failure> {
        let role = self.aggregate(aggregate).map_err(Failure::Fault)?;
        (role.decide)(current, tail, command, context)
    }

    pub fn evolve(
        &self,
        aggregate: &str,
        current: Option<State>,
        events: &[Event],
    ) -> Result<State, String> {
        (self.aggregate(aggregate)?.evolve)(current, events)
    }

    pub fn inspect(&self, aggregate: &str, current: State) -> Result<String, String> {
        (self.aggregate(aggregate)?.inspect)(current)
    }

    /// No command of this SDK declares a boundary yet, so the engine never asks.
    pub fn boundary(&self, aggregate: &str, command: &Command) -> Result<Vec<Query>, Failure> {
        let role = self.aggregate(aggregate).map_err(Failure::Fault)?;
        let (name, aggregate) = (&command.name, role.name);
        Err(Failure::Unknown(format!("command `{name}` of `{aggregate}` has no boundary")))
    }

    pub fn project(
        &self,
        projection: &str,
        batch: Vec<RecordedEvent>,
    ) -> Result<Vec<Change>, String> {
        panics::install();
        let role = self.projections.iter().find(|role| role.name == projection);
        let role = role.ok_or_else(|| self.has_no("projection", projection))?;
        (role.project)(batch)
    }

    pub fn query(&self, projection: &str, name: &str, parameters: &str) -> Result<String, String> {
        panics::install();
        let mut roles = self.queries.iter();
        let role = roles.find(|role| role.projection == projection && role.name == name);
        (role.ok_or_else(|| self.has_no("query", name))?.answer)(parameters)
    }

    fn aggregate(&self, name: &str) -> Result<&AggregateRole, String> {
        panics::install();
        let role = self.aggregates.iter().find(|role| role.name == name);
        role.ok_or_else(|| self.has_no("aggregate", name))
    }

    fn has_no(&self, role: &str, name: &str) -> String {
        format!("module `{}` has no {role} `{name}`", self.name)
    }
}

/// Whether the engine takes this as the name of an aggregate or projection.
const fn is_name(name: &str) -> bool {
    let [first, rest @ ..] = name.as_bytes() else {
        return false;
    };
    if !first.is_ascii_lowercase() || rest.len() > 62 {
        return false;
    }
    let mut unread = rest;
    while let [byte, rest @ ..] = unread {
        if !byte.is_ascii_lowercase() && !byte.is_ascii_digit() && *byte != b'_' {
            return false;
        }
        unread = rest;
    }
    true
}

/// Makes a component of aggregates and projections. Called once, at the top of the crate.
///
/// ```ignore
/// factum_sdk::module! {
///     name: "bank",
///     version: "1.2.0",               // if it is not the crate's
///     aggregates: [Account, Transfer],
///     projections: [Balances],
///     queries: [Richest],             // what indexes cannot say
/// }
/// ```
#[macro_export]
macro_rules! module {
    (
        name: $name:expr
        $(, version: $version:expr)?
        $(, aggregates: [$($aggregate:ty),* $(,)?])?
        $(, projections: [$($projection:ty),* $(,)?])?
        $(, queries: [$($query:ty),* $(,)?])?
        $(,)?
    ) => {
        /// This module, as the engine sees it.
        #[allow(unreachable_pub, reason = "it may be used anywhere in the crate")]
        pub static MODULE: $crate::Module = $crate::Module {
            name: $name,
            version: $crate::__module_version!($($version)?),
            aggregates: &[$($($crate::AggregateRole::of::<$aggregate>()),*)?],
            projections: &[$($($crate::ProjectionRole::of::<$projection>()),*)?],
            queries: &[$($($crate::QueryRole::of::<$query>()),*)?],
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exports;
            $crate::__export_manifest!(Exports, MODULE);
            $crate::__export_aggregates!(Exports, MODULE, [$($($aggregate)*)?]);
            $crate::__export_projections!(Exports, MODULE, [$($($projection)*)?]);
            $crate::__export_queries!(Exports, MODULE, [$($($query)*)?]);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __module_version {
    () => {
        env!("CARGO_PKG_VERSION")
    };
    ($version:expr) => {
        $version
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_manifest {
    ($exports:ident, $module:expr) => {
        impl $crate::bindings::manifest::Guest for $exports {
            fn describe() -> String {
                $module.describe()
            }
        }
        $crate::bindings::guest::export!($exports with_types_in $crate::bindings::guest);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_aggregates {
    ($exports:ident, $module:expr, []) => {};
    ($exports:ident, $module:expr, [$($aggregate:ty)*]) => {
        const _: () = {
            use $crate::bindings::aggregate::{
                Command, Context, Event, Failure, Guest, Outcome, Query, State,
            };
            impl Guest for $exports {
                fn decide(
                    aggregate: String,
                    current: Option<State>,
                    tail: Vec<Event>,
                    command: Command,
                    context: Context,
                ) -> Result<Outcome, Failure> {
                    $module.decide(&aggregate, current, &tail, &command, context)
                }

                fn evolve(
                    aggregate: String,
                    current: Option<State>,
                    events: Vec<Event>,
                ) -> Result<State, String> {
                    $module.evolve(&aggregate, current, &events)
                }

                fn inspect(aggregate: String, current: State) -> Result<String, String> {
                    $module.inspect(&aggregate, current)
                }

                fn boundary(
                    aggregate: String,
                    command: Command,
                    _context: Context,
                ) -> Result<Vec<Query>, Failure> {
                    $module.boundary(&aggregate, &command)
                }
            }
        };
        $crate::bindings::aggregate_role::export!(
            $exports with_types_in $crate::bindings::aggregate_role
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_projections {
    ($exports:ident, $module:expr, []) => {};
    ($exports:ident, $module:expr, [$($projection:ty)*]) => {
        const _: () = {
            use $crate::bindings::projection::{Change, Guest, RecordedEvent};
            impl Guest for $exports {
                fn project(
                    projection: String,
                    batch: Vec<RecordedEvent>,
                ) -> Result<Vec<Change>, String> {
                    $module.project(&projection, batch)
                }
            }
        };
        $crate::bindings::projection_role::export!(
            $exports with_types_in $crate::bindings::projection_role
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_queries {
    ($exports:ident, $module:expr, []) => {};
    ($exports:ident, $module:expr, [$($query:ty)*]) => {
        const _: () = {
            impl $crate::bindings::queries::Guest for $exports {
                fn query(
                    projection: String,
                    name: String,
                    parameters: String,
                ) -> Result<String, String> {
                    $module.query(&projection, &name, &parameters)
                }
            }
        };
        $crate::bindings::queries_role::export!(
            $exports with_types_in $crate::bindings::queries_role
        );
    };
}

#[cfg(test)]
mod tests;
