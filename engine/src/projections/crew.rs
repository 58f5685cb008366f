//! The live instances of one projection: one, or, for a large batch of a projection that says which
//! events belong together, one a core, side by side.
//!
//! Promises: however many there are, changes are those that one makes of the whole batch, or there
//! are none; nothing is written here, and no thread outlives a batch.

use std::sync::Arc;

use super::batch::{self, Look, ProjectError, Wanted};
use super::partition::{Done, Key, Share, SharedDocument, Watched, changed_by, merge};
use crate::decision::format::parse_header;
use crate::manifest::ProjectionManifest;
use crate::runtime::{Change, Component, GuestError, Live, ReadModelLook};
use crate::storage::log::ReadError;
use crate::subscriptions::Records;
use crate::tasks::side_by_side;

use super::ProjectionLimits;

pub(super) struct Crew {
    spec: Arc<ProjectionManifest>,
    component: Component,
    module: String,
    key: Option<Key>,
    /// At least one.
    lives: Vec<Live>,
    workers: usize,
    least_events: u64,
}

/// How many instances may take a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    One,
    All,
}

/// Why no changes were made of a batch.
#[derive(Debug)]
pub(super) enum NotMade {
    /// The guest cannot take an event: why.
    Refused(String),
    /// What the projection says of its partitions is not true.
    Shared(SharedDocument),
    /// No instance could be made.
    Start(GuestError),
    /// The log cannot be read.
    Read(ReadError),
}

impl std::fmt::Display for NotMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) => f.write_str(reason),
            Self::Shared(document) => document.fmt(f),
            Self::Start(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
        }
    }
}

pub(super) type Made = Result<Vec<Change>, NotMade>;

impl Crew {
    pub(super) fn new(
        spec: &Arc<ProjectionManifest>,
        component: &Component,
        module: &str,
        limits: &ProjectionLimits,
    ) -> Self {
        Self {
            spec: Arc::clone(spec),
            component: component.clone(),
            module: module.to_owned(),
            key: Key::of(spec),
            lives: vec![Live::new(component, module)],
            workers: limits.build_workers,
            least_events: u64::try_from(limits.divided_events).unwrap_or(u64::MAX),
        }
    }

    /// Makes changes of a batch.
    pub(super) fn project(
        &mut self,
        records: &Records,
        wanted: &Wanted<'_>,
        look: Look,
        hands: Hands,
    ) -> Made {
        if hands == Hands::All && self.workers > 1 && self.key.is_some() {
            let events = events(records).map_err(NotMade::Read)?;
            if events >= self.least_events {
                return self.divide(records, wanted, &look);
            }
        }
        self.alone(records, wanted, Arc::new(look))
    }

    fn alone(
        &mut self,
        records: &Records,
        wanted: &Wanted<'_>,
        look: Arc<dyn ReadModelLook>,
    ) -> Made {
        match self.lives.first_mut() {
            Some(live) => call(live, records, wanted, look),
            None => Err(NotMade::Start(GuestError::Instantiate("there is none".into()))),
        }
    }

    fn divide(&mut self, records: &Records, wanted: &Wanted<'_>, look: &Look) -> Made {
        let Self { component, module, key, lives, workers, .. } = self;
        let of = *workers;
        let Some(key) = key else { return self.alone(records, wanted, Arc::new(look.clone())) };
        lives.resize_with(of, || Live::new(component, module));
        let shares = side_by_side(lives, |at, live| {
            let watched = Arc::new(Watched::new(look.clone()));
            let share = wanted.clone().only(Share { key, at, of });
            let look: Arc<dyn ReadModelLook> = Arc::<Watched>::clone(&watched);
            let changes = call(live, records, &share, look)?;
            Ok(Done { changes, reads: watched.reads() })
        });
        let is_short = |shares: &Vec<Result<Done, NotMade>>| {
            shares.iter().any(|share| matches!(share, Err(NotMade::Start(_))))
        };
        match shares {
            Ok(shares) if !is_short(&shares) => {
                let shares = shares.into_iter().collect::<Result<_, NotMade>>()?;
                let merged = merge(&self.spec, shares);
                merged.map_err(|place| NotMade::Shared(self.shared(records, wanted, look, place)))
            }
            // Without threads or room for instances it takes longer.
            _ => {
                self.rest();
                self.alone(records, wanted, Arc::new(look.clone()))
            }
        }
    }

    /// Says which events share a document: the first two of different partitions that touch it,
    /// each given to the guest by itself.
    fn shared(
        &mut self,
        records: &Records,
        wanted: &Wanted<'_>,
        look: &Look,
        place: (usize, String),
    ) -> SharedDocument {
        let key = self.key.take();
        let events =
            wanted.each(records, |event| (event.position, key.as_ref().map(|key| key.hash(event))));
        let (mut first, mut positions) = (None, None);
        for (position, partition) in events.unwrap_or_default() {
            if first.is_some_and(|(_, of)| of == partition) {
                continue;
            }
            let watched = Arc::new(Watched::new(look.clone()));
            let one = wanted.clone().between(position, position);
            let look: Arc<dyn ReadModelLook> = Arc::<Watched>::clone(&watched);
            let changes = self.alone(records, &one, look);
            let mut changed = changes.iter().flatten().map(|c| changed_by(&self.spec, c));
            let is_it = changed.any(|(collection, key)| (collection, key) == (place.0, &*place.1));
            match first {
                _ if !is_it && !watched.reads().holds(&place) => {}
                None => first = Some((position, partition)),
                Some((before, _)) => {
                    positions = Some((before, position));
                    break;
                }
            }
        }
        self.key = key;
        let collection = self.spec.collections.get(place.0);
        SharedDocument {
            projection: self.spec.name.clone(),
            partition: self.spec.partition.clone(),
            collection: collection.map(|c| c.name.clone()).unwrap_or_default(),
            key: place.1,
            positions,
        }
    }

    /// Lets the next call be made in a fresh instance.
    pub(super) fn forget(&mut self) {
        self.lives.iter_mut().for_each(Live::forget);
    }

    /// Keeps one instance: there is no large batch to come.
    pub(super) fn rest(&mut self) {
        self.lives.truncate(1);
    }
}

fn call(
    live: &mut Live,
    records: &Records,
    wanted: &Wanted<'_>,
    look: Arc<dyn ReadModelLook>,
) -> Made {
    let name = &wanted.spec.name;
    let answer = live.call(|instance| {
        batch::project(records, wanted, |events| instance.project(name, events, look))
    });
    match answer.map_err(NotMade::Start)? {
        Ok(made) => made.map_err(NotMade::Refused),
        Err(ProjectError::Guest(error)) => Err(NotMade::Refused(error.to_string())),
        Err(ProjectError::Read(error)) => Err(NotMade::Read(error)),
    }
}

/// How many events records have.
fn events(records: &Records) -> Result<u64, ReadError> {
    let Some(first) = records.iter().next() else { return Ok(0) };
    let before = parse_header(first)?.head_before;
    Ok(batch::after(records)?.position.saturating_sub(before))
}
