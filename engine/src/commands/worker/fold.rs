//! Folding: the newest state of a stream, and whether events can be put on top of it.

use super::verify::with_stored;
use super::{Foldable, Reply, Worker, on_barrier};
use crate::commands::error::CommandError;
use crate::commands::states::Hot;
use crate::event::{NewEvent, guest_data};
use crate::names::{Name, StreamId};
use crate::runtime::{Event, State};
use crate::storage::log::{Direction, Work};

impl Worker {
    /// Lets the guest fold events that are to be appended to a stream. Its state is not kept:
    /// what is appended changes it. That they fold is said at once, since the append that follows
    /// depends on the lineage; that they do not, when what they were folded onto is durable.
    pub(super) fn foldable(
        &mut self,
        stream: &StreamId,
        events: &[NewEvent],
        reply: Reply<Foldable>,
    ) {
        let category = Name::parse(stream.category());
        let category = category.map_err(|error| CommandError::Invalid(error.to_string()));
        let hydrated = category.and_then(|name| Ok((self.hydrate(&name, stream)?, name)));
        let (Hot { state, version, lineage, .. }, category) = match hydrated {
            Ok(hydrated) => hydrated,
            Err(error) => return drop(reply.send(Err(error.into()))),
        };
        let now_ms = self.clock.now_ms();
        let folded = with_stored(events, stream, version, now_ms, |events| {
            self.call(|instance| instance.evolve(category.as_str(), state.as_ref(), events))
        });
        let error = match folded {
            Ok(Ok(_)) => return drop(reply.send(Ok(Foldable { version, lineage }))),
            Ok(Err(reason)) => CommandError::NotFoldable { stream: stream.clone(), reason },
            Err(error) => error,
        };
        self.submit(Work::Barrier, lineage, on_barrier(reply, Err(error)));
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
