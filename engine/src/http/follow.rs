//! Following the log and its streams: answers that go on, as server-sent events or as lines.
//!
//! Promises: every event that is asked for comes once and in order; with server-sent events each
//! carries its position as the id, with which `Last-Event-ID` goes on without gap or repetition,
//! from another server too; who reads slowly is served from the log at its own pace, and who reads
//! nothing is cut off. A follower with nothing to send holds no buffer.

use std::io;

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
use crate::subscriptions::{Source, Subscription, Take, Wanted};

use super::answer::{Answer, with_position, with_version};
use super::app::App;
use super::body::NDJSON;
use super::error::{More, POSITION_BEYOND_HEAD, Problem};
use super::events::{blocking, names, unknown_stream};
use super::params::{Params, invalid};
use super::views::EventView;

const EVENT_STREAM: &str = "text/event-stream";
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
    /// What the header `Accept` names first, if that is not an answer that ends.
    pub(super) fn asked(headers: &HeaderMap) -> Option<Self> {
        let all = headers.get_all(header::ACCEPT).into_iter();
        let types = all.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
        for media in types.map(|media| media.split(';').next().unwrap_or_default().trim()) {
            match media.to_ascii_lowercase().as_str() {
                EVENT_STREAM => return Some(Self::Events),
                NDJSON => return Some(Self::Lines),
                "application/json" | "application/*" | "*/*" => return None,
                _ => {}
            }
        }
        None
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Events => EVENT_STREAM,
            Self::Lines => NDJSON,
        })
    }

    fn take(self) -> Take<Vec<u8>> {
        match self {
            Self::Events => write_event,
            Self::Lines => write_line,
        }
    }
}

/// `GET /v1/events`, as it goes on.
pub(super) fn log(app: &App, format: Format, headers: &HeaderMap, uri: &Uri) -> Answer {
    let mut params = Params::parse(uri)?;
    let range = Range::parse(&mut params)?;
    let item = QueryItem {
        types: names(&mut params, "type", EventType::parse)?,
        tags: names(&mut params, "tag", Tag::parse)?,
        categories: names(&mut params, "category", Name::parse)?,
    };
    params.end()?;
    let after = last_event_id(headers)?.unwrap_or(range.after);
    begin(app, format, range.wanted(Source::Log(Query { items: vec![item] }), after))
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
    let version = blocking(move || Ok(log.stream_version(&name)?)).await?;
    let version = version.ok_or_else(|| unknown_stream(&stream))?;
    let source = Source::Stream { stream, version: range.after };
    let mut response = begin(app, format, range.wanted(source, after))?;
    with_version(&mut response, version);
    Ok(response)
}

/// Which part is asked for.
struct Range {
    after: u64,
    live: bool,
    most: Option<u64>,
}

impl Range {
    /// `?after=&limit=&follow=true|false&direction=forward`.
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
        Ok(Self { after: params.parsed("after")?.unwrap_or(0), live, most })
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

fn begin(app: &App, format: Format, wanted: Wanted) -> Answer {
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
        let Self { subscription, format, heartbeat, quiet, said_caught_up } = self;
        match subscription.read(Vec::new(), format.take()).await {
            Ok((subscription, text)) => {
                Ok((Self { subscription, format, heartbeat, quiet, said_caught_up }, text))
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

fn write_event(text: &mut Vec<u8>, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
    text.extend_from_slice(format!("id: {}\ndata: ", event.position).as_bytes());
    write_line(text, decision, event);
    text.push(b'\n');
}

fn write_line(text: &mut Vec<u8>, decision: &Decision<'_>, event: &RecordedEvent<'_>) {
    let start = text.len();
    // Strings, numbers and JSON that was parsed before: there is nothing that could fail.
    let _ = serde_json::to_writer(&mut *text, &EventView::new(decision, event));
    // White space of stored JSON: strings cannot hold these bytes.
    for byte in text.iter_mut().skip(start).filter(|byte| matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_media_type_that_is_known_counts() {
        let asked = |accept: &'static str| {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))];
            Format::asked(&headers.into_iter().collect())
        };
        assert_eq!(asked("text/event-stream"), Some(Format::Events));
        assert_eq!(asked("Text/Event-Stream;q=1, */*"), Some(Format::Events));
        assert_eq!(asked("text/html, application/x-ndjson"), Some(Format::Lines));
        for plain in ["*/*", "application/json, text/event-stream", "text/html", ""] {
            assert_eq!(asked(plain), None, "{plain}");
        }
        assert_eq!(Format::asked(&HeaderMap::new()), None);
    }
}
