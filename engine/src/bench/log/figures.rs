//! What the bench of the log found: medians, ratios, how they are printed and which miss a gate.

use serde::Serialize;

use super::appends::{Point, What};
use super::reading::Reads;
use super::reopening::Reopened;
use crate::bench::gates::Gates;
use crate::bench::median;
use crate::report::{Report, rounded};

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// Single-event appends, by writers.
    pub(super) appends: Vec<Row>,
    /// The same with slow syncs.
    pub(super) slow_appends: Vec<Row>,
    /// Conditional appends beside others.
    pub(super) conditions: Vec<Row>,
    /// Reading, and bytes on disk.
    pub(super) reads: Option<Reads>,
    /// Opening after a kill.
    pub(super) reopened: Option<Reopened>,
}

/// What was measured in turns, at one number of writers. Each figure is a median.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    /// Writers at once.
    pub(super) writers: u32,
    /// Durable appends a second, in the order measured: of the raw file, or unconditional.
    pub(super) rates: Vec<f64>,
    /// Half of the appends took no longer, in microseconds.
    pub(super) p50_us: Vec<f64>,
    /// The last by the first: log by raw file, or conditional by unconditional.
    pub(super) ratio: f64,
    /// The log by a row per event, where that was measured.
    pub(super) by_rows: Option<f64>,
    /// The last's median time by the first's: of a lone writer, how many raw appends, each one
    /// sync, the log takes.
    pub(super) raw_syncs: f64,
}

/// What was measured once in turns.
pub(super) type Run = Vec<(What, Point)>;

impl Row {
    pub(super) fn of(writers: u32, runs: &[Run]) -> Self {
        let all = |of: &dyn Fn(&Run) -> f64| median(runs.iter().map(of).collect());
        let count = runs.first().map_or(0, Vec::len);
        let nth = |figure: fn(&Point) -> f64| -> Vec<f64> {
            (0..count)
                .map(|at| all(&|run| run.get(at).map_or(0.0, |(_, point)| figure(point))))
                .collect()
        };
        let first = |run: &Run| run.first().map_or(Point::default(), |p| p.1);
        let last = |run: &Run| run.last().map_or(Point::default(), |p| p.1);
        let rows = |run: &Run| {
            run.iter().find(|(what, _)| *what == What::Rows).map(|(_, point)| point.rate)
        };
        let has_rows = runs.first().is_some_and(|run| rows(run).is_some());
        Self {
            writers,
            rates: nth(|point| point.rate),
            p50_us: nth(|point| point.p50_us),
            ratio: all(&|run| last(run).rate / first(run).rate),
            by_rows: has_rows.then(|| all(&|run| last(run).rate / rows(run).unwrap_or(0.0))),
            raw_syncs: all(&|run| last(run).p50_us / first(run).p50_us),
        }
    }

    fn show(&self, report: &mut Report) {
        let rates: Vec<_> = self.rates.iter().map(|rate| rounded(*rate)).collect();
        let p50: Vec<_> = self.p50_us.iter().map(|us| format!("{us:.0}")).collect();
        let by_rows = self.by_rows.map(|ratio| format!(", {ratio:.2} of a row per event"));
        report.item(format_args!(
            "{:>4} writers: {} /s, p50 {} us, ratio {:.2}{}",
            self.writers,
            rates.join(" | "),
            p50.join(" | "),
            self.ratio,
            by_rows.unwrap_or_default()
        ));
    }
}

impl Figures {
    /// Prints them for people.
    pub(super) fn show(&self, report: &mut Report) {
        let tables = [
            ("Appends: raw file | row per event | log", &self.appends),
            ("The same, each sync 2 ms longer", &self.slow_appends),
            ("Appends of tagged events: unconditional | conditional", &self.conditions),
        ];
        for (title, rows) in tables.iter().filter(|(_, rows)| !rows.is_empty()) {
            report.heading(title);
            rows.iter().for_each(|row| row.show(report));
        }
        if let Some(reads) = &self.reads {
            report.heading("Reads and disk: a million events, 10,000 streams");
            report.item(format_args!(
                "in order {} events/s; a stream of 100 in {:.0} us, hot {:.1} us",
                rounded(reads.in_order_per_second),
                reads.stream_us,
                reads.hot_stream_us
            ));
            report.item(format_args!("verified: {} events/s", rounded(reads.verified_per_second)));
            report.item(format_args!(
                "bytes an event: {:.0} given, {:.0} stored, {:.0} of file",
                reads.given_bytes, reads.stored_bytes, reads.file_bytes
            ));
        }
        if let Some(reopened) = &self.reopened {
            report.heading("Opening after a kill");
            report.item(format_args!(
                "one million events {:.0} ms, four million {:.0} ms",
                reopened.one_million_ms, reopened.four_million_ms
            ));
            report.item(format_args!(
                "a million streams: {:.0} MB to append, {:.0} MB to open",
                reopened.million_streams_mb, reopened.million_streams_open_mb
            ));
        }
    }

    /// What misses its gate.
    pub(super) fn missed_gates(&self) -> Vec<String> {
        let mut gates = Gates::default();
        let of = |rows: &'_ [Row], writers| rows.iter().find(|row| row.writers == writers).cloned();
        for (writers, least) in [(64, 0.5), (256, 0.2)] {
            if let Some(row) = of(&self.appends, writers) {
                gates.least(&format!("log by raw file, {writers} writers"), row.ratio, least);
            }
        }
        for row in &self.appends {
            if row.writers > 1 {
                let name = format!("log by row per event, {} writers", row.writers);
                gates.least(&name, row.by_rows.unwrap_or(0.0), 3.0);
            }
        }
        for row in &self.slow_appends {
            if row.writers > 1 {
                let name = format!("slow log by raw file, {} writers", row.writers);
                gates.least(&name, row.ratio, 0.8);
            } else {
                gates.most("a lone slow append in raw appends", row.raw_syncs, 1.5);
            }
        }
        for row in &self.conditions {
            gates.least(&format!("conditional, {} writers", row.writers), row.ratio, 0.7);
        }
        if let Some(reads) = &self.reads {
            gates.least("events/s in order", reads.in_order_per_second, 3e6);
            gates.least("events/s verified", reads.verified_per_second, 200e3);
            gates.most("stream of 100, us", reads.stream_us, 200.0);
            gates.most("hot stream of 100, us", reads.hot_stream_us, 15.0);
            let most = 1.3 * reads.given_bytes + 100.0;
            gates.most("stored bytes an event", reads.stored_bytes, most);
        }
        if let Some(reopened) = &self.reopened {
            let by_one = reopened.four_million_ms / reopened.one_million_ms;
            gates.most("opening four million by one", by_one, 1.5);
            gates.most("opening four million, ms", reopened.four_million_ms, 300.0);
            let memory = reopened.million_streams_mb.max(reopened.million_streams_open_mb);
            gates.most("memory for a million streams, MB", memory, 300.0);
        }
        gates.missed
    }
}
