//! The manifest: what a module says it is. Parsed and checked once, when it is uploaded.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::{Index, IndexError};
use crate::names::{EventType, Name};

/// What a module says it is. Fields that this version does not know are kept out of its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The module's name.
    pub name: String,
    /// Its version, by Semantic Versioning.
    pub version: String,
    /// The contract it was built against.
    pub contract: String,
    /// The SDK that built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// The aggregates it decides for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aggregates: Vec<AggregateManifest>,
    /// The projections it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projections: Vec<ProjectionManifest>,
}

/// An aggregate in a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AggregateManifest {
    /// Its name, which is the category of its streams.
    pub name: String,
    /// The version of its state's shape.
    #[serde(default = "one")]
    pub state_version: u32,
    /// The state versions it can read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads_state_versions: Vec<u32>,
    /// Its commands.
    pub commands: Vec<CommandManifest>,
    /// Its events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventManifest>,
}

/// A command in a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandManifest {
    /// Its name.
    pub name: String,
    /// The JSON Schema of its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Data that it is tried with before the module becomes active; none given: `{}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Value>,
}

/// An event type in a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventManifest {
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of its data's shape.
    #[serde(default = "one")]
    pub schema_version: u32,
    /// The JSON Schema of its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

/// A projection in a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectionManifest {
    /// Its name.
    pub name: String,
    /// Its version: a higher one is built from the first event.
    #[serde(default = "one")]
    pub version: u32,
    /// The event types it wants; none given: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    /// The categories it wants; none given: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// What each of its documents depends on, so that several cores may build them; none given: on
    /// any event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// The read models it writes.
    pub collections: Vec<CollectionManifest>,
    /// The queries over them that it answers itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<QueryManifest>,
}

/// Which events belong together: a document depends on those of one partition only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// Those of one stream.
    Stream,
    /// Those that have the same values at these paths of their data.
    Data(Vec<String>),
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream => f.write_str("one stream"),
            Self::Data(paths) => write!(f, "one value of {} in their data", paths.join(", ")),
        }
    }
}

/// A query in a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueryManifest {
    /// Its name, unique in its projection.
    pub name: String,
}

/// A read model in a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectionManifest {
    /// Its name, unique among active modules.
    pub name: String,
    /// What its documents are found by besides their keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexManifest>,
}

/// An index in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexManifest {
    /// Its name, unique in its read model.
    pub name: String,
    /// The fields that it orders documents by, the first thing first; a dash before one means
    /// largest first. Each holds values of any type; how they sort is said in `document`.
    pub paths: Vec<String>,
    /// Whether no two documents may have the same values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
}

impl IndexManifest {
    /// The index it declares.
    ///
    /// # Errors
    /// [`IndexError`] when its paths are not what they should be.
    pub fn parse(&self) -> Result<Index, IndexError> {
        Index::new(&self.name, &self.paths, self.unique)
    }
}

/// Indexes of one read model. 16: each is written with every change of a document.
const MOST_INDEXES: usize = 16;
/// Examples of one command. 16: each is decided three times at each activation.
const MOST_EXAMPLES: usize = 16;

fn one() -> u32 {
    1
}

/// What is wrong with a manifest: every fault, so that one round mends them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError(
    /// One sentence a fault.
    pub Vec<String>,
);

impl std::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the module's manifest is wrong: {}", self.0.join("; "))
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] with everything that is wrong with it.
    pub fn parse(json: &str) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_str(json)
            .map_err(|error| ManifestError(vec![format!("it cannot be read: {error}")]))?;
        let faults = manifest.faults();
        if faults.is_empty() { Ok(manifest) } else { Err(ManifestError(faults)) }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        faults.name("module", &self.name);
        if semver::Version::parse(&self.version).is_err() {
            faults.0.push(format!("version {:?} is not like 1.2.3", self.version));
        }
        let mut commands = HashSet::new();
        for aggregate in &self.aggregates {
            faults.name("aggregate", &aggregate.name);
            for command in &aggregate.commands {
                faults.name("command", &command.name);
                faults.once(&mut commands, "command", (&aggregate.name, &command.name));
                if command.examples.len() > MOST_EXAMPLES {
                    let name = &command.name;
                    faults
                        .0
                        .push(format!("command {name:?} has more than {MOST_EXAMPLES} examples"));
                }
            }
            for event in &aggregate.events {
                faults.event_type(&event.event_type);
            }
        }
        let mut names = HashSet::new();
        for aggregate in &self.aggregates {
            faults.once(&mut names, "aggregate", &aggregate.name);
        }
        let (mut projections, mut collections) = (HashSet::new(), HashSet::new());
        for projection in &self.projections {
            faults.name("projection", &projection.name);
            faults.once(&mut projections, "projection", &projection.name);
            for event_type in &projection.event_types {
                faults.event_type(event_type);
            }
            for category in &projection.categories {
                faults.name("category", category);
            }
            if let Some(Partition::Data(paths)) = &projection.partition
                && let Err(error) = Index::new("partition", paths, false)
            {
                let name = &projection.name;
                faults.0.push(format!("the partition of projection {name:?}: {error}"));
            }
            let mut queries = HashSet::new();
            for query in &projection.queries {
                faults.name("query", &query.name);
                faults.once(&mut queries, "query", &query.name);
            }
            if projection.collections.is_empty() {
                faults.0.push(format!("projection {:?} has no collection", projection.name));
            }
            for collection in &projection.collections {
                faults.name("collection", &collection.name);
                faults.once(&mut collections, "collection", &collection.name);
                faults.indexes(collection);
            }
        }
        faults.0
    }

    /// The names of its read models.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        self.projections.iter().flat_map(|p| p.collections.iter().map(|c| c.name.as_str()))
    }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn name(&mut self, what: &str, name: &str) {
        if let Err(error) = Name::parse(name) {
            self.0.push(format!("{what} {name:?} is {error}"));
        }
    }

    fn event_type(&mut self, name: &str) {
        if let Err(error) = EventType::parse(name) {
            self.0.push(format!("event type {name:?} is {error}"));
        }
    }

    fn indexes(&mut self, collection: &CollectionManifest) {
        let mut names = HashSet::new();
        for index in &collection.indexes {
            self.name("index", &index.name);
            self.once(&mut names, "index", &index.name);
            if let Err(error) = index.parse() {
                let (collection, index) = (&collection.name, &index.name);
                self.0.push(format!("index {index:?} of {collection:?}: {error}"));
            }
        }
        if collection.indexes.len() > MOST_INDEXES {
            let name = &collection.name;
            self.0.push(format!("collection {name:?} has more than {MOST_INDEXES} indexes"));
        }
    }

    fn once<T: Eq + std::hash::Hash + std::fmt::Debug>(
        &mut self,
        seen: &mut HashSet<T>,
        what: &str,
        name: T,
    ) {
        if let Some(name) = seen.replace(name) {
            self.0.push(format!("{what} {name:?} is named twice"));
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let json = r#"{"name":"Bad-Name","version":"one","contract":"0.1.0",
            "aggregates":[{"name":"a","commands":[{"name":"x"},{"name":"x"}]},{"name":"a","commands":[]}],
            "projections":[{"name":"p","collections":[]}]}"#;
        let ManifestError(faults) = Manifest::parse(json).expect_err("wrong");
        assert_eq!(faults.len(), 5, "{faults:#?}");
    }

    #[test]
    fn indexes_are_checked_with_their_names() {
        let manifest = |indexes: &str| {
            Manifest::parse(&format!(
                r#"{{"name":"a","version":"1.0.0","contract":"0.1.0","projections":[
                {{"name":"p","collections":[{{"name":"c","indexes":{indexes}}}]}}]}}"#
            ))
        };
        let good =
            r#"[{"name":"i","paths":["a","-b.0"]},{"name":"u","paths":["u"],"unique":true}]"#;
        assert!(manifest(good).is_ok());
        let bad = r#"[{"name":"I","paths":["a"]},{"name":"x","paths":[]},{"name":"x","paths":["a..b"]},
            {"name":"y","paths":["a","-a"]}]"#;
        let ManifestError(faults) = manifest(bad).expect_err("wrong");
        assert_eq!(faults.len(), 5, "{faults:#?}");
    }

    #[test]
    fn a_partition_is_a_stream_or_some_of_the_data() {
        let manifest = |partition: &str| {
            Manifest::parse(&format!(
                r#"{{"name":"a","version":"1.0.0","contract":"0.1.0","projections":[
                {{"name":"p","partition":{partition},"collections":[{{"name":"c"}}]}}]}}"#
            ))
        };
        for good in [r#""stream""#, r#"{"data":["origin","dest.code"]}"#] {
            let parsed = manifest(good).expect("is one");
            let written = serde_json::to_string(&parsed.projections[0].partition);
            assert_eq!(written.expect("JSON"), good);
        }
        for bad in [r#"{"data":[]}"#, r#"{"data":["a..b"]}"#, r#""tag""#] {
            assert!(manifest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_fields_are_no_fault() {
        let json = r#"{"name":"a","version":"1.0.0","contract":"0.1.0","unheard_of":[1]}"#;
        assert!(Manifest::parse(json).is_ok());
    }
}
