//! Direct appends: events that no module decided, for import and integration.
//!
//! Promises: all or nothing, at the versions expected and only if the condition holds; into a
//! category that an active aggregate owns, only events that it can fold; an idempotency key has
//! one effect and one answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use crate::commands::{Attempt, CommandError, Commands, MAX_ATTEMPTS};
use crate::decision::{Decision, Hash, Kind, parse};
use crate::event::NewEvent;
use crate::expected::ExpectedVersion;
use crate::names::{Key, StreamId};
use crate::query::Query;
use crate::storage::log::{
    AppendError, Appended, Condition, DirectAppend, Expectation, FindError, Lineage, Log,
    ReadError, Submission, Work,
};

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
}

/// Takes direct appends in.
#[derive(Debug)]
pub struct Appends {
    log: Log,
    commands: Arc<Commands>,
    permits: Semaphore,
}

/// What the owners of the streams say.
#[derive(Default)]
struct Folded {
    lineages: Vec<Arc<Lineage>>,
    expected: Vec<Expectation>,
}

impl Appends {
    /// Appends to a log; `commands` knows which aggregates are active. At most `in_flight` appends
    /// are between arrival and answer, the others wait.
    #[must_use]
    pub fn new(log: Log, commands: Arc<Commands>, in_flight: usize) -> Self {
        Self { log, commands, permits: Semaphore::new(in_flight) }
    }

    /// Appends events and makes them durable.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was appended unless it is `OutcomeUnknown`.
    pub async fn append(&self, append: NewAppend) -> Result<AppendAnswer, CommandError> {
        let _permit = self.permits.acquire().await.map_err(|_| CommandError::ShuttingDown)?;
        let running = match &append.key {
            None => None,
            Some(key) => {
                let running = self.commands.enter(append.caller.as_deref(), key)?;
                if let Some(answer) = self.replay(&append, key)? {
                    return Ok(answer);
                }
                Some(Arc::new(running))
            }
        };
        for _ in 0..MAX_ATTEMPTS {
            match self.attempt(&append, running.clone()).await {
                Ok(record) => return Ok(AppendAnswer { record, replayed: false }),
                Err(Attempt::Superseded) => {}
                Err(Attempt::Failed(error)) => return Err(error),
            }
        }
        Err(CommandError::Contended { attempts: MAX_ATTEMPTS })
    }

    async fn attempt(
        &self,
        append: &NewAppend,
        running: Option<impl Send + 'static>,
    ) -> Result<Bytes, Attempt> {
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
                drop(running);
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

    fn replay(&self, append: &NewAppend, key: &Key) -> Result<Option<AppendAnswer>, CommandError> {
        let caller = append.caller.as_deref();
        let Some(record) = self.commands.recorded(caller, key.as_str())? else { return Ok(None) };
        let answer = AppendAnswer { record, replayed: true };
        match answer.decision()?.kind {
            Kind::Append(record) if record.fingerprint == Some(append.fingerprint) => {}
            _ => return Err(CommandError::KeyReused),
        }
        Ok(Some(answer))
    }
}
