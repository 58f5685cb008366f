//! The states that an aggregate instance had: as of a version, a position or a time, and event by
//! event with what each changed. They are folded by the active module, in an instance of their own.

use std::sync::Arc;

use bytes::Bytes;

use super::Commands;
use super::changes::{StateChange, changes};
use super::error::CommandError;
use super::module::Identity;
use super::record::checked_state;
use crate::decision::{Decision, parse_checked};
use crate::event::{RecordedEvent, guest_data};
use crate::names::{Key, Name, StreamId};
use crate::runtime::{Event, GuestError, Instance, Live, State};
use crate::storage::log::{Direction, Log, ReadError};

/// Records of a stream that are folded at once. 256: a batch amortises the crossing.
const BATCH: usize = 256;

/// The last event that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The one with this version of the stream.
    Version(u64),
    /// The newest that is not after this position.
    Position(u64),
    /// The newest recorded no later, in milliseconds since 1970.
    Time(u64),
}

impl Until {
    fn counts(self, decision: &Decision<'_>, event: &RecordedEvent<'_>) -> bool {
        match self {
            Self::Version(version) => event.stream_version <= version,
            Self::Position(position) => event.position <= position,
            Self::Time(time_ms) => decision.header.recorded_at_ms <= time_ms,
        }
    }
}

/// A state that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastState {
    /// The state as JSON.
    pub json: String,
    /// The version of the stream that it is folded up to.
    pub version: u64,
    /// The position of the newest event in it.
    pub position: u64,
}

/// An event and the state after it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The record of the event.
    pub record: Bytes,
    /// The event's position.
    pub position: u64,
    /// The event's version.
    pub version: u64,
    /// The state after it, as JSON.
    pub json: String,
    /// What it changed in the state before.
    pub changes: Vec<StateChange>,
}

/// What one aggregate instance was. Its calls block.
#[derive(Debug)]
pub struct History {
    log: Log,
    identity: Arc<Identity>,
    aggregate: Name,
    stream: StreamId,
}

/// A fold under way.
struct Fold {
    live: Live,
    state: Option<State>,
    version: u64,
    position: u64,
}

impl Commands {
    /// The history of an aggregate instance, as the active module folds it.
    ///
    /// # Errors
    /// [`CommandError`], when no module folds the aggregate.
    pub fn history(&self, aggregate: &Name, id: &Key) -> Result<History, CommandError> {
        let module = self.module(aggregate)?;
        Ok(History {
            log: self.log.clone(),
            identity: module.identity(),
            aggregate: aggregate.clone(),
            stream: StreamId::of(aggregate, id),
        })
    }
}

impl History {
    /// The state as of then; none before the first event.
    ///
    /// # Errors
    /// [`CommandError`], when the log cannot be read or the module cannot fold it.
    pub fn state(&self, until: Until) -> Result<Option<PastState>, CommandError> {
        let mut fold = self.fold(until)?;
        let json = self.inspect(&mut fold)?;
        let (version, position) = (fold.version, fold.position);
        Ok(json.map(|json| PastState { json, version, position }))
    }

    /// Events after a version, up to so many or so many bytes of states, each with the state after
    /// it; and whether there are more.
    ///
    /// # Errors
    /// [`CommandError`], when the log cannot be read or the module cannot fold it.
    pub fn steps(
        &self,
        after: u64,
        (limit, mut bytes): (usize, usize),
    ) -> Result<(Vec<Step>, bool), CommandError> {
        let mut fold = self.fold(Until::Version(after))?;
        let mut before = self.inspect(&mut fold)?;
        let mut steps = Vec::new();
        for record in self.records(after, limit + 1)?.iter() {
            let decision = parse_checked(record).map_err(ReadError::from)?;
            for event in self.own(&decision, after) {
                if steps.len() == limit || (bytes == 0 && !steps.is_empty()) {
                    return Ok((steps, true));
                }
                self.evolve(&mut fold, &[event])?;
                let json = self.inspect(&mut fold)?.unwrap_or_default();
                bytes = bytes.saturating_sub(json.len());
                steps.push(Step {
                    record: record.clone(),
                    position: event.position,
                    version: event.stream_version,
                    changes: changes(before.as_deref(), &json),
                    json: json.clone(),
                });
                before = Some(json);
            }
        }
        Ok((steps, false))
    }

    /// Folds from the first event on.
    fn fold(&self, until: Until) -> Result<Fold, CommandError> {
        let live = Live::new(&self.identity.component, &self.identity.name);
        let mut fold = Fold { live, state: None, version: 0, position: 0 };
        loop {
            let records = self.records(fold.version, BATCH)?;
            let decisions = records.iter().map(|record| parse_checked(record));
            let decisions: Vec<_> = decisions.collect::<Result<_, _>>().map_err(ReadError::from)?;
            let mut events = Vec::new();
            for decision in &decisions {
                let own = self.own(decision, fold.version);
                events.extend(own.filter(|event| until.counts(decision, event)));
            }
            if events.is_empty() {
                return Ok(fold);
            }
            self.evolve(&mut fold, &events)?;
        }
    }

    fn records(&self, after: u64, most: usize) -> Result<Arc<[Bytes]>, CommandError> {
        let stream = self.stream.as_str();
        Ok(self.log.stream_records(stream, after, Direction::Forward, most)?)
    }

    /// The stream's events of a record, after a version.
    fn own<'d>(
        &self,
        decision: &'d Decision<'d>,
        after: u64,
    ) -> impl Iterator<Item = &'d RecordedEvent<'d>> {
        let stream = self.stream.clone();
        decision.events.iter().filter(move |event| {
            event.stream == Some(stream.as_str()) && event.stream_version > after
        })
    }

    fn evolve(&self, fold: &mut Fold, events: &[&RecordedEvent<'_>]) -> Result<(), CommandError> {
        let data = events.iter().map(|event| guest_data(event.content_type, event.data));
        let data: Vec<_> = data.collect();
        let seen: Vec<_> =
            events.iter().zip(&data).map(|(event, data)| Event::of(event, data)).collect();
        let (aggregate, state) = (self.aggregate.as_str(), fold.state.as_ref());
        let folded = self.call(&mut fold.live, |i| i.evolve(aggregate, state, &seen))?;
        fold.state = Some(folded.map_err(|reason| self.identity.fault(reason))?);
        if let Some(last) = events.last() {
            (fold.version, fold.position) = (last.stream_version, last.position);
        }
        Ok(())
    }

    /// The state as JSON; none before the first event.
    fn inspect(&self, fold: &mut Fold) -> Result<Option<String>, CommandError> {
        let Some(state) = &fold.state else { return Ok(None) };
        let shown = self.call(&mut fold.live, |i| i.inspect(self.aggregate.as_str(), state))?;
        let shown = shown.and_then(|json| checked_state(&json));
        shown.map(Some).map_err(|reason| self.identity.fault(reason))
    }

    fn call<T>(
        &self,
        live: &mut Live,
        call: impl FnOnce(&mut Instance) -> Result<T, GuestError>,
    ) -> Result<T, CommandError> {
        self.identity.call(live, call).map_err(|error| self.identity.failed(&error))
    }
}
