//! Direct appends: events that no module decided, for import and integration.
//!
//! Promises: all or nothing, at the versions expected and only if the condition holds; into a
//! category that an active aggregate owns, only events that it can fold; an idempotency key has
//! one effect and one answer; an event that was given its id elsewhere is recorded once.

mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use crate::commands::{Attempt, CommandError, Commands, MAX_ATTEMPTS, Running};
use crate::decision::{Decision, Hash, Kind, parse};
use crate::event::NewEvent;
use crate::event_schemas::{EventRules, InForce};
use crate::expected::ExpectedVersion;
use crate::names::{Key, StreamId};
use crate::query::Query;
use crate::storage::log::{
    AppendError, Appended, Condition, DirectAppend, Expectation, FindError, Lineage, Log,
    ReadError, Submission, Work,
};
use crate::tasks;

use known::{Place, Sorted, sort};

/// What a client asks to be appended.
#[derive(Clone, Debug, Default)]
pub struct NewAppend {
    /// The events, each with its stream or none, in order.
    pub events: Vec<(NewEvent, Option<StreamId>)>,
    /// What must hold of streams.
    pub expected: Vec<(StreamId, ExpectedVersion)>,
    /// No event may match this query after this position; the query also as JSON.
    pub condition: Option<(Query, u64, String)>,
    /// The idempotency key.
    pub key: Option<Key>,
    /// BLAKE3 of what is asked: equal for a retry, different for a reused key.
    pub fingerprint: Hash,
    /// Who asks.
    pub caller: Option<String>,
    /// The conversation.
    pub correlation_id: Option<Key>,
    /// The direct cause.
    pub causation_id: Option<Key>,
}

/// An append that is durable.
#[derive(Clone, Debug)]
pub struct AppendAnswer {
    record: Bytes,
    /// Where the events of the request are.
    places: Vec<Place>,
    /// Whether it had been made before.
    pub replayed: bool,
}

impl AppendAnswer {
    /// The record of it.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when its bytes are.
    pub fn decision(&self) -> Result<Decision<'_>, ReadError> {
        Ok(parse(&self.record)?)
    }

    /// The position of each event of the request, in its order.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the record's bytes are.
    pub fn positions(&self) -> Result<Vec<u64>, ReadError> {
        let decision = self.decision()?;
        let position = |place: &Place| match place {
            Place::Known(position) => Some(*position),
            Place::New(number) => decision.events.get(*number).map(|event| event.position),
        };
        Ok(self.places.iter().filter_map(position).collect())
    }
}

impl AppendAnswer {
    /// How many events of the request were recorded before, because of their source and id.
    #[must_use]
    pub fn known(&self) -> usize {
        self.places.iter().filter(|place| matches!(place, Place::Known(_))).count()
    }
}

/// What is held while an append is made.
type Held = Arc<(Option<Running>, Vec<Running>)>;

/// Takes direct appends in.
#[derive(Debug)]
pub struct Appends {
    log: Log,
    rules: EventRules,
    commands: Arc<Commands>,
    /// The source of the events that get their ids here.
    source: String,
    permits: Semaphore,
}

/// What the owners of the streams say.
#[derive(Default)]
struct Folded {
    lineages: Vec<Arc<Lineage>>,
    expected: Vec<Expectation>,
}

impl Appends {
    /// Appends to a log whose own events are from `source`; `commands` knows which aggregates are
    /// active. At most `in_flight` appends are between arrival and answer, the others wait.
    #[must_use]
    pub fn new(
        (log, rules): (Log, EventRules),
        commands: Arc<Commands>,
        source: String,
        in_flight: usize,
    ) -> Self {
        Self { log, rules, commands, source, permits: Semaphore::new(in_flight) }
    }

    /// Appends events and makes them durable.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was appended unless it is `OutcomeUnknown`.
    pub async fn append(&self, mut append: NewAppend) -> Result<AppendAnswer, CommandError> {
        let _permit = self.permits.acquire().await.map_err(|_| CommandError::ShuttingDown)?;
        let caller = append.caller.as_deref();
        let key = append.key.as_ref().map(|key| self.commands.enter(caller, key)).transpose()?;
        let mut replay = match &append.key {
            Some(key) => self.replay(&append, key)?,
            None => None,
        };
        let running = self.enter_events(&append.events)?;
        let sorted = self.sort(std::mem::take(&mut append.events)).await?;
        if sorted.new.is_empty() {
            replay = replay.or(sorted.known);
        }
        if let Some(record) = replay {
            return Ok(AppendAnswer { record, places: sorted.places, replayed: true });
        }
        append.events = sorted.new;
        let held = Arc::new((key, running));
        for _ in 0..MAX_ATTEMPTS {
            match self.attempt(&append, Arc::clone(&held)).await {
                Ok(record) => {
                    return Ok(AppendAnswer { record, places: sorted.places, replayed: false });
                }
                Err(Attempt::Superseded) => {}
                Err(Attempt::Failed(error)) => return Err(at_place(error, &sorted.places)),
            }
        }
        Err(CommandError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// Takes the ids of events that were given them elsewhere, each once.
    fn enter_events(
        &self,
        events: &[(NewEvent, Option<StreamId>)],
    ) -> Result<Vec<Running>, CommandError> {
        let origins = events.iter().filter_map(|(event, _)| event.origin.as_deref());
        let ids: BTreeSet<_> = origins.map(|origin| (&*origin.source, &*origin.id)).collect();
        ids.into_iter().map(|(source, id)| self.commands.enter_event(source, id)).collect()
    }

    async fn sort(
        &self,
        events: Vec<(NewEvent, Option<StreamId>)>,
    ) -> Result<Sorted, CommandError> {
        if events.iter().all(|(event, _)| event.origin.is_none()) {
            let places = (0..events.len()).map(Place::New).collect();
            return Ok(Sorted { new: events, places, known: None });
        }
        let (log, source) = (self.log.clone(), self.source.clone());
        let sorted = tasks::blocking(move || sort(&log, &source, events)).await;
        sorted.unwrap_or_else(|| {
            Err(ReadError::Unavailable("looking for events panicked".into()).into())
        })
    }

    async fn attempt(&self, append: &NewAppend, held: Held) -> Result<Bytes, Attempt> {
        let rules = self.rules.now();
        fits(&rules, append)?;
        let condition = self.evaluate(append)?;
        let folded = self.fold(append).await?;
        let asked = append
            .expected
            .iter()
            .map(|(stream, version)| Expectation { stream: stream.clone(), version: *version });
        let direct = DirectAppend {
            events: append.events.clone(),
            // What the client asked comes first: its failure is the answer, ours a reason to retry.
            expected: asked.chain(folded.expected.iter().cloned()).collect(),
            condition,
            key: append.key.as_ref().map(|key| (key.to_string(), append.fingerprint)),
            caller: append.caller.clone(),
            correlation_id: append.correlation_id.as_ref().map(ToString::to_string),
            causation_id: append.causation_id.as_ref().map(ToString::to_string),
        };
        let (send, answer) = oneshot::channel();
        self.log.submit(Submission {
            work: Work::Append(Box::new(direct)),
            lineages: folded.lineages,
            reply: Box::new(move |answer| {
                // The key is free for a retry before the client can send one.
                drop((held, rules));
                drop(send.send(answer));
            }),
        });
        let lost = || CommandError::OutcomeUnknown("the writer ended".into());
        match answer.await.map_err(|_| lost())? {
            Ok(Appended::Record(record)) => Ok(record),
            Ok(Appended::Barrier) => Err(lost().into()),
            Err(AppendError::Conflict(conflict))
                if append.expected.contains(&(conflict.stream.clone(), conflict.expected)) =>
            {
                Err(CommandError::VersionConflict(conflict).into())
            }
            Err(AppendError::ConditionFailed { position }) => {
                Err(CommandError::ConditionFailed { position }.into())
            }
            Err(AppendError::Conflict(_) | AppendError::Superseded) => Err(Attempt::Superseded),
            Err(AppendError::NotAccepted(refusal)) => {
                Err(CommandError::NotAccepted(refusal).into())
            }
            Err(AppendError::Unknown(reason)) => Err(CommandError::OutcomeUnknown(reason).into()),
        }
    }

    /// Looks for a match here, so that the writer only has to look at what comes after.
    fn evaluate(&self, append: &NewAppend) -> Result<Option<Condition>, CommandError> {
        let Some((query, after, text)) = &append.condition else { return Ok(None) };
        match self.log.first_match(query, *after) {
            Ok((Some(position), _)) => Err(CommandError::ConditionFailed { position }),
            Ok((None, checked_to)) => Ok(Some(Condition {
                query: query.clone(),
                after: *after,
                checked_to,
                text: text.clone(),
            })),
            Err(FindError::TooWide) => Err(CommandError::ConditionTooWide),
            Err(FindError::Index(reason)) => Err(ReadError::Unavailable(reason).into()),
        }
    }

    /// Asks the active owner of each stream whether it can fold what is to come. It forgets the
    /// stream's state, and the append is made at exactly the version that it folded on.
    async fn fold(&self, append: &NewAppend) -> Result<Folded, Attempt> {
        let mut by_stream: BTreeMap<&StreamId, Vec<NewEvent>> = BTreeMap::new();
        for (event, stream) in &append.events {
            let owned = stream.as_ref().filter(|s| self.commands.is_owned(s.category()));
            if let Some(stream) = owned {
                by_stream.entry(stream).or_default().push(event.clone());
            }
        }
        let mut folded = Folded::default();
        for (stream, events) in by_stream {
            let Some(answer) = self.commands.fold(stream, events).await? else { continue };
            folded.lineages.push(answer.lineage);
            let version = ExpectedVersion::Exact(answer.version);
            folded.expected.push(Expectation { stream: stream.clone(), version });
        }
        Ok(folded)
    }

    fn replay(&self, append: &NewAppend, key: &Key) -> Result<Option<Bytes>, CommandError> {
        let caller = append.caller.as_deref();
        let Some(record) = self.commands.recorded(caller, key.as_str())? else { return Ok(None) };
        match parse(&record).map_err(ReadError::from)?.kind {
            Kind::Append(record) if record.fingerprint == Some(append.fingerprint) => {}
            _ => return Err(CommandError::KeyReused),
        }
        Ok(Some(record))
    }
}

/// Holds the events to the schemas of their types.
fn fits(rules: &InForce, append: &NewAppend) -> Result<(), CommandError> {
    for (at, (event, _)) in append.events.iter().enumerate() {
        let of = || (event.event_type.to_string(), event.schema_version);
        rules.check(event).map_err(|violations| CommandError::EventUnfit {
            at,
            of: of(),
            violations,
        })?;
    }
    Ok(())
}

/// Names the event by its number in the request, some of which may have been left out.
fn at_place(error: CommandError, places: &[Place]) -> CommandError {
    match error {
        CommandError::EventUnfit { at, of, violations } => {
            let asked = places.iter().position(|place| *place == Place::New(at));
            CommandError::EventUnfit { at: asked.unwrap_or(at), of, violations }
        }
        other => other,
    }
}
