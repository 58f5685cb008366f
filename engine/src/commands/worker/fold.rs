//! Folding: the newest state of a stream, and whether events can be put on top of it.

use super::verify::with_stored;
use super::{Foldable, Worker};
use crate::commands::error::CommandError;
use crate::commands::states::Hot;
use crate::event::{NewEvent, guest_data};
use crate::names::{Name, StreamId};
use crate::runtime::{Event, State};
use crate::storage::log::Direction;

impl Worker {
    /// Lets the guest fold events that are to be appended to a stream. Its state is not kept:
    /// what is appended changes it.
    pub(super) fn foldable(
        &mut self,
        stream: &StreamId,
        events: &[NewEvent],
    ) -> Result<Foldable, CommandError> {
        let category = Name::parse(stream.category())
            .map_err(|error| CommandError::Invalid(error.to_string()))?;
        let Hot { state, version, lineage, .. } = self.hydrate(&category, stream)?;
        let now_ms = self.clock.now_ms();
        let folded = with_stored(events, stream, version, now_ms, |events| {
            self.call(|instance| instance.evolve(category.as_str(), state.as_ref(), events))
        })?;
        match folded {
            Ok(_) => Ok(Foldable { version, lineage }),
            Err(reason) => Err(CommandError::NotFoldable { stream: stream.clone(), reason }),
        }
    }

    /// The newest state of a stream: hot, or folded from the log.
    pub(super) fn hydrate(
        &mut self,
        aggregate: &Name,
        stream: &StreamId,
    ) -> Result<Hot, CommandError> {
        if let Some(hot) = self.states.take(stream) {
            return Ok(hot);
        }
        let mut hot = Hot::default();
        loop {
            let batch = self.limits.fold_batch;
            let records =
                self.log.stream_records(stream.as_str(), hot.version, Direction::Forward, batch)?;
            if records.is_empty() {
                break;
            }
            let decisions = records
                .iter()
                .map(|record| crate::decision::parse_checked(record))
                .collect::<Result<Vec<_>, _>>()
                .map_err(crate::storage::log::ReadError::from)?;
            let recorded: Vec<_> = decisions
                .iter()
                .flat_map(|decision| &decision.events)
                .filter(|event| {
                    event.stream == Some(stream.as_str()) && event.stream_version > hot.version
                })
                .map(|event| (event, guest_data(event.content_type, event.data)))
                .collect();
            let events: Vec<_> =
                recorded.iter().map(|(event, data)| Event::of(event, data)).collect();
            let Some(newest) = events.last().map(|event| event.stream_version) else { break };
            let state = hot.state.as_ref();
            let folded = self.call(|i| i.evolve(aggregate.as_str(), state, &events))?;
            hot.state = Some(folded.map_err(|reason| self.fault(reason))?);
            hot.version = newest;
        }
        hot.hash = hot.state.as_ref().map(State::hash);
        Ok(hot)
    }
}
