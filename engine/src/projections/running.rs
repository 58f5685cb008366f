//! One generation under way: its file, its thread's state, and what readers see of it. The file
//! outlives the thread, so that readers never notice a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::guest_query::Answerers;
use super::settings::Held;
use super::status::{Condition, GenerationStatus, Stage, Trouble, remaining, state};
use super::{Maker, ProjectionLimits};
use crate::clock::Clock;
use crate::decision::parse;
use crate::manifest::ProjectionManifest;
use crate::storage::log::Log;
use crate::storage::read_models::{Checkpoint, ReadModelFile};
use crate::tasks::Thread;

/// How far a generation is, and whether another took its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) at: Checkpoint,
    pub(super) is_replaced: bool,
}

/// A generation under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) module: String,
    pub(super) spec: Arc<ProjectionManifest>,
    pub(super) maker: Maker,
    pub(super) file: Arc<ReadModelFile>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) answerers: Answerers,
    pub(super) settings: Arc<Held>,
    /// Whether it takes the place of the one that answers as soon as it caught up.
    pub(super) swaps: AtomicBool,
    /// Held while what readers see moves: whoever holds it keeps it still.
    pub(super) publishing: Mutex<()>,
    condition: Mutex<Condition>,
    clock: Clock,
    again: AtomicBool,
    stop: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Running {
    pub(super) fn new(
        spec: &ProjectionManifest,
        maker: &Maker,
        file: Arc<ReadModelFile>,
        settings: Arc<Held>,
        clock: &Clock,
        limits: &ProjectionLimits,
    ) -> Result<Self, String> {
        let at = file.checkpoint().map_err(|error| error.to_string())?;
        let at = at.unwrap_or(Checkpoint::START);
        Ok(Self {
            module: maker.manifest.name.clone(),
            spec: Arc::new(spec.clone()),
            maker: maker.clone(),
            file,
            progress: watch::Sender::new(Progress { at, is_replaced: false }),
            answerers: Answerers::new(maker.component.clone(), limits.guest_queries),
            settings,
            swaps: AtomicBool::new(true),
            publishing: Mutex::new(()),
            condition: Mutex::new(Condition::new(at.position, clock.now_ms())),
            clock: clock.clone(),
            again: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: Mutex::new(None),
        })
    }

    pub(super) fn started(&self, thread: Thread) {
        *self.thread.lock() = Some(thread);
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.lock().take() {
            thread.join();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Tells the thread that it is over, and those who wait for it to look again.
    pub(super) fn replace(&self) {
        self.stop.store(true, Ordering::Release);
        self.progress.send_modify(|progress| progress.is_replaced = true);
    }

    /// Whether a read model is one of its.
    pub(super) fn makes(&self, read_model: &str) -> bool {
        self.spec.collections.iter().any(|collection| collection.name == read_model)
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.progress.borrow().is_replaced
    }

    pub(super) fn at(&self) -> Checkpoint {
        self.progress.borrow().at
    }

    /// Shows readers how far it is.
    pub(super) fn publish(&self, at: Checkpoint) {
        let is_new = self
            .progress
            .send_if_modified(|progress| std::mem::replace(&mut progress.at, at) != at);
        if is_new {
            self.condition.lock().moved_to(at.position);
        }
    }

    /// Asks a thread that cannot go on to try again.
    pub(super) fn try_again(&self) {
        self.again.store(true, Ordering::Release);
    }

    pub(super) fn takes_again(&self) -> bool {
        self.again.swap(false, Ordering::AcqRel)
    }

    pub(super) fn stage(&self) -> Stage {
        self.condition.lock().stage()
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.condition.lock().enter(stage, self.clock.now_ms());
    }

    pub(super) fn fail(&self, reason: String, events: Option<(u64, u64)>) {
        self.condition.lock().fail(Trouble { reason, events, at_ms: self.clock.now_ms() });
    }

    pub(super) fn note(&self, reason: String, events: Option<(u64, u64)>) {
        self.condition.lock().note(Trouble { reason, events, at_ms: self.clock.now_ms() });
    }

    /// What it stopped at, if it did.
    pub(super) fn failure(&self) -> Option<Trouble> {
        let condition = self.condition.lock();
        condition.trouble().filter(|_| condition.stage() == Stage::Failed).cloned()
    }

    pub(super) fn status(
        &self,
        log: &Log,
        limits: &ProjectionLimits,
        is_build: bool,
    ) -> GenerationStatus {
        let at = self.at();
        let next = log.record(at.decision + 1).ok().flatten();
        let waiting_since =
            next.and_then(|record| parse(&record).ok().map(|d| d.header.recorded_at_ms));
        let lag_events = log.head().position.saturating_sub(at.position);
        let condition = self.condition.lock();
        let rate = condition.rate(at.position);
        GenerationStatus {
            version: self.spec.version,
            module: self.module.clone(),
            state: state(condition.stage(), is_build, &self.settings.now()),
            since_ms: condition.since_ms(),
            position: at.position,
            lag_events,
            lag_ms: waiting_since.map_or(0, |since| self.clock.now_ms().saturating_sub(since)),
            rate,
            remaining: remaining(lag_events, rate),
            is_stalled: condition.is_stalled(lag_events, limits.stalled_after),
            trouble: condition.trouble().cloned(),
        }
    }
}
