//! Events and records for tests that say of them only what they are about.

use super::{CommandRecord, ModuleRef, Outcome, RecordedContext, Saw};
use crate::event::{JSON, NewEvent};
use crate::names::EventType;

/// An event of a type.
pub(crate) fn event(event_type: &str) -> NewEvent {
    NewEvent {
        event_type: EventType::parse(event_type).expect("valid"),
        schema_version: 1,
        content_type: JSON.into(),
        data: b"{}".to_vec(),
        tags: Vec::new(),
        time_ms: None,
        origin: None,
    }
}

/// A command that was decided on a version of a stream.
pub(crate) fn command<'a>(
    stream: &'a str,
    stream_version: u64,
    command_id: &'a str,
    outcome: Outcome<'a>,
) -> CommandRecord<'a> {
    CommandRecord {
        command_id,
        id_from_client: true,
        caller: None,
        fingerprint: [0; 32],
        context: RecordedContext {
            stream,
            stream_version,
            now_ms: 0,
            seed: 0,
            correlation_id: command_id,
            causation_id: command_id,
            extra: "{}",
        },
        command: "deposit",
        data: "{}",
        module: ModuleRef { name: "account", version: "1.0.0", digest: [0; 32] },
        saw: Saw::default(),
        outcome,
        fuel: None,
    }
}
