//! That a module version may go on with the documents that another made: the same version of a
//! projection must want the same events, keep the same read models and make the same of the log's
//! first events.

use std::collections::BTreeSet;

use super::files::Use;
use super::install::maker_of;
use super::{FindMaker, Maker, Projections, Sample, collections};
use crate::manifest::ProjectionManifest;
use crate::storage::log::ReadError;
use crate::storage::read_models::Collection;

/// Why a module version may not go on with what another made.
#[derive(Clone, Debug)]
pub enum ProofError {
    /// They are not the same, or cannot be compared: a sentence that says how, or why.
    Refused(String),
    /// The events to compare them by cannot be read.
    Unreadable(ReadError),
}

impl From<ReadError> for ProofError {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

impl Projections {
    /// Whether a module version may go on where another is, for each of its projections whose
    /// version is the same: the one that makes what answers, or that made what lies there. Answers
    /// of how many of them documents were compared.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn prove(&self, maker: &Maker, find: FindMaker<'_>) -> Result<usize, ProofError> {
        let mut compared = 0;
        for spec in &maker.manifest.projections {
            let Some((before, old)) = self.maker_before(spec, find) else { continue };
            if before.digest != maker.digest && old.version == spec.version {
                compared += usize::from(self.compare((&before, &old), (maker, spec))?);
            }
        }
        Ok(compared)
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

    /// Whether there were documents to compare.
    fn compare(
        &self,
        (before, old): (&Maker, &ProjectionManifest),
        (after, new): (&Maker, &ProjectionManifest),
    ) -> Result<bool, ProofError> {
        let differs = |what: &str| {
            Err(ProofError::Refused(format!(
                "projection {} version {} {what} than in version {} of the module, which made its \
                 documents; raise the projection's version, and it is built beside",
                new.name, new.version, before.manifest.version
            )))
        };
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        if set(&old.event_types) != set(&new.event_types)
            || set(&old.categories) != set(&new.categories)
        {
            return differs("wants other events");
        }
        let names = |collections: Vec<Collection>| {
            collections.into_iter().map(|collection| collection.name).collect::<BTreeSet<_>>()
        };
        if names(collections(old)) != names(collections(new)) {
            return differs("has other read models");
        }
        let sample = Sample::of(&self.sources.log, &[new], self.sources.limits.sample_events)?;
        let made =
            |maker: &Maker, spec| sample.project(spec, (&maker.component, &maker.manifest.name));
        match made(before, old) {
            // What the version before could not take says nothing about this one.
            Err(_) => Ok(false),
            Ok(documents) => match made(after, new) {
                Ok(same) if same == documents => Ok(!sample.is_empty()),
                Ok(other) => {
                    let mut places = documents.keys().chain(other.keys());
                    let place = places.find(|&place| documents.get(place) != other.get(place));
                    let (collection, key) = place.cloned().unwrap_or_default();
                    differs(&format!("makes another document {key:?} of {collection}"))
                }
                Err(reason) => differs(&format!("takes fewer events ({reason})")),
            },
        }
    }
}
