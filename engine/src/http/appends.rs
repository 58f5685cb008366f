//! `POST /v1/events` and `POST /v1/streams/{stream}/events`: events appended without a module.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use serde::Serialize;

use crate::appends::{AppendAnswer, NewAppend};
use crate::commands::CommandError;
use crate::expected::ExpectedVersion;
use crate::schemas::Violation;

use super::answer::{Answer, json_response, to_json, with_position, with_replay, with_version};
use super::app::{App, Shared};
use super::append_body::{to_log, to_stream};
use super::body::read_json;
use super::cloud_events::{self, Mode};
use super::error::{EVENT_ID_REUSED, Fault, INVALID_PRECONDITION, More, Problem, SCHEMA_VIOLATION};
use super::params::Params;
use super::preconditions::{CAUSATION_ID, CORRELATION_ID, IDEMPOTENCY_KEY, expected_version, key};
use super::segments::Segments;

/// An append that is durable.
#[derive(Serialize)]
struct Appended {
    /// Of the last event.
    position: u64,
    /// Of every event, in the order of the request.
    positions: Vec<u64>,
    /// How many of the events were recorded before.
    #[serde(skip_serializing_if = "is_zero")]
    known: usize,
    /// The head after it.
    head: u64,
    /// The number of its record.
    decision: u64,
    /// The version of the stream after it, where the request names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_version: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Appends to any streams, and none.
pub(super) async fn to_the_log(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    for header in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if parts.headers.contains_key(&header) {
            let detail = format!("{header} speaks of one stream; here, the body has expected");
            return Err(Problem::new(&INVALID_PRECONDITION, detail));
        }
    }
    let mode = Mode::of(&parts.headers)?;
    let append = if mode == Mode::Native {
        to_log(&read_json(&parts.headers, body, &app.limits).await?, &app.limits)?
    } else {
        let request = (&parts.headers, body);
        cloud_events::append(mode, request, None, ExpectedVersion::Any, &app.limits).await?
    };
    let answer = make(&app, (append, mode), &parts.headers).await?;
    respond(&answer, None)
}

/// Appends to one stream.
pub(super) async fn to_one_stream(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let stream = segments.stream("stream")?;
    let version = expected_version(&parts.headers)?;
    let mode = Mode::of(&parts.headers)?;
    let append = if mode == Mode::Native {
        let text = read_json(&parts.headers, body, &app.limits).await?;
        to_stream(&text, &stream, version, &app.limits)?
    } else {
        let request = (&parts.headers, body);
        cloud_events::append(mode, request, Some(&stream), version, &app.limits).await?
    };
    let answer = make(&app, (append, mode), &parts.headers).await?;
    let decision = answer.decision()?;
    let newest = answer.positions()?.into_iter().max();
    let newest = decision.events.iter().find(|event| Some(event.position) == newest);
    respond(&answer, newest.map(|event| event.stream_version))
}

async fn make(
    app: &App,
    (mut append, mode): (NewAppend, Mode),
    headers: &HeaderMap,
) -> Result<AppendAnswer, Problem> {
    append.key = key(headers, &IDEMPOTENCY_KEY)?;
    append.correlation_id = key(headers, &CORRELATION_ID)?;
    append.causation_id = key(headers, &CAUSATION_ID)?;
    app.engine.append(append).await.map_err(|error| refused(error, mode))
}

/// What is wrong with one of the events is said with its place.
pub(super) fn refused(error: CommandError, mode: Mode) -> Problem {
    let detail = error.to_string();
    match error {
        CommandError::EventReused { at, position } => {
            let errors = vec![Fault::at(mode.pointer(at), detail.clone())];
            let more = More { position, errors, ..More::default() };
            Problem::new(&EVENT_ID_REUSED, detail).with(more)
        }
        CommandError::EventUnfit { at, violations, .. } => {
            let data = format!("{}/data", mode.pointer(at));
            let fault =
                |found: Violation| Fault::at(format!("{data}{}", found.pointer), found.detail);
            let errors = violations.into_iter().map(fault).collect();
            Problem::new(&SCHEMA_VIOLATION, detail).with(More { errors, ..More::default() })
        }
        other => other.into(),
    }
}

fn respond(answer: &AppendAnswer, stream_version: Option<u64>) -> Answer {
    let decision = answer.decision()?;
    // A replay must say the same, so the head is the one that this append left.
    let head = decision.head_after();
    let positions = answer.positions()?;
    let body = Appended {
        position: positions.last().copied().unwrap_or(head),
        positions,
        known: answer.known(),
        head,
        decision: decision.header.decision,
        stream_version,
    };
    let mut response = json_response(to_json(&body)?);
    with_position(&mut response, head);
    if let Some(version) = stream_version {
        with_version(&mut response, version);
    }
    if answer.replayed {
        with_replay(&mut response);
    }
    Ok(response)
}
