//! From a module version to generations under way: what goes on, what is built beside, what is
//! begun, from the files that are there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::{self, Found, Use};
use super::follow::{Follower, Role};
use super::projection::Projection;
use super::running::Running;
use super::settings::Held;
use super::{FindMaker, Maker, Projections, collections};
use crate::manifest::ProjectionManifest;
use crate::storage::read_models::ReadModelFile;

impl Projections {
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
        let build = found.iter().find(|file| file.is_for.is_build());
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
        let of = |is_build: bool, is_wanted: bool| {
            let mut found = found.iter();
            found.find(|f| {
                f.is_for.is_build() == is_build && (f.version == spec.version) == is_wanted
            })
        };
        let build = of(true, true);
        if let Some(newest) = of(false, true)
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
        if let Some(older) = of(false, false)
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
                files.name(spec, &file, Use::Answers)?;
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
            Some(file) => self.begin_build(projection, (spec, maker), file, found.is_for).map(drop),
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
            self.begin_build(projection, (spec, maker), file, Use::Builds)?;
        }
        Ok(())
    }

    pub(super) fn begin_build(
        &self,
        projection: &Arc<Projection>,
        (spec, maker): (&ProjectionManifest, &Maker),
        file: Arc<ReadModelFile>,
        is_for: Use,
    ) -> Result<Arc<Running>, String> {
        let running = self.running(spec, maker, file, &projection.settings)?;
        running.swaps.store(is_for != Use::Waits, Ordering::Release);
        projection.begin_build(Arc::clone(&running));
        self.follow(&running, Role::Builds(Arc::downgrade(projection)));
        Ok(running)
    }

    pub(super) fn running(
        &self,
        spec: &ProjectionManifest,
        maker: &Maker,
        file: Arc<ReadModelFile>,
        settings: &Arc<Held>,
    ) -> Result<Arc<Running>, String> {
        let (settings, limits) = (Arc::clone(settings), &self.sources.limits);
        Running::new(spec, maker, file, settings, &self.clock, limits).map(Arc::new)
    }

    pub(super) fn follow(&self, running: &Arc<Running>, role: Role) {
        let follower = Follower::new(Arc::clone(running), role, self.sources.clone());
        let name = format!("projection-{}", running.spec.name);
        running.started(self.spawner.thread(&name, move || follower.run()));
    }
}

/// Whether a file was made by a maker or by one that it was compared with.
fn is_known(found: &Found, maker: &Maker, find: FindMaker<'_>) -> bool {
    let made_by = ReadModelFile::maker_of(&found.path);
    made_by.is_some_and(|digest| digest == maker.digest || find(&digest).is_some())
}

/// Who made a file, with what it says about the projection.
pub(super) fn maker_of(found: &Found, find: FindMaker<'_>) -> Option<(Maker, ProjectionManifest)> {
    let maker = find(&ReadModelFile::maker_of(&found.path)?)?;
    let mut specs = maker.manifest.projections.iter();
    let spec = specs.find(|spec| spec.name == found.projection)?;
    let spec = (spec.version == found.version).then(|| spec.clone())?;
    Some((maker, spec))
}
