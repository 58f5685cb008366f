//! `GET /v1/backup`: a consistent copy of the store as one tar stream, taken while it is used.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;

use crate::archive::Reading;
use crate::backup::{BackupError, Source, span, write};

use super::answer::{Answer, with_position};
use super::app::{App, Shared};
use super::body::read_json;
use super::error::Problem;
use super::events::blocking;
use super::params::Params;
use super::shape::{invalid_at, object};
use super::upkeep::{self, Sink};

const TAR: HeaderValue = HeaderValue::from_static("application/x-tar");
/// Bytes that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// What a backup goes on from.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The newest decision that is backed up.
    #[serde(default)]
    after: u64,
    /// The digests of components that are.
    #[serde(default)]
    without: BTreeSet<String>,
}

/// `GET /v1/backup`: all, or what came after the decision `?after=`, with all components.
pub(super) async fn get(State(app): State<Shared>, request: Request) -> Answer {
    let mut params = Params::parse(request.uri())?;
    let after = params.parsed("after")?.unwrap_or(0);
    params.end()?;
    answer(&app, Wanted { after, ..Wanted::default() }).await
}

/// `POST /v1/backup`, with `{"after": …, "without": […]}`: the same without those components.
pub(super) async fn post(State(app): State<Shared>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    Params::parse(&parts.uri)?.end()?;
    let text = read_json(&parts.headers, body, &app.limits).await?;
    let wanted: Wanted = object(&text, "")?;
    if wanted.after == 0 && !wanted.without.is_empty() {
        return Err(invalid_at("/without", "a backup that goes on from none leaves out nothing"));
    }
    answer(&app, wanted).await
}

async fn answer(app: &App, Wanted { after, without }: Wanted) -> Answer {
    let (engine, pace) = (Arc::clone(&app.engine), app.engine.upkeep());
    let begun = blocking(move || {
        let reading = engine.archiver().reading();
        let source = Source { without, ..engine.backup_source()? };
        let span = span(&source, after)?;
        Ok((reading, source, span))
    });
    let (reading, source, span) = begun.await?;
    let (position, decision) = (span.through.position, span.through.decision);
    let body = upkeep::body(app, &app.upkeep, "backup", move |sink| {
        let out = Pieces { sink, reading, piece: Vec::with_capacity(PIECE_BYTES) };
        if let Err(error) = write(&source, span, pace, out) {
            if !matches!(error, BackupError::Io(_)) {
                tracing::error!(%error, "a backup was broken off");
            }
            sink.break_off(error.to_string());
        }
    })
    .await?;
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, TAR);
    let name = format!("attachment; filename=\"factum-{after}-{decision}.tar\"");
    let name = HeaderValue::try_from(name).map_err(|e| Problem::internal(&e.to_string()))?;
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    with_position(&mut response, position);
    Ok(response)
}

/// Gathers what is written to pieces worth sending.
struct Pieces<'s> {
    sink: &'s Sink,
    reading: Reading,
    piece: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
        self.piece.extend_from_slice(part);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.reading.is_whole() {
            return Err(io::Error::other(Reading::BROKEN));
        }
        let piece = std::mem::take(&mut self.piece);
        let is_read = piece.is_empty() || self.sink.send(Bytes::from(piece));
        if is_read { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}
