//! Files of the log that are archived: compared with what the data directory says about them, and
//! gone on after where they are out of reach.
//!
//! What is said is not believed blindly: the first record after a file carries the hash of its
//! last, and signed checkpoints of anything newer hold only if the tree up to there is the one that
//! is said.

use super::report::Fault;
use super::walk::Walk;
use crate::checkpoints::{Growing, TILE};
use crate::decision::{Decision, ERASED_BY, Kind};
use crate::storage::log::{OutOfReach, Stored};

const OUT_OF_REACH: &str = "not compared: records that it takes are archived out of reach";

impl Walk {
    /// Goes on after a file that is out of reach, as if its records had been read; answers where.
    pub(super) fn cross(&mut self, stored: &Stored, away: &OutOfReach) -> u64 {
        let files = stored.archived();
        let Some(file) = files.into_iter().find(|file| file.first == away.first) else {
            return away.first; // It came back meanwhile.
        };
        let end = file.end.head.decision;
        self.report.out_of_reach += end + 1 - file.first;
        let (what, place) = (format!("decisions {} to {end}", file.first), away.file.display());
        self.report.compared(what, format!("out of reach in {place}: {}", away.reason));
        (self.chain, self.lost) = (file.end, false);
        match Growing::of(end, &file.tree) {
            Some(tree) => (self.tile, self.tree) = (tree.unfinished_tile(), tree),
            None => self.report.fault(Fault::of("archive", "it has no tree of so many records")),
        }
        self.skip_tiles();
        self.expected.archived.retain(|other| other.first > file.first);
        if let Some((through, _)) = self.expected.index.take() {
            self.report.compared(format!("index up to decision {through}"), OUT_OF_REACH);
        }
        while let Some(mark) = self.expected.marks.pop_front_if(|mark| mark.at.decision <= end) {
            if mark.at.decision < end {
                self.report.compared(mark.what, OUT_OF_REACH);
            } else if mark.at != self.chain.head {
                let detail = format!("{} is not of this log", mark.what);
                self.report.fault(Fault { decision: Some(end), ..Fault::of(mark.part, detail) });
            }
        }
        while let Some((from, point)) = self.expected.points.pop_front_if(|(_, p)| p.size < end) {
            let what = format!("checkpoint of {} records ({from})", point.size);
            self.report.compared(what, OUT_OF_REACH);
        }
        if self.report.first_damage.is_none() {
            self.compare_points();
        }
        end + 1
    }

    pub(super) fn note_erased(&mut self, decision: &Decision<'_>) {
        match &decision.kind {
            Kind::Erased(_) => {
                self.report.erased += 1;
                self.erased.0 = decision.header.decision;
            }
            Kind::Act(act) if (act.act, act.subject) == ERASED_BY => {
                let value: Option<serde_json::Value> = serde_json::from_str(act.value).ok();
                let through = value.and_then(|value| value.get("through_decision")?.as_u64());
                self.erased.1 = self.erased.1.max(through.unwrap_or(0));
            }
            _ => {}
        }
    }

    /// Records are erased only where an act in the log says so.
    pub(super) fn compare_erased(&mut self) {
        let (newest, allowed) = self.erased;
        if newest <= allowed || self.report.out_of_reach > 0 {
            return;
        }
        let detail = "it is erased, and no act in the log says that it may be";
        self.report.fault(Fault { decision: Some(newest), ..Fault::of("log", detail) });
    }

    /// The tiles of what was not read must make the tree that is said.
    fn skip_tiles(&mut self) {
        let whole = self.tree.size() / TILE * TILE;
        while self.joined.size() < whole {
            let Some(entry) = self.expected.tiles.pop_front() else { return };
            self.joined.join(TILE, entry.root);
        }
        let roots = self.tree.roots();
        if self.joined.size() != whole || roots.starts_with(&self.joined.roots()) {
            return;
        }
        let detail = "the tree's file is not of the archived records";
        self.report.fault(Fault { decision: Some(whole), ..Fault::of("tree", detail) });
    }

    /// Compares an archived file that was read to its end with what is said about it.
    pub(super) fn compare_archive(&mut self) {
        let number = self.chain.head.decision;
        let is_ended = |end: u64| end <= number;
        let ended = self.expected.archived.pop_front_if(|file| is_ended(file.end.head.decision));
        let Some(file) = ended else { return };
        if file.end == self.chain && file.tree == self.tree.roots() {
            return;
        }
        let detail = "what the data directory says about the archived file is not what it has";
        let fault = Fault { decision: Some(number), ..Fault::of("archive", detail) };
        self.report.fault(fault.in_file(file.name().as_ref()));
    }
}
