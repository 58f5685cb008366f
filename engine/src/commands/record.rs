//! From a guest's answer to what is stored: checked events, and the record of the decision.

use crate::decision::{
    CommandRecord, Draft, Hash, ModuleRef, Outcome, RecordedContext, Rejection, Saw,
};
use crate::event::{JSON, NewEvent};
use crate::json;
use crate::names::{EventType, Tag};
use crate::runtime;

use super::states::Hot;
use super::{Command, CommandId};

/// The time and randomness of one decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstance {
    pub(super) now_ms: u64,
    pub(super) seed: u64,
}

/// Checks what a guest wants to append.
///
/// # Errors
/// A sentence that says which event cannot be stored, and why.
pub(super) fn checked_events(answered: Vec<runtime::NewEvent>) -> Result<Vec<NewEvent>, String> {
    answered.into_iter().map(checked_event).collect()
}

fn checked_event(event: runtime::NewEvent) -> Result<NewEvent, String> {
    let name = event.event_type;
    let event_type = EventType::parse(&name)
        .map_err(|error| format!("it answered an event of type {name:?}: {error}"))?;
    let data = json::compact(&event.data)
        .map_err(|error| format!("the data of its event {name:?} cannot be stored: {error}"))?;
    let tags = event.tags.iter().map(|tag| {
        Tag::parse(tag).map_err(|error| format!("the tag {tag:?} of its event {name:?}: {error}"))
    });
    Ok(NewEvent {
        event_type,
        schema_version: event.schema_version,
        content_type: JSON.to_owned(),
        data: data.into_owned().into_bytes(),
        tags: tags.collect::<Result<_, _>>()?,
        time_ms: None,
    })
}

/// The context that a guest decides in.
pub(super) fn context<'a>(
    command: &'a Command,
    stream: &'a str,
    version: u64,
    circumstance: Circumstance,
) -> runtime::Context<'a> {
    let own_id = command.command_id.as_str();
    runtime::Context {
        stream_id: stream,
        stream_version: version,
        now_ms: circumstance.now_ms,
        seed: circumstance.seed,
        correlation_id: command.correlation_id.as_ref().map_or(own_id, |id| id.as_str()),
        causation_id: command.causation_id.as_ref().map_or(own_id, |id| id.as_str()),
        caller: command.caller.as_deref(),
        extra: "{}",
    }
}

/// The record of a decision: its events and the hash of the state after them, or its rejection.
pub(super) fn draft(
    command: &Command,
    module: ModuleRef<'_>,
    context: &runtime::Context<'_>,
    before: &Hot,
    outcome: Result<(&[NewEvent], Hash), &runtime::Rejection>,
    fuel: Option<u64>,
) -> Draft {
    let (events, outcome) = match outcome {
        Ok((events, next_hash)) => (events, Outcome::Committed { next_hash }),
        Err(rejection) => {
            let rejection = Rejection {
                code: &rejection.code,
                message: &rejection.message,
                details: rejection.details.as_deref(),
            };
            (&[][..], Outcome::Rejected(rejection))
        }
    };
    let record = CommandRecord {
        command_id: command.command_id.as_str(),
        id_from_client: matches!(command.command_id, CommandId::Client(_)),
        caller: command.caller.as_deref(),
        fingerprint: command.fingerprint(),
        context: RecordedContext {
            stream: context.stream_id,
            stream_version: context.stream_version,
            now_ms: context.now_ms,
            seed: context.seed,
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
            extra: context.extra,
        },
        command: command.name.as_str(),
        data: &command.data,
        module,
        saw: Saw { state_hash: before.hash, ..Saw::default() },
        outcome,
        fuel,
    };
    Draft::command(&record, events)
}
