//! `PUT` and `GET /v1/schemas/{type}/{version}`, `GET /v1/schemas`: what the data of events must be
//! like, whoever records them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::event_schemas::{Declaration, DeclareError, Declared, EventSchemas, SchemaName, Tried};
use crate::names::EventType;
use crate::tasks;

use super::accept::{Accepted, accepted};
use super::answer::{Answer, json, to_json};
use super::app::Shared;
use super::body::{NDJSON, read_json};
use super::error::{CREATED, INVALID_NAME, OK, Problem, UNKNOWN_SCHEMA};
use super::params::Params;
use super::segments::Segments;
use super::views::{Time, raw};

/// Reports of how far it is that wait for who reads them. 4: a slow reader holds the trying up.
const REPORTS: usize = 4;

#[derive(Serialize)]
struct SchemaView<'a> {
    r#type: &'a str,
    version: u32,
    decision: u64,
    recorded_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a RawValue>,
    /// Recorded events that were tried, where it was just declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    tried: Option<u64>,
}

impl<'a> SchemaView<'a> {
    fn of(declared: &'a Declared) -> Self {
        Self {
            r#type: declared.name.0.as_str(),
            version: declared.name.1,
            decision: declared.decision,
            recorded_at: Time(declared.recorded_at_ms),
            schema: None,
            tried: None,
        }
    }
}

#[derive(Serialize)]
struct SchemasBody<'a> {
    schemas: Vec<SchemaView<'a>>,
}

/// A line of how far it is.
#[derive(Serialize)]
struct TriedView {
    tried: u64,
    position: u64,
    head: u64,
}

/// The last line, if it went well.
#[derive(Serialize)]
struct DoneView<'a> {
    status: u16,
    #[serde(flatten)]
    schema: SchemaView<'a>,
}

/// `GET /v1/schemas`.
pub(super) async fn list(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let all = app.engine.schemas().all();
    json(&SchemasBody { schemas: all.iter().map(|declared| SchemaView::of(declared)).collect() })
}

/// `GET /v1/schemas/{type}/{version}`.
pub(super) async fn one(State(app): State<Shared>, segments: Segments, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let (event_type, version) = name(&segments)?;
    let declared = app.engine.schemas().get(&event_type, version).ok_or_else(|| {
        let detail = format!("{event_type:?}, version {version}, has no schema");
        Problem::new(&UNKNOWN_SCHEMA, detail)
    })?;
    let schema = raw(declared.json.as_bytes());
    json(&SchemaView { schema, ..SchemaView::of(&declared) })
}

/// `PUT /v1/schemas/{type}/{version}`.
pub(super) async fn declare(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let name = name(&segments)?;
    let schema = read_json(&parts.headers, body, &app.limits).await?;
    let (progress, mut reports) = mpsc::channel(REPORTS);
    let done = begin(Arc::clone(app.engine.schemas()), name, schema, progress);
    if accepted(&parts.headers) == Accepted::Lines {
        return Ok(lines(done, reports));
    }
    // Dropped with this future: what nobody waits for is given up.
    let (done, ()) = tokio::join!(done, async { while reports.recv().await.is_some() {} });
    let Declaration { declared, known, tried } = done?;
    let tried = (!known).then_some(tried.events);
    let mut response = json(&SchemaView { tried, ..SchemaView::of(&declared) })?;
    *response.status_mut() = if known { OK } else { CREATED };
    Ok(response)
}

fn name(segments: &Segments) -> Result<SchemaName, Problem> {
    let version = u32::try_from(segments.number("version")?).ok().filter(|version| *version > 0);
    let version = version
        .ok_or_else(|| Problem::new(&INVALID_NAME, "a schema version is a number from 1"))?;
    Ok((EventType::parse(segments.text("type"))?, version))
}

/// It runs to its end, so that what is tried does not hold for ever when a client goes away.
async fn begin(
    schemas: Arc<EventSchemas>,
    name: SchemaName,
    schema: String,
    progress: mpsc::Sender<Tried>,
) -> Result<Declaration, Problem> {
    let done =
        tasks::to_the_end(async move { schemas.declare(name, schema, None, progress).await });
    let done: Option<Result<Declaration, DeclareError>> = done.await;
    Ok(done.ok_or_else(|| Problem::internal("declaring a schema panicked"))??)
}

/// How far it is, a line each; the last one says what came of it.
fn lines(
    done: impl Future<Output = Result<Declaration, Problem>> + Send + 'static,
    reports: mpsc::Receiver<Tried>,
) -> Response {
    let begun = Under { done: Box::pin(done), reports, last: None, over: false };
    let lines = stream::unfold(begun, |mut under| async {
        let line = under.next().await?;
        Some((Ok::<_, Infallible>(line), under))
    });
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

/// A declaration under way.
struct Under {
    done: Pin<Box<dyn Future<Output = Result<Declaration, Problem>> + Send>>,
    reports: mpsc::Receiver<Tried>,
    /// The last line, until all before it were taken.
    last: Option<Bytes>,
    over: bool,
}

impl Under {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                Some(Tried { events, position, head }) = self.reports.recv() => {
                    return Some(line(&TriedView { tried: events, position, head }));
                }
                done = &mut self.done, if !self.over => {
                    self.over = true;
                    self.last = Some(last_line(done));
                }
                else => return self.last.take(),
            }
        }
    }
}

fn last_line(done: Result<Declaration, Problem>) -> Bytes {
    match done {
        Ok(Declaration { declared, known, tried }) => {
            let status = if known { OK } else { CREATED }.as_u16();
            let tried = (!known).then_some(tried.events);
            line(&DoneView { status, schema: SchemaView { tried, ..SchemaView::of(&declared) } })
        }
        Err(problem) => {
            let mut text = problem.to_json(None);
            text.push(b'\n');
            Bytes::from(text)
        }
    }
}

fn line(value: &impl Serialize) -> Bytes {
    let mut text = to_json(value).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}
