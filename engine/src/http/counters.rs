//! Requests counted by route and class of answer: a fixed number of series, made once.

use axum::http::{Method, StatusCode};
use metrics::Counter;

/// The routes told apart. Their order is that of the counters.
const ROUTES: [&str; 11] = [
    "command",
    "commands",
    "state",
    "stream",
    "events",
    "decisions",
    "read_models",
    "projections",
    "modules",
    "health",
    "other",
];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Counts requests.
pub(super) struct Counters(Vec<[Counter; 4]>);

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counters")
    }
}

impl Counters {
    /// Registers all series with the recorder that is installed.
    pub(super) fn new() -> Self {
        let of_route = |route: &'static str| {
            CLASSES.map(|class| {
                metrics::counter!("factum_http_requests_total", "route" => route, "class" => class)
            })
        };
        Self(ROUTES.into_iter().map(of_route).collect())
    }

    /// Counts an answer.
    pub(super) fn count(&self, route: &'static str, status: StatusCode) {
        let at = ROUTES.iter().position(|name| *name == route);
        let class = usize::from(status.as_u16() / 100).checked_sub(2);
        let counters = at.and_then(|at| self.0.get(at));
        if let Some(counter) = counters.zip(class).and_then(|(of, class)| of.get(class)) {
            counter.increment(1);
        }
    }
}

/// The route that a request is counted under.
pub(super) fn route(method: &Method, path: &str) -> &'static str {
    let Some(path) = path.strip_prefix("/v1/") else {
        return if matches!(path, "/livez" | "/readyz" | "/metrics") { "health" } else { "other" };
    };
    match path.split('/').next() {
        Some("aggregates") if method == Method::POST => "command",
        Some("aggregates") => "state",
        Some("commands") => "commands",
        Some("streams") => "stream",
        Some("events") => "events",
        Some("decisions") => "decisions",
        Some("read-models") => "read_models",
        Some("projections") => "projections",
        Some("modules") => "modules",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_a_route_that_is_counted() {
        for (method, path, expected) in [
            (Method::POST, "/v1/aggregates/a/1/commands/x", "command"),
            (Method::GET, "/v1/aggregates/a/1", "state"),
            (Method::GET, "/v1/events", "events"),
            (Method::GET, "/livez", "health"),
            (Method::GET, "/v1/nothing", "other"),
            (Method::GET, "/", "other"),
            (Method::GET, "", "other"),
        ] {
            assert_eq!(route(&method, path), expected, "{path}");
            assert!(ROUTES.contains(&expected));
        }
        Counters::new().count("other", StatusCode::CONTINUE);
    }
}
