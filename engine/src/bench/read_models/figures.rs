//! What the bench of read models found, how it is printed and what misses a gate.

use serde::Serialize;

use super::lag::Lag;
use super::points::Points;
use super::rebuild::Rebuild;
use crate::report::{Report, rounded};

/// Events a second that one core projects from zero, at least.
const REBUILD_PER_SECOND: f64 = 250_000.0;
/// The same by a native function's, at least.
const REBUILD_RATIO: f64 = 0.4;
/// Milliseconds from an acknowledgement to the document, half of the time, at most.
const LAG_P50_MS: f64 = 5.0;
/// Documents by key, beside a route that does nothing, at least.
const POINTS_RATIO: f64 = 0.8;
/// Microseconds of a page by an index, at most.
const PAGE_US: f64 = 200.0;

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// A million events from zero.
    pub(super) rebuild: Option<Rebuild>,
    /// How late documents are.
    pub(super) lag: Option<Lag>,
    /// Documents over HTTP.
    pub(super) points: Option<Points>,
    /// A page of 50 out of a million, in microseconds.
    pub(super) page_us: Option<f64>,
}

impl Figures {
    /// Prints them for people.
    pub(super) fn show(&self, report: &mut Report) {
        report.heading("Read models");
        if let Some(rebuild) = &self.rebuild {
            report.item(format_args!(
                "a million events from zero, 100,000 keys, one core: {} events/s, native {}, \
                 ratio {:.2}",
                rounded(rebuild.guest_per_second),
                rounded(rebuild.native_per_second),
                rebuild.ratio
            ));
        }
        if let Some(lag) = &self.lag {
            report.item(format_args!(
                "acknowledged to readable, ten projections, {} commands/s: p50 {:.2} ms, p99 \
                 {:.2} ms",
                rounded(lag.commands_per_second),
                lag.p50_ms,
                lag.p99_ms
            ));
        }
        if let Some(points) = &self.points {
            report.item(format_args!(
                "one document over HTTP, 64 connections: {}/s, nothing {}, ratio {:.2}",
                rounded(points.documents_per_second),
                rounded(points.nothing_per_second),
                points.ratio
            ));
        }
        if let Some(us) = self.page_us {
            report.item(format_args!("a page of 50 out of a million by an index: {us:.0} us"));
        }
    }

    /// What misses its gate.
    pub(super) fn missed_gates(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut at_least = |what: &str, found: Option<f64>, gate: f64| {
            if let Some(found) = found.filter(|found| *found < gate) {
                missed.push(format!("{what} {found:.2}, below {gate}"));
            }
        };
        let rebuild = self.rebuild.as_ref();
        at_least("events/s from zero", rebuild.map(|r| r.guest_per_second), REBUILD_PER_SECOND);
        at_least("by a native function", rebuild.map(|r| r.ratio), REBUILD_RATIO);
        at_least("documents by nothing", self.points.as_ref().map(|p| p.ratio), POINTS_RATIO);
        let mut at_most = |what: &str, found: Option<f64>, gate: f64| {
            if let Some(found) = found.filter(|found| *found >= gate) {
                missed.push(format!("{what} {found:.2}, not below {gate}"));
            }
        };
        at_most("ms to the document", self.lag.as_ref().map(|lag| lag.p50_ms), LAG_P50_MS);
        at_most("us a page", self.page_us, PAGE_US);
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_its_gate_is_named() {
        let rebuild =
            Rebuild { guest_per_second: 300_000.0, native_per_second: 900_000.0, ratio: 0.33 };
        let figures =
            Figures { rebuild: Some(rebuild), page_us: Some(250.0), ..Figures::default() };
        let missed = figures.missed_gates();
        assert_eq!(
            missed,
            ["by a native function 0.33, below 0.4", "us a page 250.00, not below 200"]
        );
        assert!(Figures::default().missed_gates().is_empty());
    }
}
