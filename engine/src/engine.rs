//! The engine: everything below HTTP, put together, opened and closed in the right order.

mod keepers;
mod start;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::appends::{AppendAnswer, Appends, NewAppend, Sequence};
use crate::archive::Archiver;
use crate::backup::{BackupError, Source};
use crate::checkpoints::Checkpoints;
use crate::commands::{Answer, Command, CommandError, Commands, History};
use crate::decision::parse;
use crate::event_schemas::EventSchemas;
use crate::modules::{Foundation, Modules};
use crate::names::{Key, Name, StreamId};
use crate::projections::Projections;
use crate::runtime::Runtime;
use crate::storage::data_dir::DataDir;
use crate::storage::log::{Direction, Log};
use crate::subscriptions::{SubscriptionLimits, Subscriptions};
use crate::tasks::{Spawner, Thread};
use crate::verify::{Pace, Subject};

use keepers::Keepers;
pub use start::{Options, StartError};

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
    keepers: Keepers,
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
        let data_dir = start::open_dir(&options.data)?;
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
        let schemas = EventSchemas::open(&log, options.schemas).map_err(StartError::Other)?;
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
            clock: options.clock.clone(),
            workers: options.workers,
            checks: options.checks,
            schemas: options.schemas,
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
        let appends = Appends::new(
            (log.clone(), schemas.rules()),
            Arc::clone(&commands),
            source.clone(),
            options.in_flight_commands,
        );
        let keep = (options.checkpoints, options.archive);
        let keepers = Keepers::start(&log, &data_dir, keep, options.clock, &spawner);
        Ok(Self {
            appends,
            source: source.into(),
            schemas: Arc::new(schemas),
            commands,
            subscriptions: Arc::new(subscriptions),
            log,
            modules: Arc::new(modules),
            projections,
            keepers,
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

    /// Appends that are recorded in their order, up to `most` of them under way.
    #[must_use]
    pub fn append_sequence(&self, most: usize) -> Sequence<'_> {
        self.appends.sequence(most)
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
        &self.keepers.checkpoints
    }

    /// Moves files of the log to the archive and back.
    #[must_use]
    pub fn archiver(&self) -> &Arc<Archiver> {
        &self.keepers.archiver
    }

    /// What work that reads the whole log may take beside commands.
    #[must_use]
    pub fn upkeep(&self) -> Pace {
        self.upkeep
    }

    /// The store as it is now, to be verified while it is used.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let read_models = self.projections.checkpoints().into_iter();
        let read_models = read_models.map(|(name, at)| (name, at.map_err(|e| e.to_string())));
        Subject {
            read_models: read_models.collect(),
            stored: self.log.stored(),
            store_id: self.data_dir.store_id().to_owned(),
            dir: self.data_dir.path().to_owned(),
        }
    }

    /// What a backup up to the newest record is made of.
    ///
    /// # Errors
    /// [`BackupError`], when no checkpoint can be signed.
    pub fn backup_source(&self) -> Result<Source, BackupError> {
        let through = self.log.head();
        Ok(Source {
            stored: self.log.stored(),
            store_id: self.data_dir.store_id().to_owned(),
            dir: self.data_dir.path().to_owned(),
            through,
            checkpoint: Some(self.keepers.checkpoints.at(Some(through.decision))?),
            without: BTreeSet::new(),
        })
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
        self.keepers.close();
        let Self { log, commands, appends, modules, projections, subscriptions, schemas, .. } =
            self;
        drop((log, commands, appends, modules, projections, subscriptions, schemas));
        let (log_threads, _data_dir) = (self.log_threads, self.data_dir);
        for thread in log_threads {
            thread.join();
        }
    }
}
