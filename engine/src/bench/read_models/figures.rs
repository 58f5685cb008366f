//! What the bench of read models found, how it is printed and what misses a gate.

use serde::Serialize;

use super::beside::Beside;
use super::cores::Cores;
use super::ground::Rebuild;
use super::lag::Lag;
use super::long::Long;
use super::points::Points;
use crate::bench::gates::Gates;
use crate::report::{Report, rounded};

/// Events a second that one core projects from zero, at least.
const REBUILD_PER_SECOND: f64 = 250_000.0;
/// The same by a native function's, at least.
const REBUILD_RATIO: f64 = 0.4;
/// By two cores, beside by one, at least.
const CORES_RATIO: f64 = 1.3;
/// Commands beside a build, beside commands alone, at least.
const BESIDE_RATIO: f64 = 0.9;
/// The last of ten million events beside the first, at least.
const LONG_RATIO: f64 = 0.8;
/// Memory that comes after the first million, in MiB, at most: what a projection that is behind
/// gathers.
const LONG_GROWTH_MIB: f64 = 64.0;
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
    /// A month of flights from zero.
    pub(super) month: Option<Rebuild>,
    /// Built anew by one core and by two.
    pub(super) cores: Option<Cores>,
    /// Commands beside a build.
    pub(super) beside: Option<Beside>,
    /// Ten million events from zero.
    pub(super) long: Option<Long>,
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
        let million = "a million events from zero, 100,000 keys";
        for (what, rebuild) in [(million, self.rebuild), ("a month of flights", self.month)] {
            let Some(rebuild) = rebuild else { continue };
            report.item(format_args!(
                "{what}, one core: {} events/s, native {}, ratio {:.2}",
                rounded(rebuild.guest_per_second),
                rounded(rebuild.native_per_second),
                rebuild.ratio
            ));
        }
        self.show_builds(report);
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

    fn show_builds(&self, report: &mut Report) {
        if let Some(cores) = &self.cores {
            report.item(format_args!(
                "a million events built anew: one core {} events/s, two {}, ratio {:.2}",
                rounded(cores.one_per_second),
                rounded(cores.two_per_second),
                cores.ratio
            ));
        }
        if let Some(beside) = &self.beside {
            report.item(format_args!(
                "commands, 64 connections: {}/s, beside a build {}, ratio {:.2}",
                rounded(beside.alone_per_second),
                rounded(beside.beside_per_second),
                beside.ratio
            ));
        }
        if let Some(long) = &self.long {
            let millions: Vec<_> = long.per_second.iter().map(|rate| rounded(*rate)).collect();
            report.item(format_args!(
                "ten million events from zero, million by million: {} events/s, ratio {:.2}; \
                 memory {} MiB at most, {} of it after the first",
                millions.join(", "),
                long.ratio,
                long.peak_bytes >> 20,
                long.growth_bytes >> 20
            ));
        }
    }

    /// What misses its gate.
    pub(super) fn missed_gates(&self) -> Vec<String> {
        let mut gates = Gates::default();
        let rebuild = self.rebuild.as_ref();
        let long = self.long.as_ref();
        for (what, found, least) in [
            ("events/s from zero", rebuild.map(|r| r.guest_per_second), REBUILD_PER_SECOND),
            ("by a native function", rebuild.map(|r| r.ratio), REBUILD_RATIO),
            ("the month by a native function", self.month.map(|m| m.ratio), REBUILD_RATIO),
            ("two cores by one", self.cores.map(|cores| cores.ratio), CORES_RATIO),
            ("beside a build by alone", self.beside.map(|b| b.ratio), BESIDE_RATIO),
            ("the last million by the first", long.map(|l| l.ratio), LONG_RATIO),
            ("documents by nothing", self.points.as_ref().map(|p| p.ratio), POINTS_RATIO),
        ] {
            found.into_iter().for_each(|found| gates.least(what, found, least));
        }
        let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX));
        let growth = long.map(|long| mib(long.growth_bytes));
        for (what, found, most) in [
            ("ms to the document", self.lag.as_ref().map(|lag| lag.p50_ms), LAG_P50_MS),
            ("MiB after the first million", growth, LONG_GROWTH_MIB),
            ("us a page", self.page_us, PAGE_US),
        ] {
            found.into_iter().for_each(|found| gates.most(what, found, most));
        }
        gates.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_its_gate_is_named() {
        let rebuild =
            Rebuild { guest_per_second: 300_000.0, native_per_second: 900_000.0, ratio: 0.33 };
        let long = Long {
            per_second: vec![3.0, 2.0],
            ratio: 0.67,
            peak_bytes: 1 << 30,
            growth_bytes: 100 << 20,
        };
        let figures = Figures {
            rebuild: Some(rebuild),
            long: Some(long),
            page_us: Some(250.0),
            ..Figures::default()
        };
        assert_eq!(
            figures.missed_gates(),
            [
                "by a native function: 0.33, at least 0.40",
                "the last million by the first: 0.67, at least 0.80",
                "MiB after the first million: 100.00, at most 64.00",
                "us a page: 250.00, at most 200.00"
            ]
        );
        assert!(Figures::default().missed_gates().is_empty());
    }
}
