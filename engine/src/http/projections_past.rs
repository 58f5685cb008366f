//! What is kept of projections as of positions, for `?at=`.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;

use crate::projections::PastStatus;
use crate::tasks;

use super::answer::{Answer, json};
use super::app::Shared;
use super::error::Problem;
use super::params::Params;
use super::segments::Segments;

#[derive(Serialize)]
struct PastBody {
    past: Vec<PastView>,
}

/// A generation as of a position.
#[derive(Serialize)]
struct PastView {
    position: u64,
    reached: u64,
    error: Option<String>,
}

/// `GET /v1/projections/{projection}/past`: what is kept, or being built, as of positions.
pub(super) async fn list(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    let name = segments.name("projection")?;
    past_views(&app.engine.projections().pasts(name.as_str())?)
}

/// `DELETE /v1/projections/{projection}/past/{position}`: ends and forgets one.
pub(super) async fn cancel(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    let (name, position) = (segments.name("projection")?, segments.number("position")?);
    let projections = Arc::clone(app.engine.projections());
    let left = tasks::blocking(move || projections.cancel_past(name.as_str(), position)).await;
    past_views(&left.ok_or_else(|| Problem::internal("cancelling panicked"))??)
}

fn past_views(pasts: &[PastStatus]) -> Answer {
    let view = |past: &PastStatus| PastView {
        position: past.position,
        reached: past.reached,
        error: past.failed.clone(),
    };
    json(&PastBody { past: pasts.iter().map(view).collect() })
}
