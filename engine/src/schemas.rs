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

/// Faults of one piece of data that are told, and bytes of the sentence for each.
const MOST_FAULTS: usize = 20;
const MOST_SENTENCE: usize = 300;

/// The one dialect that is understood.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What schemas may be. Each has a default with a reason.
#[derive(Clone, Copy, Debug)]
pub struct SchemaLimits {
    /// Bytes of one schema. 64 KiB: a page of fields has two.
    pub schema_bytes: usize,
    /// Parts of one schema, those that it refers to counted each time. 2,000: as many may look at
    /// each value of the data.
    pub schema_parts: usize,
    /// Parts inside one another. 64: half of what JSON may have.
    pub schema_depth: usize,
    /// Bytes that the machine of one pattern may have. 1 MiB: what people write takes some
    /// kilobytes.
    pub pattern_bytes: usize,
    /// Schemas of event types that one log may have. 10,000: compiled, at most some hundred
    /// megabytes.
    pub event_schemas: usize,
}

impl Default for SchemaLimits {
    fn default() -> Self {
        Self {
            schema_bytes: 64 << 10,
            schema_parts: 2_000,
            schema_depth: 64,
            pattern_bytes: 1 << 20,
            event_schemas: 10_000,
        }
    }
}

impl SchemaLimits {
    /// For what was taken before, perhaps within other limits: it goes on holding.
    pub const TAKEN: Self = Self {
        schema_bytes: usize::MAX,
        schema_parts: usize::MAX,
        schema_depth: usize::MAX,
        pattern_bytes: usize::MAX,
        event_schemas: usize::MAX,
    };
}

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
    pub fn compile(schema: &Value, limits: &SchemaLimits) -> Result<Self, String> {
        compile(schema, limits).map(Self)
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
    pub fn compile(manifest: &Manifest, limits: &SchemaLimits) -> Result<Self, Vec<String>> {
        let (mut schemas, mut faults) = (Self::default(), Vec::new());
        for aggregate in &manifest.aggregates {
            let compiled = OfAggregate::compile(aggregate, limits, &mut faults);
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
    fn compile(
        aggregate: &AggregateManifest,
        limits: &SchemaLimits,
        faults: &mut Vec<String>,
    ) -> Self {
        let mut all = Self::default();
        let compiled = |schema: Option<&Value>, what: &str, faults: &mut Vec<String>| {
            let of = |reason| faults.push(format!("the schema of {what} cannot be used: {reason}"));
            compile(schema?, limits).map_err(of).ok()
        };
        for command in &aggregate.commands {
            let what = format!("the command {:?} of {:?}", command.name, aggregate.name);
            let compiled = compiled(command.schema.as_ref(), &what, faults);
            let Some(validator) = compiled else { continue };
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

fn compile(schema: &Value, limits: &SchemaLimits) -> Result<Validator, String> {
    let (bytes, most) = (schema.to_string().len(), limits.schema_bytes);
    if bytes > most {
        return Err(format!("it has {bytes} bytes, and {most} are allowed (schema_bytes)"));
    }
    if schema.get("$schema").is_some_and(|dialect| dialect != DIALECT) {
        return Err(format!("its $schema is not {DIALECT}"));
    }
    Walk { root: schema, limits, parts: 0 }.part(schema, 0)?;
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(limits.pattern_bytes))
        .build(schema)
        .map_err(|error| shortened(format!("at {:?}, {error}", error.instance_path().as_str())))
}

/// Follows a schema through what it refers to.
struct Walk<'s> {
    root: &'s Value,
    limits: &'s SchemaLimits,
    parts: usize,
}

impl<'s> Walk<'s> {
    fn part(&mut self, part: &'s Value, depth: usize) -> Result<(), String> {
        self.parts += 1;
        let SchemaLimits { schema_parts, schema_depth, .. } = self.limits;
        if self.parts > *schema_parts {
            return Err(format!(
                "it has more than {schema_parts} parts, with what it refers to (schema_parts)"
            ));
        }
        // Whatever refers to itself gets here.
        if depth > *schema_depth {
            return Err(format!(
                "it refers to itself, or is deeper than {schema_depth} parts (schema_depth)"
            ));
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
        compile(schema, &SchemaLimits::default()).map(drop).expect_err("is refused")
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
            (json!({"enum": ["x".repeat(64 << 10)]}), "bytes"),
            // Patterns that look around would take more than linear time.
            (json!({"pattern": "(?=a)b"}), "at \"/pattern\", \"(?=a)b\" is not a \"regex\""),
            (json!({"pattern": "((a{100}){100}){100}"}), "at \"/pattern\""),
            (json!({"type": "number of coins"}), "at \"/type\""),
            (json!("a text"), "at \"\""),
        ] {
            let reason = refusal(&schema);
            assert!(reason.contains(said) && reason.len() < 400, "{said}: {reason}");
        }
        let fine = json!({"$schema": DIALECT, "$defs": {"n": {"type": "integer"}},
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n", "pattern": "^a{9}$"}}});
        let default = SchemaLimits::default();
        assert!(compile(&fine, &default).is_ok());
        // Each limit is what it is set to, and what was taken before goes on.
        for (limits, said) in [
            (SchemaLimits { schema_bytes: 100, ..default }, "schema_bytes"),
            (SchemaLimits { schema_parts: 5, ..default }, "schema_parts"),
            (SchemaLimits { schema_depth: 2, ..default }, "schema_depth"),
            (SchemaLimits { pattern_bytes: 10, ..default }, "/properties/b/pattern"),
        ] {
            let reason = compile(&fine, &limits).map(drop).expect_err("is refused");
            assert!(reason.contains(said), "{said}: {reason}");
        }
        assert!(compile(&fine, &SchemaLimits::TAKEN).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place_and_without_its_value() {
        let schema = json!({"type": "object", "required": ["to"],
            "properties": {"lines": {"items": {"properties": {"grams": {"maximum": 5}}}}}});
        let validator = compile(&schema, &SchemaLimits::default()).expect("compiles");
        let data = json!({"lines": [{"grams": 5}, {"grams": 6}]});
        let found = violations(&validator, &data);
        let places: Vec<_> = found.iter().map(|violation| violation.pointer.as_str()).collect();
        assert_eq!(places, ["", "/lines/1/grams"], "{found:?}");
        assert!(found.iter().all(|violation| !violation.detail.contains('6')), "{found:?}");
        let many = json!({"to": 1, "lines": vec![json!({"grams": 9}); 100]});
        assert_eq!(violations(&validator, &many).len(), MOST_FAULTS);
    }
}
