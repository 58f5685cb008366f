//! From a guest's answer to what is stored: checked events, and the record of the decision.

use crate::decision::{
    CommandRecord, Draft, Hash, ModuleRef, Outcome, RecordedContext, Rejection, Saw,
};
use crate::event::{JSON, NewEvent};
use crate::json;
use crate::names::{EventType, Tag};
use crate::runtime::{self, Limit};

use super::module::WorkerLimits;
use super::states::Hot;
use super::{Command, CommandId};

/// The time and randomness of one decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstance {
    pub(super) now_ms: u64,
    pub(super) seed: u64,
}

/// Bytes of a sentence of a guest's that are passed on; the rest is cut. 4 KiB: to be read.
const SENTENCE_BYTES: usize = 4 << 10;

/// The limit that a guest's events exceed.
pub(super) fn exceeded(events: &[runtime::NewEvent], limits: &WorkerLimits) -> Option<Limit> {
    let bytes = |event: &runtime::NewEvent| {
        let tags: usize = event.tags.iter().map(String::len).sum();
        event.event_type.len() + event.data.len() + tags
    };
    if events.len() > limits.events_per_command {
        Some(Limit::Events)
    } else if events.iter().any(|event| event.tags.len() > limits.event_tags) {
        Some(Limit::EventTags)
    } else if events.iter().map(bytes).sum::<usize>() > limits.event_bytes {
        Some(Limit::EventBytes)
    } else {
        None
    }
}

/// How long a rejection is.
pub(super) fn rejection_bytes(rejection: &runtime::Rejection) -> usize {
    let details = rejection.details.as_ref().map_or(0, String::len);
    rejection.code.len() + rejection.message.len() + details
}

/// What a guest says, cut to a length that can be shown.
pub(super) fn cut(mut sentence: String) -> String {
    if sentence.len() > SENTENCE_BYTES {
        sentence.truncate(sentence.floor_char_boundary(SENTENCE_BYTES));
        sentence.push('…');
    }
    sentence
}

/// A state as its guest shows it, if that is JSON.
pub(super) fn checked_state(json: &str) -> Result<String, String> {
    match json::compact(json) {
        Ok(compact) => Ok(compact.into_owned()),
        Err(error) => Err(format!("what it shows of its state is not JSON: {error}")),
    }
}

/// A rejection whose details can be shown as JSON.
pub(super) fn checked_rejection(
    mut rejection: runtime::Rejection,
) -> Result<runtime::Rejection, String> {
    if let Some(details) = &rejection.details {
        let compact = json::compact(details)
            .map_err(|error| format!("the details of its rejection are not JSON: {error}"))?;
        rejection.details = Some(compact.into_owned());
    }
    Ok(rejection)
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
        .map_err(|error| format!("the event type that it answered is {error}: {name:?}"))?;
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
        origin: None,
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
        saw: Saw { state_hash: before.hash, snapshot: before.snapshot, ..Saw::default() },
        outcome,
        fuel,
    };
    Draft::command(&record, events)
}
