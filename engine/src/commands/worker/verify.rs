//! Trust, but verify: is the state that `decide` answered what `evolve` makes of its events?

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;

use super::{VERIFIED_STREAMS, Worker};
use crate::commands::error::CommandError;
use crate::commands::states::Hot;
use crate::event::{NewEvent, guest_data};
use crate::faults::{Mutant, is_on};
use crate::names::StreamId;
use crate::runtime::{Component, Event, State};

impl Worker {
    /// Compares `next` with a fold of the events as they are stored: for the first decision of
    /// each stream, for one in so many later ones, and for those that are metered.
    pub(super) fn verify(
        &mut self,
        aggregate: &str,
        stream: &StreamId,
        before: &Hot,
        (events, decided_at_ms, next): (&[NewEvent], u64, &State),
        metered: Option<&Component>,
    ) -> Result<(), CommandError> {
        if self.verified.len() >= VERIFIED_STREAMS {
            self.verified.clear();
        }
        let first = self.verified.insert(self.hasher.hash_one(stream));
        self.until_verified = self.until_verified.saturating_sub(1);
        let is_due = first || self.until_verified == 0 || metered.is_some();
        if !is_due || is_on(Mutant::HiddenStateTrusted) {
            return Ok(());
        }
        self.until_verified = self.limits.verify_every;
        let folded = with_stored(events, stream, before.version, decided_at_ms, |stored| {
            self.call_fresh(metered.unwrap_or(&self.identity.component), |fresh| {
                let folded = fresh.evolve(aggregate, before.state.as_ref(), stored)?;
                Ok((folded, fresh.fuel()))
            })
        })?;
        let (folded, fuel) = folded;
        if let Some(fuel) = fuel {
            self.identity.fuel.folded(events, fuel);
        }
        let problem = match folded {
            Ok(folded) if folded == *next => return Ok(()),
            Ok(_) => "the state that decide answered is not what evolve makes of its events; \
                      the module has hidden state or its two functions disagree"
                .to_owned(),
            Err(reason) => format!("evolve refuses the events that decide answered: {reason}"),
        };
        self.identity.fresh.store(true, Ordering::Relaxed);
        self.verified.remove(&self.hasher.hash_one(stream));
        Err(self.fault(problem))
    }
}

/// Gives events as they will be stored after `version` to `call`.
pub(super) fn with_stored<T>(
    events: &[NewEvent],
    stream: &StreamId,
    version: u64,
    decided_at_ms: u64,
    call: impl FnOnce(&[Event<'_>]) -> T,
) -> T {
    let texts: Vec<(Vec<&str>, Cow<'_, str>)> = events
        .iter()
        .map(|event| {
            let tags = event.tags.iter().map(|tag| tag.as_str()).collect();
            (tags, guest_data(&event.content_type, &event.data))
        })
        .collect();
    let stored: Vec<_> = (version + 1..)
        .zip(events.iter().zip(&texts))
        .map(|(stream_version, (event, (tags, data)))| Event {
            event_type: event.event_type.as_str(),
            schema_version: event.schema_version,
            content_type: &event.content_type,
            data,
            tags,
            stream_id: Some(stream.as_str()),
            stream_version,
            decided_at_ms,
        })
        .collect();
    call(&stored)
}
