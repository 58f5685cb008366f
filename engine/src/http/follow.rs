//! Following the log and its streams: answers that go on, as server-sent events or as lines.
//!
//! Promises: every event that is asked for comes once and in order; with server-sent events each
//! carries its position as the id, with which `Last-Event-ID` goes on without gap or repetition,
//! from another server too; who reads slowly is served from the log at its own pace, and who reads
//! nothing is cut off. A follower with nothing to send holds no buffer.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use crate::clock::Stopwatch;
use crate::decision::Decision;
use crate::event::RecordedEvent;
use crate::names::{EventType, Name, StreamId, Tag};
use crate::query::{Query, QueryItem};
use crate::storage::log::{Direction, Log, ReadError};
use crate::subscriptions::{Source, Subscription, Take, Wanted};

use super::accept::{Accepted, EVENT_STREAM, accepted};
use super::answer::{Answer, with_position, with_version};
use super::app::App;
use super::body::NDJSON;
use super::cloud_events::CloudEventView;
use super::error::{More, POSITION_BEYOND_HEAD, Problem};
use super::events::{blocking, names, unknown_stream};
use super::params::{Params, invalid};
use super::views::EventView;

/// The position of the last event that a client of server-sent events saw.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells proxies to hand on what comes when it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// A comment of server-sent events.
const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// How an answer that goes on is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Server-sent events.
    Events,
    /// An event a line.
    Lines,
}

impl Format {
    /// The one that the header `Accept` asks for, if that is not an answer that ends.
    pub(super) fn asked(headers: &HeaderMap) -> Option<Self> {
        match accepted(headers) {
            Accepted::Events => Some(Self::Events),
            Accepted::Lines => Some(Self::Lines),
            Accepted::Json | Accepted::CloudEvents => None,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Events => EVENT_STREAM,
            Self::Lines => NDJSON,
        })
    }

    fn take(self) -> Take<Text> {
        match self {
            Self::Events => write_event,
            Self::Lines => write_line,
        }
    }
}

/// What is sent next.
struct Text {
    bytes: Vec<u8>,
    /// The source of this server's own events, where they are written as CloudEvents.
    cloud_events: Option<Arc<str>>,
}

/// `GET /v1/events`, as it goes on.
pub(super) async fn log(app: &App, format: Format, headers: &HeaderMap, uri: &Uri) -> Answer {
    let mut params = Params::parse(uri)?;
    let range = Range::parse(&mut params)?;
    let item = QueryItem {
        types: names(&mut params, "type", EventType::parse)?,
        tags: names(&mut params, "tag", Tag::parse)?,
        categories: names(&mut params, "category", Name::parse)?,
    };
    params.end()?;
    let after = last_event_id(headers)?.unwrap_or(range.after);
    let query = Query { items: vec![item] };
    let (log, asked) = (app.engine.log().clone(), query.clone());
    blocking(move || Ok(reach(&log, &asked, after)?)).await?;
    let wanted = range.wanted(Source::Log(query), after);
    begin(app, (format, range.cloud_events), wanted)
}

/// Whether what is wanted of the log can be read: of a query, its first event.
fn reach(log: &Log, query: &Query, after: u64) -> Result<(), ReadError> {
    if query.is_everything() {
        return log.reach_after(after);
    }
    match log.first_match(query, after) {
        Ok((Some(position), _)) => log.decision_after_position(position - 1).map(drop),
        // Nothing, or nothing yet: whoever follows finds out.
        _ => Ok(()),
    }
}

/// `GET /v1/streams/{stream}/events`, as it goes on: `after` is a version, `Last-Event-ID` a
/// position.
pub(super) async fn stream(
    app: &App,
    stream: StreamId,
    format: Format,
    headers: &HeaderMap,
    uri: &Uri,
) -> Answer {
    let mut params = Params::parse(uri)?;
    let range = Range::parse(&mut params)?;
    params.end()?;
    let after = last_event_id(headers)?.unwrap_or(0);
    let (log, name) = (app.engine.log().clone(), stream.clone());
    let first = range.after;
    let version = blocking(move || {
        log.stream_records(name.as_str(), first, Direction::Forward, 1)?;
        Ok(log.stream_version(&name)?)
    });
    let version = version.await?;
    let version = version.ok_or_else(|| unknown_stream(&stream))?;
    let source = Source::Stream { stream, version: range.after };
    let wanted = range.wanted(source, after);
    let mut response = begin(app, (format, range.cloud_events), wanted)?;
    with_version(&mut response, version);
    Ok(response)
}

/// Which part is asked for.
struct Range {
    after: u64,
    live: bool,
    most: Option<u64>,
    cloud_events: bool,
}

impl Range {
    /// `?after=&limit=&follow=true|false&direction=forward&format=cloudevents`.
    fn parse(params: &mut Params) -> Result<Self, Problem> {
        if !matches!(params.one("direction")?.as_deref(), None | Some("forward")) {
            return Err(invalid("direction", "an answer that goes on goes forward"));
        }
        let live = match params.one("follow")?.as_deref() {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(invalid("follow", "it may be true or false")),
        };
        let most = params.parsed("limit")?;
        if most == Some(0) {
            return Err(invalid("limit", "it may be 1 or more"));
        }
        let cloud_events = match params.one("format")?.as_deref() {
            None => false,
            Some("cloudevents") => true,
            Some(_) => return Err(invalid("format", "it may be cloudevents")),
        };
        Ok(Self { after: params.parsed("after")?.unwrap_or(0), live, most, cloud_events })
    }

    fn wanted(&self, source: Source, after: u64) -> Wanted {
        Wanted { source, after, live: self.live, most: self.most }
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    id.map(Some).ok_or_else(|| invalid("Last-Event-ID", "it is not the position of an event"))
}

fn begin(app: &App, (format, cloud_events): (Format, bool), wanted: Wanted) -> Answer {
    let head = app.engine.log().head().position;
    if wanted.after > head {
        // The log is not the one that the client saw: going on would leave a gap.
        let detail = format!("the newest position is {head}, and {} was seen", wanted.after);
        let more = More { position: Some(head), required: Some(wanted.after), ..More::default() };
        return Err(Problem::new(&POSITION_BEYOND_HEAD, detail).with(more));
    }
    let follower = Follower {
        subscription: app.engine.subscriptions().follow(wanted),
        format,
        cloud_events: cloud_events.then(|| Arc::clone(app.engine.source())),
        heartbeat: app.limits.heartbeat,
        quiet: Stopwatch::start(),
        said_caught_up: false,
    };
    let frames = stream::unfold(Some(follower), |follower| async { follower?.next().await });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    with_position(&mut response, head);
    Ok(response)
}

/// An answer under way.
struct Follower {
    subscription: Subscription,
    format: Format,
    cloud_events: Option<Arc<str>>,
    heartbeat: std::time::Duration,
    /// Since when nothing was sent.
    quiet: Stopwatch,
    said_caught_up: bool,
}

/// What is sent next, and who sends what follows; none at the end.
type Next = Option<(io::Result<Bytes>, Option<Follower>)>;

impl Follower {
    async fn next(mut self) -> Next {
        loop {
            if self.said_caught_up && self.subscription.is_over() {
                return None;
            }
            let is_quiet = !self.changed().await;
            if self.subscription.is_closed() {
                return self.cut_off();
            }
            if is_quiet {
                self.quiet = Stopwatch::start();
                if self.format == Format::Events {
                    return Some((Ok(Bytes::from_static(HEARTBEAT)), Some(self)));
                }
                continue;
            }
            let (mut after, mut text) = match self.read().await {
                Ok(read) => read,
                Err(error) => return Some((Err(error), None)),
            };
            after.say_caught_up(&mut text);
            if !text.is_empty() {
                after.quiet = Stopwatch::start();
                return Some((Ok(Bytes::from(text)), Some(after)));
            }
            self = after;
        }
    }

    /// Waits until there is something to do; false if nothing was sent for too long.
    async fn changed(&mut self) -> bool {
        let patience = self.heartbeat.saturating_sub(self.quiet.elapsed());
        if patience.is_zero() {
            return false;
        }
        if !self.said_caught_up {
            return true;
        }
        tokio::time::timeout(patience, self.subscription.changed()).await.is_ok()
    }

    /// What was to go on ends well, and the client comes again; what was to be whole must not
    /// look as if it were.
    fn cut_off(self) -> Next {
        let cut_off = || (Err(io::Error::other("the server is shutting down")), None);
        (!self.subscription.is_live()).then(cut_off)
    }

    async fn read(self) -> io::Result<(Self, Vec<u8>)> {
        let Self { subscription, format, cloud_events, heartbeat, quiet, said_caught_up } = self;
        let text = Text { bytes: Vec::new(), cloud_events };
        match subscription.read(text, format.take()).await {
            Ok((subscription, Text { bytes, cloud_events })) => {
                let same =
                    Self { subscription, format, cloud_events, heartbeat, quiet, said_caught_up };
                Ok((same, bytes))
            }
            Err(error) => {
                tracing::warn!(%error, "a follower is cut off");
                Err(io::Error::other(error))
            }
        }
    }

    fn say_caught_up(&mut self, text: &mut Vec<u8>) {
        let over = self.subscription.is_over();
        if self.said_caught_up || !(self.subscription.is_caught_up() || over) {
            return;
        }
        self.said_caught_up = true;
        if self.format == Format::Events && self.subscription.is_caught_up() {
            let position = self.subscription.position();
            let data = format!("{{\"position\":{position}}}");
            let event = format!("event: caught-up\nid: {position}\ndata: {data}\n\n");
            text.extend_from_slice(event.as_bytes());
        }
    }
}

fn write_event(text: &mut Text, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
    text.bytes.extend_from_slice(format!("id: {}\ndata: ", event.position).as_bytes());
    write_line(text, decision, event);
    text.bytes.push(b'\n');
}

fn write_line(
    Text { bytes, cloud_events }: &mut Text,
    decision: &Decision<'_>,
    event: &RecordedEvent<'_>,
) {
    let start = bytes.len();
    // Strings, numbers and JSON that was parsed before: there is nothing that could fail.
    let _ = match cloud_events {
        Some(source) => {
            serde_json::to_writer(&mut *bytes, &CloudEventView::new(source, decision, event))
        }
        None => serde_json::to_writer(&mut *bytes, &EventView::new(decision, event)),
    };
    // White space of stored JSON: strings cannot hold these bytes.
    for byte in bytes.iter_mut().skip(start).filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    bytes.push(b'\n');
}
