//! The thread of one projection: waits for events, projects a batch, writes it with its
//! checkpoint, tells those who wait. It stops at an event that cannot be projected.

use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, ProjectError, rows};
use super::{ProjectionLimits, ProjectionState, Running};
use crate::clock::Stopwatch;
use crate::runtime::{Change, Component, Instance};
use crate::storage::log::Log;
use crate::storage::read_models::Checkpoint;

/// How often a thread with nothing to do looks whether it should stop.
const IDLE: Duration = Duration::from_millis(100);
/// How long to wait before a file that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    running: Arc<Running>,
    log: Log,
    component: Component,
    limits: ProjectionLimits,
    instance: Option<Instance>,
    /// What was applied; what is durable may be older.
    at: Checkpoint,
    /// Since when something applied is not durable.
    unsynced: Option<Stopwatch>,
}

/// Why a batch was not applied.
enum Stuck {
    /// The projection cannot go on by itself.
    Failed(String),
    /// The storage failed; it is tried again.
    Storage(String),
}

impl Follower {
    pub(super) fn new(
        running: Arc<Running>,
        log: Log,
        component: Component,
        limits: ProjectionLimits,
    ) -> Self {
        let at = *running.progress.borrow();
        Self { running, log, component, limits, instance: None, at, unsynced: None }
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
                Err(Stuck::Failed(reason)) => {
                    tracing::error!(
                        projection = self.running.spec.name,
                        position = self.at.position,
                        reason,
                        "the projection stopped"
                    );
                    self.say(ProjectionState::Failed { reason });
                    self.sync();
                    while !self.running.is_stopped() {
                        self.pause(IDLE);
                    }
                }
            }
        }
        self.sync();
    }

    fn step(&mut self) -> Result<(), Stuck> {
        let head = self.log.wait_past(self.at.decision, IDLE);
        if head.decision <= self.at.decision {
            self.say(ProjectionState::Live);
            if self.unsynced.is_some_and(|since| since.elapsed() >= self.limits.durable_every) {
                self.sync();
            }
            return Ok(());
        }
        let batch_records = u64::try_from(self.limits.batch_events).unwrap_or(u64::MAX);
        if head.decision - self.at.decision < batch_records {
            std::thread::sleep(self.limits.linger);
        } else {
            self.say(ProjectionState::CatchingUp);
        }
        let batch = Batch::read(&self.log, &self.at, &self.limits);
        match batch.map_err(|error| Stuck::Storage(error.to_string()))? {
            None => Ok(()),
            Some(batch) => self.take(&batch),
        }
    }

    /// Projects a batch; when it fails, its records one by one, so that all before the one that
    /// fails are applied and the trouble has a position.
    fn take(&mut self, batch: &Batch) -> Result<(), Stuck> {
        match self.project(batch)? {
            Ok(changes) => return self.apply(&changes, batch.after),
            Err(reason) if batch.records.len() == 1 => return Err(self.stuck(&reason)),
            Err(_) => {}
        }
        let singles = batch.singles().map_err(|error| Stuck::Storage(error.to_string()))?;
        for single in singles {
            match self.project(&single)? {
                Ok(changes) => self.apply(&changes, single.after)?,
                Err(reason) => return Err(self.stuck(&reason)),
            }
        }
        Ok(())
    }

    fn stuck(&self, reason: &str) -> Stuck {
        Stuck::Failed(format!("at position {}: {reason}", self.at.position + 1))
    }

    fn project(&mut self, batch: &Batch) -> Result<Result<Vec<Change>, String>, Stuck> {
        let module = &self.running.module;
        let mut instance = match self.instance.take().filter(|instance| !instance.is_spent()) {
            Some(instance) => instance,
            None => match self.component.instantiate(module) {
                Ok(instance) => instance,
                Err(error) => return Ok(Err(error.to_string())),
            },
        };
        let answer = batch.project(&self.running.spec, &mut instance, &self.running.file);
        self.instance = Some(instance);
        match answer {
            Ok(answer) => Ok(answer),
            Err(ProjectError::Guest(error)) => Ok(Err(error.to_string())),
            Err(ProjectError::Read(error)) => Err(Stuck::Storage(error.to_string())),
            Err(ProjectError::File(reason)) => Err(Stuck::Storage(reason)),
        }
    }

    fn apply(&mut self, changes: &[Change], after: Checkpoint) -> Result<(), Stuck> {
        if !changes.is_empty() {
            let since = *self.unsynced.get_or_insert_with(Stopwatch::start);
            let durable = since.elapsed() >= self.limits.durable_every;
            self.running
                .file
                .apply(rows(changes), &after, durable)
                .map_err(|error| Stuck::Storage(error.to_string()))?;
            if durable {
                self.unsynced = None;
            }
        }
        self.at = after;
        self.running.progress.send_replace(after);
        Ok(())
    }

    /// Makes what was applied durable. A failure is no loss: it would be projected again.
    fn sync(&mut self) {
        if self.unsynced.take().is_some() {
            let nothing = std::iter::empty();
            if let Err(error) = self.running.file.apply(nothing, &self.at, true) {
                tracing::warn!(projection = self.running.spec.name, %error, "not made durable");
            }
        }
    }

    /// Opens the file again and goes on from what it holds.
    fn reopen(&mut self) {
        let reopened = self.running.file.reopen().and_then(|()| self.running.file.checkpoint());
        match reopened {
            Ok(checkpoint) => {
                let start = Checkpoint { position: 0, decision: 0, hash: [0; 32] };
                self.at = checkpoint.unwrap_or(start);
                self.unsynced = None;
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
