//! Direct appends: events that no module decided, for import and integration.
//!
//! Promises: all or nothing, at the versions expected and only if the condition holds; into a
//! category that an active aggregate owns, only events that it can fold; an idempotency key has
//! one effect and one answer; an event that was given its id elsewhere is recorded once.

mod answer;
mod known;
mod sequence;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use crate::commands::{
    self, Attempt, CommandError, Commands, MAX_ATTEMPTS, Running, RunningEvents,
};
use crate::decision::{Hash, Kind, parse};
use crate::event::NewEvent;
use crate::event_schemas::{EventRules, InForce};
use crate::expected::{ExpectedVersion, VersionConflict};
use crate::names::{Key, StreamId};
use crate::query::Query;
use crate::storage::log::{
    AppendError, Appended, Condition, DirectAppend, Expectation, FindError, GivenKey, Lineage, Log,
    ReadError, Submission, Work,
};
use crate::tasks;

pub use answer::AppendAnswer;
use known::{Place, Sorted, sort};
pub use sequence::Sequence;

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

/// What is held while an append is made.
type Held = (Option<Running>, Option<RunningEvents>);

/// An append whose new events are told from those that are recorded.
struct Ready {
    /// With the new events alone.
    append: NewAppend,
    places: Vec<Place>,
}

enum Prepared {
    /// There is nothing to be appended.
    Recorded(AppendAnswer),
    New(Ready),
}

/// The writer's answer, once it is there.
type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

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
    pub async fn append(&self, append: NewAppend) -> Result<AppendAnswer, CommandError> {
        let _permit = self.permits.acquire().await.map_err(|_| CommandError::ShuttingDown)?;
        self.append_within(append).await
    }

    /// Appends that are recorded in their order, up to `most` of them under way.
    #[must_use]
    pub fn sequence(&self, most: usize) -> Sequence<'_> {
        Sequence::new(self, most)
    }

    /// As [`Appends::append`], for who has a permit.
    async fn append_within(&self, append: NewAppend) -> Result<AppendAnswer, CommandError> {
        let keys = given_keys(&append);
        let held = self.enter(&append, &keys)?;
        let ready = match self.prepare(append, &keys).await? {
            Prepared::Recorded(answer) => return Ok(answer),
            Prepared::New(ready) => ready,
        };
        let Ready { append, places } = ready;
        let held = Arc::new(held);
        for _ in 0..MAX_ATTEMPTS {
            match self.attempt(&append, Arc::clone(&held)).await {
                Ok(record) => return Ok(AppendAnswer { record, places, replayed: false }),
                Err(Attempt::Superseded) => {}
                Err(Attempt::Failed(error)) => return Err(at_place(error, &places)),
            }
        }
        Err(CommandError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// Takes the key, and the ids of events that were given them elsewhere.
    fn enter(&self, append: &NewAppend, keys: &[GivenKey]) -> Result<Held, CommandError> {
        let caller = append.caller.as_deref();
        let key = append.key.as_ref().map(|key| self.commands.enter(caller, key)).transpose()?;
        let mut once = keys.to_vec();
        once.sort_unstable();
        once.dedup();
        let events = match once.is_empty() {
            true => None,
            false => Some(self.commands.enter_events(once)?),
        };
        Ok((key, events))
    }

    /// Looks for what is recorded already. The ids must be held.
    async fn prepare(
        &self,
        mut append: NewAppend,
        keys: &[GivenKey],
    ) -> Result<Prepared, CommandError> {
        if append.key.is_none() && keys.is_empty() {
            let places = (0..append.events.len()).map(Place::New).collect();
            return Ok(Prepared::New(Ready { append, places }));
        }
        let (source, keys) = (self.source.clone(), keys.to_vec());
        self.blocking(move |log| {
            let mut replay = replay(log, &append)?;
            let events = std::mem::take(&mut append.events);
            let Sorted { new, places, known } = sort(log, &source, events, &keys)?;
            if new.is_empty() {
                replay = replay.or(known);
            }
            if let Some(record) = replay {
                return Ok(Prepared::Recorded(AppendAnswer { record, places, replayed: true }));
            }
            append.events = new;
            Ok(Prepared::New(Ready { append, places }))
        })
        .await
    }

    /// Reads the log beside the asynchronous threads.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> Result<T, CommandError> + Send + 'static,
    ) -> Result<T, CommandError> {
        let log = self.log.clone();
        let panicked = || Err(ReadError::Unavailable("looking it up panicked".into()).into());
        tasks::blocking(move || read(&log)).await.unwrap_or_else(panicked)
    }

    async fn attempt(&self, append: &NewAppend, held: Arc<Held>) -> Result<Bytes, Attempt> {
        let rules = self.rules.now();
        fits(&rules, append)?;
        let condition = self.evaluate(append).await?;
        let folded = match self.fold(append).await {
            Err(Attempt::Failed(error)) => {
                return Err(self.conflict(append).await?.unwrap_or(error).into());
            }
            folded => folded?,
        };
        let mut direct = direct(append);
        direct.events.clone_from(&append.events);
        direct.condition = condition;
        // What the client asked comes first: its failure is the answer, ours a reason to retry.
        direct.expected.extend(folded.expected);
        let answer = self.submit(direct, folded.lineages, (held, rules));
        match answer.await.map_err(|_| lost())? {
            Err(AppendError::Conflict(conflict))
                if append.expected.contains(&(conflict.stream.clone(), conflict.expected)) =>
            {
                Err(CommandError::VersionConflict(conflict).into())
            }
            answer => recorded(answer),
        }
    }

    /// Hands an append to the writer; what is held is let go of before the answer is known.
    fn submit(
        &self,
        direct: DirectAppend,
        lineages: Vec<Arc<Lineage>>,
        held: impl Send + 'static,
    ) -> Answer {
        let (send, answer) = oneshot::channel();
        self.log.submit(Submission {
            work: Work::Append(Box::new(direct)),
            lineages,
            reply: Box::new(move |answer| {
                // The key is free for a retry before the client can send one.
                drop(held);
                drop(send.send(answer));
            }),
        });
        answer
    }

    /// Looks for a match here, so that the writer only has to look at what comes after.
    async fn evaluate(&self, append: &NewAppend) -> Result<Option<Condition>, CommandError> {
        let Some((query, after, text)) = append.condition.clone() else { return Ok(None) };
        // Who has just read what the condition is about needs no thread to change.
        if self.log.is_in_memory_after(after) {
            return evaluated(&self.log, query, after, text).map(Some);
        }
        self.blocking(move |log| evaluated(log, query, after, text)).await.map(Some)
    }

    /// What the client asked of a stream and does not hold: that is the answer, whatever else
    /// there is to be said against the events.
    async fn conflict(&self, append: &NewAppend) -> Result<Option<CommandError>, CommandError> {
        let expected = append.expected.clone();
        if expected.is_empty() {
            return Ok(None);
        }
        self.blocking(move |log| {
            for (stream, expected) in expected {
                let actual = log.stream_version(&stream)?.unwrap_or(0);
                if !expected.holds(actual) {
                    let conflict = VersionConflict { stream, expected, actual };
                    return Ok(Some(CommandError::VersionConflict(conflict)));
                }
            }
            Ok(None)
        })
        .await
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
}

/// What was recorded under the append's key. It blocks.
fn replay(log: &Log, append: &NewAppend) -> Result<Option<Bytes>, CommandError> {
    let Some(key) = &append.key else { return Ok(None) };
    let Some(record) = commands::recorded(log, append.caller.as_deref(), key.as_str())? else {
        return Ok(None);
    };
    match parse(&record).map_err(ReadError::from)?.kind {
        Kind::Append(record) if record.fingerprint == Some(append.fingerprint) => {}
        _ => return Err(CommandError::KeyReused),
    }
    Ok(Some(record))
}

/// Looks for an event that matches a condition. It blocks.
fn evaluated(log: &Log, query: Query, after: u64, text: String) -> Result<Condition, CommandError> {
    match log.first_match(&query, after) {
        Ok((Some(position), _)) => Err(CommandError::ConditionFailed { position }),
        Ok((None, checked_to)) => Ok(Condition { query, after, checked_to, text }),
        Err(FindError::TooWide) => Err(CommandError::ConditionTooWide),
        Err(error) => Err(ReadError::from(error).into()),
    }
}

/// The keys of the events that were given their ids elsewhere, in their order.
fn given_keys(append: &NewAppend) -> Vec<GivenKey> {
    let origins = append.events.iter().filter_map(|(event, _)| event.origin.as_deref());
    origins.map(|origin| GivenKey::of(&origin.source, &origin.id)).collect()
}

/// What the writer is asked, without the events and the condition.
fn direct(append: &NewAppend) -> DirectAppend {
    let expected = append
        .expected
        .iter()
        .map(|(stream, version)| Expectation { stream: stream.clone(), version: *version });
    DirectAppend {
        expected: expected.collect(),
        key: append.key.as_ref().map(|key| (key.to_string(), append.fingerprint)),
        caller: append.caller.clone(),
        correlation_id: append.correlation_id.as_ref().map(ToString::to_string),
        causation_id: append.causation_id.as_ref().map(ToString::to_string),
        ..DirectAppend::default()
    }
}

/// What the writer's answer means for who asked.
fn recorded(answer: Result<Appended, AppendError>) -> Result<Bytes, Attempt> {
    match answer {
        Ok(Appended::Record(record)) => Ok(record),
        Ok(Appended::Barrier) => Err(lost().into()),
        Err(AppendError::ConditionFailed { position }) => {
            Err(CommandError::ConditionFailed { position }.into())
        }
        Err(AppendError::Conflict(_) | AppendError::Superseded) => Err(Attempt::Superseded),
        Err(AppendError::NotAccepted(refusal)) => Err(CommandError::NotAccepted(refusal).into()),
        Err(AppendError::Unknown(reason)) => Err(CommandError::OutcomeUnknown(reason).into()),
    }
}

fn lost() -> CommandError {
    CommandError::OutcomeUnknown("the writer ended".into())
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
