//! Projections: events become documents that can be queried.
//!
//! Promises: documents and checkpoint move together, each event has its effect once, and a batch
//! that fails changes nothing; a projection that cannot go on says so and where. A read model is
//! disposable: one that does not agree with the log is built again, and one that is to change is
//! built beside the one that answers. The log is read once for all.

mod batch;
mod crew;
mod diff;
mod files;
mod follow;
mod generation;
mod guest_query;
mod install;
mod limits;
mod operate;
mod overlay;
mod partition;
mod pasts;
mod projection;
mod proof;
mod query;
mod read_model;
mod replay;
mod running;
mod sample;
mod settings;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::clock::Clock;
use crate::decision::Hash;
use crate::manifest::{Manifest, ProjectionManifest};
use crate::runtime::Component;
use crate::storage::log::Log;
use crate::storage::read_models::{Checkpoint, Collection, ReadModelError};
use crate::subscriptions::Feed;
use crate::tasks::Spawner;

use files::Files;
use follow::Sources;
use pasts::Pasts;
use projection::Projection;
use running::Running;

pub use diff::{CollectionDiff, Diff, DiffRow};
pub use guest_query::{GuestQueries, GuestQueryError};
pub use limits::ProjectionLimits;
pub use operate::OperateError;
pub use pasts::{PastError, PastStatus};
pub use proof::ProofError;
pub use query::{Filter, QueryError, RowsQuery, page, parse_fields, parse_order};
pub use read_model::{Count, Explain, PageError, ReadModel, Row, RowsPage};
pub use replay::replay;
pub use sample::{Documents, Sample};
pub use settings::{LeftOut, OnFailure, Settings, SettingsError};
pub use status::{GenerationStatus, ProjectionState, ProjectionStatus, Trouble};

/// A module version that makes documents.
#[derive(Clone, Debug)]
pub struct Maker {
    /// What it says it is.
    pub manifest: Manifest,
    /// Its compiled form.
    pub component: Component,
    /// BLAKE3 of the component's bytes.
    pub digest: Hash,
}

/// Finds the module version of a digest, if it was uploaded and can be loaded.
pub type FindMaker<'a> = &'a dyn Fn(&Hash) -> Option<Maker>;

/// All projections.
#[derive(Debug)]
pub struct Projections {
    sources: Sources,
    clock: Clock,
    spawner: Spawner,
    all: RwLock<BTreeMap<String, Arc<Projection>>>,
    pasts: Pasts,
    /// One at a time changes which generations there are; builds that take over do so beside it.
    operating: Mutex<()>,
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
        let files = Arc::new(Files::new(dir, log.clone()));
        files.forget_past();
        let sources = Sources { log, feed, files, limits };
        let (all, pasts, operating) = Default::default();
        Self { sources, clock, spawner, all, pasts, operating }
    }

    /// What projections may use.
    #[must_use]
    pub fn limits(&self) -> &ProjectionLimits {
        &self.sources.limits
    }

    /// Ends the projections of a module. Their files stay, for when it comes back.
    pub fn remove(&self, module: &str) {
        let _one_at_a_time = self.operating.lock();
        self.take_out(|_, module_of| module_of == module);
    }

    /// Removes the files of projections that no module knows.
    pub fn remove_orphans(&self, is_known: impl Fn(&str) -> bool) {
        let files = self.sources.files.list().unwrap_or_else(|reason| {
            tracing::warn!(reason, "the files of read models cannot be listed");
            Vec::new()
        });
        for file in files.iter().filter(|file| !is_known(&file.projection)) {
            let (projection, path) = (&file.projection, file.path.display());
            match files::remove(&file.path) {
                Ok(()) => tracing::info!(projection, %path, "an orphan was removed"),
                Err(reason) => tracing::warn!(projection, reason, "an orphan stays"),
            }
        }
    }

    /// Ends all projections, durably.
    pub fn close(&self) {
        let _one_at_a_time = self.operating.lock();
        self.take_out(|_, _| true);
        self.pasts.close();
    }

    /// Ends some projections, by their names and modules, and answers their names.
    fn take_out(&self, is_gone: impl Fn(&String, &str) -> bool) -> Vec<String> {
        let mut all = self.all.write();
        let gone: Vec<_> = all
            .extract_if(.., |name, projection| is_gone(name, &projection.answering().module))
            .collect();
        drop(all);
        let ended = gone.into_iter().map(|(name, projection)| {
            projection.stop();
            projection.answering().replace();
            name
        });
        ended.collect()
    }

    fn find(&self, projection: &str) -> Option<Arc<Projection>> {
        self.all.read().get(projection).cloned()
    }

    /// The read model of a name.
    #[must_use]
    pub fn read_model(&self, name: &str) -> Option<ReadModel> {
        let source = read_model::Source::Now(self.owner(name)?);
        Some(ReadModel::new(name.to_owned(), source, self.sources.limits.clone()))
    }

    /// The read model of a name as of a position, made by the version that answers now. It may have
    /// to be built: [`ReadModel::ready`] tells.
    ///
    /// # Errors
    /// [`PastError`], when there is no such read model or too many are being built.
    pub fn read_model_at(&self, name: &str, position: u64) -> Result<ReadModel, PastError> {
        let of = self.owner(name).ok_or_else(|| self.why_none(name))?.answering();
        let past = self.pasts.get(&of, position, &self.sources, &self.spawner)?;
        let source = read_model::Source::Then(past);
        Ok(ReadModel::new(name.to_owned(), source, self.sources.limits.clone()))
    }

    /// Why there is no read model of a name: perhaps it is only being built.
    #[must_use]
    pub fn why_none(&self, name: &str) -> PastError {
        let all: Vec<_> = self.all.read().values().cloned().collect();
        let mut builds = all.iter().filter_map(|projection| projection.build());
        let Some(build) = builds.find(|build| build.makes(name)) else {
            return PastError::Unknown;
        };
        PastError::NotYet {
            projection: build.spec.name.clone(),
            version: build.spec.version,
            position: build.at().position,
            required: self.sources.log.head().position,
        }
    }

    fn owner(&self, read_model: &str) -> Option<Arc<Projection>> {
        let all = self.all.read();
        let mut all = all.values();
        all.find(|projection| projection.answering().makes(read_model)).cloned()
    }

    /// The queries of a projection of a name.
    #[must_use]
    pub fn queries(&self, projection: &str) -> Option<GuestQueries> {
        self.find(projection).map(GuestQueries::new)
    }

    /// All projections and how they are doing.
    #[must_use]
    pub fn list(&self) -> Vec<ProjectionStatus> {
        let all: Vec<_> = self.all.read().values().cloned().collect();
        all.iter().map(|projection| self.status_of(projection)).collect()
    }

    /// How far the files of all generations are.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<(String, Result<Option<Checkpoint>, ReadModelError>)> {
        let all: Vec<_> = self.all.read().values().cloned().collect();
        let generations = all.iter().flat_map(|projection| projection.generations());
        let name = |running: &Running| format!("{}-{}", running.spec.name, running.spec.version);
        generations.map(|running| (name(&running), running.file.checkpoint())).collect()
    }

    fn status_of(&self, projection: &Projection) -> ProjectionStatus {
        let Sources { log, limits, .. } = &self.sources;
        let answering = projection.answering();
        ProjectionStatus {
            projection: answering.spec.name.clone(),
            collections: answering.spec.collections.iter().map(|c| c.name.clone()).collect(),
            answering: answering.status(log, limits, false),
            build: projection.build().map(|build| build.status(log, limits, true)),
            settings: projection.settings.now(),
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
