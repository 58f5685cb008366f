//! Events: of one stream, of the whole log, one by its position, and the records behind them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;

use crate::decision::{Decision, parse};
use crate::event::RecordedEvent;
use crate::names::{EventType, Name, NameError, StreamId, Tag};
use crate::query::{Query, QueryItem};
use crate::reads::{PageEnd, PageLimits, Span, log_page, record_at, stream_page};
use crate::storage::log::{Direction, ReadError};
use crate::tasks;

use super::accept::{Accepted, accepted};
use super::answer::{Answer, IMMUTABLE, json, json_response, with_position, with_version};
use super::app::{App, Shared};
use super::cloud_events::{CloudEventView, batch, one};
use super::error::{INVALID_NAME, Problem, UNKNOWN_DECISION, UNKNOWN_EVENT, UNKNOWN_STREAM};
use super::follow::{self, Format};
use super::params::{Params, encode, invalid};
use super::segments::Segments;
use super::views::{DecisionView, EventView};

/// `GET /v1/streams/{stream}/events`.
pub(super) async fn of_stream(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    let stream = segments.stream("stream")?;
    if let Some(format) = Format::asked(request.headers()) {
        return follow::stream(&app, stream, format, request.headers(), request.uri()).await;
    }
    let mut params = Params::parse(request.uri())?;
    let (span, limits) = span(&mut params, &app)?;
    params.end()?;
    let accepted = accepted(request.headers());
    let (end, events) = blocking(move || {
        let mut events = EventList::new(&app, accepted);
        let log = app.engine.log();
        let end = stream_page(log, &stream, &span, limits, |d, e| events.push(d, e))?;
        end.map(|end| (end, events)).ok_or_else(|| unknown_stream(&stream))
    })
    .await?;
    let mut response = events.page(end.head, end.next, Some(request.uri()));
    with_version(&mut response, end.version);
    Ok(response)
}

/// A stream that never had an event.
pub(super) fn unknown_stream(stream: &StreamId) -> Problem {
    Problem::new(&UNKNOWN_STREAM, format!("the stream {stream} never had an event"))
}

/// `GET /v1/events`.
pub(super) async fn of_log(State(app): State<Shared>, request: Request) -> Answer {
    if let Some(format) = Format::asked(request.headers()) {
        return follow::log(&app, format, request.headers(), request.uri()).await;
    }
    let mut params = Params::parse(request.uri())?;
    let (span, limits) = span(&mut params, &app)?;
    let item = QueryItem {
        types: names(&mut params, "type", EventType::parse)?,
        tags: names(&mut params, "tag", Tag::parse)?,
        categories: names(&mut params, "category", Name::parse)?,
    };
    params.end()?;
    let (query, accepted) = (Query { items: vec![item] }, accepted(request.headers()));
    let (end, events) = page_of_log(app, query, (span, limits), accepted).await?;
    Ok(events.page(end.head, end.next, Some(request.uri())))
}

/// A page of the events that match a query.
pub(super) async fn page_of_log(
    app: Shared,
    query: Query,
    (span, limits): (Span, PageLimits),
    accepted: Accepted,
) -> Result<(PageEnd, EventList), Problem> {
    blocking(move || {
        let mut events = EventList::new(&app, accepted);
        let log = app.engine.log();
        let end = log_page(log, &query, &span, limits, |d, e| events.push(d, e))?;
        Ok((end, events))
    })
    .await
}

/// `GET /v1/events/{position}`.
pub(super) async fn at_position(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    let position = segments.number("position")?;
    let source = Arc::clone(app.engine.source());
    let record = blocking(move || Ok(record_at(app.engine.log(), position)?)).await?;
    let unknown = || Problem::new(&UNKNOWN_EVENT, format!("no event has the position {position}"));
    let record = record.ok_or_else(unknown)?;
    let decision = parse(&record).map_err(ReadError::from)?;
    let event = decision.events.iter().find(|event| event.position == position);
    let event = event.ok_or_else(unknown)?;
    let mut response = match accepted(request.headers()) {
        Accepted::CloudEvents => one(&CloudEventView::new(&source, &decision, event))?,
        _ => json(&EventView::new(&decision, event))?,
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(immutable(response))
}

/// `GET /v1/decisions/{decision}`.
pub(super) async fn decision(
    State(app): State<Shared>,
    segments: Segments,
    request: Request,
) -> Answer {
    Params::parse(request.uri())?.end()?;
    let number = segments.number("decision")?;
    let record = blocking(move || Ok(app.engine.log().record(number)?)).await?;
    let record = record.ok_or_else(|| {
        Problem::new(&UNKNOWN_DECISION, format!("no decision has the number {number}"))
    })?;
    let decision = parse(&record).map_err(ReadError::from)?;
    json(&DecisionView::new(&record, &decision)).map(immutable)
}

fn immutable(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, IMMUTABLE);
    response
}

pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tasks::blocking(read).await {
        Some(answer) => answer,
        None => Err(Problem::internal("a read panicked")),
    }
}

/// `?after=&before=&direction=&limit=&cursor=`; a cursor takes the place of the bound that the
/// reading moves.
fn span(params: &mut Params, app: &App) -> Result<(Span, PageLimits), Problem> {
    let direction = match params.one("direction")?.as_deref() {
        None | Some("forward") => Direction::Forward,
        Some("backward") => Direction::Backward,
        Some(_) => return Err(invalid("direction", "it may be forward or backward")),
    };
    let mut span = Span {
        after: params.parsed("after")?.unwrap_or(0),
        before: params.parsed("before")?,
        direction,
    };
    if let Some(cursor) = params.parsed("cursor")? {
        match direction {
            Direction::Forward => span.after = cursor,
            Direction::Backward => span.before = Some(cursor),
        }
    }
    let limits = PageLimits {
        events: params.limit(&app.limits)?,
        bytes: app.limits.page_bytes,
        scan: app.limits.scan_decisions,
    };
    Ok((span, limits))
}

pub(super) fn names<T>(
    params: &mut Params,
    parameter: &'static str,
    parse: impl Fn(&str) -> Result<T, NameError>,
) -> Result<Vec<T>, Problem> {
    let parse = |text: String| {
        parse(&text).map_err(|error| {
            Problem::new(&INVALID_NAME, format!("the parameter {parameter:?}: {error}"))
        })
    };
    params.all(parameter).into_iter().map(parse).collect()
}

/// `{"events":[…],"head":n,"next":…}`, or a batch of CloudEvents, written as the events come.
pub(super) struct EventList {
    text: Vec<u8>,
    is_empty: bool,
    /// The source of this server's own events, for a batch of CloudEvents.
    cloud_events: Option<Arc<str>>,
}

impl EventList {
    fn new(app: &App, accepted: Accepted) -> Self {
        let is_batch = accepted == Accepted::CloudEvents;
        let text: &[u8] = if is_batch { b"[" } else { b"{\"events\":[" };
        let cloud_events = is_batch.then(|| Arc::clone(app.engine.source()));
        Self { text: text.to_vec(), is_empty: true, cloud_events }
    }

    fn push(&mut self, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
        if !std::mem::take(&mut self.is_empty) {
            self.text.push(b',');
        }
        // Strings, numbers and JSON that was parsed before: there is nothing that could fail.
        let _ = match &self.cloud_events {
            Some(source) => {
                let view = CloudEventView::new(source, decision, event);
                serde_json::to_writer(&mut self.text, &view)
            }
            None => serde_json::to_writer(&mut self.text, &EventView::new(decision, event)),
        };
    }

    /// The whole answer. Where `uri` is given, the next page is the same request with a cursor.
    pub(super) fn page(mut self, head: u64, next: Option<u64>, uri: Option<&Uri>) -> Response {
        let next = next.map(|next| next.to_string());
        let mut response = if self.cloud_events.is_some() {
            self.text.push(b']');
            batch(self.text, next.as_deref())
        } else {
            let quoted =
                next.as_ref().map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
            let end = format!("],\"head\":{head},\"next\":{quoted}}}");
            self.text.extend_from_slice(end.as_bytes());
            json_response(self.text)
        };
        with_position(&mut response, head);
        if let Some((next, uri)) = next.zip(uri) {
            with_next(&mut response, uri, &next);
        }
        response
    }
}

/// `Link: <…?cursor=…>; rel="next"`: the same request with another cursor.
pub(super) fn with_next(response: &mut Response, uri: &Uri, cursor: &str) {
    let query = uri.query().unwrap_or_default();
    let mut kept: String = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="))
        .flat_map(|pair| [pair, "&"])
        .collect();
    kept.push_str("cursor=");
    let link = format!("<{}?{kept}{}>; rel=\"next\"", uri.path(), encode(cursor));
    if let Ok(link) = HeaderValue::try_from(link) {
        response.headers_mut().insert(header::LINK, link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_same_request_with_another_cursor() {
        let mut response = Response::new(axum::body::Body::empty());
        let uri = Uri::from_static("/v1/events?type=A%20b&cursor=7&limit=2");
        with_next(&mut response, &uri, "a/b");
        assert_eq!(
            response.headers()[header::LINK],
            "</v1/events?type=A%20b&limit=2&cursor=a%2Fb>; rel=\"next\""
        );
    }
}
