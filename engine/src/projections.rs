//! Projections: events become documents that can be queried.
//!
//! Promises: documents and checkpoint move together, each event has its effect once, and a batch
//! that fails changes nothing; a projection that cannot go on says so and where. A read model is
//! disposable: one that does not agree with the log is built again.

mod batch;
mod follow;
mod query;
mod read_model;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::decision::format::record_hash;
use crate::decision::parse;
use crate::manifest::{Manifest, ProjectionManifest};
use crate::runtime::Component;
use crate::storage::log::Log;
use crate::storage::read_models::{Checkpoint, ReadModelFile};
use crate::tasks::{Spawner, Thread};

pub use query::{Filter, Order, QueryError, RowsQuery};
pub use read_model::{PageError, ReadModel, Row, RowsPage};

/// What projections may use. Each has a default with a reason.
#[derive(Clone, Debug)]
pub struct ProjectionLimits {
    /// How long a batch waits for more events once one has come. 1 ms: nobody sees it, and a busy
    /// log fills a batch meanwhile.
    pub linger: Duration,
    /// Events in one batch. 2,000: more gains little and delays the first.
    pub batch_events: usize,
    /// Bytes of records in one batch. 4 MiB.
    pub batch_bytes: usize,
    /// How long a batch may stay without an fsync: a crash projects it again. 1 s.
    pub durable_every: Duration,
    /// Documents that a query which needs an order may look at. 100,000: some 100 ms.
    pub scan_rows: usize,
}

impl Default for ProjectionLimits {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(1),
            batch_events: 2_000,
            batch_bytes: 4 << 20,
            durable_every: Duration::from_secs(1),
            scan_rows: 100_000,
        }
    }
}

/// How a projection is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectionState {
    /// It has applied everything, or is about to.
    Live,
    /// It is behind the head and moving.
    CatchingUp,
    /// It cannot go on; what it has answers on.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A projection and how it is doing.
#[derive(Clone, Debug)]
pub struct ProjectionStatus {
    /// Its name.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The module that it belongs to.
    pub module: String,
    /// Its read models.
    pub collections: Vec<String>,
    /// How it is doing.
    pub state: ProjectionState,
    /// The newest position it has applied.
    pub position: u64,
    /// Events between that and the head.
    pub lag_events: u64,
    /// Age of the oldest record it has not applied, in milliseconds.
    pub lag_ms: u64,
}

/// A running projection: its file outlives the thread, so that readers never notice a restart.
#[derive(Debug)]
struct Running {
    module: String,
    spec: ProjectionManifest,
    file: Arc<ReadModelFile>,
    progress: watch::Sender<Checkpoint>,
    state: Mutex<ProjectionState>,
    stop: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Running {
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.lock().take() {
            thread.join();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// All projections.
#[derive(Debug)]
pub struct Projections {
    log: Log,
    dir: PathBuf,
    limits: ProjectionLimits,
    clock: Clock,
    spawner: Spawner,
    running: RwLock<BTreeMap<String, Arc<Running>>>,
}

impl Projections {
    /// No projections yet; their files will be in `dir`.
    #[must_use]
    pub fn new(
        log: Log,
        dir: PathBuf,
        limits: ProjectionLimits,
        clock: Clock,
        spawner: Spawner,
    ) -> Self {
        Self { log, dir, limits, clock, spawner, running: RwLock::default() }
    }

    /// Runs the projections of a module version in place of those of its version before. It
    /// waits for the end of the batches under way.
    ///
    /// # Errors
    /// A sentence, when a file cannot be used. Projections not yet replaced go on.
    pub fn install(&self, manifest: &Manifest, component: &Component) -> Result<(), String> {
        for spec in &manifest.projections {
            let before = self.running.read().get(&spec.name).cloned();
            let same_version = before.filter(|before| {
                before.stop();
                before.spec.version == spec.version
            });
            let file = match same_version {
                Some(before) => Arc::clone(&before.file),
                None => self.open_file(spec)?,
            };
            let running = self.run(&manifest.name, spec, file, component)?;
            self.running.write().insert(spec.name.clone(), running);
        }
        let kept = |name: &String| manifest.projections.iter().any(|spec| spec.name == *name);
        self.remove_where(|name, running| running.module == manifest.name && !kept(name));
        Ok(())
    }

    /// Ends the projections of a module. Their files stay.
    pub fn remove(&self, module: &str) {
        self.remove_where(|_, running| running.module == module);
    }

    /// Ends all projections, durably.
    pub fn close(&self) {
        self.remove_where(|_, _| true);
    }

    fn remove_where(&self, gone: impl Fn(&String, &Running) -> bool) {
        let removed: Vec<_> =
            self.running.write().extract_if(.., |name, running| gone(name, running)).collect();
        for (_, running) in removed {
            running.stop();
        }
    }

    fn open_file(&self, spec: &ProjectionManifest) -> Result<Arc<ReadModelFile>, String> {
        let path = self.dir.join(format!("{}-{}.redb", spec.name, spec.version));
        let open = || ReadModelFile::open(&path).map_err(|error| error.to_string());
        let file = open()?;
        let agrees = match file.checkpoint() {
            Ok(None) => true,
            Ok(Some(checkpoint)) => self.agrees(&checkpoint),
            Err(_) => false,
        };
        if agrees {
            return Ok(Arc::new(file));
        }
        tracing::warn!(projection = spec.name, "its file is of another log and is built again");
        drop(file);
        std::fs::remove_file(&path).map_err(|error| error.to_string())?;
        Ok(Arc::new(open()?))
    }

    /// Whether the log has, at the checkpoint, the record that was read there.
    fn agrees(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.decision == 0
            || self
                .log
                .record(checkpoint.decision)
                .ok()
                .flatten()
                .is_some_and(|record| record_hash(&record) == checkpoint.hash)
    }

    fn run(
        &self,
        module: &str,
        spec: &ProjectionManifest,
        file: Arc<ReadModelFile>,
        component: &Component,
    ) -> Result<Arc<Running>, String> {
        let start = Checkpoint { position: 0, decision: 0, hash: [0; 32] };
        let checkpoint = file.checkpoint().map_err(|error| error.to_string())?.unwrap_or(start);
        let running = Arc::new(Running {
            module: module.to_owned(),
            spec: spec.clone(),
            file,
            progress: watch::Sender::new(checkpoint),
            state: Mutex::new(ProjectionState::CatchingUp),
            stop: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let follower = follow::Follower::new(
            Arc::clone(&running),
            self.log.clone(),
            component.clone(),
            self.limits.clone(),
        );
        let thread =
            self.spawner.thread(&format!("projection-{}", spec.name), move || follower.run());
        *running.thread.lock() = Some(thread);
        Ok(running)
    }

    /// The read model of a name.
    #[must_use]
    pub fn read_model(&self, name: &str) -> Option<ReadModel> {
        let running = self.running.read();
        let owner = running
            .values()
            .find(|running| running.spec.collections.iter().any(|c| c.name == name))?;
        Some(ReadModel::new(name.to_owned(), Arc::clone(owner), self.limits.scan_rows))
    }

    /// The names of all read models.
    #[must_use]
    pub fn read_models(&self) -> Vec<String> {
        self.list().into_iter().flat_map(|status| status.collections).collect()
    }

    /// All projections and how they are doing.
    #[must_use]
    pub fn list(&self) -> Vec<ProjectionStatus> {
        let running: Vec<_> = self.running.read().values().cloned().collect();
        running.iter().map(|running| self.status(running)).collect()
    }

    fn status(&self, running: &Running) -> ProjectionStatus {
        let checkpoint = *running.progress.borrow();
        let next = self.log.record(checkpoint.decision + 1).ok().flatten();
        let waiting_since =
            next.and_then(|record| parse(&record).ok().map(|d| d.header.recorded_at_ms));
        ProjectionStatus {
            projection: running.spec.name.clone(),
            version: running.spec.version,
            module: running.module.clone(),
            collections: running.spec.collections.iter().map(|c| c.name.clone()).collect(),
            state: running.state.lock().clone(),
            position: checkpoint.position,
            lag_events: self.log.head().position.saturating_sub(checkpoint.position),
            lag_ms: waiting_since.map_or(0, |since| self.clock.now_ms().saturating_sub(since)),
        }
    }
}
