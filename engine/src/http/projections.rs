//! Projections: how they are doing, and operating them.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::projections::{
    CollectionDiff, Diff, DiffRow, GenerationStatus, LeftOut, OnFailure, OperateError,
    ProjectionStatus, Projections, Trouble,
};
use crate::tasks;

use super::answer::{Answer, json};
use super::app::Shared;
use super::body::read_json;
use super::error::{Fault, INVALID_BODY, More, Problem};
use super::params::{Params, invalid};
use super::segments::Segments;
use super::views::{Time, raw};

/// Most bytes of the reason for a skip.
const REASON_BYTES: usize = 300;

#[derive(Serialize)]
struct ProjectionsBody<'a> {
    projections: Vec<ProjectionView<'a>>,
}

#[derive(Serialize)]
struct ProjectionView<'a> {
    projection: &'a str,
    read_models: &'a [String],
    #[serde(flatten)]
    answering: GenerationView<'a>,
    on_failure: OnFailure,
    left_out: Vec<LeftOutView<'a>>,
    build: Option<GenerationView<'a>>,
}

#[derive(Serialize)]
struct GenerationView<'a> {
    version: u32,
    module: &'a str,
    state: &'static str,
    since: Time,
    position: u64,
    lag_events: u64,
    lag_seconds: f64,
    events_per_second: f64,
    remaining_seconds: Option<f64>,
    stalled: bool,
    error: Option<TroubleView<'a>>,
}

/// What went wrong last, with the event linked that it is about.
#[derive(Serialize)]
struct TroubleView<'a> {
    detail: &'a str,
    time: Time,
    position: Option<u64>,
    last_position: Option<u64>,
    event: Option<String>,
}

#[derive(Serialize)]
struct LeftOutView<'a> {
    position: u64,
    last_position: u64,
    event: String,
    reason: &'a str,
    parked: bool,
}

#[derive(Serialize)]
struct DiffBody<'a> {
    projection: &'a str,
    position: u64,
    build_position: u64,
    whole: bool,
    read_models: Vec<CollectionView<'a>>,
}

#[derive(Serialize)]
struct CollectionView<'a> {
    name: &'a str,
    same: usize,
    added: usize,
    removed: usize,
    changed: usize,
    samples: Vec<RowView<'a>>,
}

#[derive(Serialize)]
struct RowView<'a> {
    key: &'a str,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SkipBody {
    position: u64,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyBody {
    on_failure: OnFailure,
}

/// `GET /v1/projections`.
pub(super) async fn list(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let list = app.engine.projections().list();
    json(&ProjectionsBody { projections: list.iter().map(whole).collect() })
}

/// `GET /v1/projections/{projection}`.
pub(super) async fn one(State(app): State<Shared>, segments: Segments, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    operate(&app, &segments, |projections, name| projections.status(name)).await
}

/// `GET /v1/projections/{projection}/diff`: what is being built beside what answers.
pub(super) async fn diff(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    let name = segments.name("projection")?.to_string();
    let (projections, of) = (Arc::clone(app.engine.projections()), name.clone());
    let diff = tasks::blocking(move || projections.diff(&of)).await;
    let Diff { position, build_position, is_whole, collections } =
        diff.ok_or_else(|| Problem::internal("a comparison panicked"))??;
    json(&DiffBody {
        projection: &name,
        position,
        build_position,
        whole: is_whole,
        read_models: collections.iter().map(collection).collect(),
    })
}

/// `POST /v1/projections/{projection}/rebuild`: built beside, it answers when it caught up; with
/// `?swap=manual` when that is asked for.
pub(super) async fn rebuild(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let swaps = match params.one("swap")?.as_deref() {
        None | Some("automatic") => true,
        Some("manual") => false,
        Some(_) => return Err(invalid("swap", "it is automatic or manual")),
    };
    params.end()?;
    operate(&app, &segments, move |projections, name| projections.rebuild(name, swaps)).await
}

/// `POST /v1/projections/{projection}/swap`: what was built answers as soon as it caught up.
pub(super) async fn swap(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    operate(&app, &segments, |projections, name| projections.swap(name)).await
}

/// `POST /v1/projections/{projection}/abort`: ends a rebuild and leaves nothing of it.
pub(super) async fn abort(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    operate(&app, &segments, |projections, name| projections.abort(name)).await
}

/// `POST /v1/projections/{projection}/pause`.
pub(super) async fn pause(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    operate(&app, &segments, |projections, name| projections.pause(name, true, None)).await
}

/// `POST /v1/projections/{projection}/resume`.
pub(super) async fn resume(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    operate(&app, &segments, |projections, name| projections.pause(name, false, None)).await
}

/// `POST /v1/projections/{projection}/retry`: lets one that stopped try again.
pub(super) async fn retry(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    operate(&app, &segments, |projections, name| projections.retry(name)).await
}

/// `POST /v1/projections/{projection}/skip`: leaves out the event that it stopped at, for ever.
pub(super) async fn skip(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let SkipBody { position, reason } = body(&app, request, "{position, reason}").await?;
    if reason.trim().is_empty() || reason.len() > REASON_BYTES {
        let detail = format!("it is 1 to {REASON_BYTES} bytes that say why");
        let errors = vec![Fault::at("/reason", detail)];
        let more = More { errors, ..More::default() };
        return Err(Problem::new(&INVALID_BODY, "a skip needs a reason").with(more));
    }
    operate(&app, &segments, move |projections, name| {
        projections.skip(name, position, reason, None)
    })
    .await
}

/// `PUT /v1/projections/{projection}/policy`: what becomes of an event that it cannot take.
pub(super) async fn set_policy(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let PolicyBody { on_failure } =
        body(&app, request, "{on_failure}, which is \"stop\" or \"park\"").await?;
    operate(&app, &segments, move |projections, name| {
        projections.set_policy(name, on_failure, None)
    })
    .await
}

async fn body<T: for<'de> Deserialize<'de>>(
    app: &Shared,
    request: Request,
    shape: &str,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let text = read_json(&parts.headers, body, &app.limits).await?;
    serde_json::from_str(&text).map_err(|error| {
        let errors = vec![Fault::anywhere(error.to_string())];
        let more = More { errors, ..More::default() };
        Problem::new(&INVALID_BODY, format!("the body must be {shape}")).with(more)
    })
}

/// Does something with the projection that the path names, to its end whoever goes away, and
/// answers how it is doing.
async fn operate(
    app: &Shared,
    segments: &Segments,
    act: impl FnOnce(&Projections, &str) -> Result<ProjectionStatus, OperateError> + Send + 'static,
) -> Answer {
    let name = segments.name("projection")?;
    let projections = Arc::clone(app.engine.projections());
    let acted = tasks::blocking(move || act(&projections, name.as_str())).await;
    let status = acted.ok_or_else(|| Problem::internal("operating a projection panicked"))??;
    json(&view(&status))
}

/// How a projection is doing, as it is answered.
pub(super) fn view(status: &ProjectionStatus) -> impl Serialize + '_ {
    whole(status)
}

fn whole(status: &ProjectionStatus) -> ProjectionView<'_> {
    ProjectionView {
        projection: &status.projection,
        read_models: &status.collections,
        answering: generation(&status.answering),
        on_failure: status.settings.on_failure,
        left_out: status.settings.left_out.iter().map(left_out).collect(),
        build: status.build.as_ref().map(generation),
    }
}

fn generation(generation: &GenerationStatus) -> GenerationView<'_> {
    GenerationView {
        version: generation.version,
        module: &generation.module,
        state: generation.state.name(),
        since: Time(generation.since_ms),
        position: generation.position,
        lag_events: generation.lag_events,
        lag_seconds: std::time::Duration::from_millis(generation.lag_ms).as_secs_f64(),
        events_per_second: generation.rate,
        remaining_seconds: generation.remaining.map(|time| time.as_secs_f64()),
        stalled: generation.is_stalled,
        error: generation.trouble.as_ref().map(trouble),
    }
}

fn trouble(trouble: &Trouble) -> TroubleView<'_> {
    TroubleView {
        detail: &trouble.reason,
        time: Time(trouble.at_ms),
        position: trouble.events.map(|(first, _)| first),
        last_position: trouble.events.map(|(_, last)| last),
        event: trouble.events.map(|(first, _)| link(first)),
    }
}

fn left_out(span: &LeftOut) -> LeftOutView<'_> {
    LeftOutView {
        position: span.first,
        last_position: span.last,
        event: link(span.first),
        reason: &span.reason,
        parked: span.parked,
    }
}

pub(super) fn link(position: u64) -> String {
    format!("/v1/events/{position}")
}

fn collection(diff: &CollectionDiff) -> CollectionView<'_> {
    let CollectionDiff { name, same, added, removed, changed, samples } = diff;
    CollectionView {
        name,
        same: *same,
        added: *added,
        removed: *removed,
        changed: *changed,
        samples: samples.iter().map(row).collect(),
    }
}

fn row(row: &DiffRow) -> RowView<'_> {
    RowView {
        key: &row.key,
        before: row.before.as_ref().and_then(|json| raw(json.as_bytes())),
        after: row.after.as_ref().and_then(|json| raw(json.as_bytes())),
    }
}
