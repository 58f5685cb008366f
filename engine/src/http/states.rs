//! `GET /v1/aggregates/{aggregate}/{id}`: the folded state of an aggregate instance.

use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::names::StreamId;

use super::answer::{Answer, json, with_position, with_version};
use super::app::Shared;
use super::error::Problem;
use super::events::unknown_stream;
use super::params::Params;
use super::segments::Segments;

#[derive(Serialize)]
struct StateBody<'a> {
    aggregate: &'a str,
    id: &'a str,
    stream: &'a str,
    stream_version: u64,
    position: u64,
    state: &'a RawValue,
}

/// Answers the state.
pub(super) async fn get(State(app): State<Shared>, segments: Segments, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let (aggregate, id) = (segments.name("aggregate")?, segments.key("id")?);
    let stream = StreamId::of(&aggregate, &id);
    let Some(view) = app.engine.state(&aggregate, &id).await? else {
        return Err(unknown_stream(&stream));
    };
    let state = serde_json::from_str(&view.json)
        .map_err(|error| Problem::internal(&format!("a module's state is not JSON: {error}")))?;
    let mut response = json(&StateBody {
        aggregate: aggregate.as_str(),
        id: id.as_str(),
        stream: stream.as_str(),
        stream_version: view.version,
        position: view.position,
        state,
    })?;
    with_version(&mut response, view.version);
    with_position(&mut response, view.position);
    Ok(response)
}
