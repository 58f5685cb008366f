//! An event as a CloudEvent, written straight from the bytes of its record.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::decision::Decision;
use crate::event::{RecordedEvent, UNSTATED};

use super::super::views::{Time, ids_of, raw};
use super::attributes::{SPEC_VERSION, is_json, joined};

/// An event as a CloudEvent.
pub(in crate::http) struct CloudEventView<'a> {
    /// The source of events that got their ids here.
    source: &'a str,
    decision: &'a Decision<'a>,
    event: &'a RecordedEvent<'a>,
}

impl<'a> CloudEventView<'a> {
    pub(in crate::http) fn new(
        source: &'a str,
        decision: &'a Decision<'a>,
        event: &'a RecordedEvent<'a>,
    ) -> Self {
        Self { source, decision, event }
    }
}

/// An Integer of CloudEvents has 32 bits: a number beyond is a text of its digits.
struct Number(u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i32::try_from(self.0) {
            Ok(number) => serializer.serialize_i32(number),
            Err(_) => serializer.collect_str(&self.0),
        }
    }
}

struct Id<'a>(&'a RecordedEvent<'a>);

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.id)
    }
}

impl Serialize for CloudEventView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { source, decision, event } = self;
        let origin = event.origin.as_deref();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPEC_VERSION)?;
        map.serialize_entry("id", &Id(event))?;
        map.serialize_entry("source", origin.map_or(*source, |origin| &*origin.source))?;
        map.serialize_entry("type", event.event_type)?;
        if let Some(stream) = event.stream {
            map.serialize_entry("subject", stream)?;
            map.serialize_entry("streamversion", &Number(event.stream_version))?;
        }
        map.serialize_entry("time", &Time(event.time_ms))?;
        map.serialize_entry("globalposition", &Number(event.position))?;
        map.serialize_entry("recordedtime", &Time(decision.header.recorded_at_ms))?;
        map.serialize_entry("schemaversion", &Number(u64::from(event.schema_version)))?;
        let (correlation, causation, _) = ids_of(decision, event);
        if let Some(id) = correlation {
            map.serialize_entry("correlationid", id)?;
        }
        if let Some(id) = causation {
            map.serialize_entry("causationid", id)?;
        }
        if !event.tags.is_empty() {
            map.serialize_entry("tags", &joined(&event.tags))?;
        }
        let extensions = origin.map_or("", |origin| &*origin.extensions);
        if !extensions.is_empty() {
            // It was written as an object of few fields.
            let fields: BTreeMap<&str, &RawValue> =
                serde_json::from_str(extensions).unwrap_or_default();
            for (name, value) in fields {
                map.serialize_entry(name, value)?;
            }
        }
        self.data(&mut map)?;
        map.end()
    }
}

impl CloudEventView<'_> {
    fn data<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let event = self.event;
        if event.content_type != UNSTATED {
            map.serialize_entry("datacontenttype", event.content_type)?;
        }
        if event.data.is_empty() {
            return Ok(());
        }
        match raw(event.data).filter(|_| is_json(event.content_type)) {
            Some(json) => map.serialize_entry("data", json),
            None => map.serialize_entry("data_base64", &STANDARD.encode(event.data)),
        }
    }
}
