//! Bodies of direct appends: events, expected versions of streams, a condition.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::appends::NewAppend;
use crate::event::{JSON, NewEvent};
use crate::expected::ExpectedVersion;
use crate::names::{EventType, StreamId, Tag};
use crate::query::Query;

use super::error::Problem;
use super::limits::HttpLimits;
use super::preconditions::expected_json;
use super::queries::{names, parse_query};
use super::shape::{beyond, given, invalid_at, name_at, object};

/// Bytes that the name of a content type may have.
const CONTENT_TYPE_BYTES: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogBody<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    expected: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    condition: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamBody<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventBody<'a> {
    r#type: String,
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    datacontenttype: Option<String>,
    schema_version: Option<u32>,
    stream: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    time: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedBody<'a> {
    stream: String,
    #[serde(borrow)]
    version: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionBody<'a> {
    #[serde(borrow, default)]
    query: Vec<&'a RawValue>,
    after: Option<u64>,
}

/// An append to any streams and none. `text` is compact JSON.
pub(super) fn to_log(text: &str, limits: &HttpLimits) -> Result<NewAppend, Problem> {
    let body: LogBody<'_> = object(text, "")?;
    let events = events(&body.events, None, limits)?;
    if body.expected.len() > limits.append_events {
        return Err(beyond("/expected", limits.append_events, "append_events"));
    }
    let expected = body.expected.iter().enumerate().map(expected).collect::<Result<_, _>>()?;
    let condition = body.condition.map(|raw| condition(raw, limits)).transpose()?;
    let fingerprint = fingerprint("", text);
    Ok(NewAppend { events, expected, condition, fingerprint, ..NewAppend::default() })
}

/// An append to one stream. `text` is compact JSON.
pub(super) fn to_stream(
    text: &str,
    stream: &StreamId,
    version: ExpectedVersion,
    limits: &HttpLimits,
) -> Result<NewAppend, Problem> {
    let body: StreamBody<'_> = object(text, "")?;
    let events = events(&body.events, Some(stream), limits)?;
    let expected = match version {
        ExpectedVersion::Any => Vec::new(),
        version => vec![(stream.clone(), version)],
    };
    let fingerprint = fingerprint(stream.as_str(), text);
    Ok(NewAppend { events, expected, fingerprint, ..NewAppend::default() })
}

/// BLAKE3 of what is asked. No stream is empty, so the two kinds of appends differ.
fn fingerprint(stream: &str, text: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"append\0").update(stream.as_bytes()).update(&[0]);
    *hasher.update(text.as_bytes()).finalize().as_bytes()
}

fn events(
    bodies: &[&RawValue],
    stream: Option<&StreamId>,
    limits: &HttpLimits,
) -> Result<Vec<(NewEvent, Option<StreamId>)>, Problem> {
    if bodies.is_empty() {
        return Err(invalid_at("/events", "there must be at least one"));
    }
    if bodies.len() > limits.append_events {
        return Err(beyond("/events", limits.append_events, "append_events"));
    }
    let event =
        |(at, raw): (usize, &&RawValue)| event(raw.get(), &format!("/events/{at}"), stream, limits);
    bodies.iter().enumerate().map(event).collect()
}

fn event(
    json: &str,
    pointer: &str,
    of: Option<&StreamId>,
    limits: &HttpLimits,
) -> Result<(NewEvent, Option<StreamId>), Problem> {
    let body: EventBody<'_> = object(json, pointer)?;
    let at = |field: &str| format!("{pointer}/{field}");
    let named = body.stream.as_deref().map(|text| name_at(text, &at("stream"), StreamId::parse));
    let stream = match (named.transpose()?, of) {
        (Some(named), Some(of)) if named != *of => {
            return Err(invalid_at(&at("stream"), "it is not the stream of this path"));
        }
        (named, of) => named.or_else(|| of.cloned()),
    };
    if body.tags.len() > limits.event_tags {
        return Err(beyond(&at("tags"), limits.event_tags, "event_tags"));
    }
    let schema_version = body.schema_version.unwrap_or(1);
    if schema_version == 0 {
        return Err(invalid_at(&at("schema_version"), "versions count from 1"));
    }
    let no_time = || invalid_at(&at("time"), "it must be a time since 1970 as RFC 3339");
    let time = body.time.as_deref().map(|text| time_ms(text).ok_or_else(no_time)).transpose()?;
    let (content_type, data) = data(&body, pointer)?;
    let event = NewEvent {
        event_type: name_at(&body.r#type, &at("type"), EventType::parse)?,
        schema_version,
        content_type,
        data,
        tags: names(&body.tags, &at("tags"), Tag::parse)?,
        time_ms: time,
        origin: None,
    };
    Ok((event, stream))
}

/// The content type and the bytes. The body is compact, and so is JSON in it.
fn data(body: &EventBody<'_>, pointer: &str) -> Result<(String, Vec<u8>), Problem> {
    let content_type = body.datacontenttype.as_deref();
    let is_json = content_type.is_none_or(|text| text.eq_ignore_ascii_case(JSON));
    match (&body.data, &body.data_base64) {
        (Some(_), Some(_)) => Err(invalid_at(pointer, "data and data_base64 exclude each other")),
        (_, None) if !is_json => {
            let detail = format!("data is {JSON}; of any other content type, send data_base64");
            Err(invalid_at(&format!("{pointer}/datacontenttype"), &detail))
        }
        (data, None) => {
            let json = data.map_or("{}", RawValue::get);
            Ok((JSON.to_owned(), json.as_bytes().to_vec()))
        }
        (None, Some(base64)) => {
            let here = format!("{pointer}/data_base64");
            let content_type = content_type
                .ok_or_else(|| invalid_at(&here, "data_base64 needs a datacontenttype"))?;
            let bytes = STANDARD
                .decode(base64)
                .map_err(|error| invalid_at(&here, &format!("it is not base64: {error}")))?;
            if is_json {
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| invalid_at(&here, "JSON must be UTF-8"))?;
                let compact = crate::json::compact(text)
                    .map_err(|error| invalid_at(&here, &format!("it is not JSON: {error}")))?;
                return Ok((JSON.to_owned(), compact.into_owned().into_bytes()));
            }
            if !is_media_type(content_type) {
                let here = format!("{pointer}/datacontenttype");
                return Err(invalid_at(&here, "it is not a media type, such as text/plain"));
            }
            Ok((content_type.to_owned(), bytes))
        }
    }
}

/// Whether a text is a content type that can be stored.
pub(super) fn is_media_type(text: &str) -> bool {
    let has_both = text.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    has_both
        && text.len() <= CONTENT_TYPE_BYTES
        && text.trim() == text
        && text.bytes().all(is_visible)
}

/// A time as RFC 3339, in milliseconds since 1970.
pub(super) fn time_ms(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

fn expected((at, raw): (usize, &&RawValue)) -> Result<(StreamId, ExpectedVersion), Problem> {
    let here = format!("/expected/{at}");
    let body: ExpectedBody<'_> = object(raw.get(), &here)?;
    let stream = name_at(&body.stream, &format!("{here}/stream"), StreamId::parse)?;
    Ok((stream, expected_json(body.version.get(), &format!("{here}/version"))?))
}

fn condition(raw: &RawValue, limits: &HttpLimits) -> Result<(Query, u64, String), Problem> {
    let body: ConditionBody<'_> = object(raw.get(), "/condition")?;
    let query = parse_query(&body.query, "/condition/query", limits)?;
    Ok((query, body.after.unwrap_or(0), raw.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NewAppend, Problem> {
        to_log(text, &HttpLimits::default())
    }

    #[test]
    fn a_body_is_an_append() {
        let append = parse(
            r#"{"events":[{"type":"A","data":{"n":9007199254740993},"tags":["x"],"stream":"a-1",
                "schema_version":2,"time":"2024-02-29T12:00:00.5+01:00"},
                {"type":"B","data":null},{"type":"C"},
                {"type":"D","datacontenttype":"text/plain","data_base64":"aGk="}],
                "expected":[{"stream":"a-1","version":0},{"stream":"b-1","version":"exists"}],
                "condition":{"query":[{"types":["A"]}],"after":7}}"#,
        )
        .expect("valid");
        let (first, stream) = &append.events[0];
        assert_eq!(first.data, b"{\"n\":9007199254740993}");
        assert_eq!((first.schema_version, first.time_ms), (2, Some(1_709_204_400_500)));
        assert_eq!(stream.as_ref().map(StreamId::as_str), Some("a-1"));
        let rest: Vec<_> = append.events[1..]
            .iter()
            .map(|(event, _)| (event.content_type.as_str(), event.data.as_slice()))
            .collect();
        assert_eq!(rest, [(JSON, &b"null"[..]), (JSON, b"{}"), ("text/plain", b"hi")]);
        assert_eq!(append.expected[0].1, ExpectedVersion::NoStream);
        assert_eq!(append.expected[1].1, ExpectedVersion::Exists);
        let (query, after, text) = append.condition.expect("one");
        assert_eq!((query.items.len(), after), (1, 7));
        assert_eq!(text, r#"{"query":[{"types":["A"]}],"after":7}"#);
    }

    #[test]
    fn appends_to_a_stream_and_to_the_log_are_different_requests() {
        let text = r#"{"events":[{"type":"A"}]}"#;
        let stream = StreamId::parse("a-1").expect("valid");
        let limits = HttpLimits::default();
        let of = |version| to_stream(text, &stream, version, &limits).expect("valid");
        assert_ne!(parse(text).expect("valid").fingerprint, of(ExpectedVersion::Any).fingerprint);
        // A retry is the same request whatever it expects.
        assert_eq!(of(ExpectedVersion::Any).fingerprint, of(ExpectedVersion::Exists).fingerprint);
        assert_eq!(of(ExpectedVersion::Exists).expected.len(), 1);
    }
}
