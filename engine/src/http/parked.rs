//! `GET /v1/parked` and what becomes of it: events that projections could not take and left out,
//! each by the id `projection:position`.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;

use crate::projections::{OperateError, ProjectionStatus, Projections};
use crate::tasks;

use super::answer::{Answer, json};
use super::app::Shared;
use super::error::{Problem, UNKNOWN_PARKED};
use super::params::Params;
use super::projections::{link, view};
use super::segments::Segments;

#[derive(Serialize)]
struct Body {
    parked: Vec<ParkedView>,
}

#[derive(Serialize)]
struct ParkedView {
    id: String,
    projection: String,
    position: u64,
    last_position: u64,
    event: String,
    reason: String,
}

/// `GET /v1/parked`.
pub(super) async fn list(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let mut parked = Vec::new();
    for status in app.engine.projections().list() {
        for span in status.settings.left_out.iter().filter(|span| span.parked) {
            parked.push(ParkedView {
                id: format!("{}:{}", status.projection, span.first),
                projection: status.projection.clone(),
                position: span.first,
                last_position: span.last,
                event: link(span.first),
                reason: span.reason.clone(),
            });
        }
    }
    json(&Body { parked })
}

/// `POST /v1/parked/{id}/retry`: the projection is built anew with the event.
pub(super) async fn retry(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    act(app, segments, request, |projections, name, position| {
        projections.retry_parked(name, position, None)
    })
    .await
}

/// `POST /v1/parked/{id}/discard`: it is left out for good.
pub(super) async fn discard(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    act(app, segments, request, |projections, name, position| {
        projections.discard_parked(name, position, None)
    })
    .await
}

async fn act(
    app: Shared,
    segments: Segments,
    request: Request,
    act: fn(&Projections, &str, u64) -> Result<ProjectionStatus, OperateError>,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    let id = segments.key("id")?;
    let parts = id.as_str().split_once(':');
    let found = parts.and_then(|(name, at)| Some((name.to_owned(), at.parse::<u64>().ok()?)));
    let (name, position) = found.ok_or_else(|| {
        let detail = format!("{id} is not like projection:position; GET /v1/parked lists them");
        Problem::new(&UNKNOWN_PARKED, detail)
    })?;
    let projections = Arc::clone(app.engine.projections());
    let acted = tasks::blocking(move || act(&projections, &name, position)).await;
    let status = acted.ok_or_else(|| Problem::internal("operating a projection panicked"))??;
    json(&view(&status))
}
