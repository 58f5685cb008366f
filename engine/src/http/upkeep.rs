//! Answers that take reading the whole log or moving its files: written by a thread of their own,
//! as fast as they are read, a bounded number of a kind at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::app::App;
use super::error::{Problem, UPKEEP_RUNNING};

/// Pieces that are written ahead of who reads them.
const AHEAD: usize = 4;

/// How long to wait for another: whoever read the end of one may ask for the next at once.
const JUST_ENDED: Duration = Duration::from_secs(1);

/// Where the thread writes.
pub(super) struct Sink(Sender<io::Result<Bytes>>);

impl Sink {
    /// Waits until there is room; false when nobody reads any more.
    pub(super) fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.blocking_send(Ok(piece.into())).is_ok()
    }

    /// Whether somebody still reads.
    pub(super) fn is_read(&self) -> bool {
        !self.0.is_closed()
    }

    /// Ends the answer so that it does not look whole.
    pub(super) fn break_off(&self, reason: String) {
        // Whoever went away needs no reason.
        let _ = self.0.blocking_send(Err(io::Error::other(reason)));
    }
}

/// The body that some work writes, once there is a place for it.
pub(super) async fn body(
    app: &App,
    places: &Arc<Semaphore>,
    name: &'static str,
    work: impl FnOnce(&Sink) + Send + 'static,
) -> Result<Body, Problem> {
    let place = Arc::clone(places).acquire_owned();
    // The semaphore is never closed.
    let permit = tokio::time::timeout(JUST_ENDED, place).await.ok().and_then(Result::ok);
    let permit = permit.ok_or_else(|| {
        let detail = format!("there is no place for another {name}; try again later");
        Problem::new(&UPKEEP_RUNNING, detail)
    })?;
    let (sink, pieces) = channel(AHEAD);
    app.engine.beside(name, move || {
        work(&Sink(sink));
        drop(permit);
    });
    let next = |mut pieces: Receiver<_>| async { pieces.recv().await.map(|piece| (piece, pieces)) };
    Ok(Body::from_stream(futures_util::stream::unfold(pieces, next)))
}
