//! That a module version may go on with the documents that another made: the same version of a
//! projection must want the same events and make the same of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::batch::{self, Look, ProjectError, Wanted};
use super::files::Use;
use super::install::maker_of;
use super::settings::{Held, Settings};
use super::{FindMaker, Maker, Projections, collections};
use crate::manifest::ProjectionManifest;
use crate::runtime::Change;
use crate::storage::read_models::{Collection, ReadModelFile};
use crate::subscriptions::{Feed, Records};

/// What a version makes of some records by themselves: by read model and key, the last of each.
type Folded = Result<BTreeMap<(String, String), Option<String>>, String>;

impl Projections {
    /// Whether a module version may go on where the one before it is, for each of its projections
    /// whose version is the same: it is compared over the first and the newest records of the log,
    /// each beginning with nothing.
    ///
    /// # Errors
    /// A sentence that names the projection and what differs.
    pub fn prove(&self, maker: &Maker, find: FindMaker<'_>) -> Result<(), String> {
        for spec in &maker.manifest.projections {
            let Some((before, old)) = self.maker_before(spec, find) else { continue };
            if before.digest != maker.digest && old.version == spec.version {
                self.compare((&before, &old), (maker, spec))?;
            }
        }
        Ok(())
    }

    /// Who makes what answers, or made what lies there.
    fn maker_before(
        &self,
        spec: &ProjectionManifest,
        find: FindMaker<'_>,
    ) -> Option<(Maker, ProjectionManifest)> {
        if let Some(running) = self.find(&spec.name).map(|projection| projection.answering()) {
            return Some((Maker::clone(&running.maker), ProjectionManifest::clone(&running.spec)));
        }
        let found = self.sources.files.of(&spec.name).ok()?;
        let mut answering = found.iter().filter(|file| file.is_for == Use::Answers);
        maker_of(answering.find(|file| file.version == spec.version)?, find)
    }

    fn compare(
        &self,
        before: (&Maker, &ProjectionManifest),
        after: (&Maker, &ProjectionManifest),
    ) -> Result<(), String> {
        let ((_, old), (_, new)) = (before, after);
        let differs = |what: &str| {
            format!(
                "projection {} version {} {what} than in the version of the module that made its \
                 documents; raise the projection's version, and it is built beside",
                new.name, new.version
            )
        };
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        if set(&old.event_types) != set(&new.event_types)
            || set(&old.categories) != set(&new.categories)
        {
            return Err(differs("wants other events"));
        }
        let names = |collections: Vec<Collection>| {
            collections.into_iter().map(|c| c.name).collect::<BTreeSet<_>>()
        };
        if names(collections(old)) != names(collections(new)) {
            return Err(differs("has other read models"));
        }
        let settings = match self.find(&new.name) {
            Some(projection) => projection.settings.now(),
            None => Held::recorded(&self.sources.log, &new.name)?.now(),
        };
        for records in self.samples()? {
            // What the version before could not take says nothing about this one.
            let Ok(made) = fold(before, &records, &settings)? else { continue };
            if fold(after, &records, &settings)? != Ok(made) {
                let first = records.iter().next().map(|record| crate::decision::parse(record));
                let first = first.and_then(Result::ok).map_or(0, |d| d.header.head_before + 1);
                let from = format!("makes other documents of the events from position {first} on");
                return Err(differs(&from));
            }
        }
        Ok(())
    }

    /// The first and the newest records of the log.
    fn samples(&self) -> Result<Vec<Records>, String> {
        let wanted = self.sources.limits.sample_records;
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        let head = self.sources.log.head().decision;
        let mut starts = vec![1, head.saturating_sub(wanted).max(1)];
        starts.dedup();
        // One of its own: parts that others left may be short.
        let feed = Feed::new(self.sources.log.clone(), self.sources.limits.feed);
        let mut samples = Vec::new();
        for start in starts {
            let part = feed.read(start).map_err(|error| error.to_string())?;
            samples.extend(part.map(|records| records.first(self.sources.limits.sample_records)));
        }
        Ok(samples)
    }
}

/// What a module version makes of records, beginning with nothing.
fn fold(
    (maker, spec): (&Maker, &ProjectionManifest),
    records: &Records,
    settings: &Settings,
) -> Result<Folded, String> {
    let module = &maker.manifest.name;
    let mut instance = maker.component.instantiate(module).map_err(|e| e.to_string())?;
    let empty = ReadModelFile::in_memory(collections(spec)).map_err(|e| e.to_string())?;
    let view = empty.view().map_err(|e| e.to_string())?;
    let look = Look { view, overlay: Arc::default(), spec: Arc::new(spec.clone()) };
    let wanted = Wanted { spec, settings, up_to: u64::MAX };
    let made = batch::project(records, &wanted, |events| {
        instance.project(&spec.name, events, Arc::new(look))
    });
    match made {
        Ok(made) => Ok(made.map(|changes| changes.into_iter().map(last).collect())),
        Err(ProjectError::Guest(error)) => Ok(Err(error.to_string())),
        Err(ProjectError::Read(error)) => Err(error.to_string()),
    }
}

fn last(change: Change) -> ((String, String), Option<String>) {
    match change {
        Change::Put((collection, key, document)) => ((collection, key), Some(document)),
        Change::Delete((collection, key)) => ((collection, key), None),
    }
}
