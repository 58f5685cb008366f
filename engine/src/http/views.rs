//! Decisions and events as answers show them: written straight from the bytes of their records.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::decision::format::record_hash;
use crate::decision::{CommandRecord, Decision, Hash, Kind, ModuleRef, Outcome};
use crate::event::{EventId, JSON, RecordedEvent, UNSTATED};

/// Who decided.
#[derive(Serialize)]
pub(super) struct ModuleView<'a> {
    name: &'a str,
    version: &'a str,
    digest: Hex<'a>,
}

impl<'a> ModuleView<'a> {
    pub(super) fn new(module: &'a ModuleRef<'a>) -> Self {
        Self { name: module.name, version: module.version, digest: Hex(&module.digest) }
    }
}

/// A hash as 64 hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a Hash);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(*self.0).to_hex())
    }
}

/// Milliseconds since 1970 as RFC 3339.
pub(super) struct Time(pub(super) u64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = i64::try_from(self.0).ok();
        match time.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(time) => serializer.collect_str(&format_args!("{time:.3}")),
            // Beyond the year 9999: only a broken clock gets here.
            None => serializer.serialize_none(),
        }
    }
}

fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// An event with what its record says of it.
#[derive(Serialize)]
pub(super) struct EventView<'a> {
    position: u64,
    decision: u64,
    #[serde(serialize_with = "text")]
    id: EventId<'a>,
    /// Where it is from, if it was given its id there.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    r#type: &'a str,
    schema_version: u32,
    stream: Option<&'a str>,
    stream_version: Option<u64>,
    time: Time,
    recorded_at: Time,
    tags: &'a [&'a str],
    datacontenttype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    command_id: Option<&'a str>,
    module: Option<ModuleView<'a>>,
    /// Attributes that it brought along and that have no other place.
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<&'a RawValue>,
}

/// What an event belongs to: conversation, direct cause, command.
pub(super) type Ids<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// What the event brought along goes before what its record says.
pub(super) fn ids_of<'a>(decision: &'a Decision<'a>, event: &'a RecordedEvent<'a>) -> Ids<'a> {
    let ids = match &decision.kind {
        Kind::Command(record) => {
            let context = &record.context;
            (Some(context.correlation_id), Some(context.causation_id), Some(record.command_id))
        }
        Kind::Append(record) => (record.correlation_id, record.causation_id, record.command_id),
        Kind::Activation(_) | Kind::Act(_) | Kind::Erased(_) => (None, None, None),
    };
    let Some(origin) = &event.origin else { return ids };
    (origin.correlation_id.as_deref().or(ids.0), origin.causation_id.as_deref().or(ids.1), ids.2)
}

impl<'a> EventView<'a> {
    pub(super) fn new(decision: &'a Decision<'a>, event: &'a RecordedEvent<'a>) -> Self {
        let command = command_of(decision);
        let ids = ids_of(decision, event);
        let origin = event.origin.as_deref();
        let extensions = origin.filter(|origin| !origin.extensions.is_empty());
        let data = (event.content_type == JSON).then(|| raw(event.data)).flatten();
        Self {
            position: event.position,
            decision: decision.header.decision,
            id: event.id,
            source: origin.map(|origin| &*origin.source),
            r#type: event.event_type,
            schema_version: event.schema_version,
            stream: event.stream,
            stream_version: event.stream.map(|_| event.stream_version),
            time: Time(event.time_ms),
            recorded_at: Time(decision.header.recorded_at_ms),
            tags: &event.tags,
            datacontenttype: Some(event.content_type).filter(|text| *text != UNSTATED),
            data,
            data_base64: data.is_none().then(|| STANDARD.encode(event.data)),
            correlation_id: ids.0,
            causation_id: ids.1,
            command_id: ids.2,
            module: command.map(|command| ModuleView::new(&command.module)),
            extensions: extensions.and_then(|origin| raw(origin.extensions.as_bytes())),
        }
    }
}

/// The command that a record is about, if it is about one.
pub(super) fn command_of<'a>(decision: &'a Decision<'a>) -> Option<&'a CommandRecord<'a>> {
    match &decision.kind {
        Kind::Command(record) => Some(record),
        Kind::Activation(_) | Kind::Append(_) | Kind::Act(_) | Kind::Erased(_) => None,
    }
}

/// Stored JSON as it is.
pub(super) fn raw(bytes: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(bytes).ok()
}

/// The events of a decision.
pub(super) struct EventsView<'a>(pub(super) &'a Decision<'a>);

impl Serialize for EventsView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut events = serializer.serialize_seq(Some(self.0.events.len()))?;
        for event in &self.0.events {
            events.serialize_element(&EventView::new(self.0, event))?;
        }
        events.end()
    }
}

/// A whole record.
#[derive(Serialize)]
pub(super) struct DecisionView<'a> {
    decision: u64,
    kind: &'static str,
    /// Whether a retention took the content of a refused command out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    head_before: u64,
    recorded_at: Time,
    previous_hash: Hex<'a>,
    hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<CommandView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<ActivationView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    append: Option<AppendView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<ActView<'a>>,
    events: EventsView<'a>,
}

/// What was asked, by whom, who decided it, what it saw, and what came of it.
#[derive(Serialize)]
struct CommandView<'a> {
    command_id: &'a str,
    id_from_client: bool,
    caller: Option<&'a str>,
    fingerprint: Hex<'a>,
    stream: &'a str,
    stream_version: u64,
    now: Time,
    /// As text: it has 64 bits, and JSON readers keep 53.
    seed: String,
    correlation_id: &'a str,
    causation_id: &'a str,
    command: &'a str,
    data: Option<&'a RawValue>,
    module: ModuleView<'a>,
    saw: SawView<'a>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_hash: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<RejectionView<'a>>,
    fuel: Option<u64>,
}

#[derive(Serialize)]
struct SawView<'a> {
    state_hash: Option<Hex<'a>>,
    snapshot: Option<SnapshotView<'a>>,
    upcasters: Vec<Hex<'a>>,
    boundary: Option<BoundaryView<'a>>,
}

#[derive(Serialize)]
struct SnapshotView<'a> {
    version: u64,
    digest: Hex<'a>,
}

#[derive(Serialize)]
struct BoundaryView<'a> {
    query: Option<&'a RawValue>,
    position: u64,
}

#[derive(Serialize)]
struct RejectionView<'a> {
    code: &'a str,
    message: &'a str,
    details: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct AppendView<'a> {
    command_id: Option<&'a str>,
    caller: Option<&'a str>,
    fingerprint: Option<Hex<'a>>,
    condition: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ActivationView<'a> {
    module: &'a str,
    version: Option<&'a str>,
    digest: Option<Hex<'a>>,
    caller: Option<&'a str>,
}

#[derive(Serialize)]
struct ActView<'a> {
    act: &'a str,
    subject: &'a str,
    value: Option<&'a RawValue>,
    caller: Option<&'a str>,
}

impl<'a> DecisionView<'a> {
    pub(super) fn new(record: &[u8], decision: &'a Decision<'a>) -> Self {
        let header = &decision.header;
        let (mut command, mut activation, mut append, mut act) = (None, None, None, None);
        let kind = match &decision.kind {
            Kind::Command(record) => {
                command = Some(CommandView::new(record));
                "command"
            }
            Kind::Append(record) => {
                append = Some(AppendView {
                    command_id: record.command_id,
                    caller: record.caller,
                    fingerprint: record.fingerprint.as_ref().map(Hex),
                    condition: record.condition.and_then(|text| raw(text.as_bytes())),
                });
                "append"
            }
            Kind::Erased(_) => "command",
            Kind::Activation(record) => {
                activation = Some(ActivationView {
                    module: record.module,
                    version: record.version.map(|(version, _)| version),
                    digest: record.version.as_ref().map(|(_, digest)| Hex(digest)),
                    caller: record.caller,
                });
                "activation"
            }
            Kind::Act(record) => {
                act = Some(ActView {
                    act: record.act,
                    subject: record.subject,
                    value: raw(record.value.as_bytes()),
                    caller: record.caller,
                });
                "act"
            }
        };
        Self {
            decision: header.decision,
            kind,
            erased: matches!(decision.kind, Kind::Erased(_)),
            head_before: header.head_before,
            recorded_at: Time(header.recorded_at_ms),
            previous_hash: Hex(&header.previous_hash),
            hash: blake3::Hash::from(record_hash(record)).to_hex().to_string(),
            command,
            activation,
            append,
            act,
            events: EventsView(decision),
        }
    }
}

impl<'a> CommandView<'a> {
    fn new(record: &'a CommandRecord<'a>) -> Self {
        let (outcome, next_hash, rejection) = match &record.outcome {
            Outcome::Committed { next_hash } => ("committed", Some(Hex(next_hash)), None),
            Outcome::Rejected(rejection) => {
                let view = RejectionView {
                    code: rejection.code,
                    message: rejection.message,
                    details: rejection.details.and_then(|text| raw(text.as_bytes())),
                };
                ("rejected", None, Some(view))
            }
        };
        let (context, saw) = (&record.context, &record.saw);
        Self {
            command_id: record.command_id,
            id_from_client: record.id_from_client,
            caller: record.caller,
            fingerprint: Hex(&record.fingerprint),
            stream: context.stream,
            stream_version: context.stream_version,
            now: Time(context.now_ms),
            seed: context.seed.to_string(),
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
            command: record.command,
            data: raw(record.data.as_bytes()),
            module: ModuleView::new(&record.module),
            saw: SawView {
                state_hash: saw.state_hash.as_ref().map(Hex),
                snapshot: saw.snapshot.as_ref().map(|(version, digest)| SnapshotView {
                    version: *version,
                    digest: Hex(digest),
                }),
                upcasters: saw.upcasters.iter().map(Hex).collect(),
                boundary: saw.boundary.map(|(query, position)| BoundaryView {
                    query: raw(query.as_bytes()),
                    position,
                }),
            },
            outcome,
            next_hash,
            rejection,
            fuel: record.fuel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{ActivationRecord, Header};

    #[test]
    fn an_event_is_written_as_it_is_stored() {
        let header = Header {
            decision: 3,
            head_before: 6,
            recorded_at_ms: 1_700_000_000_120,
            event_count: 1,
            previous_hash: [0xab; 32],
        };
        let event = |content_type, data: &'static [u8]| RecordedEvent {
            position: 7,
            id: EventId::derive(1_700_000_000_120, &[0; 32], 0),
            stream: None,
            stream_version: 0,
            event_type: "Opened",
            schema_version: 1,
            content_type,
            data,
            tags: ["a\"b"].into_iter().collect(),
            decided_at_ms: 1_700_000_000_000,
            time_ms: 1_700_000_000_000,
            origin: None,
        };
        let kind = Kind::Activation(ActivationRecord { module: "m", version: None, caller: None });
        let decision = Decision { header, kind, events: Vec::new() };
        let write = |event: RecordedEvent<'_>| {
            serde_json::to_string(&EventView::new(&decision, &event)).expect("JSON")
        };
        let json = write(event(JSON, b"{\"n\":90071992547409931234}"));
        for part in [
            "\"data\":{\"n\":90071992547409931234}",
            "\"position\":7,\"decision\":3,",
            "\"stream\":null,\"stream_version\":null,",
            "\"time\":\"2023-11-14T22:13:20.000Z\"",
            "\"recorded_at\":\"2023-11-14T22:13:20.120Z\"",
            "\"tags\":[\"a\\\"b\"]",
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        let json = write(event("text/plain", b"hi"));
        assert!(json.contains("\"data_base64\":\"aGk=\"") && !json.contains("\"data\":"), "{json}");
    }
}
