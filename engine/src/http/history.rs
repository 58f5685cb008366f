//! What an aggregate instance was: `GET /v1/aggregates/{aggregate}/{id}` with `?at=` or
//! `?version=`, and `…/history`, event by event with the state after each and what changed.

use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::commands::{StateChange, Step, Until};
use crate::decision::parse;
use crate::names::StreamId;
use crate::storage::log::ReadError;

use super::answer::{Answer, json};
use super::app::{App, Shared};
use super::error::{More, POSITION_BEYOND_HEAD, Problem, UNKNOWN_STREAM};
use super::events::{blocking, unknown_stream, with_next};
use super::params::{Params, invalid};
use super::segments::Segments;
use super::states::StateBody;
use super::views::{EventView, raw};

#[derive(Serialize)]
struct HistoryBody<'a> {
    aggregate: &'a str,
    id: &'a str,
    stream: &'a str,
    steps: Vec<Box<RawValue>>,
    next: Option<u64>,
}

#[derive(Serialize)]
struct StepView<'a> {
    event: EventView<'a>,
    state: Option<&'a RawValue>,
    changes: Vec<ChangeView<'a>>,
}

#[derive(Serialize)]
struct ChangeView<'a> {
    pointer: &'a str,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
}

/// `?version=<n>`, `?at=<position>` or `?at=<RFC 3339 time>`; none given: now.
pub(super) fn until(params: &mut Params, app: &App) -> Result<Option<Until>, Problem> {
    let version = params.parsed::<u64>("version")?.map(Until::Version);
    let Some(at) = params.one("at")? else { return Ok(version) };
    if version.is_some() {
        return Err(invalid("at", "a state is asked for by its version or by a point in time"));
    }
    point(&at, app).map(Some)
}

/// A position that there is, or a time.
pub(super) fn point(at: &str, app: &App) -> Result<Until, Problem> {
    let until = match at.parse::<u64>() {
        Ok(position) => Until::Position(position),
        Err(_) => {
            let time = at.parse::<jiff::Timestamp>().map_err(|_| {
                invalid("at", "it must be a position, or a time such as 2026-01-31T12:00:00Z")
            })?;
            Until::Time(u64::try_from(time.as_millisecond()).unwrap_or(0))
        }
    };
    let head = app.engine.log().head().position;
    if let Until::Position(position) = until
        && position > head
    {
        let detail = format!("the newest position is {head}, and {position} was asked for");
        let more = More { position: Some(head), required: Some(position), ..More::default() };
        return Err(Problem::new(&POSITION_BEYOND_HEAD, detail).with(more));
    }
    Ok(until)
}

/// The state as of then.
pub(super) async fn state(app: Shared, segments: Segments, until: Until) -> Answer {
    let (aggregate, id) = (segments.name("aggregate")?, segments.key("id")?);
    let stream = StreamId::of(&aggregate, &id);
    let history = app.engine.history(&aggregate, &id)?;
    let found = blocking(move || Ok(history.state(until)?)).await?;
    let found = found.ok_or_else(|| no_event_yet(&stream))?;
    if let Until::Version(version) = until
        && found.version < version
    {
        let detail =
            format!("the stream {stream} has version {}, not {version} yet", found.version);
        return Err(Problem::new(&UNKNOWN_STREAM, detail));
    }
    StateBody::answer((&aggregate, &id), &found.json, found.version, found.position)
}

fn no_event_yet(stream: &StreamId) -> Problem {
    Problem::new(&UNKNOWN_STREAM, format!("the stream {stream} had no event then"))
}

/// `GET /v1/aggregates/{aggregate}/{id}/history`: `?after=<version>&limit=&cursor=`.
pub(super) async fn of_aggregate(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let (aggregate, id) = (segments.name("aggregate")?, segments.key("id")?);
    let mut params = Params::parse(request.uri())?;
    let (after, cursor) = (params.parsed::<u64>("after")?, params.parsed::<u64>("cursor")?);
    let after = cursor.or(after).unwrap_or(0);
    let bounds = (params.limit(&app.limits)?, app.limits.page_bytes);
    params.end()?;
    let stream = StreamId::of(&aggregate, &id);
    let history = app.engine.history(&aggregate, &id)?;
    let (steps, more) = blocking(move || {
        let (steps, more) = history.steps(after, bounds)?;
        let views = steps.iter().map(step).collect::<Result<Vec<_>, Problem>>()?;
        Ok((views, steps.last().map(|last| last.version).filter(|_| more)))
    })
    .await?;
    if steps.is_empty() && after == 0 {
        return Err(unknown_stream(&stream));
    }
    let body = HistoryBody {
        aggregate: aggregate.as_str(),
        id: id.as_str(),
        stream: stream.as_str(),
        steps,
        next: more,
    };
    let mut response = json(&body)?;
    if let Some(next) = more {
        with_next(&mut response, request.uri(), &next.to_string());
    }
    Ok(response)
}

fn step(step: &Step) -> Result<Box<RawValue>, Problem> {
    let decision = parse(&step.record).map_err(ReadError::from)?;
    let event = decision.events.iter().find(|event| event.position == step.position);
    let event = event.ok_or_else(|| Problem::internal("an event is gone from its record"))?;
    let view = StepView {
        event: EventView::new(&decision, event),
        state: raw(step.json.as_bytes()),
        changes: step.changes.iter().map(change).collect(),
    };
    serde_json::value::to_raw_value(&view).map_err(|error| Problem::internal(&error.to_string()))
}

fn change(change: &StateChange) -> ChangeView<'_> {
    ChangeView {
        pointer: &change.pointer,
        before: change.before.as_ref().and_then(|json| raw(json.as_bytes())),
        after: change.after.as_ref().and_then(|json| raw(json.as_bytes())),
    }
}
