//! CloudEvents 1.0, read and written: as JSON alone or in a batch, and with attributes in headers.
//!
//! Promises: what is no CloudEvent is refused with every attribute that is wrong; an attribute that
//! nothing here has a place for is kept and written again. Three are about the log that an event
//! comes from and are this log's own in every answer: `streamversion`, `globalposition` and
//! `recordedtime`.

mod attributes;
mod headers;
mod view;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use serde_json::value::RawValue;

use crate::appends::NewAppend;
use crate::decision::Hash;
use crate::event::NewEvent;
use crate::expected::ExpectedVersion;
use crate::names::StreamId;

use super::answer::{Answer, json_response, to_json};
use super::body::{MostBytes, compact_json, read};
use super::error::{Problem, UNSUPPORTED_MEDIA_TYPE};
use super::limits::HttpLimits;
use super::preconditions::IDEMPOTENCY_KEY;
use super::shape::{beyond, invalid_at};
use attributes::{Attributes, Data};

pub(super) use view::CloudEventView;

/// One event in structured mode.
pub(super) const ONE: &str = "application/cloudevents+json";
/// Several of them.
pub(super) const BATCH: &str = "application/cloudevents-batch+json";
/// What the names of all formats begin with.
const FORMATS: &str = "application/cloudevents";
/// What goes on after a batch that is a page, where there is more.
const NEXT: HeaderName = HeaderName::from_static("factum-next");

/// How a request carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As this API's own JSON.
    Native,
    /// One event: the body is all of it.
    Structured,
    /// A body of several.
    Batch,
    /// One event: attributes are headers, the body is its data.
    Binary,
}

impl Mode {
    /// Tells it by the content type, then by the headers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let given = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        let given = String::from_utf8_lossy(given.unwrap_or_default()).to_ascii_lowercase();
        let mut parts = given.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        if !essence.starts_with(FORMATS) {
            let is_binary = headers.keys().any(|name| name.as_str().starts_with(headers::PREFIX));
            return Ok(if is_binary { Self::Binary } else { Self::Native });
        }
        let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
        if charset.is_some_and(|charset| charset.trim_matches('"') != "utf-8") {
            return Err(unsupported("JSON is UTF-8, and the content type says otherwise"));
        }
        match essence {
            ONE => Ok(Self::Structured),
            BATCH => Ok(Self::Batch),
            _ => Err(unsupported(
                "CloudEvents are read as application/cloudevents+json, as \
                 application/cloudevents-batch+json, or with their attributes in ce- headers",
            )),
        }
    }

    /// Where an event of the request is, as a JSON pointer.
    pub(super) fn pointer(self, at: usize) -> String {
        match self {
            Self::Native => format!("/events/{at}"),
            Self::Batch => format!("/{at}"),
            Self::Structured | Self::Binary => String::new(),
        }
    }
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(&UNSUPPORTED_MEDIA_TYPE, detail)
}

/// Reads the events of a request: to one stream, or to those that their subjects name.
pub(super) async fn append(
    mode: Mode,
    (headers, body): (&HeaderMap, Body),
    stream: Option<&StreamId>,
    version: ExpectedVersion,
    limits: &HttpLimits,
) -> Result<NewAppend, Problem> {
    let most = MostBytes(limits.body_bytes, "body_bytes");
    let bytes = read(headers, body, most, limits.body_timeout).await?;
    let events = match mode {
        Mode::Binary => {
            let content_type = headers::content_type(headers)?;
            let data = Data::Bytes(bytes.to_vec());
            vec![headers::attributes(headers)?.event(content_type, data, stream, limits)?]
        }
        Mode::Native | Mode::Structured => {
            vec![structured(&compact_json(&bytes)?, "", stream, limits)?]
        }
        Mode::Batch => batched(&compact_json(&bytes)?, stream, limits)?,
    };
    let expected = match (stream, version) {
        (Some(stream), version) if version != ExpectedVersion::Any => {
            vec![(stream.clone(), version)]
        }
        _ => Vec::new(),
    };
    // Only who can ask again is told from who asks for something else.
    let has_key = headers.contains_key(IDEMPOTENCY_KEY);
    let fingerprint = if has_key { fingerprint(stream, &events) } else { Hash::default() };
    Ok(NewAppend { events, expected, fingerprint, ..NewAppend::default() })
}

/// The event of a line, to the stream that its subject names.
pub(super) fn line(text: &[u8], limits: &HttpLimits) -> Result<Placed, Problem> {
    structured(&compact_json(text)?, "", None, limits)
}

/// An event and its stream.
pub(super) type Placed = (NewEvent, Option<StreamId>);

fn batched(
    json: &str,
    stream: Option<&StreamId>,
    limits: &HttpLimits,
) -> Result<Vec<Placed>, Problem> {
    let Ok(bodies) = serde_json::from_str::<Vec<&RawValue>>(json) else {
        return Err(invalid_at("", "a batch is an array of events"));
    };
    if bodies.is_empty() {
        return Err(invalid_at("", "there must be at least one"));
    }
    if bodies.len() > limits.append_events {
        return Err(beyond("", limits.append_events, "append_events"));
    }
    let event =
        |(at, body): (usize, &&RawValue)| structured(body.get(), &format!("/{at}"), stream, limits);
    bodies.iter().enumerate().map(event).collect()
}

/// One event as JSON, which is compact.
fn structured(
    json: &str,
    pointer: &str,
    stream: Option<&StreamId>,
    limits: &HttpLimits,
) -> Result<Placed, Problem> {
    let mut attributes = Attributes::of_json(json, pointer)?;
    let content_type = attributes.text("datacontenttype");
    let data = attributes.data();
    attributes.event(content_type, data, stream, limits)
}

/// BLAKE3 of what is asked: equal for a retry, in whatever mode.
fn fingerprint(stream: Option<&StreamId>, events: &[Placed]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        hasher.update(&length.to_be_bytes()).update(bytes);
    };
    put(b"cloudevents");
    put(stream.map_or("", StreamId::as_str).as_bytes());
    for (event, stream) in events {
        let origin = event.origin.as_deref();
        put(origin.map_or("", |origin| &*origin.source).as_bytes());
        put(origin.map_or("", |origin| &*origin.id).as_bytes());
        put(event.event_type.as_str().as_bytes());
        put(stream.as_ref().map_or("", StreamId::as_str).as_bytes());
        put(&event.data);
    }
    *hasher.finalize().as_bytes()
}

/// An answer of one event.
pub(super) fn one(event: &CloudEventView<'_>) -> Answer {
    Ok(typed(to_json(event)?, ONE))
}

/// An answer of several, as the text of an array; `next` continues after the last of them.
pub(super) fn batch(text: Vec<u8>, next: Option<&str>) -> Response {
    let mut response = typed(text, BATCH);
    if let Some(Ok(next)) = next.map(HeaderValue::try_from) {
        response.headers_mut().insert(NEXT, next);
    }
    response
}

fn typed(text: Vec<u8>, media_type: &'static str) -> Response {
    let mut response = json_response(text);
    let content_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
