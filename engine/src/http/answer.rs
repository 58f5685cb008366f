//! Answers below 400: their headers and JSON, written once into one buffer.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use super::error::Problem;

/// The position that an answer knows of.
pub(super) const POSITION: HeaderName = HeaderName::from_static("factum-position");
/// Set on an answer that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// What `REPLAYED` says.
pub(super) const TRUE: HeaderValue = HeaderValue::from_static("true");
/// For what never changes.
pub(super) const IMMUTABLE: HeaderValue =
    HeaderValue::from_static("private, max-age=31536000, immutable");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a handler ends with.
pub(super) type Answer = Result<Response, Problem>;

/// An ordinary answer of JSON text.
pub(super) fn json_response(text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// An ordinary answer of a value.
pub(super) fn json(value: &impl Serialize) -> Answer {
    to_json(value).map(json_response)
}

/// A value as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::with_capacity(1024);
    match serde_json::to_writer(&mut text, value) {
        Ok(()) => Ok(text),
        Err(error) => Err(Problem::internal(&error.to_string())),
    }
}

/// Says which position the answer knows of.
pub(super) fn with_position(response: &mut Response, position: u64) {
    response.headers_mut().insert(POSITION, HeaderValue::from(position));
}

/// Says which version of a stream the answer shows.
pub(super) fn with_version(response: &mut Response, version: u64) {
    if let Ok(etag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

/// Says that the answer was given before.
pub(super) fn with_replay(response: &mut Response) {
    response.headers_mut().insert(REPLAYED, TRUE);
}
