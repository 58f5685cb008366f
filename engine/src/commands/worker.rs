//! One thread of a module: hydrates states, decides, and hands decisions to the writer without
//! waiting for it. Each stream belongs to one thread of the active version, so that its newest
//! state, durable or not, is known here and nowhere else.

mod fit;
mod fold;
mod reply;
mod verify;

use std::collections::HashSet;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;

use self::reply::{on_appended, on_barrier};
use super::Command;
use super::error::CommandError;
use super::idempotency::Running;
use super::module::{Identity, WorkerLimits};
use super::record::{
    Circumstance, checked_rejection, checked_state, context, cut, draft, rejection_bytes,
};
use super::states::{Hot, HotStates, Legacy};
use crate::clock::{Clock, new_seed};
use crate::decision::Draft;
use crate::event::NewEvent;
use crate::event_schemas::{EventRules, InForce};
use crate::expected::{ExpectedVersion, VersionConflict};
use crate::faults::{Mutant, Point, fail_point, is_on};
use crate::names::{Name, StreamId};
use crate::runtime::{self, Component, Failure, GuestError, Instance, Limit, Live};
use crate::storage::log::{AppendReply, Appended, Expectation, Lineage, Log, Submission, Work};

/// Streams whose first decision was verified, before the set starts anew. A million hashes: 8 MB.
const VERIFIED_STREAMS: usize = 1_000_000;

/// How long a version's first commands wait for the states of the one before. 100 ms: its queue is
/// worked off in less, unless a call hangs.
const LEGACY_WAIT: Duration = Duration::from_millis(100);

/// One try to decide a command.
#[derive(Debug)]
pub enum Attempt {
    /// What it was computed from did not come to pass: try again.
    Superseded,
    /// It failed.
    Failed(CommandError),
}

impl From<CommandError> for Attempt {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

/// The state of an aggregate instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateState {
    /// As JSON.
    pub json: String,
    /// The stream's version it is folded up to.
    pub version: u64,
}

/// Events fold: on this version of the stream, which may not be durable yet.
#[derive(Debug)]
pub(crate) struct Foldable {
    pub(crate) version: u64,
    pub(crate) lineage: Arc<Lineage>,
}

type Reply<T> = oneshot::Sender<Result<T, Attempt>>;

/// What a thread is asked for.
#[derive(Debug)]
pub(super) enum Job {
    /// Decide a command and record the decision.
    Decide { command: Arc<Command>, running: Option<Arc<Running>>, reply: Reply<Bytes> },
    /// Tell whether events can be folded onto the newest state, and forget it.
    Fold { stream: StreamId, events: Vec<NewEvent>, reply: Reply<Foldable> },
    /// Tell the state.
    Inspect { aggregate: Name, stream: StreamId, reply: Reply<Option<AggregateState>> },
    /// Leave the hot states of these aggregates to another version's worker.
    Leave { aggregates: Arc<HashSet<String>>, to: Sender<Legacy> },
}

impl Job {
    fn refuse(self, error: CommandError) {
        let error = Attempt::Failed(error);
        // Whoever went away needs no answer.
        match self {
            Self::Decide { reply, .. } => drop(reply.send(Err(error))),
            Self::Fold { reply, .. } => drop(reply.send(Err(error))),
            Self::Inspect { reply, .. } => drop(reply.send(Err(error))),
            Self::Leave { .. } => {}
        }
    }
}

pub(super) struct Worker {
    identity: Arc<Identity>,
    log: Log,
    rules: EventRules,
    limits: WorkerLimits,
    clock: Clock,
    live: Live,
    states: HotStates,
    verified: HashSet<u64>,
    hasher: RandomState,
    until_verified: u32,
    until_metered: u32,
}

/// What a guest decided, ready to be recorded.
struct Decided {
    draft: Draft,
    after: Hot,
}

impl Worker {
    pub(super) fn new(
        identity: Arc<Identity>,
        (log, rules): (Log, EventRules),
        limits: WorkerLimits,
        clock: Clock,
    ) -> Self {
        Self {
            live: Live::new(&identity.component, &identity.name),
            states: HotStates::new(limits.hot_bytes),
            until_verified: limits.verify_every,
            until_metered: limits.meter_every,
            identity,
            log,
            rules,
            limits,
            clock,
            verified: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Works until there is no more to come. What another worker leaves is taken over before the
    /// first job.
    pub(super) fn run(mut self, jobs: &Receiver<Job>, mut legacy: Option<Receiver<Legacy>>) {
        while let Ok(job) = jobs.recv() {
            if let Some(Ok(left)) = legacy.take().map(|left| left.recv_timeout(LEGACY_WAIT)) {
                self.states.inherit(left, self.identity.component.digest());
            }
            let identity = Arc::clone(&self.identity);
            if identity.throttle.refuses(jobs.len()) {
                job.refuse(identity.overloaded());
                continue;
            }
            let _one_thread = identity.throttle.enter();
            match job {
                Job::Decide { command, running, reply } => self.decide(&command, running, reply),
                Job::Fold { stream, events, reply } => self.foldable(&stream, &events, reply),
                Job::Inspect { aggregate, stream, reply } => {
                    self.inspect(&aggregate, &stream, reply);
                }
                Job::Leave { aggregates, to } => {
                    let states = HotStates::new(self.limits.hot_bytes);
                    let states = std::mem::replace(&mut self.states, states);
                    let digest = identity.component.digest();
                    fail_point(Point::Snapshot);
                    // Whoever waited too long folds from the log.
                    let _ = to.send(Legacy { states, aggregates, digest });
                }
            }
        }
    }

    fn decide(&mut self, command: &Command, running: Option<Arc<Running>>, reply: Reply<Bytes>) {
        let stream = command.stream();
        let before = match self.hydrate(&command.aggregate, &stream) {
            Ok(hot) => hot,
            Err(error) => return drop(reply.send(Err(error.into()))),
        };
        if command.turn.as_ref().is_some_and(|turn| !turn.has_come(&before.lineage)) {
            self.states.put(stream, before);
            return drop(reply.send(Err(Attempt::Superseded)));
        }
        let lineage = Arc::clone(&before.lineage);
        let version = before.version;
        let rules = self.rules.now();
        let decided = self.decided(command, &stream, &before, &rules);
        if let Some(turn) = &command.turn {
            turn.decided(&lineage);
        }
        fail_point(Point::Decide);
        match decided {
            Ok(Decided { draft, after }) => {
                self.states.put(stream.clone(), after);
                let version = ExpectedVersion::Exact(version);
                let expected = Some(Expectation { stream, version });
                let reply = on_appended((running, rules), reply);
                self.submit(Work::Record { draft, expected }, lineage, reply);
            }
            Err(error) => {
                // A fault says nothing about the state, but only a clean one is kept.
                if !matches!(error, CommandError::ModuleFault { .. }) {
                    self.states.put(stream, before);
                }
                let reply = on_barrier(reply, Err(error));
                self.submit(Work::Barrier, lineage, reply);
            }
        }
    }

    fn inspect(
        &mut self,
        aggregate: &Name,
        stream: &StreamId,
        reply: Reply<Option<AggregateState>>,
    ) {
        let hot = match self.hydrate(aggregate, stream) {
            Ok(hot) => hot,
            Err(error) => return drop(reply.send(Err(error.into()))),
        };
        let answer = match &hot.state {
            None => Ok(None),
            Some(state) => self
                .call(|instance| instance.inspect(aggregate.as_str(), state))
                .and_then(|answer| {
                    answer.and_then(|json| checked_state(&json)).map_err(|r| self.fault(r))
                })
                .map(|json| Some(AggregateState { json, version: hot.version })),
        };
        let lineage = Arc::clone(&hot.lineage);
        self.states.put(stream.clone(), hot);
        self.submit(Work::Barrier, lineage, on_barrier(reply, answer));
    }

    fn submit(&self, work: Work, lineage: Arc<Lineage>, reply: AppendReply) {
        if is_on(Mutant::SpeculationLeaks) && matches!(work, Work::Barrier) {
            return reply(Ok(Appended::Barrier));
        }
        self.log.submit(Submission { work, lineages: vec![lineage], reply });
    }

    /// Asks the guest, checks what it says and makes the record.
    fn decided(
        &mut self,
        command: &Command,
        stream: &StreamId,
        before: &Hot,
        rules: &InForce,
    ) -> Result<Decided, CommandError> {
        let version = before.version;
        if !command.expected.holds(version) {
            let (stream, expected) = (stream.clone(), command.expected);
            let conflict = VersionConflict { stream, expected, actual: version };
            return Err(CommandError::VersionConflict(conflict));
        }
        self.fits(command)?;
        let circumstance = Circumstance { now_ms: self.clock.now_ms(), seed: new_seed() };
        let context = || context(command, stream.as_str(), version, circumstance);
        let question = runtime::Command {
            id: command.command_id.as_str(),
            name: command.name.as_str(),
            data: &command.data,
        };
        let aggregate = command.aggregate.as_str();
        let state = before.state.as_ref();
        let module = Arc::clone(&self.identity);
        let metered = self.metered();
        let ask = |instance: &mut Instance| {
            let answer = instance.decide(aggregate, state, &[], question, context())?;
            Ok((answer, instance.fuel()))
        };
        let (answer, fuel) = match &metered {
            Some(metered) => self.call_fresh(metered, ask)?,
            None => self.call(ask)?,
        };
        if let Some(fuel) = fuel {
            module.fuel.decided(command.name.as_str(), fuel);
        }
        match answer {
            Ok(outcome) => {
                let events = self.storable((aggregate, rules), outcome.events)?;
                if events.is_empty() {
                    // Nothing happened, so the state is what it was, whatever the guest says.
                    let hash = before.hash.unwrap_or_else(|| outcome.next.hash());
                    let decided = Ok((&[][..], hash));
                    let module = module.module_ref();
                    let draft = draft(command, module, &context(), before, decided, fuel);
                    return Ok(Decided { draft, after: before.clone() });
                }
                let now_ms = circumstance.now_ms;
                let decided = (&*events, now_ms, &outcome.next);
                self.verify(aggregate, stream, before, decided, metered.as_ref())?;
                let hash = outcome.next.hash();
                let (module, decided) = (module.module_ref(), Ok((&*events, hash)));
                let draft = draft(command, module, &context(), before, decided, fuel);
                let after = Hot {
                    state: Some(outcome.next),
                    hash: Some(hash),
                    version: version + u64::from(draft.event_count()),
                    snapshot: before.snapshot,
                    lineage: Arc::clone(&before.lineage),
                };
                Ok(Decided { draft, after })
            }
            Err(Failure::Rejected(rejection)) => {
                if rejection_bytes(&rejection) > self.limits.event_bytes {
                    return Err(self.failed(&GuestError::Limit(Limit::EventBytes)));
                }
                let rejection = checked_rejection(rejection).map_err(|r| self.fault(r))?;
                let (module, decided) = (module.module_ref(), Err(&rejection));
                let draft = draft(command, module, &context(), before, decided, fuel);
                Ok(Decided { draft, after: before.clone() })
            }
            Err(Failure::Invalid(reason)) => Err(CommandError::Invalid(cut(reason))),
            Err(Failure::Unknown(reason)) => Err(CommandError::UnknownCommand(cut(reason))),
            Err(Failure::Fault(reason)) => Err(self.fault(reason)),
        }
    }

    /// Calls the live instance, making one where there is none that can be used.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Instance) -> Result<T, GuestError>,
    ) -> Result<T, CommandError> {
        let answer = self.identity.call(&mut self.live, call);
        self.answered(answer)
    }

    /// Calls an instance that no call was made in before and none will be after.
    fn call_fresh<T>(
        &self,
        component: &Component,
        call: impl FnOnce(&mut Instance) -> Result<T, GuestError>,
    ) -> Result<T, CommandError> {
        let fresh = component.instantiate(&self.identity.name);
        self.answered(fresh.and_then(|mut instance| call(&mut instance)))
    }

    /// The metered form of the component, when its turn has come and it is there.
    fn metered(&mut self) -> Option<Component> {
        self.until_metered = self.until_metered.saturating_sub(1);
        if self.until_metered > 0 {
            return None;
        }
        self.until_metered = self.limits.meter_every;
        self.identity.meter.component().cloned()
    }

    fn answered<T>(&self, answer: Result<T, GuestError>) -> Result<T, CommandError> {
        match &answer {
            Err(GuestError::Limit(Limit::Deadline)) => self.identity.throttle.overdue(),
            _ => self.identity.throttle.in_time(),
        }
        answer.map_err(|error| self.failed(&error))
    }

    fn fault(&self, reason: String) -> CommandError {
        self.identity.fault(reason)
    }

    fn failed(&self, error: &GuestError) -> CommandError {
        self.identity.failed(error)
    }
}
