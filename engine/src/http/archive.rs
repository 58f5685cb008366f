//! `GET /v1/archive`, `POST /v1/archive` and `POST /v1/unarchive`: closed files of the log go to
//! the archive and come back, while the server runs: a line for each, and a last one with what is
//! archived then, or the problem that ended it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;

use crate::archive::{ArchiveError, Archiver, FileView, Point};

use super::answer::{Answer, json};
use super::app::Shared;
use super::body::{NDJSON, read_json};
use super::error::{Fault, INVALID_BODY, More, Problem};
use super::events::blocking;
use super::params::Params;
use super::upkeep;
use super::verify::line;

/// What the bodies may say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    before: Option<PointBody>,
    after: Option<PointBody>,
}

/// A position, or a time as RFC 3339 writes it.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct PointBody(Point);

impl TryFrom<serde_json::Value> for PointBody {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.parse().map(Self)
    }
}

/// `GET /v1/archive`: what is archived, and whether it can be read.
pub(super) async fn get(State(app): State<Shared>, request: Request) -> Answer {
    Params::parse(request.uri())?.end()?;
    let archiver = Arc::clone(app.engine.archiver());
    json(&blocking(move || Ok(archiver.view())).await?)
}

/// `POST /v1/archive`, with `{"before": …}` or nothing: what is older is moved to the archive.
pub(super) async fn archive(State(app): State<Shared>, request: Request) -> Answer {
    let body = read(&app, request).await?;
    if body.after.is_some() {
        return Err(misplaced("/after", "before"));
    }
    if app.engine.log().archive_dir().is_none() {
        return Err(ArchiveError::NoPlace.into());
    }
    let before = body.before.map(|point| point.0);
    answer(&app, move |archiver, moved| archiver.archive(before, moved)).await
}

/// `POST /v1/unarchive`, with `{"after": …}` or nothing: what is newer is brought back.
pub(super) async fn unarchive(State(app): State<Shared>, request: Request) -> Answer {
    let body = read(&app, request).await?;
    if body.before.is_some() {
        return Err(misplaced("/before", "after"));
    }
    let after = body.after.map(|point| point.0);
    answer(&app, move |archiver, moved| archiver.unarchive(after, moved)).await
}

async fn read(app: &Shared, request: Request) -> Result<Body, Problem> {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let text = read_json(&parts.headers, body, &app.limits).await?;
    serde_json::from_str(&text).map_err(|error| Problem::new(&INVALID_BODY, error.to_string()))
}

fn misplaced(pointer: &'static str, instead: &str) -> Problem {
    let detail = format!("this route knows {instead:?} only");
    let errors = vec![Fault::at(pointer, detail.clone())];
    Problem::new(&INVALID_BODY, detail).with(More { errors, ..More::default() })
}

type Moved<'m> = &'m mut dyn FnMut(FileView) -> bool;

async fn answer(
    app: &Shared,
    work: impl FnOnce(&Archiver, Moved<'_>) -> Result<(), ArchiveError> + Send + 'static,
) -> Answer {
    let archiver = Arc::clone(app.engine.archiver());
    let body = upkeep::body(app, &app.moves, "archive", move |sink| {
        let moved = work(&archiver, &mut |file| sink.send(line("moved", &file)));
        let last = match moved {
            Ok(()) => line("archive", &archiver.view()),
            Err(error) => {
                let problem = Problem::from(error).to_json(None);
                [b"{\"problem\":".as_slice(), &problem, b"}\n"].concat()
            }
        };
        // Whoever went away knows what was moved by asking.
        sink.send(last);
    })
    .await?;
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}
