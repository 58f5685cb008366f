//! How long the writer waits for a group to fill.
//!
//! Whoever was just answered often has the next append ready within microseconds. A writer that
//! goes on at once with the first of them splits its writers into two halves that take turns, and
//! each waits for two syncs. So it waits for as many as there lately were, but no longer than a
//! fraction of a sync; a lone writer, or one after a pause, never waits.

use std::time::Duration;

use crate::clock::Stopwatch;

/// The part of a sync's time that may be waited.
const PART: u32 = 3;
/// The most that is waited, however slow the disk.
const MOST: Duration = Duration::from_millis(1);

/// What the last groups were like.
#[derive(Debug, Default)]
pub(super) struct Pace {
    commit: Duration,
    around: usize,
    since: Option<Stopwatch>,
}

/// Until when to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    since: Stopwatch,
    at_most: Duration,
}

impl Pace {
    /// A commit took this long.
    pub(super) fn committed(&mut self, took: Duration) {
        self.commit = took;
    }

    /// So many were answered just now, or wait in the queue since before.
    pub(super) fn answered(&mut self, count: usize) {
        self.around = count;
        self.since = Some(Stopwatch::start());
    }

    /// How many to expect; none after a pause.
    pub(super) fn expected(&self) -> usize {
        match self.since {
            Some(since) if since.elapsed() < self.at_most() => self.around,
            _ => 0,
        }
    }

    /// How long to wait for them, from now on.
    pub(super) fn patience(&self) -> Patience {
        Patience { since: Stopwatch::start(), at_most: self.at_most() }
    }

    fn at_most(&self) -> Duration {
        (self.commit / PART).min(MOST)
    }
}

impl Patience {
    /// What is left of the time.
    pub(super) fn left(&self) -> Option<Duration> {
        self.at_most.checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())
    }
}
