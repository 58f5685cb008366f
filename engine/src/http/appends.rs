//! `POST /v1/events` and `POST /v1/streams/{stream}/events`: events appended without a module.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use serde::Serialize;

use crate::appends::{AppendAnswer, NewAppend};

use super::answer::{Answer, json_response, to_json, with_position, with_replay, with_version};
use super::app::{App, Shared};
use super::append_body::{to_log, to_stream};
use super::body::read_json;
use super::error::{INVALID_PRECONDITION, Problem};
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
    /// The head after it.
    head: u64,
    /// The number of its record.
    decision: u64,
    /// The version of the stream after it, where the request names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_version: Option<u64>,
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
    let text = read_json(&parts.headers, body, &app.limits).await?;
    let append = to_log(&text, &app.limits)?;
    let answer = make(&app, append, &parts.headers).await?;
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
    let text = read_json(&parts.headers, body, &app.limits).await?;
    let append = to_stream(&text, &stream, version, &app.limits)?;
    let answer = make(&app, append, &parts.headers).await?;
    let version = answer.decision()?.events.last().map(|event| event.stream_version);
    respond(&answer, version)
}

async fn make(
    app: &App,
    mut append: NewAppend,
    headers: &HeaderMap,
) -> Result<AppendAnswer, Problem> {
    append.key = key(headers, &IDEMPOTENCY_KEY)?;
    append.correlation_id = key(headers, &CORRELATION_ID)?;
    append.causation_id = key(headers, &CAUSATION_ID)?;
    Ok(app.engine.append(append).await?)
}

fn respond(answer: &AppendAnswer, stream_version: Option<u64>) -> Answer {
    let decision = answer.decision()?;
    // A replay must say the same, so the head is the one that this append left.
    let head = decision.head_after();
    let body = Appended {
        position: head,
        positions: decision.events.iter().map(|event| event.position).collect(),
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
