//! What the bench found: medians, ratios, how they are printed and which are too low.

use serde::Serialize;

use super::load::Point;
use crate::bench::gates::Gates;
use crate::bench::median;
use crate::report::{Report, rounded};

/// Ratios that `--check` wants at least, by connections.
const GATES: [(u32, f64); 2] = [(64, 0.15), (256, 0.2)];

/// What a backup must leave of the rate of commands.
const BACKUP_GATE: f64 = 0.9;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// One for each number of connections.
    pub(super) commands: Vec<Row>,
    /// Commands while backups are taken, beside commands alone.
    pub(super) backup: Beside,
    /// How fast read models are built.
    pub(super) projections: Projected,
}

/// Commands while one backup after the other is taken. Each figure is the median of its runs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Beside {
    /// Durable commands a second without a backup.
    pub(super) alone_per_second: f64,
    /// Durable commands a second with one.
    pub(super) commands_per_second: f64,
    /// The one by the other, of the runs beside each other.
    pub(super) ratio: f64,
    /// Bytes of backups that were taken meanwhile, a second.
    pub(super) backup_bytes_per_second: f64,
}

/// Commands beside nothing, at one number of connections. Each figure is the median of its runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Row {
    /// Connections at once.
    pub(super) connections: u32,
    /// Answers a second of the route that does nothing.
    pub(super) nothing_per_second: f64,
    /// Durable commands a second.
    pub(super) commands_per_second: f64,
    /// Commands by nothing, of the runs beside each other.
    pub(super) ratio: f64,
    /// Half of the commands took no longer, in microseconds.
    pub(super) p50_us: f64,
    /// 99 of 100 commands took no longer, in microseconds.
    pub(super) p99_us: f64,
}

/// Projections from the first event to the last.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Projected {
    /// Events in the log.
    pub(super) events: u64,
    /// Projections that ran beside each other.
    pub(super) projections: usize,
    /// From the activation to the moment the last of them had applied every event.
    pub(super) seconds: f64,
    /// Events by seconds: how fast each of them went.
    pub(super) events_per_second: f64,
}

/// One run: nothing, then commands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// The route that does nothing.
    pub(super) nothing: Point,
    /// The commands.
    pub(super) commands: Point,
}

impl Row {
    pub(super) fn of(connections: u32, runs: &[Pair]) -> Self {
        let of = |figure: fn(&Pair) -> f64| median(runs.iter().map(figure).collect());
        Self {
            connections,
            nothing_per_second: of(|run| run.nothing.rate),
            commands_per_second: of(|run| run.commands.rate),
            ratio: of(|run| run.commands.rate / run.nothing.rate),
            p50_us: of(|run| run.commands.p50_us),
            p99_us: of(|run| run.commands.p99_us),
        }
    }
}

impl Figures {
    /// Prints them for people.
    pub(super) fn show(&self, report: &mut Report) {
        report
            .heading("Commands over HTTP: deposits on 10,000 accounts, each durable when answered");
        report.item("connections  do nothing/s  commands/s  ratio        p50        p99");
        for row in &self.commands {
            report.item(format_args!(
                "{:>11}  {:>12}  {:>10}  {:>5.2}  {:>9}  {:>9}",
                row.connections,
                rounded(row.nothing_per_second),
                rounded(row.commands_per_second),
                row.ratio,
                milliseconds(row.p50_us),
                milliseconds(row.p99_us),
            ));
        }
        let Beside { alone_per_second, commands_per_second, ratio, .. } = self.backup;
        report.heading("Commands while a backup is taken, at 64 connections");
        report.item(format_args!(
            "{} commands/s, {} alone: {ratio:.2}; {} bytes of backup a second",
            rounded(commands_per_second),
            rounded(alone_per_second),
            rounded(self.backup.backup_bytes_per_second)
        ));
        let Projected { events, projections, seconds, events_per_second } = &self.projections;
        report.heading("Read models from the first event");
        report.item(format_args!(
            "{projections} projections beside each other took {seconds:.2} s for {events} events: \
             {} events/s each",
            rounded(*events_per_second)
        ));
    }

    /// What misses its gate.
    pub(super) fn missed_gates(&self) -> Vec<String> {
        let mut gates = Gates::default();
        for (connections, least) in GATES {
            if let Some(row) = self.commands.iter().find(|row| row.connections == connections) {
                let name = format!("commands by nothing, {connections} connections");
                gates.least(&name, row.ratio, least);
            }
        }
        gates.least("commands beside a backup by alone", self.backup.ratio, BACKUP_GATE);
        gates.missed
    }
}

fn milliseconds(microseconds: f64) -> String {
    format!("{:.2} ms", microseconds / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(nothing: f64, commands: f64) -> Pair {
        let point = |rate| Point { rate, p50_us: 1.0, p99_us: 2.0 };
        Pair { nothing: point(nothing), commands: point(commands) }
    }

    #[test]
    fn a_row_has_the_median_of_its_runs() {
        let row = Row::of(64, &[run(100.0, 50.0), run(200.0, 20.0), run(100.0, 30.0)]);
        assert_eq!((row.nothing_per_second, row.commands_per_second), (100.0, 30.0));
        assert!((row.ratio - 0.3).abs() < 1e-9);
    }

    #[test]
    fn only_ratios_below_their_gate_are_named() {
        let projections =
            Projected { events: 1, projections: 1, seconds: 1.0, events_per_second: 1.0 };
        let commands = vec![
            Row::of(1, &[run(100.0, 1.0)]),
            Row::of(64, &[run(100.0, 16.0)]),
            Row::of(256, &[run(100.0, 16.0)]),
        ];
        let backup = Beside { ratio: 0.95, ..Beside::default() };
        let missed = Figures { commands, backup, projections }.missed_gates();
        assert_eq!(missed, ["commands by nothing, 256 connections: 0.16, at least 0.20"]);
    }
}
