//! `GET /v1/aggregates/{aggregate}/{id}`: the folded state of an aggregate instance.

use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::names::{Key, Name, StreamId};

use super::answer::{Answer, json, with_position, with_version};
use super::app::Shared;
use super::error::Problem;
use super::events::unknown_stream;
use super::history;
use super::params::Params;
use super::segments::Segments;

#[derive(Serialize)]
pub(super) struct StateBody<'a> {
    aggregate: &'a str,
    id: &'a str,
    stream: &'a str,
    stream_version: u64,
    position: u64,
    state: &'a RawValue,
}

/// Answers the state: now, or as `?version=` or `?at=` say.
pub(super) async fn get(State(app): State<Shared>, segments: Segments, request: Request) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let until = history::until(&mut params, &app)?;
    params.end()?;
    if let Some(until) = until {
        return history::state(app, segments, until).await;
    }
    let (aggregate, id) = (segments.name("aggregate")?, segments.key("id")?);
    let stream = StreamId::of(&aggregate, &id);
    let Some(view) = app.engine.state(&aggregate, &id).await? else {
        return Err(unknown_stream(&stream));
    };
    StateBody::answer((&aggregate, &id), &view.json, view.version, view.position)
}

impl StateBody<'_> {
    /// Answers a state of an aggregate instance.
    pub(super) fn answer(
        (aggregate, id): (&Name, &Key),
        state: &str,
        version: u64,
        position: u64,
    ) -> Answer {
        let state = serde_json::from_str(state).map_err(|error| {
            Problem::internal(&format!("a module's state is not JSON: {error}"))
        })?;
        let mut response = json(&StateBody {
            aggregate: aggregate.as_str(),
            id: id.as_str(),
            stream: StreamId::of(aggregate, id).as_str(),
            stream_version: version,
            position,
            state,
        })?;
        with_version(&mut response, version);
        with_position(&mut response, position);
        Ok(response)
    }
}
