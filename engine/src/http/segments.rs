//! The variable parts of a path, parsed into names before a handler sees them.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::names::{DocumentKey, Key, Name, NameError, StreamId};

use super::error::{INVALID_NAME, Problem};

/// The decoded segments of a matched path. What is asked of them must be part of the route.
#[derive(Debug)]
pub(super) struct Segments(RawPathParams);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match RawPathParams::from_request_parts(parts, state).await {
            Ok(segments) => Ok(Self(segments)),
            Err(_) => Err(Problem::new(
                &INVALID_NAME,
                "a segment of the path is not percent-encoded UTF-8",
            )),
        }
    }
}

impl Segments {
    /// The name at `{segment}`.
    pub(super) fn name(&self, segment: &str) -> Result<Name, Problem> {
        self.parse(segment, Name::parse)
    }

    /// The id at `{segment}`.
    pub(super) fn key(&self, segment: &str) -> Result<Key, Problem> {
        self.parse(segment, Key::parse)
    }

    /// The stream id at `{segment}`.
    pub(super) fn stream(&self, segment: &str) -> Result<StreamId, Problem> {
        self.parse(segment, StreamId::parse)
    }

    /// The document key at `{segment}`.
    pub(super) fn document_key(&self, segment: &str) -> Result<DocumentKey, Problem> {
        self.parse(segment, DocumentKey::parse)
    }

    /// The number at `{segment}`.
    pub(super) fn number(&self, segment: &str) -> Result<u64, Problem> {
        let text = self.text(segment);
        // `+7` is a number to Rust and not to us.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| Problem::new(&INVALID_NAME, format!("{segment} is not a whole number")))
    }

    /// The text at `{segment}`, which the caller looks up as it is.
    pub(super) fn text(&self, segment: &str) -> &str {
        self.0.iter().find(|(name, _)| *name == segment).map_or("", |(_, value)| value)
    }

    fn parse<T>(
        &self,
        segment: &str,
        parse: impl FnOnce(&str) -> Result<T, NameError>,
    ) -> Result<T, Problem> {
        parse(self.text(segment)).map_err(|NameError { what, rule }| {
            let detail = format!("{segment} is not a valid {what}: it must be {rule}");
            Problem::new(&INVALID_NAME, detail)
        })
    }
}
