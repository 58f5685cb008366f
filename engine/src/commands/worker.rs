//! One thread of a module: hydrates states, decides, and hands decisions to the writer without
//! waiting for it. Each stream belongs to one thread of the active version, so that its newest
//! state, durable or not, is known here and nowhere else.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use tokio::sync::oneshot;

use super::Command;
use super::error::CommandError;
use super::idempotency::Running;
use super::module::{Identity, WorkerLimits};
use super::record::{Circumstance, checked_events, context, draft};
use super::states::{Hot, HotStates};
use crate::clock::{Clock, new_seed};
use crate::decision::Draft;
use crate::event::{JSON, NewEvent};
use crate::expected::{ExpectedVersion, VersionConflict};
use crate::names::{Name, StreamId};
use crate::runtime::{self, Event, Failure, GuestError, Instance, Limit, State};
use crate::storage::log::{
    AppendError, AppendReply, Appended, Direction, Expectation, Lineage, Log, Submission, Work,
};

/// Streams whose first decision was verified, before the set starts anew. A million hashes: 8 MB.
const VERIFIED_STREAMS: usize = 1_000_000;

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

type Reply<T> = oneshot::Sender<Result<T, Attempt>>;

/// What a thread is asked for.
#[derive(Debug)]
pub(super) enum Job {
    /// Decide a command and record the decision.
    Decide { command: Arc<Command>, running: Option<Arc<Running>>, reply: Reply<Bytes> },
    /// Tell the state.
    Inspect { aggregate: Name, stream: StreamId, reply: Reply<Option<AggregateState>> },
}

pub(super) struct Worker {
    identity: Arc<Identity>,
    log: Log,
    limits: WorkerLimits,
    clock: Clock,
    instance: Option<Instance>,
    states: HotStates,
    verified: HashSet<u64>,
    hasher: RandomState,
    until_verified: u32,
}

/// What a guest decided, ready to be recorded.
struct Decided {
    draft: Draft,
    after: Hot,
}

impl Worker {
    pub(super) fn new(
        identity: Arc<Identity>,
        log: Log,
        limits: WorkerLimits,
        clock: Clock,
    ) -> Self {
        Self {
            states: HotStates::new(limits.hot_bytes),
            until_verified: limits.verify_every,
            identity,
            log,
            limits,
            clock,
            instance: None,
            verified: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Decide { command, running, reply } => self.decide(&command, running, reply),
                Job::Inspect { aggregate, stream, reply } => {
                    self.inspect(&aggregate, &stream, reply);
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
        let lineage = Arc::clone(&before.lineage);
        let version = before.version;
        match self.decided(command, &stream, &before) {
            Ok(Decided { draft, after }) => {
                self.states.put(stream.clone(), after);
                let version = ExpectedVersion::Exact(version);
                let expected = Some(Expectation { stream, version });
                let reply = on_appended(running, reply);
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
                .and_then(|answer| answer.map_err(|reason| self.fault(reason)))
                .map(|json| Some(AggregateState { json, version: hot.version })),
        };
        let lineage = Arc::clone(&hot.lineage);
        self.states.put(stream.clone(), hot);
        self.submit(Work::Barrier, lineage, on_barrier(reply, answer));
    }

    fn submit(&self, work: Work, lineage: Arc<Lineage>, reply: AppendReply) {
        self.log.submit(Submission { work, lineages: vec![lineage], reply });
    }

    /// Asks the guest, checks what it says and makes the record.
    fn decided(
        &mut self,
        command: &Command,
        stream: &StreamId,
        before: &Hot,
    ) -> Result<Decided, CommandError> {
        let version = before.version;
        if !command.expected.holds(version) {
            let (stream, expected) = (stream.clone(), command.expected);
            let conflict = VersionConflict { stream, expected, actual: version };
            return Err(CommandError::VersionConflict(conflict));
        }
        let circumstance = Circumstance { now_ms: self.clock.now_ms(), seed: new_seed() };
        let context = || context(command, stream.as_str(), version, circumstance);
        let question = runtime::Command {
            id: command.command_id.as_str(),
            name: command.name.as_str(),
            data: &command.data,
        };
        let aggregate = command.aggregate.as_str();
        let state = before.state.as_ref();
        let answer =
            self.call(|instance| instance.decide(aggregate, state, &[], question, context()))?;
        let module = Arc::clone(&self.identity);
        match answer {
            Ok(outcome) => {
                if outcome.events.len() > self.limits.events_per_command {
                    return Err(self.failed(&GuestError::Limit(Limit::Events)));
                }
                let events = checked_events(outcome.events).map_err(|reason| self.fault(reason))?;
                if events.is_empty() {
                    // Nothing happened, so the state is what it was, whatever the guest says.
                    let hash = before.hash.unwrap_or_else(|| outcome.next.hash());
                    let decided = Ok((&[][..], hash));
                    let draft = draft(command, module.module_ref(), &context(), before, decided);
                    return Ok(Decided { draft, after: before.clone() });
                }
                let now_ms = circumstance.now_ms;
                self.verify(aggregate, stream, before, &events, now_ms, &outcome.next)?;
                let hash = outcome.next.hash();
                let draft =
                    draft(command, module.module_ref(), &context(), before, Ok((&events, hash)));
                let after = Hot {
                    state: Some(outcome.next),
                    hash: Some(hash),
                    version: version + u64::from(draft.event_count()),
                    lineage: Arc::clone(&before.lineage),
                };
                Ok(Decided { draft, after })
            }
            Err(Failure::Rejected(rejection)) => {
                let rejection = checked_rejection(rejection).map_err(|r| self.fault(r))?;
                let draft =
                    draft(command, module.module_ref(), &context(), before, Err(&rejection));
                Ok(Decided { draft, after: before.clone() })
            }
            Err(Failure::Invalid(reason)) => Err(CommandError::Invalid(reason)),
            Err(Failure::Unknown(reason)) => Err(CommandError::UnknownCommand(reason)),
            Err(Failure::Fault(reason)) => Err(self.fault(reason)),
        }
    }

    /// The newest state of a stream: hot, or folded from the log.
    fn hydrate(&mut self, aggregate: &Name, stream: &StreamId) -> Result<Hot, CommandError> {
        if let Some(hot) = self.states.take(stream) {
            return Ok(hot);
        }
        let mut hot = Hot::default();
        loop {
            let batch = self.limits.fold_batch;
            let records =
                self.log.stream_records(stream.as_str(), hot.version, Direction::Forward, batch)?;
            if records.is_empty() {
                break;
            }
            let decisions = records
                .iter()
                .map(|record| crate::decision::parse(record))
                .collect::<Result<Vec<_>, _>>()
                .map_err(crate::storage::log::ReadError::from)?;
            let events: Vec<_> = decisions
                .iter()
                .flat_map(|decision| &decision.events)
                .filter(|event| event.stream_version > hot.version)
                .map(guest_event)
                .collect();
            let Some(newest) = events.last().map(|event| event.stream_version) else { break };
            let state = hot.state.as_ref();
            let folded = self.call(|i| i.evolve(aggregate.as_str(), state, &events))?;
            hot.state = Some(folded.map_err(|reason| self.fault(reason))?);
            hot.version = newest;
        }
        hot.hash = hot.state.as_ref().map(State::hash);
        Ok(hot)
    }

    /// Compares `next` with a fold of the events as they are stored: for the first decision of
    /// each stream, and for one in so many later ones.
    fn verify(
        &mut self,
        aggregate: &str,
        stream: &StreamId,
        before: &Hot,
        events: &[NewEvent],
        decided_at_ms: u64,
        next: &State,
    ) -> Result<(), CommandError> {
        if self.verified.len() >= VERIFIED_STREAMS {
            self.verified.clear();
        }
        let first = self.verified.insert(self.hasher.hash_one(stream));
        self.until_verified = self.until_verified.saturating_sub(1);
        if !first && self.until_verified > 0 {
            return Ok(());
        }
        self.until_verified = self.limits.verify_every;
        let texts: Vec<Vec<&str>> =
            events.iter().map(|e| e.tags.iter().map(|tag| tag.as_str()).collect()).collect();
        let stored: Vec<_> = (before.version + 1..)
            .zip(events.iter().zip(&texts))
            .map(|(stream_version, (event, tags))| Event {
                event_type: event.event_type.as_str(),
                schema_version: event.schema_version,
                content_type: &event.content_type,
                data: std::str::from_utf8(&event.data).unwrap_or_default(),
                tags,
                stream_id: Some(stream.as_str()),
                stream_version,
                decided_at_ms,
            })
            .collect();
        let folded = self
            .identity
            .component
            .instantiate(&self.identity.name)
            .and_then(|mut fresh| fresh.evolve(aggregate, before.state.as_ref(), &stored))
            .map_err(|error| self.failed(&error))?;
        let problem = match folded {
            Ok(folded) if folded == *next => return Ok(()),
            Ok(_) => "the state that decide answered is not what evolve makes of its events; \
                      the module has hidden state or its two functions disagree"
                .to_owned(),
            Err(reason) => format!("evolve refuses the events that decide answered: {reason}"),
        };
        self.identity.fresh.store(true, Ordering::Relaxed);
        self.verified.remove(&self.hasher.hash_one(stream));
        Err(self.fault(problem))
    }

    /// Calls the live instance, making one where there is none that can be used.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Instance) -> Result<T, GuestError>,
    ) -> Result<T, CommandError> {
        let reusable = !self.identity.fresh.load(Ordering::Relaxed);
        let mut instance = match self.instance.take().filter(|i| reusable && !i.is_spent()) {
            Some(instance) => instance,
            None => self
                .identity
                .component
                .instantiate(&self.identity.name)
                .map_err(|error| self.failed(&error))?,
        };
        let answer = call(&mut instance);
        if !instance.is_spent() {
            self.instance = Some(instance);
        }
        answer.map_err(|error| self.failed(&error))
    }

    fn fault(&self, reason: String) -> CommandError {
        CommandError::ModuleFault { module: self.identity.name.clone(), reason }
    }

    fn failed(&self, error: &GuestError) -> CommandError {
        match error {
            GuestError::Limit(limit) => {
                CommandError::ModuleLimit { module: self.identity.name.clone(), limit: *limit }
            }
            GuestError::Trap(_) | GuestError::Instantiate(_) => self.fault(error.to_string()),
        }
    }
}

/// What an aggregate sees of a recorded event. Data that is not JSON was refused when appended.
fn guest_event<'a>(event: &'a crate::event::RecordedEvent<'a>) -> Event<'a> {
    debug_assert_eq!(event.content_type, JSON);
    Event {
        event_type: event.event_type,
        schema_version: event.schema_version,
        content_type: event.content_type,
        data: std::str::from_utf8(event.data).unwrap_or_default(),
        tags: &event.tags,
        stream_id: event.stream,
        stream_version: event.stream_version,
        decided_at_ms: event.decided_at_ms,
    }
}

/// A rejection whose details can be shown as JSON.
fn checked_rejection(mut rejection: runtime::Rejection) -> Result<runtime::Rejection, String> {
    if let Some(details) = &rejection.details {
        let compact = crate::json::compact(details)
            .map_err(|error| format!("the details of its rejection are not JSON: {error}"))?;
        rejection.details = Some(compact.into_owned());
    }
    Ok(rejection)
}

fn on_appended(running: Option<Arc<Running>>, reply: Reply<Bytes>) -> AppendReply {
    Box::new(move |answer| {
        let answer = match answer {
            Ok(Appended::Record(record)) => Ok(record),
            Ok(Appended::Barrier) => Err(Attempt::Superseded),
            Err(error) => Err(attempt(error)),
        };
        // The id is free for a retry before the client can send one.
        drop(running);
        // A client that went away is no reason to fail.
        drop(reply.send(answer));
    })
}

/// Answers with something that was computed, once all it was computed from is durable.
fn on_barrier<T: Send + 'static>(
    reply: Reply<T>,
    computed: Result<T, CommandError>,
) -> AppendReply {
    Box::new(move |passed| {
        drop(reply.send(match passed {
            Ok(_) => computed.map_err(Attempt::Failed),
            Err(error) => Err(attempt(error)),
        }));
    })
}

fn attempt(error: AppendError) -> Attempt {
    match error {
        AppendError::Conflict(_)
        | AppendError::ConditionFailed { .. }
        | AppendError::Superseded => Attempt::Superseded,
        AppendError::NotAccepted(refusal) => Attempt::Failed(CommandError::NotAccepted(refusal)),
        AppendError::Unknown(reason) => Attempt::Failed(CommandError::OutcomeUnknown(reason)),
    }
}
