//! Projections: events become documents that can be queried.
//!
//! Promises: documents and checkpoint move together, each event has its effect once, and a batch
//! that fails changes nothing; a projection that cannot go on says so and where. A read model is
//! disposable: one that does not agree with the log is built again, and one that is to change is
//! built beside the one that answers. The log is read once for all.

mod batch;
mod diff;
mod files;
mod follow;
mod generation;
mod guest_query;
mod limits;
mod operate;
mod overlay;
mod projection;
mod proof;
mod query;
mod read_model;
mod replay;
mod running;
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
use crate::storage::read_models::{Collection, ReadModelFile};
use crate::subscriptions::Feed;
use crate::tasks::Spawner;

use files::{Files, Found, Use};
use follow::{Follower, Role, Sources};
use projection::Projection;
use running::Running;
use settings::Held;

pub use diff::{CollectionDiff, Diff, DiffRow};
pub use guest_query::{GuestQueries, GuestQueryError};
pub use limits::ProjectionLimits;
pub use operate::OperateError;
pub use query::{Filter, QueryError, RowsQuery, page, parse_fields, parse_order};
pub use read_model::{Count, Explain, PageError, ReadModel, Row, RowsPage};
pub use replay::replay;
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
        let sources = Sources { log, feed, files, limits };
        Self { sources, clock, spawner, all: RwLock::default(), operating: Mutex::default() }
    }

    /// What projections may use.
    #[must_use]
    pub fn limits(&self) -> &ProjectionLimits {
        &self.sources.limits
    }

    /// Runs the projections of a module version in place of those of its version before. One of the
    /// same version goes on where that was; one of another version is built beside what answers.
    ///
    /// # Errors
    /// A sentence, when a file cannot be used. Projections not yet replaced go on.
    pub fn install(&self, maker: &Maker, find: FindMaker<'_>) -> Result<(), String> {
        let _one_at_a_time = self.operating.lock();
        for spec in &maker.manifest.projections {
            match self.find(&spec.name) {
                Some(projection) => self.go_on(&projection, spec, maker)?,
                None => self.open(spec, maker, find)?,
            }
        }
        let module = &maker.manifest.name;
        let kept = |name: &String| maker.manifest.projections.iter().any(|spec| spec.name == *name);
        let gone = self.take_out(|name, module_of| module_of == module && !kept(name));
        for name in gone {
            for file in self.sources.files.of(&name)? {
                files::remove(&file.path)?;
            }
        }
        Ok(())
    }

    /// Goes on with a projection that runs.
    fn go_on(
        &self,
        projection: &Arc<Projection>,
        spec: &ProjectionManifest,
        maker: &Maker,
    ) -> Result<(), String> {
        projection.end_build();
        let before = projection.answering();
        let is_same = before.spec.version == spec.version;
        if is_same && before.file.is_of(&collections(spec)) {
            before.stop();
            let file = Arc::clone(&before.file);
            file.declare(collections(spec), &maker.digest).map_err(|error| error.to_string())?;
            let running = self.running(spec, maker, file, &projection.settings)?;
            projection.go_on(Arc::clone(&running));
            self.follow(&running, Role::Answers);
        }
        let found = self.sources.files.of(&spec.name)?;
        let build = found.iter().find(|file| file.is_for == Use::Builds);
        match build {
            Some(found) if is_same => self.resume_build(projection, found, spec, maker),
            _ if !is_same => self.build(projection, build, spec, maker),
            _ => Ok(()),
        }
    }

    /// Begins with a projection that does not run, from what there is of it.
    fn open(
        &self,
        spec: &ProjectionManifest,
        maker: &Maker,
        find: FindMaker<'_>,
    ) -> Result<(), String> {
        let files = &self.sources.files;
        let settings = Arc::new(Held::recorded(&self.sources.log, &spec.name)?);
        let found = files.of(&spec.name)?;
        let of = |is_for, is_wanted: bool| {
            let mut found = found.iter();
            found.find(|f| f.is_for == is_for && (f.version == spec.version) == is_wanted)
        };
        let build = of(Use::Builds, true);
        if let Some(newest) = of(Use::Answers, true)
            && is_known(newest, maker, find)
            && let Some(file) = files.resume(newest, spec, &maker.digest)?
        {
            // What a crash kept from going when this one took its place.
            for old in found.iter().filter(|file| file.version != spec.version) {
                files::remove(&old.path)?;
            }
            let projection = self.answer(spec, maker, file, &settings)?;
            return build.map_or(Ok(()), |b| self.resume_build(&projection, b, spec, maker));
        }
        // Another version answers until this one is built.
        if let Some(older) = of(Use::Answers, false)
            && let Some((before, old)) = maker_of(older, find)
            && let Some(file) = files.resume(older, &old, &before.digest)?
        {
            let projection = self.answer(&old, &before, file, &settings)?;
            return self.build(&projection, build, spec, maker);
        }
        let file = match build {
            Some(found) if ReadModelFile::maker_of(&found.path) == Some(maker.digest) => {
                files.resume(found, spec, &maker.digest)?
            }
            _ => None,
        };
        let file = match file {
            Some(file) => {
                files.promote(spec, &file)?;
                file
            }
            None => files.create(spec, &maker.digest, Use::Answers)?,
        };
        self.answer(spec, maker, file, &settings).map(drop)
    }

    /// Lets a file answer.
    fn answer(
        &self,
        spec: &ProjectionManifest,
        maker: &Maker,
        file: Arc<ReadModelFile>,
        settings: &Arc<Held>,
    ) -> Result<Arc<Projection>, String> {
        let running = self.running(spec, maker, file, settings)?;
        let projection = Arc::new(Projection::new(Arc::clone(&running)));
        self.follow(&running, Role::Answers);
        self.all.write().insert(spec.name.clone(), Arc::clone(&projection));
        Ok(projection)
    }

    /// Goes on with a build that the same component began, and forgets any other.
    fn resume_build(
        &self,
        projection: &Arc<Projection>,
        found: &Found,
        spec: &ProjectionManifest,
        maker: &Maker,
    ) -> Result<(), String> {
        let is_same = found.version == spec.version
            && ReadModelFile::maker_of(&found.path) == Some(maker.digest);
        if !is_same {
            return files::remove(&found.path);
        }
        match self.sources.files.resume(found, spec, &maker.digest)? {
            Some(file) => self.begin_build(projection, spec, maker, file).map(drop),
            None => Ok(()),
        }
    }

    /// Builds a generation beside the one that answers, from what there is of it.
    fn build(
        &self,
        projection: &Arc<Projection>,
        found: Option<&Found>,
        spec: &ProjectionManifest,
        maker: &Maker,
    ) -> Result<(), String> {
        if let Some(found) = found {
            self.resume_build(projection, found, spec, maker)?;
        }
        if projection.build().is_none() {
            let file = self.sources.files.create(spec, &maker.digest, Use::Builds)?;
            self.begin_build(projection, spec, maker, file)?;
        }
        Ok(())
    }

    fn begin_build(
        &self,
        projection: &Arc<Projection>,
        spec: &ProjectionManifest,
        maker: &Maker,
        file: Arc<ReadModelFile>,
    ) -> Result<Arc<Running>, String> {
        let running = self.running(spec, maker, file, &projection.settings)?;
        projection.begin_build(Arc::clone(&running));
        self.follow(&running, Role::Builds(Arc::downgrade(projection)));
        Ok(running)
    }

    fn running(
        &self,
        spec: &ProjectionManifest,
        maker: &Maker,
        file: Arc<ReadModelFile>,
        settings: &Arc<Held>,
    ) -> Result<Arc<Running>, String> {
        let (settings, limits) = (Arc::clone(settings), &self.sources.limits);
        Running::new(spec, maker, file, settings, &self.clock, limits).map(Arc::new)
    }

    fn follow(&self, running: &Arc<Running>, role: Role) {
        let follower = Follower::new(Arc::clone(running), role, self.sources.clone());
        let name = format!("projection-{}", running.spec.name);
        running.started(self.spawner.thread(&name, move || follower.run()));
    }

    /// Ends the projections of a module. Their files stay, for when it comes back.
    pub fn remove(&self, module: &str) {
        let _one_at_a_time = self.operating.lock();
        self.take_out(|_, module_of| module_of == module);
    }

    /// Ends all projections, durably.
    pub fn close(&self) {
        let _one_at_a_time = self.operating.lock();
        self.take_out(|_, _| true);
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
        let all = self.all.read();
        let owner = all.values().find(|projection| {
            projection.answering().spec.collections.iter().any(|c| c.name == name)
        })?;
        let limits = self.sources.limits.clone();
        Some(ReadModel::new(name.to_owned(), Arc::clone(owner), limits))
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

/// Whether a file was made by a maker or by one that it was compared with.
fn is_known(found: &Found, maker: &Maker, find: FindMaker<'_>) -> bool {
    let made_by = ReadModelFile::maker_of(&found.path);
    made_by.is_some_and(|digest| digest == maker.digest || find(&digest).is_some())
}

/// Who made a file, with what it says about the projection.
fn maker_of(found: &Found, find: FindMaker<'_>) -> Option<(Maker, ProjectionManifest)> {
    let maker = find(&ReadModelFile::maker_of(&found.path)?)?;
    let mut specs = maker.manifest.projections.iter();
    let spec = specs.find(|spec| spec.name == found.projection)?;
    let spec = (spec.version == found.version).then(|| spec.clone())?;
    Some((maker, spec))
}

/// What the file of a projection holds. The indexes were checked with the manifest.
fn collections(spec: &ProjectionManifest) -> Vec<Collection> {
    let collection = |collection: &crate::manifest::CollectionManifest| Collection {
        name: collection.name.clone(),
        indexes: collection.indexes.iter().filter_map(|index| index.parse().ok()).collect(),
    };
    spec.collections.iter().map(collection).collect()
}
