//! `GET /v1/streams`: streams by the beginning of their names.

use axum::extract::{Request, State};
use serde::Serialize;

use crate::names::StreamId;
use crate::reads::{StreamSummary, streams};

use super::answer::{Answer, json};
use super::app::Shared;
use super::events::{blocking, with_next};
use super::params::{Params, invalid};
use super::views::Time;

#[derive(Serialize)]
struct Body<'a> {
    streams: Vec<View<'a>>,
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct View<'a> {
    stream: &'a str,
    version: u64,
    first_at: Option<Time>,
    last_at: Option<Time>,
}

impl<'a> View<'a> {
    fn new(summary: &'a StreamSummary) -> Self {
        Self {
            stream: &summary.stream,
            version: summary.version,
            first_at: summary.first_at_ms.map(Time),
            last_at: summary.last_at_ms.map(Time),
        }
    }
}

/// Answers a page.
pub(super) async fn list(State(app): State<Shared>, request: Request) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let prefix = params.one("prefix")?.unwrap_or_default();
    let limit = params.limit(&app.limits)?;
    let cursor = params.one("cursor")?.map(|text| StreamId::parse(&text)).transpose();
    let cursor = cursor.map_err(|_| invalid("cursor", "it is not one of ours"))?;
    params.end()?;
    let read = move || Ok(streams(app.engine.log(), &prefix, cursor.as_ref(), limit)?);
    let (found, more) = blocking(read).await?;
    let next = found.last().filter(|_| more).map(|last| last.stream.as_str());
    let mut response = json(&Body { streams: found.iter().map(View::new).collect(), next })?;
    if let Some(next) = next {
        with_next(&mut response, request.uri(), next);
    }
    Ok(response)
}
