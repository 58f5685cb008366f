//! Health and metrics: is it alive, may it be sent work, how is it doing.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use super::answer::{Answer, json, json_response};
use super::app::Shared;
use super::body::read_json;
use super::error::{Fault, More, NOT_READY, Problem, UNKNOWN_ROUTE};
use super::params::Params;

/// `GET /livez`: the process answers.
pub(super) async fn live(request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    Ok(json_response(b"{\"status\":\"live\"}".to_vec()))
}

#[derive(Serialize)]
struct ReadyBody {
    status: &'static str,
    projections: Vec<Unhealthy>,
}

/// A generation that is behind and does not move.
#[derive(Serialize)]
struct Unhealthy {
    projection: String,
    version: u32,
    state: &'static str,
    lag_events: u64,
    error: Option<String>,
}

/// `GET /readyz`: commands would be taken; if not, why. With `?verbose` also which projections are
/// in trouble: that is no reason to send commands elsewhere.
pub(super) async fn ready(State(app): State<Shared>, request: Request) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let is_verbose = params.one("verbose")?.is_some();
    params.end()?;
    let trouble = app.engine.log().trouble().map(|refusal| refusal.to_string());
    let dead = app.engine.dead_threads();
    let dead = dead.iter().map(|thread| format!("the thread {thread} died; restart the server"));
    let damage = app.engine.log().index_damage();
    let reasons: Vec<_> = trouble.into_iter().chain(damage).chain(dead).collect();
    if reasons.is_empty() && is_verbose {
        let projections = unhealthy(&app);
        return json(&ReadyBody { status: "ready", projections });
    }
    if reasons.is_empty() {
        return Ok(json_response(b"{\"status\":\"ready\"}".to_vec()));
    }
    let detail = reasons.join("; ");
    let errors = reasons.into_iter().map(Fault::anywhere).collect();
    Err(Problem::new(&NOT_READY, detail).with(More { errors, ..More::default() }))
}

fn unhealthy(app: &Shared) -> Vec<Unhealthy> {
    let mut found = Vec::new();
    for status in app.engine.projections().list() {
        let generations = std::iter::once(status.answering).chain(status.build);
        for generation in generations.filter(|generation| generation.is_stalled) {
            found.push(Unhealthy {
                projection: status.projection.clone(),
                version: generation.version,
                state: generation.state.name(),
                lag_events: generation.lag_events,
                error: generation.trouble.map(|trouble| trouble.reason),
            });
        }
    }
    found
}

/// `GET /metrics`, for Prometheus.
pub(super) async fn metrics(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let Some(metrics) = &app.metrics else {
        return Err(Problem::new(&UNKNOWN_ROUTE, "this server collects no metrics"));
    };
    let mut response = Response::new(metrics.render(&app.engine).into());
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// `POST /v1/nothing`: takes a body of JSON and does nothing, so that the cost of HTTP alone can
/// be measured. Only there when asked for.
pub(super) async fn nothing(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    read_json(&parts.headers, body, &app.limits).await?;
    Ok(json_response(b"{}".to_vec()))
}
