//! Whether a projection that goes on under the same version goes on making the same documents.

use super::difference::difference;
use super::{Check, CheckError, CheckReport};
use crate::manifest::ProjectionManifest;
use crate::projections::{Documents, Sample};

impl Check<'_> {
    /// Lets both versions project the first events of the log, and compares.
    pub(super) fn compare_projection(
        &self,
        projection: &ProjectionManifest,
        report: &mut CheckReport,
    ) -> Result<(), CheckError> {
        let Some((before, component)) = self.before else { return Ok(()) };
        let mut others = before.manifest.projections.iter();
        let is_same = |other: &&ProjectionManifest| {
            other.name == projection.name && other.version == projection.version
        };
        let Some(theirs) = others.find(is_same) else { return Ok(()) };
        let events = self.limits.projected_events;
        let sample = Sample::of(self.log, &[theirs, projection], events);
        let sample = sample.map_err(CheckError::Unreadable)?;
        // What the version before cannot take is no fault of this one.
        let Ok(before_made) = sample.project(theirs, (component, &before.manifest.name)) else {
            return Ok(());
        };
        let made = sample.project(projection, (self.component, &self.version.manifest.name));
        let differs = match made {
            Ok(made) => difference_of(&before_made, &made),
            Err(reason) => Some(format!("it cannot take the events: {reason}")),
        };
        let Some(differs) = differs else {
            report.projections += usize::from(!sample.is_empty());
            return Ok(());
        };
        let (name, version) = (&projection.name, projection.version);
        Err(CheckError::Refused(format!(
            "of the first events of the log, its projection {name} makes other documents than that \
             of version {}, and both say version {version}: {differs}; give the new projection a \
             higher version, so that it is built anew, or make the same documents",
            before.manifest.version
        )))
    }
}

fn difference_of(before: &Documents, now: &Documents) -> Option<String> {
    let places = before.keys().chain(now.keys());
    let mut differing = places.filter(|&place| before.get(place) != now.get(place));
    let place = differing.next()?;
    let document = |of: &Documents| of.get(place).map_or("no document", String::as_str).to_owned();
    let (collection, key) = place;
    Some(format!("{key:?} of {collection}, {}", difference(&document(before), &document(now))))
}
