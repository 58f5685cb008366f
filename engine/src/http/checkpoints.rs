//! `GET /v1/checkpoint`, its key, and the proof that an event is in the log of one: texts in the
//! formats of transparency logs.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::checkpoints::{CheckpointError, Checkpoints};

use super::answer::Answer;
use super::app::Shared;
use super::error::{Problem, UNKNOWN_EVENT};
use super::events::blocking;
use super::params::Params;
use super::segments::Segments;

/// `GET /v1/checkpoint`: of all records, or of the first `?size=`.
pub(super) async fn get(State(app): State<Shared>, request: Request) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let size = params.parsed("size")?;
    params.end()?;
    answer(&app, move |checkpoints| checkpoints.at(size)).await
}

/// `GET /v1/checkpoint/key`.
pub(super) async fn key(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    answer(&app, |checkpoints| checkpoints.key().map(|key| format!("{key}\n"))).await
}

/// `GET /v1/events/{position}/proof`: that its record is among the first `?size=`, or among all.
pub(super) async fn proof(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let size = params.parsed("size")?;
    params.end()?;
    let position = segments.number("position")?;
    let log = app.engine.log().clone();
    if !(1..=log.head().position).contains(&position) {
        let detail = format!("no event has the position {position}");
        return Err(Problem::new(&UNKNOWN_EVENT, detail));
    }
    answer(&app, move |checkpoints| {
        let decision = log.decision_after_position(position - 1)?;
        checkpoints.proof(decision, size).map(|proof| proof.to_string())
    })
    .await
}

async fn answer(
    app: &Shared,
    make: impl FnOnce(&Checkpoints) -> Result<String, CheckpointError> + Send + 'static,
) -> Answer {
    let checkpoints = Arc::clone(app.engine.checkpoints());
    let text = blocking(move || Ok(make(&checkpoints)?)).await?;
    let mut response = Response::new(Body::from(text));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}
