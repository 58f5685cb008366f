//! `POST /v1/verify`: whether the store is as it was written, while it is used: a line of progress
//! now and then, and a last line with the report.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;

use crate::archive::Reading;
use crate::checkpoints::PublicKey;
use crate::clock::Stopwatch;
use crate::verify::{Kept, Progress, read_kept, verify};

use super::answer::Answer;
use super::app::Shared;
use super::body::{NDJSON, read_json};
use super::error::{Fault, INVALID_BODY, More, Problem};
use super::params::Params;
use super::upkeep;

/// How often it is said how far it is.
const EVERY: Duration = Duration::from_millis(500);

/// Checkpoints that somebody kept, and the keys that must have signed them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    against: String,
    #[serde(default)]
    keys: Vec<String>,
}

/// `POST /v1/verify`, with `{"against": …, "keys": […]}` or nothing.
pub(super) async fn post(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let text = read_json(&parts.headers, body, &app.limits).await?;
    let against = against(&text)?;
    let (engine, pace) = (Arc::clone(&app.engine), app.engine.upkeep());
    let body = upkeep::body(&app, &app.upkeep, "verify", move |sink| {
        let reading = engine.archiver().reading();
        let subject = engine.subject();
        drop(engine);
        let mut said = Stopwatch::start();
        let verified = verify(&subject, against, pace, |progress| {
            if said.elapsed() < EVERY {
                return sink.is_read() && reading.is_whole();
            }
            said = Stopwatch::start();
            sink.send(line("progress", &view(progress))) && reading.is_whole()
        });
        match verified {
            Ok(report) => drop(sink.send(line("report", &report))),
            Err(_) if !reading.is_whole() => sink.break_off(Reading::BROKEN.into()),
            Err(reason) => sink.break_off(reason),
        }
    })
    .await?;
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}

fn against(text: &str) -> Result<Kept, Problem> {
    let body: Body = serde_json::from_str(text)
        .map_err(|error| Problem::new(&INVALID_BODY, error.to_string()))?;
    if body.against.is_empty() {
        return Ok(Kept::new());
    }
    let wrong = |pointer: &'static str, detail: String| {
        let errors = vec![Fault::at(pointer, detail.clone())];
        Problem::new(&INVALID_BODY, detail).with(More { errors, ..More::default() })
    };
    let keys = body.keys.iter().map(|key| {
        let not_one = || wrong("/keys", format!("{key:?} is not a public key"));
        PublicKey::parse(key).ok_or_else(not_one)
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    read_kept("the body", &body.against, &keys).map_err(|reason| wrong("/against", reason))
}

fn view(progress: &Progress) -> serde_json::Value {
    serde_json::json!({
        "decision": progress.decision,
        "events": progress.events,
        "of": progress.of,
        "events_per_second": progress.events_per_second,
    })
}

pub(super) fn line(name: &str, value: &impl serde::Serialize) -> Vec<u8> {
    // Numbers and strings: there is nothing that could fail.
    let value = serde_json::to_string(value).unwrap_or_default();
    format!("{{\"{name}\":{value}}}\n").into_bytes()
}
