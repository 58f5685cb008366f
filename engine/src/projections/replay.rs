//! Projecting a log on the calling thread, by whatever makes changes of events: what benches
//! compare. It is the way of a generation that is built.

use std::sync::Arc;

use super::ProjectionLimits;
use super::batch::{self, ProjectError, Projected, Wanted};
use super::generation::Generation;
use super::settings::Settings;
use crate::manifest::ProjectionManifest;
use crate::runtime::{ReadModelLook, RecordedEvent};
use crate::storage::log::Log;
use crate::storage::read_models::{Checkpoint, ReadModelFile};
use crate::subscriptions::Feed;

/// Projects from what a file has up to the head, durably, and answers how far that is.
///
/// # Errors
/// A sentence, when an event cannot be projected or a file fails.
pub fn replay(
    log: &Log,
    file: &Arc<ReadModelFile>,
    spec: &ProjectionManifest,
    limits: &ProjectionLimits,
    mut project: impl FnMut(&[RecordedEvent<'_>], Arc<dyn ReadModelLook>) -> Projected,
) -> Result<Checkpoint, String> {
    let said = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let (feed, spec) = (Feed::new(log.clone(), limits.feed), Arc::new(spec.clone()));
    let at = file.checkpoint().map_err(|error| said(&error))?.unwrap_or(Checkpoint::START);
    let settings = Settings::default();
    let mut generation = Generation::new(Arc::clone(file), &spec, at, limits.clone(), false);
    loop {
        let next = generation.at().decision + 1;
        let Some(records) = feed.read(next).map_err(|error| said(&error))? else { break };
        let look = Arc::new(generation.look(&spec).map_err(|error| said(&error))?);
        let wanted = Wanted::of(&spec, &settings);
        let changes = batch::project(&records, &wanted, |events| project(events, look));
        let changes = changes.map_err(|error: ProjectError| said(&error))??;
        let after = batch::after(&records).map_err(|error| said(&error))?;
        generation.take(changes, after).map_err(|error| said(&error))?;
        if generation.is_full() {
            generation.flush().map_err(|error| said(&error))?;
        }
    }
    generation.sync().map_err(|error| said(&error))?;
    Ok(generation.at())
}
