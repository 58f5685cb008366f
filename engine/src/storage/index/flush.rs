//! Writing behind: one thread that moves what is fresh to the file.

use std::sync::Arc;
use std::time::Duration;

use super::fresh::Fresh;
use super::window::window_ms;
use super::{Index, IndexError, IndexLimits};
use crate::faults::{Point, fail_point};

/// How long to wait before a flush that failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How many times as much as usual may be in memory while the file cannot be written.
const FRESH_WHILE_FAILING: usize = 4;

/// What the flushing thread is to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// A flush was asked for and is not done.
    wanted: bool,
    /// No more will come.
    closed: bool,
    /// Why the last flush failed.
    failed: Option<IndexError>,
}

#[cfg(test)]
impl Work {
    pub(super) fn is_under_way(&self) -> bool {
        self.wanted && self.failed.is_none()
    }
}

/// The thread's side of the index.
pub(in crate::storage) struct Flusher(Arc<Index>);

impl Index {
    /// The work of the flushing thread.
    pub(in crate::storage) fn flusher(self: &Arc<Self>) -> Flusher {
        Flusher(Arc::clone(self))
    }

    /// Asks for a flush. When the one before is not done, it waits: memory is bounded.
    pub(super) fn start_flush(&self) {
        let (work, moved) = &self.work;
        let mut work = work.lock();
        while work.wanted && !work.closed && work.failed.is_none() {
            moved.wait(&mut work);
        }
        let mut layers = self.layers.write();
        if layers.flushing.is_none() {
            let through = layers.fresh.through;
            let full = std::mem::replace(&mut layers.fresh, Fresh::after(through));
            layers.flushing = Some(Arc::new(full));
        }
        drop(layers);
        work.wanted = true;
        moved.notify_all();
    }

    /// Waits until everything up to a record is in the file.
    pub(in crate::storage) fn flush_through(&self, decision: u64) -> Result<(), IndexError> {
        while self.layers.read().base.decision < decision {
            self.start_flush();
            let (work, moved) = &self.work;
            let mut work = work.lock();
            while work.wanted && work.failed.is_none() && !work.closed {
                moved.wait(&mut work);
            }
            if let Some(error) = &work.failed {
                return Err(error.clone());
            }
            if work.closed {
                return Err(IndexError::Unavailable("it is closed".into()));
            }
        }
        Ok(())
    }

    /// Why no more may be applied, if so: the file cannot be written, and memory is bounded.
    pub(in crate::storage) fn trouble(&self) -> Option<String> {
        let reason = self.work.0.lock().failed.as_ref()?.to_string();
        let kept = self.layers.read().fresh.records;
        (kept >= self.limits.fresh_records.saturating_mul(FRESH_WHILE_FAILING)).then_some(reason)
    }

    /// Ends the flushing thread once everything is written.
    pub(in crate::storage) fn close(&self) {
        if self.layers.read().fresh.records > 0 {
            self.start_flush();
        }
        self.work.0.lock().closed = true;
        self.work.1.notify_all();
    }

    fn flush(&self) -> Result<(), IndexError> {
        let Some(full) = self.layers.read().flushing.clone() else { return Ok(()) };
        let window = self.file.with_database(|database| window_ms(database, &full, &self.limits));
        // Nothing is forgotten while the file cannot be looked at.
        let idempotency_window_ms = window.unwrap_or(u64::MAX);
        self.file.flush(&full, &IndexLimits { idempotency_window_ms, ..self.limits })?;
        fail_point(Point::Index);
        let mut layers = self.layers.write();
        layers.base = full.through;
        layers.flushing = None;
        Ok(())
    }
}

impl Flusher {
    /// Flushes when asked to, until the index is closed.
    pub(in crate::storage) fn run(self) {
        let (work, moved) = &self.0.work;
        loop {
            let mut guard = work.lock();
            while !guard.wanted {
                if guard.closed {
                    return;
                }
                moved.wait(&mut guard);
            }
            drop(guard);
            let flushed = self.0.flush();
            let mut guard = work.lock();
            let failed = flushed.err();
            if let Some(error) = &failed
                && guard.failed != failed
            {
                tracing::error!(%error, "the index cannot be written; it stays in memory");
            }
            guard.failed = failed;
            // What failed is still wanted, unless it is the last that is done.
            guard.wanted = guard.failed.is_some() && !guard.closed;
            moved.notify_all();
            if guard.wanted {
                moved.wait_for(&mut guard, PAUSE);
            }
        }
    }
}
