//! What a module says about itself: the JSON that `describe` answers.
//!
//! Fields may be added; the engine ignores the ones it does not know.

use serde::Serialize;
use serde_json::Value;

use crate::{Aggregate, Collection, Command, Event, Index, Module, Partition, Projection};

/// The version of `wit/factum.wit` this SDK speaks.
const CONTRACT: &str = "0.1.0";
const SDK: &str = concat!("factum-sdk-rust ", env!("CARGO_PKG_VERSION"));

#[derive(Serialize)]
pub(crate) struct Manifest {
    name: &'static str,
    version: &'static str,
    contract: &'static str,
    sdk: &'static str,
    aggregates: Vec<AggregateManifest>,
    projections: Vec<ProjectionManifest>,
}

/// One aggregate of a module.
#[derive(Serialize)]
pub(crate) struct AggregateManifest {
    name: &'static str,
    state_version: u32,
    reads_state_versions: &'static [u32],
    commands: Vec<CommandManifest>,
    events: Vec<EventManifest>,
}

#[derive(Serialize)]
struct CommandManifest {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<Value>,
}

#[derive(Serialize)]
struct EventManifest {
    #[serde(rename = "type")]
    event_type: &'static str,
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
}

/// One projection of a module.
#[derive(Serialize)]
pub(crate) struct ProjectionManifest {
    name: &'static str,
    version: u32,
    event_types: Vec<&'static str>,
    categories: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<Partition>,
    collections: Vec<CollectionManifest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queries: Vec<QueryManifest>,
}

#[derive(Serialize)]
struct QueryManifest {
    name: &'static str,
}

#[derive(Serialize)]
struct CollectionManifest {
    name: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<IndexManifest>,
}

#[derive(Serialize)]
struct IndexManifest {
    name: &'static str,
    paths: &'static [&'static str],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unique: bool,
}

impl Manifest {
    pub(crate) fn of(module: &Module) -> Self {
        Self {
            name: module.name,
            version: module.version,
            contract: CONTRACT,
            sdk: SDK,
            aggregates: module.aggregates.iter().map(|role| (role.describe)()).collect(),
            projections: module
                .projections
                .iter()
                .map(|role| (role.describe)().with_queries(module))
                .collect(),
        }
    }
}

impl AggregateManifest {
    pub(crate) fn of<A: Aggregate>() -> Self {
        let event = |known: &crate::EventType| EventManifest {
            event_type: known.name,
            schema_version: known.schema_version,
            schema: named(A::EVENT_SCHEMAS, known.name).next(),
        };
        let command = |name: &&'static str| CommandManifest {
            name,
            schema: named(A::COMMAND_SCHEMAS, name).next(),
            examples: named(A::EXAMPLES, name).collect(),
        };
        Self {
            name: A::NAME,
            state_version: A::STATE_VERSION,
            reads_state_versions: A::READS_STATE_VERSIONS,
            commands: A::Command::NAMES.iter().map(command).collect(),
            events: A::Event::TYPES.iter().map(event).collect(),
        }
    }
}

impl ProjectionManifest {
    pub(crate) fn of<P: Projection>() -> Self {
        let index = |index: &Index| {
            let Index { name, paths, unique } = *index;
            IndexManifest { name, paths, unique }
        };
        let collection = |declared: &Collection| CollectionManifest {
            name: declared.name(),
            indexes: declared.indexes().iter().map(index).collect(),
        };
        Self {
            name: P::NAME,
            version: P::VERSION,
            event_types: wanted_types::<P>(),
            categories: P::CATEGORIES,
            partition: P::PARTITION,
            collections: P::COLLECTIONS.iter().map(collection).collect(),
            queries: Vec::new(),
        }
    }

    fn with_queries(mut self, module: &Module) -> Self {
        let of_projection = module.queries.iter().filter(|query| query.projection == self.name);
        self.queries = of_projection.map(|query| QueryManifest { name: query.name }).collect();
        self
    }
}

/// The JSON that stands under a name. What is none is passed on as text: the engine refuses it.
fn named<'a>(
    all: &'a [(&'a str, &'a str)],
    name: &'a str,
) -> impl Iterator<Item = Value> + use<'a> {
    let of_name = all.iter().filter(move |(known, _)| *known == name);
    of_name.map(|(_, json)| serde_json::from_str(json).unwrap_or_else(|_| Value::from(*json)))
}

/// Each wanted type once, however many schema versions of it are read.
fn wanted_types<P: Projection>() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for name in P::Event::TYPES.iter().map(|known| known.name) {
        if crate::projection::wants::<P>(name) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_manifest_names_the_contract_it_was_built_against() {
        let contract = include_str!("../../wit/factum.wit");
        assert!(contract.starts_with(&format!("package factum:domain@{};", super::CONTRACT)));
    }
}
