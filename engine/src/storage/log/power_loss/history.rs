//! What a tester knows of a run, and what the log and all that is made of it must then be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::decision::{Decision, Hash, Kind, parse};
use crate::storage::disk::simulated::Simulated;

/// Something that the tester learned.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// Work was handed over, by this id.
    Submitted(String),
    /// It was refused: it is not in the log and never will be.
    Refused(String),
    /// A record was acknowledged, or shown by a log that was opened.
    Acknowledged(Bytes),
    /// A log was opened: what it did not show is gone for good.
    Opened,
    /// A read model was made durable up to this record.
    Kept(u64),
}

/// All facts of a run, in order. The disk's trace says when each was known.
#[derive(Debug, Default)]
pub(super) struct Facts(Mutex<Vec<Fact>>);

impl Facts {
    pub(super) fn add(&self, disk: &Simulated, fact: Fact) {
        let mut facts = self.0.lock();
        facts.push(fact);
        disk.note(facts.len());
    }

    pub(super) fn all(&self) -> Vec<Fact> {
        self.0.lock().clone()
    }
}

/// What must be found after the power went.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// Acknowledged, in order: each must be there as it was.
    pub(super) records: Vec<Bytes>,
    /// Each may be there, after those and whole, or not.
    pub(super) in_flight: BTreeSet<String>,
    /// The read model was durable up to here.
    pub(super) kept: u64,
}

impl Expected {
    pub(super) fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Submitted(id) => drop(self.in_flight.insert(id.clone())),
            Fact::Refused(id) => drop(self.in_flight.remove(id)),
            Fact::Acknowledged(record) => {
                self.in_flight.remove(id_of(&parse(record).expect("whole")));
                self.records.push(record.clone());
            }
            Fact::Opened => self.in_flight.clear(),
            Fact::Kept(decision) => self.kept = *decision,
        }
    }
}

/// What the tester called the work that a record is of.
pub(super) fn id_of<'a>(decision: &Decision<'a>) -> &'a str {
    match &decision.kind {
        Kind::Command(record) => record.command_id,
        Kind::Append(record) => record.command_id.expect("has one"),
        Kind::Activation(record) => record.caller.expect("has one"),
        Kind::Act(record) => record.caller.expect("has one"),
        Kind::Erased(_) => panic!("no run erases"),
    }
}

/// What is made of records, by the simplest means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fold {
    /// The record of each version of a stream.
    pub(super) streams: BTreeMap<String, Vec<u64>>,
    /// The positions of a tag's events.
    pub(super) tags: BTreeMap<String, Vec<u64>>,
    /// The record of each command id.
    pub(super) commands: BTreeMap<String, u64>,
    /// The record of the newest act about each subject.
    pub(super) acts: BTreeMap<String, u64>,
    /// The active version of each module.
    pub(super) active: BTreeMap<String, (String, Hash)>,
    /// The documents of the read model.
    pub(super) documents: BTreeMap<String, String>,
}

impl Fold {
    pub(super) fn of(records: &[Bytes]) -> Self {
        let mut fold = Self::default();
        for record in records {
            fold.add(&parse(record).expect("whole"));
        }
        fold
    }

    pub(super) fn add(&mut self, decision: &Decision<'_>) {
        let number = decision.header.decision;
        match &decision.kind {
            Kind::Command(_) | Kind::Append(_) => {
                self.commands.insert(id_of(decision).to_owned(), number);
            }
            Kind::Act(record) => drop(self.acts.insert(record.subject.to_owned(), number)),
            Kind::Activation(record) => {
                let (version, digest) = record.version.expect("has one");
                self.active.insert(record.module.to_owned(), (version.to_owned(), digest));
            }
            Kind::Erased(_) => panic!("no run erases"),
        }
        for event in &decision.events {
            for tag in &event.tags {
                self.tags.entry((*tag).to_owned()).or_default().push(event.position);
            }
            if let Some(stream) = event.stream {
                self.streams.entry(stream.to_owned()).or_default().push(number);
                let (version, at) = (event.stream_version, event.position);
                let document = format!("{{\"n\":{version},\"at\":{at}}}");
                self.documents.insert(stream.to_owned(), document);
            }
        }
    }
}
