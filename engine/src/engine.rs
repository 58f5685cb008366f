//! The engine: everything below HTTP, put together, opened and closed in the right order.

mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::appends::{AppendAnswer, Appends, NewAppend};
use crate::checkpoints::{CheckpointLimits, Checkpoints};
use crate::clock::Clock;
use crate::commands::{Answer, Command, CommandError, Commands, History, WorkerLimits};
use crate::decision::parse;
use crate::event_schemas::EventSchemas;
use crate::modules::{CheckLimits, Foundation, Modules};
use crate::names::{Key, Name, StreamId};
use crate::projections::{ProjectionLimits, Projections};
use crate::runtime::{
    CompileLimits, CompilerProgram, GateLimits, GuestLimits, Runtime, RuntimeOptions, Wasi,
};
use crate::storage::data_dir::{DataDir, DataDirError};
use crate::storage::log::{Direction, Log, LogLimits, OpenError};
use crate::subscriptions::{SubscriptionLimits, Subscriptions};
use crate::tasks::{Spawner, Thread};
use crate::verify::Pace;

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory.
    pub data: PathBuf,
    /// What the log may use.
    pub log: LogLimits,
    /// What guests may use.
    pub guests: GuestLimits,
    /// What components may consist of.
    pub gate: GateLimits,
    /// Whether they may import WASI.
    pub wasi: Wasi,
    /// What compiling a component may cost.
    pub compile: CompileLimits,
    /// Who compiles components.
    pub compiler: CompilerProgram,
    /// What the threads of modules may use.
    pub workers: WorkerLimits,
    /// What a version must show before it becomes active.
    pub checks: CheckLimits,
    /// Whether to start without modules: what is active stays recorded, and a module is started by
    /// activating a version of it.
    pub safe_mode: bool,
    /// What projections may use.
    pub projections: ProjectionLimits,
    /// When checkpoints are signed.
    pub checkpoints: CheckpointLimits,
    /// What work that reads the whole log may take beside commands.
    pub upkeep: Pace,
    /// Commands between arrival and answer, and as many direct appends; more wait. 4,096: what one
    /// group may hold, and both together fit the log's queue, so that no sender blocks on it.
    pub in_flight_commands: usize,
    /// Tells the time.
    pub clock: Clock,
}

impl Options {
    /// The defaults over a data directory. Who compiles has no default: it has to be known where
    /// the binary `factum` is, or said that components are trusted.
    #[must_use]
    pub fn new(data: PathBuf, compiler: CompilerProgram) -> Self {
        Self {
            data,
            log: LogLimits::default(),
            guests: GuestLimits::default(),
            gate: GateLimits::default(),
            wasi: Wasi::default(),
            compile: CompileLimits::default(),
            compiler,
            workers: WorkerLimits::default(),
            checks: CheckLimits::default(),
            safe_mode: false,
            projections: ProjectionLimits::default(),
            checkpoints: CheckpointLimits::default(),
            upkeep: Pace::default(),
            in_flight_commands: 4096,
            clock: Clock::system(),
        }
    }

    fn runtime(&self, cache: PathBuf) -> RuntimeOptions {
        RuntimeOptions {
            guests: self.guests,
            gate: self.gate,
            wasi: self.wasi,
            compile: self.compile,
            compiler: self.compiler.clone(),
            cache,
        }
    }
}

/// Why an engine could not be opened.
#[derive(Debug)]
pub enum StartError {
    /// The data directory cannot be used.
    DataDir(DataDirError),
    /// The log cannot be used.
    Log(OpenError),
    /// The directory was copied while it was used, and what came of it is no store.
    TornCopy(PathBuf, String),
    /// Something else, in a sentence.
    Other(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::TornCopy(dir, reason) => write!(
                f,
                "{} was copied while a server used it, and its files do not fit together: \
                 {reason}. Take a copy with `factum backup`",
                dir.display()
            ),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for StartError {}

/// The state of an aggregate instance, as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateView {
    /// The state as JSON.
    pub json: String,
    /// The version of the stream it is folded up to.
    pub version: u64,
    /// The position of the newest event in it.
    pub position: u64,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    log: Log,
    commands: Arc<Commands>,
    appends: Appends,
    modules: Arc<Modules>,
    projections: Arc<Projections>,
    subscriptions: Arc<Subscriptions>,
    source: Arc<str>,
    schemas: Arc<EventSchemas>,
    checkpoints: Arc<Checkpoints>,
    checkpointer: Thread,
    upkeep: Pace,
    spawner: Spawner,
    log_threads: Vec<Thread>,
    // Last: the directory is free for others only when everything above is gone.
    data_dir: DataDir,
}

impl Engine {
    /// Opens a data directory and starts what the log says is active. It blocks.
    ///
    /// # Errors
    /// [`StartError`] naming the cause; nothing was changed.
    pub fn open(options: Options) -> Result<Self, StartError> {
        let data_dir = upkeep::take(&options.data)?;
        let runtime = options.runtime(data_dir.compiled());
        let spawner = Spawner::default();
        let (log, log_threads) = Log::open(
            data_dir.path(),
            data_dir.store_id(),
            options.log,
            options.clock.clone(),
            &spawner,
        )
        .map_err(StartError::Log)?;
        let schemas = EventSchemas::open(&log).map_err(StartError::Other)?;
        let runtime = Runtime::new(runtime, &spawner).map_err(StartError::Other)?;
        let projections = Arc::new(Projections::new(
            log.clone(),
            data_dir.read_models(),
            options.projections,
            options.clock.clone(),
            spawner.clone(),
        ));
        let routes = Arc::new(ArcSwap::default());
        let foundation = Foundation {
            runtime,
            log: log.clone(),
            rules: schemas.rules(),
            clock: options.clock,
            workers: options.workers,
            checks: options.checks,
            safe_mode: options.safe_mode,
            spawner: spawner.clone(),
        };
        let modules = Modules::open(
            foundation,
            data_dir.components(),
            Arc::clone(&routes),
            Arc::clone(&projections),
        )
        .map_err(StartError::Other)?;
        let commands = Commands::new(log.clone(), routes, options.in_flight_commands);
        let commands = Arc::new(commands);
        let subscriptions = Subscriptions::new(log.clone(), SubscriptionLimits::default());
        let source = format!("/factum/{}", data_dir.store_id());
        let in_flight = options.in_flight_commands;
        let deciding = Arc::clone(&commands);
        let (dir, store_id) = (data_dir.path(), data_dir.store_id());
        let checkpoints = Checkpoints::new(log.clone(), dir, store_id, options.checkpoints);
        let checkpoints = Arc::new(checkpoints);
        let keeping = Arc::clone(&checkpoints);
        let checkpointer = spawner.thread("checkpointer", move || keeping.keep_at_intervals());
        Ok(Self {
            appends: Appends::new(
                (log.clone(), schemas.rules()),
                deciding,
                source.clone(),
                in_flight,
            ),
            source: source.into(),
            schemas: Arc::new(schemas),
            commands,
            subscriptions: Arc::new(subscriptions),
            log,
            modules: Arc::new(modules),
            projections,
            checkpoints,
            checkpointer,
            upkeep: options.upkeep,
            spawner,
            log_threads,
            data_dir,
        })
    }

    /// Decides a command and makes the decision durable.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was recorded unless it is `OutcomeUnknown`.
    pub async fn execute(&self, command: Command) -> Result<Answer, CommandError> {
        self.commands.execute(command).await
    }

    /// Appends events that no module decided, and makes them durable.
    ///
    /// # Errors
    /// [`CommandError`]; nothing was appended unless it is `OutcomeUnknown`.
    pub async fn append(&self, append: NewAppend) -> Result<AppendAnswer, CommandError> {
        self.appends.append(append).await
    }

    /// The folded state of an aggregate instance; none before its first event.
    ///
    /// # Errors
    /// [`CommandError`] as for a command.
    pub async fn state(
        &self,
        aggregate: &Name,
        id: &Key,
    ) -> Result<Option<StateView>, CommandError> {
        let Some(state) = self.commands.state(aggregate, id).await? else { return Ok(None) };
        let stream = StreamId::of(aggregate, id);
        let version = state.version;
        let records =
            self.log.stream_records(stream.as_str(), version + 1, Direction::Backward, 1)?;
        let mut position = 0;
        for record in records.iter() {
            let decision = parse(record).map_err(crate::storage::log::ReadError::from)?;
            let event = decision
                .events
                .iter()
                .find(|e| e.stream == Some(stream.as_str()) && e.stream_version == version);
            position = event.map_or(position, |event| event.position);
        }
        Ok(Some(StateView { json: state.json, version, position }))
    }

    /// The states that an aggregate instance had.
    ///
    /// # Errors
    /// [`CommandError`], when no module folds the aggregate.
    pub fn history(&self, aggregate: &Name, id: &Key) -> Result<History, CommandError> {
        self.commands.history(aggregate, id)
    }

    /// What tells events that got their ids here from those of everyone else, as CloudEvents have
    /// it.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// The schemas of event types.
    #[must_use]
    pub fn schemas(&self) -> &Arc<EventSchemas> {
        &self.schemas
    }

    /// The log, for reading.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The modules.
    #[must_use]
    pub fn modules(&self) -> &Arc<Modules> {
        &self.modules
    }

    /// The projections and their read models.
    #[must_use]
    pub fn projections(&self) -> &Arc<Projections> {
        &self.projections
    }

    /// Those who follow the log.
    #[must_use]
    pub fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.subscriptions
    }

    /// Signs checkpoints of the log.
    #[must_use]
    pub fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.checkpoints
    }

    /// What work that reads the whole log may take beside commands.
    #[must_use]
    pub fn upkeep(&self) -> Pace {
        self.upkeep
    }

    /// Runs long work in a thread of its own, which ends by itself.
    pub fn beside(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        drop(self.spawner.thread(name, work));
    }

    /// Threads that died: the engine is unhealthy if there are any.
    #[must_use]
    pub fn dead_threads(&self) -> Vec<String> {
        self.spawner.dead()
    }

    /// Finishes what was accepted and ends every thread but the writer, which ends with the last
    /// handle to the log. It blocks.
    pub fn close(self) {
        self.subscriptions.close();
        self.modules.close();
        self.projections.close();
        self.checkpoints.close();
        self.checkpointer.join();
        let Self { log, commands, appends, modules, projections, subscriptions, schemas, .. } =
            self;
        drop((log, commands, appends, modules, projections, subscriptions, schemas));
        drop(self.checkpoints);
        let (log_threads, _data_dir) = (self.log_threads, self.data_dir);
        for thread in log_threads {
            thread.join();
        }
    }
}
