//! An active module's threads: each with a live instance, work spread by stream.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Sender, TrySendError};
use metrics::Counter;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::error::CommandError;
use super::meter::{Fuel, FuelFigures, Meter};
use super::record::cut;
use super::states::Legacy;
use super::throttle::{Throttle, ThrottleLimits};
use super::worker::{Attempt, Job, Worker};
use crate::clock::Clock;
use crate::decision::{Hash, Kind, ModuleRef, Outcome, parse};
use crate::event_schemas::EventRules;
use crate::manifest::Manifest;
use crate::names::StreamId;
use crate::runtime::{Component, GuestError, Instance, Live};
use crate::schemas::Schemas;
use crate::storage::log::Log;
use crate::tasks::{Spawner, Thread};

/// What an active module's threads may use. Each has a default with a reason.
#[derive(Clone, Debug)]
pub struct WorkerLimits {
    /// Threads a module. 4: more than two cores, so that a call that blocks holds up few streams.
    pub threads: usize,
    /// Commands waiting for one thread; more are refused. 4,096: a fraction of a second's work.
    pub queue: usize,
    /// Bytes of hot states a thread. 32 MiB: some 100,000 small aggregates.
    pub hot_bytes: usize,
    /// One in so many decisions is checked against `evolve` in a fresh instance. 1,000.
    pub verify_every: u32,
    /// One in so many decisions of a thread runs metered, in a fresh instance. 1,000.
    pub meter_every: u32,
    /// Events that one command may append. 1,000: one answer stays readable.
    pub events_per_command: usize,
    /// Bytes of the events that one command may append, or of its rejection. 1 MiB: what one
    /// direct append may.
    pub event_bytes: usize,
    /// Tags of one event. 100: each is an entry of the index.
    pub event_tags: usize,
    /// Events that one call of `evolve` folds. 1,000: a batch amortises the crossing.
    pub fold_batch: usize,
    /// Whether an instance is used again. It is: a fresh one costs some 25 us a call.
    pub instances: Instances,
    /// When a module that hits its deadline is slowed down.
    pub throttle: ThrottleLimits,
}

/// Whether a call may find what an earlier one left in the instance's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instances {
    /// An instance serves many calls.
    Reused,
    /// Each call gets a new one.
    Fresh,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            threads: 4,
            queue: 4096,
            hot_bytes: 32 << 20,
            verify_every: 1_000,
            meter_every: 1_000,
            events_per_command: 1_000,
            event_bytes: 1 << 20,
            event_tags: 100,
            fold_batch: 1_000,
            instances: Instances::Reused,
            throttle: ThrottleLimits::default(),
        }
    }
}

/// A module version that answers commands. When the last handle is dropped, its threads finish
/// what waits and end.
#[derive(Debug)]
pub struct ActiveModule {
    identity: Arc<Identity>,
    spread: RandomState,
    workers: Vec<Sender<Job>>,
    /// The version of each aggregate's state.
    state_versions: HashMap<String, u32>,
    /// Where its workers wait for the states of the version before.
    heirs: Mutex<Vec<Sender<Legacy>>>,
    counters: HashMap<String, Counters>,
}

/// What a module's threads share.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) component: Component,
    /// Set when it was caught with hidden state: from then on each call gets a fresh instance.
    pub(super) fresh: AtomicBool,
    pub(super) throttle: Throttle,
    pub(super) meter: Meter,
    pub(super) fuel: Fuel,
    pub(super) schemas: Schemas,
}

impl Identity {
    pub(super) fn module_ref(&self) -> ModuleRef<'_> {
        ModuleRef { name: &self.name, version: &self.version, digest: self.component.digest() }
    }

    /// Makes a call in a live copy: in a fresh one if it was caught with hidden state.
    pub(super) fn call<T>(
        &self,
        live: &mut Live,
        call: impl FnOnce(&mut Instance) -> Result<T, GuestError>,
    ) -> Result<T, GuestError> {
        if self.fresh.load(Ordering::Relaxed) {
            live.forget();
        }
        live.call(call)?
    }

    pub(super) fn fault(&self, reason: String) -> CommandError {
        CommandError::ModuleFault { module: self.name.clone(), reason: cut(reason) }
    }

    pub(super) fn failed(&self, error: &GuestError) -> CommandError {
        match error {
            GuestError::Limit(limit) => {
                CommandError::ModuleLimit { module: self.name.clone(), limit: *limit }
            }
            GuestError::Trap(_) | GuestError::Instantiate(_) => self.fault(error.to_string()),
        }
    }

    pub(super) fn overloaded(&self) -> CommandError {
        CommandError::Overloaded { module: self.name.clone() }
    }
}

#[derive(Clone)]
struct Counters {
    committed: Counter,
    rejected: Counter,
    failed: Counter,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counters")
    }
}

impl ActiveModule {
    /// Starts a module's threads. When commands no longer go to the version before, it must be told
    /// to [`ActiveModule::leave_to`] this one, which waits for that.
    #[must_use]
    pub fn start(
        (manifest, schemas): (&Manifest, Schemas),
        (component, meter): (Component, Meter),
        before: Option<&Self>,
        (log, rules): (&Log, &EventRules),
        limits: &WorkerLimits,
        clock: &Clock,
        spawner: &Spawner,
    ) -> (Self, Vec<Thread>) {
        let identity = Arc::new(Identity {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            fresh: AtomicBool::new(
                limits.instances == Instances::Fresh || component.imports_wasi(),
            ),
            component,
            throttle: Throttle::new(limits.throttle),
            meter,
            fuel: Fuel::new(manifest),
            schemas,
        });
        let count = limits.threads.max(1);
        // A stream keeps its thread's number, so that its state finds its way.
        let before = before.filter(|before| before.workers.len() == count);
        let spread = before.map_or_else(RandomState::new, |before| before.spread.clone());
        let (mut workers, mut threads, mut heirs) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let (send, jobs) = crossbeam_channel::bounded(limits.queue);
            let (heir, legacy) = before.map(|_| crossbeam_channel::bounded(1)).unzip();
            heirs.extend(heir);
            let identity_of = Arc::clone(&identity);
            let reads = (log.clone(), rules.clone());
            let worker = Worker::new(identity_of, reads, limits.clone(), clock.clone());
            let name = format!("module-{}-{number}", identity.name);
            threads.push(spawner.thread(&name, move || worker.run(&jobs, legacy)));
            workers.push(send);
        }
        let commands = manifest.aggregates.iter().flat_map(|aggregate| &aggregate.commands);
        let counters = commands
            .map(|command| (command.name.clone(), Counters::new(&identity.name, &command.name)))
            .collect();
        let versions = manifest.aggregates.iter().map(|a| (a.name.clone(), a.state_version));
        let (state_versions, heirs) = (versions.collect(), Mutex::new(heirs));
        (Self { identity, spread, workers, state_versions, heirs, counters }, threads)
    }

    /// Leaves hot states to the version that answers from now on: those of aggregates whose state
    /// version is the same. The others, and all where a thread has too much to do, are folded from
    /// the log again.
    pub fn leave_to(&self, next: &Self) {
        let same = self.state_versions.iter().filter(|(aggregate, version)| {
            next.state_versions.get(*aggregate).is_some_and(|next| next == *version)
        });
        let aggregates: Arc<HashSet<_>> = Arc::new(same.map(|(name, _)| name.clone()).collect());
        for (worker, to) in self.workers.iter().zip(next.heirs.lock().drain(..)) {
            // A full queue drops the job, and with it the wait of the other side.
            let _ = worker.try_send(Job::Leave { aggregates: Arc::clone(&aggregates), to });
        }
    }

    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// The module's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// The version that its manifest states.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.identity.version
    }

    /// BLAKE3 of its component.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.identity.component.digest()
    }

    /// Whether it was caught with hidden state and runs in fresh instances.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.identity.fresh.load(Ordering::Relaxed)
    }

    /// What its sampled calls cost.
    #[must_use]
    pub fn fuel(&self) -> FuelFigures {
        self.identity.fuel.figures()
    }

    /// Whether it is slowed down because it kept hitting its deadline.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.identity.throttle.is_on()
    }

    pub(super) fn submit(&self, stream: &StreamId, job: Job) -> Result<(), CommandError> {
        let hash = self.spread.hash_one(stream);
        let count = u64::try_from(self.workers.len()).unwrap_or(1).max(1);
        let worker = usize::try_from(hash % count).ok().and_then(|at| self.workers.get(at));
        if worker.is_some_and(|worker| self.identity.throttle.refuses(worker.len())) {
            return Err(self.identity.overloaded());
        }
        match worker.map(|worker| worker.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(self.identity.overloaded()),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(CommandError::ModuleFault {
                module: self.identity.name.clone(),
                reason: "its thread ended; activate the module again".into(),
            }),
        }
    }

    pub(super) fn count(&self, command: &str, answer: &Result<Bytes, Attempt>) {
        // Commands that the manifest does not name get no series: clients could invent them.
        let Some(counters) = self.counters.get(command) else { return };
        match answer {
            Ok(record) if is_rejection(record) => counters.rejected.increment(1),
            Ok(_) => counters.committed.increment(1),
            Err(Attempt::Superseded) => {}
            Err(Attempt::Failed(_)) => counters.failed.increment(1),
        }
    }
}

impl Counters {
    fn new(module: &str, command: &str) -> Self {
        let counter = |outcome: &'static str| {
            metrics::counter!("factum_commands_total", "module" => module.to_owned(),
                "command" => command.to_owned(), "outcome" => outcome)
        };
        Self {
            committed: counter("committed"),
            rejected: counter("rejected"),
            failed: counter("failed"),
        }
    }
}

fn is_rejection(record: &[u8]) -> bool {
    parse(record).is_ok_and(|decision| match decision.kind {
        Kind::Command(record) => matches!(record.outcome, Outcome::Rejected(_)),
        Kind::Activation(_) | Kind::Append(_) | Kind::Act(_) | Kind::Erased(_) => false,
    })
}
