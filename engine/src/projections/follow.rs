//! The thread of one projection: waits for events, projects a batch, writes it with its
//! checkpoint, tells those who wait. It stops at an event that cannot be projected.

use std::sync::Arc;
use std::time::Duration;

use super::batch::{self, ProjectError};
use super::generation::Generation;
use super::{ProjectionLimits, ProjectionState, Running};
use crate::clock::Stopwatch;
use crate::runtime::{Change, Component, Instance};
use crate::storage::log::Log;
use crate::storage::read_models::WriteError;
use crate::subscriptions::{Feed, Records};

/// How often a thread with nothing to do looks whether it should stop.
const IDLE: Duration = Duration::from_millis(100);
/// How long to wait before a file that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    running: Arc<Running>,
    log: Log,
    feed: Arc<Feed>,
    component: Component,
    limits: ProjectionLimits,
    instance: Option<Instance>,
    generation: Generation,
    /// Whether an index may be unfinished.
    builds: bool,
}

/// Why a batch was not applied.
enum Stuck {
    /// The projection cannot go on by itself.
    Failed(String),
    /// The storage failed; it is tried again.
    Storage(String),
}

impl From<WriteError> for Stuck {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(conflict) => Self::Failed(conflict.to_string()),
            WriteError::File(error) => Self::Storage(error.to_string()),
        }
    }
}

impl Follower {
    pub(super) fn new(
        running: Arc<Running>,
        (log, feed): (Log, Arc<Feed>),
        component: Component,
        limits: ProjectionLimits,
    ) -> Self {
        let at = *running.progress.borrow();
        let file = Arc::clone(&running.file);
        let generation = Generation::new(file, &running.spec, at, limits.clone());
        Self { running, log, feed, component, limits, instance: None, generation, builds: true }
    }

    pub(super) fn run(mut self) {
        while !self.running.is_stopped() {
            match self.step() {
                Ok(()) => {}
                Err(Stuck::Storage(reason)) => {
                    self.say(ProjectionState::Failed { reason });
                    self.pause(RETRY);
                    self.reopen();
                }
                Err(Stuck::Failed(reason)) => self.stay(reason),
            }
        }
        self.sync();
    }

    fn step(&mut self) -> Result<(), Stuck> {
        let at = self.generation.at().decision;
        let patience = if self.builds { Duration::ZERO } else { IDLE };
        let head = self.log.wait_past(at, patience);
        if head.decision > at {
            let behind = head.decision - at;
            if behind < u64::try_from(self.limits.feed.part_records).unwrap_or(u64::MAX) {
                std::thread::sleep(self.limits.linger);
            } else {
                self.say(ProjectionState::CatchingUp);
            }
            let records = self.feed.read(at + 1);
            if let Some(records) = records.map_err(|error| Stuck::Storage(error.to_string()))? {
                self.take(&records)?;
            }
        }
        if self.generation.at().decision >= self.log.head().decision {
            self.flush()?;
            self.say(ProjectionState::Live);
        } else if self.generation.is_full() {
            self.flush()?;
        }
        if self.builds {
            self.builds = self.generation.build()?;
        }
        Ok(())
    }

    /// Projects a batch; when it fails, its records one by one, so that all before the one that
    /// fails are applied and the trouble has a position.
    fn take(&mut self, records: &Records) -> Result<(), Stuck> {
        let after = |records: &Records| {
            batch::after(records).map_err(|error| Stuck::Storage(error.to_string()))
        };
        if !self.generation.is_unique()
            && let Ok(changes) = self.project(records)?
        {
            return Ok(self.generation.take(changes, after(records)?)?);
        }
        for single in records.singles() {
            let after = after(&single)?;
            let first = self.generation.at().position + 1;
            let stuck = |reason: String| match after.position {
                last if last > first => {
                    Stuck::Failed(format!("at positions {first} to {last}: {reason}"))
                }
                _ => Stuck::Failed(format!("at position {first}: {reason}")),
            };
            let changes = self.project(&single)?.map_err(stuck)?;
            match self.generation.take(changes, after) {
                Err(WriteError::Conflict(conflict)) => return Err(stuck(conflict.to_string())),
                taken => taken?,
            }
        }
        Ok(())
    }

    fn project(&mut self, records: &Records) -> Result<Result<Vec<Change>, String>, Stuck> {
        let mut instance = match self.instance.take().filter(|instance| !instance.is_spent()) {
            Some(instance) => instance,
            None => match self.component.instantiate(&self.running.module) {
                Ok(instance) => instance,
                Err(error) => return Ok(Err(error.to_string())),
            },
        };
        let spec = &self.running.spec;
        let look = self.generation.look(spec).map_err(WriteError::File)?;
        let look = Arc::new(look);
        let answer =
            batch::project(records, spec, |events| instance.project(&spec.name, events, look));
        self.instance = Some(instance);
        match answer {
            Ok(answer) => Ok(answer),
            Err(ProjectError::Guest(error)) => Ok(Err(error.to_string())),
            Err(ProjectError::Read(error)) => Err(Stuck::Storage(error.to_string())),
        }
    }

    fn flush(&mut self) -> Result<(), Stuck> {
        self.generation.flush()?;
        let at = self.generation.at();
        self.running.progress.send_if_modified(|seen| std::mem::replace(seen, at) != at);
        Ok(())
    }

    /// Makes what was applied durable. A failure is no loss: it would be projected again.
    fn sync(&mut self) {
        match self.generation.sync() {
            Ok(()) => drop(self.running.progress.send_replace(self.generation.at())),
            Err(WriteError::File(error)) => {
                tracing::warn!(projection = self.running.spec.name, %error, "not made durable");
            }
            // What is gathered has a conflict in an index that is being built.
            Err(WriteError::Conflict(_)) => {}
        }
    }

    /// Says that it cannot go on, and waits for the end.
    fn stay(&mut self, reason: String) {
        self.sync();
        tracing::error!(
            projection = self.running.spec.name,
            position = self.generation.at().position,
            reason,
            "the projection stopped"
        );
        self.say(ProjectionState::Failed { reason });
        while !self.running.is_stopped() {
            self.pause(IDLE);
        }
    }

    /// Opens the file again and goes on from what it holds.
    fn reopen(&mut self) {
        match self.generation.reopen() {
            Ok(()) => {
                self.builds = true;
                self.say(ProjectionState::CatchingUp);
            }
            Err(error) => {
                tracing::warn!(projection = self.running.spec.name, %error, "not open yet");
            }
        }
    }

    fn say(&self, state: ProjectionState) {
        let mut current = self.running.state.lock();
        if *current != state {
            *current = state;
        }
    }

    fn pause(&self, time: Duration) {
        let since = Stopwatch::start();
        while !self.running.is_stopped() && since.elapsed() < time {
            std::thread::sleep(IDLE.min(time));
        }
    }
}
