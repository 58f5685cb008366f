//! JSON Schemas of commands and events, as a manifest or an administrator gives them.
//!
//! Promises: a schema is compiled when it is given and refused by name if it cannot be,
//! or if checking data against it could cost more than the data and the schema are long: it reads
//! nothing from elsewhere, does not refer to itself, and its patterns take linear time.

use std::collections::HashMap;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::event::JSON;
use crate::manifest::{AggregateManifest, Manifest};

/// Bytes of one schema. 64 KiB: a page of fields has two.
const SCHEMA_BYTES: usize = 64 << 10;
/// Parts of one schema, those that it refers to counted each time. 2,000: as many may look at each
/// value of the data.
const SCHEMA_PARTS: usize = 2_000;
/// Parts inside one another.
const SCHEMA_DEPTH: usize = 64;
/// Bytes that the machine of one pattern may have. 1 MiB.
const PATTERN_BYTES: usize = 1 << 20;
/// Faults of one piece of data that are told, and bytes of the sentence for each.
const MOST_FAULTS: usize = 20;
const MOST_SENTENCE: usize = 300;

/// The one dialect that is understood.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A place in data that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// The schema of an event type, compiled.
#[derive(Debug)]
pub struct EventSchema(Validator);

impl EventSchema {
    /// Compiles it.
    ///
    /// # Errors
    /// Why it cannot be used, in a sentence.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        compile(schema).map(Self)
    }

    /// Compares data with it. Only JSON can fit.
    ///
    /// # Errors
    /// Every place that does not fit, up to a number.
    pub fn check(&self, content_type: &str, data: &[u8]) -> Result<(), Vec<Violation>> {
        if content_type == JSON {
            return check(Some(&self.0), data);
        }
        let is = if content_type.is_empty() { "of no content type" } else { content_type };
        let detail = format!("its type has a schema, which is of {JSON}, and the data is {is}");
        Err(vec![Violation { pointer: String::new(), detail }])
    }
}

/// The schemas of a module, compiled.
#[derive(Debug, Default)]
pub struct Schemas {
    aggregates: HashMap<String, OfAggregate>,
}

#[derive(Debug, Default)]
struct OfAggregate {
    commands: HashMap<String, Validator>,
    /// By type and schema version.
    events: HashMap<(String, u32), Validator>,
}

impl Schemas {
    /// Compiles all schemas of a manifest.
    ///
    /// # Errors
    /// A sentence for each one that cannot be used, and for each example that does not fit its own.
    pub fn compile(manifest: &Manifest) -> Result<Self, Vec<String>> {
        let (mut schemas, mut faults) = (Self::default(), Vec::new());
        for aggregate in &manifest.aggregates {
            let compiled = OfAggregate::compile(aggregate, &mut faults);
            // Without schemas there is nothing to look up for each command.
            if !compiled.commands.is_empty() || !compiled.events.is_empty() {
                schemas.aggregates.insert(aggregate.name.clone(), compiled);
            }
        }
        if faults.is_empty() { Ok(schemas) } else { Err(faults) }
    }

    /// Compares a command's data with its schema, if it has one.
    ///
    /// # Errors
    /// Every place that does not fit, up to a number.
    pub fn command(&self, aggregate: &str, name: &str, data: &str) -> Result<(), Vec<Violation>> {
        let of_aggregate = self.aggregates.get(aggregate);
        check(of_aggregate.and_then(|of| of.commands.get(name)), data.as_bytes())
    }

    /// Compares an event's data with its schema, if it has one.
    ///
    /// # Errors
    /// Every place that does not fit, up to a number.
    pub fn event(
        &self,
        aggregate: &str,
        (event_type, schema_version): (&str, u32),
        data: &[u8],
    ) -> Result<(), Vec<Violation>> {
        let Some(of) = self.aggregates.get(aggregate).filter(|of| !of.events.is_empty()) else {
            return Ok(());
        };
        check(of.events.get(&(event_type.to_owned(), schema_version)), data)
    }
}

impl OfAggregate {
    fn compile(aggregate: &AggregateManifest, faults: &mut Vec<String>) -> Self {
        let mut all = Self::default();
        for command in &aggregate.commands {
            let what = format!("the command {:?} of {:?}", command.name, aggregate.name);
            let Some(validator) = compiled(command.schema.as_ref(), &what, faults) else {
                continue;
            };
            for (at, example) in command.examples.iter().enumerate() {
                let found = violations(&validator, example);
                if let Some(first) = found.first() {
                    let Violation { pointer, detail } = first;
                    faults.push(format!(
                        "example {at} of {what} does not fit its schema at {pointer:?}: {detail}"
                    ));
                }
            }
            all.commands.insert(command.name.clone(), validator);
        }
        for event in &aggregate.events {
            let (name, version) = (&event.event_type, event.schema_version);
            let what = format!("the event {name:?}, schema version {version}");
            if let Some(validator) = compiled(event.schema.as_ref(), &what, faults) {
                all.events.insert((name.clone(), version), validator);
            }
        }
        all
    }
}

fn compiled(schema: Option<&Value>, what: &str, faults: &mut Vec<String>) -> Option<Validator> {
    let schema = schema?;
    match compile(schema) {
        Ok(validator) => Some(validator),
        Err(reason) => {
            faults.push(format!("the schema of {what} cannot be used: {reason}"));
            None
        }
    }
}

fn compile(schema: &Value) -> Result<Validator, String> {
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES {
        return Err(format!("it has {bytes} bytes, and {SCHEMA_BYTES} are allowed"));
    }
    if schema.get("$schema").is_some_and(|dialect| dialect != DIALECT) {
        return Err(format!("its $schema is not {DIALECT}"));
    }
    Walk { root: schema, parts: 0 }.part(schema, 0)?;
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES))
        .build(schema)
        .map_err(|error| shortened(format!("at {:?}, {error}", error.instance_path().as_str())))
}

/// Follows a schema through what it refers to.
struct Walk<'s> {
    root: &'s Value,
    parts: usize,
}

impl<'s> Walk<'s> {
    fn part(&mut self, part: &'s Value, depth: usize) -> Result<(), String> {
        self.parts += 1;
        if self.parts > SCHEMA_PARTS {
            return Err(format!("it has more than {SCHEMA_PARTS} parts, with what it refers to"));
        }
        // Whatever refers to itself gets here.
        if depth > SCHEMA_DEPTH {
            return Err(format!("it refers to itself, or is deeper than {SCHEMA_DEPTH} parts"));
        }
        match part {
            Value::Array(items) => items.iter().try_for_each(|item| self.part(item, depth + 1)),
            Value::Object(fields) => {
                fields.iter().try_for_each(|(name, field)| self.field(name, field, depth))
            }
            _ => Ok(()),
        }
    }

    fn field(&mut self, name: &str, field: &'s Value, depth: usize) -> Result<(), String> {
        match (name, field) {
            ("$ref", Value::String(target)) => {
                let local = target.strip_prefix('#');
                let found = local.and_then(|pointer| self.root.pointer(pointer));
                let found = found.ok_or_else(|| {
                    format!("its $ref {target:?} is no place in it, such as \"#/$defs/name\"")
                })?;
                self.part(found, depth + 1)
            }
            ("$dynamicRef" | "$dynamicAnchor" | "$id" | "$anchor" | "$vocabulary", _) => {
                Err(format!("it uses {name}; refer to a place in it by $ref"))
            }
            // What is only referred to is counted where that is done.
            ("$defs" | "definitions", _) if depth == 0 => Ok(()),
            ("enum" | "const" | "examples" | "default", _) => Ok(()),
            _ => self.part(field, depth + 1),
        }
    }
}

fn check(validator: Option<&Validator>, data: &[u8]) -> Result<(), Vec<Violation>> {
    let Some(validator) = validator else { return Ok(()) };
    let found = match serde_json::from_slice(data) {
        Ok(data) => violations(validator, &data),
        Err(error) => vec![Violation { pointer: String::new(), detail: error.to_string() }],
    };
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn violations(validator: &Validator, data: &Value) -> Vec<Violation> {
    let violation = |error: jsonschema::ValidationError<'_>| Violation {
        pointer: error.instance_path().to_string(),
        detail: shortened(error.masked().to_string()),
    };
    validator.iter_errors(data).take(MOST_FAULTS).map(violation).collect()
}

fn shortened(mut sentence: String) -> String {
    if sentence.len() > MOST_SENTENCE {
        sentence.truncate(sentence.floor_char_boundary(MOST_SENTENCE));
        sentence.push('…');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(schema: &Value) -> String {
        compile(schema).map(drop).expect_err("is refused")
    }

    #[test]
    fn what_could_cost_more_than_it_is_long_is_refused_by_name() {
        let doubling: serde_json::Map<_, _> = (0..15)
            .map(|n| {
                let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
                (n.to_string(), json!({"allOf": [next, next]}))
            })
            .chain([("15".to_owned(), json!(true))])
            .collect();
        for (schema, said) in [
            (json!({"$defs": doubling, "$ref": "#/$defs/0"}), "2000 parts"),
            (json!({"properties": {"next": {"$ref": "#"}}}), "refers to itself"),
            (json!({"$ref": "https://example.com/schema"}), "is no place in it"),
            (json!({"$ref": "#/$defs/nothing"}), "is no place in it"),
            (json!({"properties": {"$id": {"$id": "x"}}}), "uses $id"),
            (json!({"$dynamicRef": "#x"}), "uses $dynamicRef"),
            (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "2020-12"),
            (json!({"enum": ["x".repeat(SCHEMA_BYTES)]}), "bytes"),
            // Patterns that look around would take more than linear time.
            (json!({"pattern": "(?=a)b"}), "at \"/pattern\", \"(?=a)b\" is not a \"regex\""),
            (json!({"pattern": "((a{100}){100}){100}"}), "at \"/pattern\""),
            (json!({"type": "number of coins"}), "at \"/type\""),
            (json!("a text"), "at \"\""),
        ] {
            let reason = refusal(&schema);
            assert!(reason.contains(said) && reason.len() < 400, "{said}: {reason}");
        }
        assert!(
            compile(&json!({"$schema": DIALECT, "$defs": {"n": {"type": "integer"}},
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}}}))
            .is_ok()
        );
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place_and_without_its_value() {
        let schema = json!({"type": "object", "required": ["to"],
            "properties": {"lines": {"items": {"properties": {"grams": {"maximum": 5}}}}}});
        let validator = compile(&schema).expect("compiles");
        let data = json!({"lines": [{"grams": 5}, {"grams": 6}]});
        let found = violations(&validator, &data);
        let places: Vec<_> = found.iter().map(|violation| violation.pointer.as_str()).collect();
        assert_eq!(places, ["", "/lines/1/grams"], "{found:?}");
        assert!(found.iter().all(|violation| !violation.detail.contains('6')), "{found:?}");
        let many = json!({"to": 1, "lines": vec![json!({"grams": 9}); 100]});
        assert_eq!(violations(&validator, &many).len(), MOST_FAULTS);
    }
}
