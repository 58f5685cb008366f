//! What the bench of exchanging events found: medians, ratios, and which miss a gate.

use serde::Serialize;

use crate::bench::gates::Gates;
use crate::bench::median;
use crate::report::{Report, rounded};

/// Events a second that an import and an export must have.
const GATE: f64 = 100_000.0;

/// The seconds that one run took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The lines to a plain file.
    pub(super) plain: f64,
    /// Into an empty store.
    pub(super) import: f64,
    /// The same again, when all are known.
    pub(super) again: f64,
    /// Out of it, to a file.
    pub(super) export: f64,
}

/// Events a second, each the median of its runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figures {
    events: u64,
    bytes: u64,
    plain_per_second: f64,
    import_per_second: f64,
    /// Import by plain file, of the same run.
    import_ratio: f64,
    again_per_second: f64,
    export_per_second: f64,
    /// Export by plain file, of the same run.
    export_ratio: f64,
}

impl Figures {
    pub(super) fn of(events: u64, bytes: u64, runs: &[Run]) -> Self {
        let count = u32::try_from(events).map_or(f64::NAN, f64::from);
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        Self {
            events,
            bytes,
            plain_per_second: count / of(|run| run.plain),
            import_per_second: count / of(|run| run.import),
            import_ratio: of(|run| run.plain / run.import),
            again_per_second: count / of(|run| run.again),
            export_per_second: count / of(|run| run.export),
            export_ratio: of(|run| run.plain / run.export),
        }
    }

    /// Prints them for people.
    pub(super) fn show(&self, report: &mut Report) {
        let each = self.bytes / self.events.max(1);
        report.heading(format_args!("{} CloudEvents of {each} bytes, over HTTP", self.events));
        report.item(format_args!(
            "to a plain file, a sync for 256: {} events/s",
            rounded(self.plain_per_second)
        ));
        report.item(format_args!(
            "imported: {} events/s, ratio {:.2}; again, when all are known: {}",
            rounded(self.import_per_second),
            self.import_ratio,
            rounded(self.again_per_second)
        ));
        report.item(format_args!(
            "exported: {} events/s, ratio {:.2}",
            rounded(self.export_per_second),
            self.export_ratio
        ));
    }

    /// What misses its gate.
    pub(super) fn missed_gates(&self) -> Vec<String> {
        let mut gates = Gates::default();
        gates.least("imported, events/s", self.import_per_second, GATE);
        gates.least("exported, events/s", self.export_per_second, GATE);
        gates.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_below_the_gate_is_named() {
        let run = |import| Run { plain: 1.0, import, again: 1.0, export: 1.0 };
        let of = |seconds: [f64; 3]| Figures::of(200_000, 1, &seconds.map(run)).missed_gates();
        assert_eq!(of([1.0, 1.9, 9.0]), [""; 0]);
        assert_eq!(of([1.0, 4.0, 9.0]), ["imported, events/s: 50000.00, at least 100000.00"]);
    }
}
