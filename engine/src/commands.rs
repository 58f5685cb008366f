//! Commands: from what a client asks to a durable decision.
//!
//! Promises: a command id has one effect and one answer; an answer leaves only when everything it
//! was computed from is durable; whatever fails is a typed [`CommandError`].

mod changes;
mod error;
mod history;
mod idempotency;
mod meter;
mod module;
mod order;
mod record;
mod states;
mod throttle;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use crate::decision::{Decision, Hash, Kind, parse};
use crate::event::NewEvent;
use crate::expected::ExpectedVersion;
use crate::names::{Key, Name, StreamId};
use crate::storage::log::{GivenKey, Log, ReadError};

pub use changes::StateChange;
pub use error::CommandError;
pub use history::{History, PastState, Step, Until};
pub(crate) use idempotency::{Running, RunningEvents};
pub use meter::{FuelFigure, FuelFigures, Meter};
pub use module::{ActiveModule, Instances, WorkerLimits};
pub use order::{Order, Turn};
pub use throttle::ThrottleLimits;
pub(crate) use worker::Foldable;
pub use worker::{AggregateState, Attempt};

use idempotency::InFlight;
use worker::Job;

/// Decisions of one command that may lose against others before it is given up. 16: each loss
/// means that another command was decided.
pub const MAX_ATTEMPTS: usize = 16;

/// A request to decide.
#[derive(Clone, Debug)]
pub struct Command {
    /// The aggregate addressed.
    pub aggregate: Name,
    /// Which of its instances.
    pub id: Key,
    /// The command's name.
    pub name: Name,
    /// Its data: compact JSON.
    pub data: String,
    /// The idempotency key, or a new id.
    pub command_id: CommandId,
    /// The version that the stream must have.
    pub expected: ExpectedVersion,
    /// Who asks.
    pub caller: Option<String>,
    /// The conversation; the command's own id where the client names none.
    pub correlation_id: Option<Key>,
    /// The direct cause; the command's own id where the client names none.
    pub causation_id: Option<Key>,
    /// Its place among commands that were sent together.
    pub turn: Option<Turn>,
}

/// The id of a command.
#[derive(Clone, Debug)]
pub enum CommandId {
    /// The client's: a retry with it replays.
    Client(Key),
    /// The server's: nobody else knows it.
    Server(String),
}

impl CommandId {
    /// A new id of the server's.
    #[must_use]
    pub fn new() -> Self {
        Self::Server(crate::clock::new_id().to_string())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Client(key) => key.as_str(),
            Self::Server(id) => id,
        }
    }
}

impl Default for CommandId {
    fn default() -> Self {
        Self::new()
    }
}

impl Command {
    /// The stream that its events go to.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId::of(&self.aggregate, &self.id)
    }

    /// BLAKE3 of what is asked: equal for a retry, different for a reused id.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for part in [self.aggregate.as_str(), self.id.as_str(), self.name.as_str()] {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        *hasher.update(self.data.as_bytes()).finalize().as_bytes()
    }
}

/// The recorded answer to a command: committed or rejected, as its record says.
#[derive(Clone, Debug)]
pub struct Answer {
    record: Bytes,
    /// Whether the command had been decided before.
    pub replayed: bool,
}

impl Answer {
    /// The record behind the answer.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when its bytes are.
    pub fn decision(&self) -> Result<Decision<'_>, ReadError> {
        Ok(parse(&self.record)?)
    }
}

/// Lets those behind a command go on when it has its answer, however it ends.
struct OnTurn(Option<Turn>);

impl Drop for OnTurn {
    fn drop(&mut self) {
        if let Some(turn) = &self.0 {
            turn.answered();
        }
    }
}

/// Which module decides for each aggregate.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// By aggregate.
    pub active: HashMap<String, Arc<ActiveModule>>,
    /// Aggregates of modules that should be active and are not: the module, and why.
    pub quarantined: HashMap<String, (String, String)>,
}

impl Routes {
    /// The active version of a module with aggregates.
    #[must_use]
    pub fn of_module(&self, name: &str) -> Option<&Arc<ActiveModule>> {
        self.active.values().find(|active| active.name() == name)
    }

    /// Forgets all aggregates of a module.
    pub fn remove_module(&mut self, name: &str) {
        self.active.retain(|_, active| active.name() != name);
        self.quarantined.retain(|_, (module, _)| module != name);
    }

    fn find(&self, aggregate: &str) -> Result<Option<Arc<ActiveModule>>, CommandError> {
        if let Some((module, reason)) = self.quarantined.get(aggregate) {
            let (module, reason) = (module.clone(), reason.clone());
            return Err(CommandError::Quarantined { module, reason });
        }
        Ok(self.active.get(aggregate).cloned())
    }
}

/// Takes commands in.
#[derive(Debug)]
pub struct Commands {
    log: Log,
    routes: Arc<ArcSwap<Routes>>,
    in_flight: InFlight,
    permits: Semaphore,
}

impl Commands {
    /// Commands over a log; `routes` changes as modules come and go. At most `in_flight` commands
    /// are between arrival and answer, the others wait.
    #[must_use]
    pub fn new(log: Log, routes: Arc<ArcSwap<Routes>>, in_flight: usize) -> Self {
        Self { log, routes, in_flight: InFlight::default(), permits: Semaphore::new(in_flight) }
    }

    /// Decides a command and makes the decision durable.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was recorded unless it is `OutcomeUnknown`.
    pub async fn execute(&self, command: Command) -> Result<Answer, CommandError> {
        let _turn = OnTurn(command.turn.clone());
        let _permit = self.permits.acquire().await.map_err(|_| CommandError::ShuttingDown)?;
        let running = match &command.command_id {
            CommandId::Server(_) => None,
            CommandId::Client(key) => {
                let running = self.enter(command.caller.as_deref(), key)?;
                if let Some(answer) = self.replay(&command, key.as_str())? {
                    return Ok(answer);
                }
                Some(Arc::new(running))
            }
        };
        let command = Arc::new(command);
        for _ in 0..MAX_ATTEMPTS {
            match self.attempt(&command, running.clone()).await {
                Ok(record) => return Ok(Answer { record, replayed: false }),
                Err(Attempt::Superseded) => {}
                Err(Attempt::Failed(error)) => return Err(error),
            }
            if let Some(turn) = &command.turn {
                turn.wait().await;
            }
        }
        Err(CommandError::Contended { attempts: MAX_ATTEMPTS })
    }

    async fn attempt(
        &self,
        command: &Arc<Command>,
        running: Option<Arc<Running>>,
    ) -> Result<Bytes, Attempt> {
        let module = self.module(&command.aggregate)?;
        let (reply, answer) = oneshot::channel();
        let job = Job::Decide { command: Arc::clone(command), running, reply };
        module.submit(&command.stream(), job)?;
        let lost = |_| CommandError::OutcomeUnknown("the module's thread ended".into());
        let answer = answer.await.map_err(lost)?;
        module.count(command.name.as_str(), &answer);
        answer
    }

    /// The folded state of an aggregate instance; none before its first event. It answers when
    /// everything it was folded from is durable.
    ///
    /// # Errors
    /// [`CommandError`] as for a command.
    pub async fn state(
        &self,
        aggregate: &Name,
        id: &Key,
    ) -> Result<Option<AggregateState>, CommandError> {
        let stream = StreamId::of(aggregate, id);
        for _ in 0..MAX_ATTEMPTS {
            let module = self.module(aggregate)?;
            let (reply, answer) = oneshot::channel();
            let job = Job::Inspect { aggregate: aggregate.clone(), stream: stream.clone(), reply };
            module.submit(&stream, job)?;
            match answer.await {
                Ok(Ok(state)) => return Ok(state),
                Ok(Err(Attempt::Superseded)) | Err(_) => {}
                Ok(Err(Attempt::Failed(error))) => return Err(error),
            }
        }
        Err(CommandError::Contended { attempts: MAX_ATTEMPTS })
    }

    fn module(&self, aggregate: &Name) -> Result<Arc<ActiveModule>, CommandError> {
        let module = self.routes.load().find(aggregate.as_str())?;
        module.ok_or_else(|| CommandError::UnknownAggregate(aggregate.clone()))
    }

    fn replay(&self, command: &Command, id: &str) -> Result<Option<Answer>, CommandError> {
        let record = recorded(&self.log, command.caller.as_deref(), id)?;
        let Some(record) = record else { return Ok(None) };
        let answer = Answer { record, replayed: true };
        match answer.decision()?.kind {
            Kind::Command(record) if record.fingerprint == command.fingerprint() => {}
            _ => return Err(CommandError::KeyReused),
        }
        Ok(Some(answer))
    }

    /// Takes a client's id for as long as what it answers lives.
    pub(crate) fn enter(&self, caller: Option<&str>, key: &Key) -> Result<Running, CommandError> {
        self.in_flight.enter(caller, key.as_str()).ok_or(CommandError::StillRunning)
    }

    /// Takes events that were given their ids elsewhere, each of which is there once, for as long
    /// as what it answers lives.
    pub(crate) fn enter_events(&self, keys: Vec<GivenKey>) -> Result<RunningEvents, CommandError> {
        self.in_flight.enter_events(keys).ok_or(CommandError::StillRunning)
    }

    /// Whether an active aggregate owns a category.
    pub(crate) fn is_owned(&self, category: &str) -> bool {
        let routes = self.routes.load();
        routes.active.contains_key(category) || routes.quarantined.contains_key(category)
    }

    /// Lets the active owner of a stream fold events that are to be appended; none if it has none.
    pub(crate) async fn fold(
        &self,
        stream: &StreamId,
        events: Vec<NewEvent>,
    ) -> Result<Option<Foldable>, Attempt> {
        let Some(module) = self.routes.load().find(stream.category())? else {
            return Ok(None);
        };
        let (reply, answer) = oneshot::channel();
        module.submit(stream, Job::Fold { stream: stream.clone(), events, reply })?;
        answer.await.unwrap_or(Err(Attempt::Superseded)).map(Some)
    }
}

/// What was recorded under a client's id.
pub(crate) fn recorded(
    log: &Log,
    caller: Option<&str>,
    id: &str,
) -> Result<Option<Bytes>, ReadError> {
    let Some(decision) = log.find_command(caller, id)? else { return Ok(None) };
    let missing = || ReadError::Damaged(format!("decision {decision} is indexed and missing"));
    log.record(decision)?.ok_or_else(missing).map(Some)
}
