//! The way over all records: each is checked, and given to whatever is compared with the log.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use super::report::{Fault, Place, Report};
use crate::checkpoints::{Checkpoint, Entry, Growing, TILE, leaf};
use crate::decision::format::split;
use crate::decision::{Decision, Hash, Kind};
use crate::storage::log::{
    ArchivedFile, Chain, Head, IndexTally, ReadError, Stored, StoredPart, StoredRow,
};

/// A derived file's checkpoint: which record it goes up to.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) part: &'static str,
    pub(super) what: String,
    pub(super) at: Head,
}

/// What the records are compared with on the way.
#[derive(Default)]
pub(super) struct Expected {
    /// In the order of their records.
    pub(super) marks: VecDeque<Mark>,
    /// Signed checkpoints, in the order of their sizes, and where each is from.
    pub(super) points: VecDeque<(String, Checkpoint)>,
    /// What the file of the Merkle tree has.
    pub(super) tiles: VecDeque<Entry>,
    /// What the data directory says about archived files, in order.
    pub(super) archived: VecDeque<ArchivedFile>,
    /// Up to which record the index goes, and what it must have.
    pub(super) index: Option<(u64, IndexTally)>,
}

pub(super) struct Walk {
    pub(super) report: Report,
    pub(super) expected: Expected,
    /// The newest record that was read.
    pub(super) chain: Chain,
    /// After damage: whatever can be read next is gone on with.
    pub(super) lost: bool,
    pub(super) tree: Growing,
    pub(super) tile: Growing,
    /// The tree as its file has it, as far as that was compared.
    pub(super) joined: Growing,
    /// The newest record that was erased, and the newest that may be.
    pub(super) erased: (u64, u64),
    /// Every component that a record names.
    pub(super) digests: HashSet<Hash>,
    file: Option<PathBuf>,
}

impl Walk {
    pub(super) fn new(genesis: Chain, expected: Expected) -> Self {
        let mut walk = Self {
            report: Report::default(),
            expected,
            chain: genesis,
            lost: false,
            tree: Growing::default(),
            tile: Growing::default(),
            joined: Growing::default(),
            erased: (0, 0),
            digests: HashSet::new(),
            file: None,
        };
        walk.compare_points();
        walk
    }

    /// Reads some rows; answers where to go on, or none at the end.
    pub(super) fn step(&mut self, stored: &Stored, from: u64) -> Option<u64> {
        let part = match stored.part(from) {
            Ok(Some(part)) => part,
            Ok(None) => return None,
            Err(ReadError::Archived(away)) => return Some(self.cross(stored, &away)),
            Err(error) => {
                let fault = Fault::of("log", error.to_string());
                self.damaged(fault.in_file(&stored.path_of(from)));
                return stored.file_after(from);
            }
        };
        if self.file.as_ref() != Some(&part.path) {
            self.report.files += 1;
            self.file = Some(part.path.clone());
        }
        if !part.is_listed {
            let detail = "the file's list of its rows is not that of its rows";
            self.report.fault(Fault::of("log", detail).in_file(&part.path));
        }
        if part.rows.is_empty() {
            if !self.lost && part.next > from {
                let detail = format!("the file ends before decision {from}");
                self.damaged(Fault::of("log", detail).in_file(&part.path));
            }
            return Some(part.next);
        }
        Some(self.rows(&part).max(self.chain.head.decision + 1))
    }

    /// Answers where the rows after these begin at the earliest.
    pub(super) fn rows(&mut self, part: &StoredPart) -> u64 {
        let mut next = 0;
        for row in &part.rows {
            next = row.first + 1;
            self.row(row, &part.path);
        }
        next
    }

    fn row(&mut self, row: &StoredRow, path: &Path) {
        let place = |fault: Fault, offset: usize| {
            let mut fault = fault.in_file(path);
            (fault.row, fault.offset) = (Some(row.first), u64::try_from(offset).ok());
            fault
        };
        let records = match row.records() {
            Ok(records) => records,
            Err(damage) => return self.damaged(place(Fault::of("log", damage.to_string()), 0)),
        };
        let (mut rest, mut is_whole) = (records, true);
        while !rest.is_empty() {
            let offset = records.len() - rest.len();
            let (record, after) = match split(rest) {
                Ok(parts) => parts,
                Err(damage) => {
                    self.damaged(place(Fault::of("log", damage.to_string()), offset));
                    return;
                }
            };
            rest = after;
            let followed = self.chain.follow(record);
            if let Err(damage) = &followed {
                is_whole = false;
                self.damaged(place(Fault::of("log", damage.to_string()), offset));
            }
            // After damage, whatever is a record is gone on with.
            if let Ok((decision, chain)) = followed.or_else(|_| Chain::from(record)) {
                let misplaced = offset == 0 && decision.header.decision != row.first;
                self.chain = chain;
                self.lost = false;
                self.take(&decision);
                if misplaced {
                    let detail = "the row's key is not the number of its first record";
                    self.damaged(place(Fault::of("log", detail), offset));
                }
            }
        }
        if is_whole && !row.has_whole_table() {
            let detail = "the row's table does not name the places of its records";
            self.damaged(place(Fault::of("log", detail), records.len()));
        }
    }

    /// Notes damage of the log; what only follows from it is no damage of its own.
    pub(super) fn damaged(&mut self, mut fault: Fault) {
        if std::mem::replace(&mut self.lost, true) {
            return;
        }
        fault.decision = fault.decision.or(Some(self.chain.head.decision + 1));
        fault.position = fault.position.or(Some(self.chain.head.position + 1));
        if self.report.first_damage.is_none() {
            self.report.first_damage = Some(fault.clone());
            self.report.reads_before = Some(Place::from(&self.chain));
        }
        self.report.fault(fault);
    }

    fn take(&mut self, decision: &Decision<'_>) {
        let Head { decision: number, hash, .. } = self.chain.head;
        self.report.records += 1;
        self.report.events += u64::from(decision.header.event_count);
        self.digests.extend(digests(&decision.kind));
        self.note_erased(decision);
        if let Some((through, tally)) = &mut self.expected.index
            && number <= *through
        {
            tally.add(decision, hash);
        }
        while let Some(mark) = self.expected.marks.pop_front_if(|mark| mark.at.decision <= number) {
            if mark.at != self.chain.head {
                let detail = format!("{} is not of this log", mark.what);
                self.report.fault(Fault { decision: Some(number), ..Fault::of(mark.part, detail) });
            }
        }
        if self.report.first_damage.is_some() {
            self.report.reads_after += 1;
            return;
        }
        let leaf = leaf(&hash);
        self.tree.push(leaf);
        self.tile.push(leaf);
        if self.tile.size() == TILE {
            let root = std::mem::take(&mut self.tile).root();
            let known = self.expected.tiles.pop_front();
            self.joined.join(TILE, root);
            if known.is_some_and(|known| known != Entry { root, last: hash }) {
                let detail = "the tree's file has another hash there";
                self.report.fault(Fault { decision: Some(number), ..Fault::of("tree", detail) });
            }
        }
        self.compare_points();
        self.compare_archive();
    }

    /// Compares with the checkpoints of as many records as were read.
    pub(super) fn compare_points(&mut self) {
        let size = self.tree.size();
        while let Some((from, point)) = self.expected.points.pop_front_if(|(_, p)| p.size <= size) {
            let Chain { head, recorded_at_ms } = self.chain;
            let agrees = point.root == self.tree.root()
                && (point.record, point.position, point.recorded_at_ms)
                    == (head.hash, head.position, recorded_at_ms);
            let what = format!("checkpoint of {size} records ({from})");
            self.report.compared(what, if agrees { "agrees" } else { "differs" });
            if !agrees {
                let detail = format!(
                    "the first {size} records are not those that the checkpoint was signed for: \
                     something in them was changed, removed or put in another order"
                );
                self.report.fault(Fault::of("checkpoint", detail));
            }
        }
    }

    /// What was expected and did not come.
    pub(super) fn end(&mut self) {
        self.compare_erased();
        for mark in std::mem::take(&mut self.expected.marks) {
            let (at, end) = (mark.at.decision, self.chain.head.decision);
            let detail = format!("{} goes up to decision {at}, and the log to {end}", mark.what);
            self.report.fault(Fault::of(mark.part, detail));
        }
        let is_damaged = self.report.first_damage.is_some();
        for (from, point) in std::mem::take(&mut self.expected.points) {
            let what = format!("checkpoint of {} records ({from})", point.size);
            if is_damaged {
                self.report.compared(what, "not compared: the log is damaged before");
                continue;
            }
            self.report.compared(what, "beyond the log");
            let (end, size) = (self.chain.head.decision, point.size);
            let detail =
                format!("the log ends at decision {end}, and had {size} records: it was cut");
            self.report.fault(Fault { decision: Some(end + 1), ..Fault::of("checkpoint", detail) });
        }
        if !self.expected.tiles.is_empty() && !is_damaged {
            self.report.fault(Fault::of("tree", "the tree's file goes beyond the log"));
        }
    }
}

/// The components that a record names.
fn digests<'d>(kind: &'d Kind<'_>) -> impl Iterator<Item = Hash> + 'd {
    let (made, began, upcast) = match kind {
        Kind::Command(record) => {
            let began = record.saw.snapshot.map(|(_, maker)| maker);
            (Some(record.module.digest), began, record.saw.upcasters.as_slice())
        }
        Kind::Activation(record) => (record.version.map(|(_, digest)| digest), None, &[][..]),
        Kind::Append(_) | Kind::Act(_) | Kind::Erased(_) => (None, None, &[][..]),
    };
    made.into_iter().chain(began).chain(upcast.iter().copied())
}
