//! Which of the answers that a route has a client asks for.

use axum::http::{HeaderMap, header};

use super::body::NDJSON;
use super::cloud_events::{BATCH, ONE};

/// Server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// How an answer is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// JSON, and whatever nobody asked otherwise for.
    Json,
    /// CloudEvents: one, or a batch where there may be several.
    CloudEvents,
    /// Server-sent events.
    Events,
    /// A value a line.
    Lines,
}

/// What the header `Accept` names first of the answers that are known here.
pub(super) fn accepted(headers: &HeaderMap) -> Accepted {
    let all = headers.get_all(header::ACCEPT).into_iter();
    let types = all.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let essences = types.map(|media| media.split(';').next().unwrap_or_default().trim());
    let known = |essence: &str| match essence.to_ascii_lowercase().as_str() {
        EVENT_STREAM => Some(Accepted::Events),
        NDJSON => Some(Accepted::Lines),
        ONE | BATCH => Some(Accepted::CloudEvents),
        "application/json" | "application/*" | "*/*" => Some(Accepted::Json),
        _ => None,
    };
    essences.filter_map(known).next().unwrap_or(Accepted::Json)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_media_type_that_is_known_counts() {
        let asked = |accept: &'static str| {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))];
            accepted(&headers.into_iter().collect())
        };
        assert_eq!(asked("text/event-stream"), Accepted::Events);
        assert_eq!(asked("Text/Event-Stream;q=1, */*"), Accepted::Events);
        assert_eq!(asked("text/html, application/x-ndjson"), Accepted::Lines);
        assert_eq!(asked("Application/CloudEvents+JSON; charset=UTF-8"), Accepted::CloudEvents);
        assert_eq!(asked("application/cloudevents-batch+json, */*"), Accepted::CloudEvents);
        for plain in [
            "*/*",
            "application/json, text/event-stream",
            "text/html",
            "",
            "application/cloudevents",
        ] {
            assert_eq!(asked(plain), Accepted::Json, "{plain}");
        }
        assert_eq!(accepted(&HeaderMap::new()), Accepted::Json);
    }
}
