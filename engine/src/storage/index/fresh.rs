//! What was indexed since the last flush: in memory, exact, bounded by the flush.

use std::collections::{BTreeMap, HashMap};

use super::blocks::{Pair, at_or_after, at_or_before};
use super::labels::{Label, for_each_label};
use super::{Direction, GivenKey, Head, act_key, command_key};
use crate::decision::{Decision, Hash, Kind, Outcome};
use crate::faults::{Mutant, is_on};

/// A module's active version and digest; none when it was switched off.
pub(super) type Active = Option<(String, Hash)>;

/// The index of the newest records.
#[derive(Debug)]
pub(super) struct Fresh {
    /// Label -> position and decision of each event that has it.
    pub(super) labels: HashMap<Label, Vec<Pair>>,
    /// Stream -> its newest version, and version before and decision of each of its records.
    pub(super) streams: HashMap<Box<str>, FreshStream>,
    /// The clients' command ids.
    pub(super) commands: HashMap<u128, u64>,
    /// The same, oldest first, with decision and recorded time.
    pub(super) arrivals: Vec<(u64, u128, u64)>,
    /// The events that were given their ids elsewhere.
    pub(super) given: HashMap<GivenKey, u64>,
    /// Modules that were switched.
    pub(super) active: BTreeMap<String, Active>,
    /// The newest act of each name about each subject.
    pub(super) acts: BTreeMap<String, u64>,
    /// The newest record in it.
    pub(super) through: Head,
    /// How many records are in it, or events, where a record has more than one.
    pub(super) records: usize,
    scratch: Label,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FreshStream {
    pub(super) version: u64,
    pub(super) records: Vec<Pair>,
}

impl Fresh {
    /// Nothing yet after a checkpoint.
    pub(super) fn after(through: Head) -> Self {
        Self {
            labels: HashMap::new(),
            streams: HashMap::new(),
            commands: HashMap::new(),
            arrivals: Vec::new(),
            given: HashMap::new(),
            active: BTreeMap::new(),
            acts: BTreeMap::new(),
            through,
            records: 0,
            scratch: Vec::new(),
        }
    }

    /// Takes in the next record.
    pub(super) fn apply(&mut self, decision: &Decision<'_>, hash: Hash) {
        let number = decision.header.decision;
        for event in &decision.events {
            for_each_label(event, &mut self.scratch, |label| {
                let pair = (event.position, number);
                match self.labels.get_mut(label) {
                    Some(pairs) => pairs.push(pair),
                    None => drop(self.labels.insert(label.to_vec(), vec![pair])),
                }
            });
            if let Some(origin) = &event.origin {
                self.given.insert(GivenKey::of(&origin.source, &origin.id), number);
            }
            let Some(name) = event.stream else { continue };
            let (version, before) = (event.stream_version, event.stream_version - 1);
            match self.streams.get_mut(name) {
                Some(stream) => {
                    stream.version = version;
                    if stream.records.last().is_none_or(|(_, decision)| *decision != number) {
                        stream.records.push((before, number));
                    }
                }
                None => {
                    let stream = FreshStream { version, records: vec![(before, number)] };
                    self.streams.insert(name.into(), stream);
                }
            }
        }
        let client_id = match &decision.kind {
            Kind::Command(record)
                if is_on(Mutant::ReplayForgetsRejections)
                    && matches!(record.outcome, Outcome::Rejected(_)) =>
            {
                None
            }
            Kind::Command(record) if record.id_from_client => {
                Some((record.caller, record.command_id))
            }
            Kind::Append(record) => record.command_id.map(|id| (record.caller, id)),
            Kind::Command(_) | Kind::Activation(_) | Kind::Act(_) | Kind::Erased(_) => None,
        };
        if let Some((caller, id)) = client_id {
            let key = command_key(caller, id);
            self.commands.insert(key, number);
            self.arrivals.push((number, key, decision.header.recorded_at_ms));
        }
        if let Kind::Activation(record) = &decision.kind {
            let active = record.version.map(|(version, digest)| (version.into(), digest));
            self.active.insert(record.module.into(), active);
        }
        if let Kind::Act(record) = &decision.kind {
            self.acts.insert(act_key(record.act, record.subject), number);
        }
        self.through = Head { position: decision.head_after(), decision: number, hash };
        self.records += decision.events.len().max(1);
    }

    /// The nearest event of a label at or beyond a position.
    pub(super) fn nearest(
        &self,
        label: &[u8],
        position: u64,
        direction: Direction,
    ) -> Option<Pair> {
        let pairs = self.labels.get(label)?;
        match direction {
            Direction::Forward => at_or_after(pairs, position),
            Direction::Backward => at_or_before(pairs, position),
        }
    }
}
