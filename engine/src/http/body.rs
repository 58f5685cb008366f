//! Bodies of requests: of the right content type, within their limit, in time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::error::{
    BODY_CUT_SHORT, BODY_TOO_LARGE, Fault, INVALID_JSON, More, Problem, REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
};
use super::limits::HttpLimits;

/// JSON.
pub(super) const JSON: &str = "application/json";
/// A value of JSON a line.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// A component.
pub(super) const WASM: &str = "application/wasm";

/// Bytes of a body that is too large which are read and dropped, so that a client that sends
/// before it listens still gets its answer.
const DRAIN_BYTES: usize = 16 << 20;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The most bytes that a body may have, by the name of the limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct MostBytes(pub(super) usize, pub(super) &'static str);

/// Reads a body of JSON: compact text, or `{}` where there is none.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    limits: &HttpLimits,
) -> Result<String, Problem> {
    let most = MostBytes(limits.body_bytes, "body_bytes");
    let bytes = read(headers, body, most, limits.body_timeout).await?;
    if bytes.is_empty() {
        return Ok("{}".to_owned());
    }
    expect_type(headers, JSON)?;
    compact_json(&bytes)
}

/// Checks bytes that should be JSON and drops their white space.
pub(super) fn compact_json(bytes: &[u8]) -> Result<String, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let fault = Fault::at_byte(Some(error.valid_up_to()), "this byte is not UTF-8");
        let more = More { errors: vec![fault], ..More::default() };
        Problem::new(&INVALID_JSON, "the body is not UTF-8").with(more)
    })?;
    Ok(crate::json::compact(text)?.into_owned())
}

/// Refuses a body of another content type.
pub(super) fn expect_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.map(|text| text.split(';').next().unwrap_or(text).trim());
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    let given = given.map_or_else(|| "none".to_owned(), |text| format!("{text:?}"));
    let detail = format!("the body must be {wanted}, and its Content-Type is {given}");
    Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE, detail))
}

/// Reads a whole body.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    most: MostBytes,
    time: Duration,
) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok());
    let read = if announced.is_some_and(|bytes| bytes > most.0) {
        Err(too_large(most))
    } else {
        tokio::time::timeout(time, collect(&mut body, most)).await.unwrap_or_else(|_| {
            let seconds = time.as_secs();
            let detail = format!("the body did not arrive within {seconds} s (body_timeout)");
            Err(Problem::new(&REQUEST_TIMEOUT, detail))
        })
    };
    if read.is_err() {
        discard(&mut body).await;
    }
    read
}

async fn collect(body: &mut Body, most: MostBytes) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| cut_short(&error))?.into_data() else { continue };
        if first.len() + all.len() + data.len() > most.0 {
            return Err(too_large(most));
        }
        // A body in one piece, as nearly all are, is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads a body that nobody wants, within bounds.
pub(super) async fn discard(body: &mut Body) {
    // What it holds is of no interest, and neither is how it ends.
    let _ = tokio::time::timeout(DRAIN_TIME, drain(body)).await;
}

async fn drain(body: &mut Body) {
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await {
        dropped += frame.data_ref().map_or(0, Bytes::len);
        if dropped > DRAIN_BYTES {
            return;
        }
    }
}

/// A body whose end never came.
pub(super) fn cut_short(error: &axum::Error) -> Problem {
    Problem::new(&BODY_CUT_SHORT, format!("the body could not be read to its end: {error}"))
}

fn too_large(MostBytes(most, limit): MostBytes) -> Problem {
    let more = More { limit: Some(limit), ..More::default() };
    Problem::new(&BODY_TOO_LARGE, format!("a body may have {most} bytes here ({limit})")).with(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(value: &'static str) -> HeaderMap {
        [(header::CONTENT_TYPE, value.parse().expect("valid"))].into_iter().collect()
    }

    #[test]
    fn content_types_are_compared_without_their_parameters() {
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(expect_type(&typed(good), JSON).is_ok(), "{good}");
        }
        for bad in ["text/plain", "application/json5", "", "application/x-www-form-urlencoded"] {
            assert!(expect_type(&typed(bad), JSON).is_err(), "{bad}");
        }
        assert!(expect_type(&HeaderMap::new(), JSON).is_err());
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let most = MostBytes(4, "body_bytes");
        let pieces = |texts: &'static [&'static str]| {
            let pieces = texts.iter().map(|text| Ok::<_, std::io::Error>(Bytes::from(*text)));
            Body::from_stream(futures_util::stream::iter(pieces))
        };
        let time = Duration::from_secs(1);
        let headers = HeaderMap::new();
        for good in [&["abcd"][..], &["ab", "", "cd"], &["", ""], &[]] {
            let read = read(&headers, pieces(good), most, time).await.expect("fits");
            assert_eq!(read, good.concat());
        }
        assert!(read(&headers, pieces(&["abc", "de"]), most, time).await.is_err());
    }

    #[tokio::test]
    async fn no_body_is_an_empty_object() {
        let limits = HttpLimits::default();
        let read = |headers, text: &'static str| async move {
            read_json(&headers, Body::from(text), &HttpLimits::default()).await
        };
        assert_eq!(read_json(&HeaderMap::new(), Body::empty(), &limits).await.expect("{}"), "{}");
        assert_eq!(read(typed(JSON), " { \"a\": 1 } ").await.expect("JSON"), "{\"a\":1}");
        for bad in ["{\"a\":1,\"a\":2}", "{", "\u{feff}{}"] {
            assert!(read(typed(JSON), bad).await.is_err(), "{bad}");
        }
        assert!(read(HeaderMap::new(), "{}").await.is_err(), "no content type");
    }
}
