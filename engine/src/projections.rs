//! Projections: events become documents that can be queried.
//!
//! Promises: documents and checkpoint move together, each event has its effect once, and a batch
//! that fails changes nothing; a projection that cannot go on says so and where. A read model is
//! disposable: one that does not agree with the log is built again. The log is read once for all.

mod batch;
mod follow;
mod generation;
mod guest_query;
mod overlay;
mod query;
mod read_model;
mod replay;
mod sample;

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
use crate::storage::read_models::{Checkpoint, Collection, ReadModelFile};
use crate::subscriptions::{Feed, FeedLimits};
use crate::tasks::{Spawner, Thread};

use guest_query::Answerers;

pub use guest_query::{GuestQueries, GuestQueryError};
pub use query::{Filter, QueryError, RowsQuery, page, parse_fields, parse_order};
pub use read_model::{Count, Explain, PageError, ReadModel, Row, RowsPage};
pub use replay::replay;
pub use sample::{Documents, Sample};

/// What projections may use. Each has a default with a reason.
#[derive(Clone, Debug)]
pub struct ProjectionLimits {
    /// How long a batch waits for more events once one has come. 1 ms: nobody sees it, and a busy
    /// log fills a batch meanwhile.
    pub linger: Duration,
    /// How the log is read for all projections: a part is a batch.
    pub feed: FeedLimits,
    /// Bytes of changes that a projection that is behind gathers before it writes them. 64 MiB:
    /// some 300,000 documents, which then cost a fifth of what they cost a thousand at a time.
    pub overlay_bytes: usize,
    /// How long it gathers them. 1 s: whoever waits for it sees it move.
    pub overlay_for: Duration,
    /// How long what was written may stay without an fsync: a crash projects it again. 1 s.
    pub durable_every: Duration,
    /// Bytes of changes that may be written without an fsync. 32 MiB: a file reuses no space in
    /// between.
    pub durable_bytes: usize,
    /// Documents that an index that is being built takes in between two batches. 5,000: some 20 ms.
    pub build_rows: usize,
    /// Documents that one query may look at. 100,000: some 100 ms.
    pub scan_rows: usize,
    /// Queries of one projection that its module answers at a time; others wait. 8: each has an
    /// instance and a thread, and a deadline.
    pub guest_queries: usize,
    /// Bytes of documents after which a page ends. 8 MiB: what a thousand clients may hold of a
    /// server's memory at once.
    pub page_bytes: usize,
}

impl Default for ProjectionLimits {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(1),
            feed: FeedLimits::default(),
            overlay_bytes: 64 << 20,
            overlay_for: Duration::from_secs(1),
            durable_every: Duration::from_secs(1),
            durable_bytes: 32 << 20,
            build_rows: 5_000,
            scan_rows: 100_000,
            guest_queries: 8,
            page_bytes: 8 << 20,
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
    spec: Arc<ProjectionManifest>,
    file: Arc<ReadModelFile>,
    progress: watch::Sender<Checkpoint>,
    answerers: Answerers,
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
    feed: Arc<Feed>,
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
        let feed = Arc::new(Feed::new(log.clone(), limits.feed));
        Self { log, feed, dir, limits, clock, spawner, running: RwLock::default() }
    }

    /// What projections may use.
    #[must_use]
    pub fn limits(&self) -> &ProjectionLimits {
        &self.limits
    }

    /// Runs the projections of a module version in place of those of its version before. It
    /// waits for the end of the batches under way.
    ///
    /// # Errors
    /// A sentence, when a file cannot be used. Projections not yet replaced go on.
    pub fn install(&self, manifest: &Manifest, component: &Component) -> Result<(), String> {
        for spec in &manifest.projections {
            let before = self.running.read().get(&spec.name).cloned();
            let same_content = before.filter(|before| {
                before.stop();
                before.spec.version == spec.version && before.file.is_of(&collections(spec))
            });
            let file = match same_content {
                Some(before) => Arc::clone(&before.file),
                None => self.open_file(spec)?,
            };
            file.declare(collections(spec)).map_err(|error| error.to_string())?;
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
        let open = || ReadModelFile::open(&path, collections(spec));
        // What cannot be opened, such as a file of half a copy, is built again like any other.
        if let Ok(file) = open()
            && file.checkpoint().is_ok_and(|at| at.is_none_or(|at| self.agrees(&at)))
        {
            return Ok(Arc::new(file));
        }
        tracing::warn!(projection = spec.name, "its file is not of this log and is built again");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", path.display()));
            }
            _ => {}
        }
        open().map(Arc::new).map_err(|error| error.to_string())
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
        let checkpoint = file.checkpoint().map_err(|error| error.to_string())?;
        let checkpoint = checkpoint.unwrap_or(Checkpoint::START);
        let running = Arc::new(Running {
            module: module.to_owned(),
            spec: Arc::new(spec.clone()),
            file,
            progress: watch::Sender::new(checkpoint),
            answerers: Answerers::new(component.clone(), self.limits.guest_queries),
            state: Mutex::new(ProjectionState::CatchingUp),
            stop: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let follower = follow::Follower::new(
            Arc::clone(&running),
            (self.log.clone(), Arc::clone(&self.feed)),
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
        Some(ReadModel::new(name.to_owned(), Arc::clone(owner), self.limits.clone()))
    }

    /// The queries of a projection of a name.
    #[must_use]
    pub fn queries(&self, projection: &str) -> Option<GuestQueries> {
        self.running.read().get(projection).map(|running| GuestQueries::new(Arc::clone(running)))
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

/// What the file of a projection holds. The indexes were checked with the manifest.
fn collections(spec: &ProjectionManifest) -> Vec<Collection> {
    let collection = |collection: &crate::manifest::CollectionManifest| Collection {
        name: collection.name.clone(),
        indexes: collection.indexes.iter().filter_map(|index| index.parse().ok()).collect(),
    };
    spec.collections.iter().map(collection).collect()
}
