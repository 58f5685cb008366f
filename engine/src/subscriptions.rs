//! Following the log: from a position on, what a query or a stream asks for, as it comes.
//!
//! Promises: every event that is asked for comes once and in order; a batch is bounded in events,
//! in bytes and in what it looks at; a follower that waits holds no buffer, thread or task, and
//! none can hold the writer: a relay is woken by it and wakes them. It knows nothing of how events
//! are delivered.

mod batch;
mod feed;

use std::time::Duration;

use tokio::sync::watch;

use crate::decision::Decision;
use crate::event::RecordedEvent;
use crate::names::StreamId;
use crate::query::Query;
use crate::storage::log::{Log, ReadError};
use crate::tasks;

use batch::{Batch, Place};
pub use feed::{Feed, FeedLimits, Records};

/// What followers may use. Each has a default with a reason.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionLimits {
    /// Events of one batch. 256: some 100 µs of one core.
    pub batch_events: usize,
    /// Bytes of event data after which a batch ends. 64 KiB: what one follower that is behind
    /// holds of memory, and a row of the log.
    pub batch_bytes: usize,
    /// Records and events that one batch looks at to find those asked for. 10,000: some 5 ms of
    /// one core, after which others have their turn.
    pub scan_events: usize,
    /// Records behind the head that are read where the follower runs, since the writer left them
    /// in memory; what is further behind is read beside the asynchronous threads. 256.
    pub near_records: u64,
    /// How often followers are woken in a second, all in all: the more there are, the longer the
    /// relay rests between two rounds. 20,000: a tenth of a core.
    pub wakes_per_second: u32,
    /// The shortest rest between two rounds. 1 ms: nobody sees it, and a busy log fills a batch
    /// meanwhile.
    pub linger: Duration,
}

impl Default for SubscriptionLimits {
    fn default() -> Self {
        Self {
            batch_events: 256,
            batch_bytes: 64 << 10,
            scan_events: 10_000,
            near_records: 256,
            wakes_per_second: 20_000,
            linger: Duration::from_millis(1),
        }
    }
}

/// What is followed.
#[derive(Clone, Debug)]
pub enum Source {
    /// The whole log, as far as it matches.
    Log(Query),
    /// One stream.
    Stream {
        /// The stream.
        stream: StreamId,
        /// Its events after this version.
        version: u64,
    },
}

/// What a follower wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is followed.
    pub source: Source,
    /// Only events after this position, at most the head.
    pub after: u64,
    /// Whether to go on beyond what was there when the subscription began.
    pub live: bool,
    /// How many events to take at most, if not all.
    pub most: Option<u64>,
}

/// What followers are told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// The newest position.
    position: u64,
    /// Whether they are to end.
    closed: bool,
}

/// All followers of one log.
#[derive(Debug)]
pub struct Subscriptions {
    log: Log,
    limits: SubscriptionLimits,
    told: watch::Sender<Told>,
}

/// Gets the events of a batch.
pub type Take<T> = fn(&mut T, &Decision<'_>, &RecordedEvent<'_>);

impl Subscriptions {
    /// No followers yet. They are told of new events while [`Subscriptions::relay`] runs.
    #[must_use]
    pub fn new(log: Log, limits: SubscriptionLimits) -> Self {
        Self { log, limits, told: watch::Sender::default() }
    }

    /// Begins to follow.
    #[must_use]
    pub fn follow(&self, wanted: Wanted) -> Subscription {
        let told = self.told.subscribe();
        let head = self.log.head();
        let Wanted { source, after, live, most } = wanted;
        // A stream's first version is found by the first batch.
        let at_head = matches!(source, Source::Log(_)) && after >= head.position;
        let next = at_head.then_some(head.decision + 1);
        let history = head.position;
        let place = Place { at: after, next, left: most.unwrap_or(u64::MAX) };
        let until = (!live).then_some(history);
        Subscription {
            log: self.log.clone(),
            limits: self.limits,
            told,
            source,
            place,
            history,
            until,
        }
    }

    /// How many followers there are.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.told.receiver_count()
    }

    /// Ends all followers, those that come later too.
    pub fn close(&self) {
        self.told.send_modify(|told| told.closed = true);
    }

    /// Tells followers of new events, resting in between for as long as they are many. It never
    /// ends.
    pub async fn relay(&self) {
        let mut head = self.log.watch_head();
        loop {
            let position = head.borrow_and_update().position;
            let moved = self.told.send_if_modified(|told| {
                let moved = position != told.position;
                told.position = position;
                moved
            });
            if moved {
                tokio::time::sleep(self.rest()).await;
            }
            if head.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn rest(&self) -> Duration {
        let followers = u32::try_from(self.followers()).unwrap_or(u32::MAX);
        let a_wake = Duration::from_secs(1) / self.limits.wakes_per_second.max(1);
        self.limits.linger.max(a_wake.saturating_mul(followers))
    }
}

/// One follower: where it is, and what it wants.
#[derive(Debug)]
pub struct Subscription {
    log: Log,
    limits: SubscriptionLimits,
    told: watch::Receiver<Told>,
    source: Source,
    place: Place,
    /// The head when it began: what comes after is live.
    history: u64,
    /// Where it ends, if it does.
    until: Option<u64>,
}

impl Subscription {
    /// The newest position that was considered.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.place.at
    }

    /// Whether everything was considered that was there when it began.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.place.at >= self.history && self.place.next.is_some()
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.place.left == 0 || (self.until.is_some() && self.is_caught_up())
    }

    /// Whether it goes on beyond what was there when it began.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.until.is_none()
    }

    /// Whether all followers are to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.told.borrow().closed
    }

    /// Waits until there may be more to read or it is closed. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        let at = self.place.at;
        if !self.is_caught_up() {
            return;
        }
        // The sender goes away with the engine: `is_closed` or the next read will tell.
        let _ = self.told.wait_for(|told| told.closed || told.position > at).await;
    }

    /// Reads the next batch into `into`; nothing at the head.
    ///
    /// # Errors
    /// [`ReadError`] when a record is damaged or the file cannot be read.
    pub async fn read<T: Send + 'static>(
        mut self,
        mut into: T,
        take: Take<T>,
    ) -> Result<(Self, T), ReadError> {
        let near = self.limits.near_records;
        let newest = self.log.head().decision;
        if self.place.next.is_some_and(|next| newest.saturating_sub(next) < near) {
            self.read_here(&mut into, take)?;
            return Ok((self, into));
        }
        let read = tasks::blocking(move || {
            self.read_here(&mut into, take)?;
            Ok((self, into))
        });
        read.await.unwrap_or_else(|| Err(ReadError::Unavailable("a read panicked".into())))
    }

    fn read_here<T>(&mut self, into: &mut T, take: Take<T>) -> Result<(), ReadError> {
        let head = self.log.head();
        let end = self.until.map_or(head.position, |until| until.min(head.position));
        let mut batch = Batch::new(&self.log, &self.limits, end, &mut self.place, |d, e| {
            take(into, d, e);
        });
        match &mut self.source {
            Source::Log(query) => batch.read_log(query)?,
            Source::Stream { stream, version } => batch.read_stream(stream, version)?,
        }
        // Everything is considered: what is read next is what comes next.
        if self.place.at >= head.position {
            self.place.next = Some(head.decision + 1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
