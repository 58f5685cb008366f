//! What the bench of the runtime found: medians, how they are printed and which miss a gate.

use serde::Serialize;

use super::load::Loads;
use crate::bench::gates::Gates;
use crate::bench::median;
use crate::report::{Report, rounded};

/// What one run measured.
pub(super) struct Run {
    /// One decision of a hot instance, in nanoseconds.
    pub(super) guest_ns: f64,
    /// The same compiled natively.
    pub(super) native_ns: f64,
    /// Durable commands a second, decided natively.
    pub(super) native_rate: f64,
    pub(super) loads: Loads,
}

/// Medians over the runs.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// One decision of a hot instance, in nanoseconds.
    guest_ns: f64,
    /// The same compiled natively.
    native_ns: f64,
    /// The first by the second.
    guest_by_native: f64,
    /// Durable commands a second without HTTP, decided by a component.
    commands_per_second: f64,
    /// The same by what a native decider in its place does.
    commands_by_native: f64,
    /// Activation of a version that was compiled before the start, in milliseconds.
    activation_ms: f64,
    /// 99 of 100 commands took no longer, in milliseconds, without and with swaps.
    p99_ms: f64,
    swap_p99_ms: f64,
    /// The second by the first.
    swap_p99_ratio: f64,
    /// The rate of a module beside a hostile one, by its rate alone.
    beside_hostile: f64,
}

impl Figures {
    pub(super) fn of(runs: &[Run]) -> Self {
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        Self {
            guest_ns: of(|run| run.guest_ns),
            native_ns: of(|run| run.native_ns),
            guest_by_native: of(|run| run.guest_ns / run.native_ns),
            commands_per_second: of(|run| run.loads.rate),
            commands_by_native: of(|run| run.loads.rate / run.native_rate),
            activation_ms: of(|run| run.loads.activation_ms),
            p99_ms: of(|run| run.loads.p99_ms),
            swap_p99_ms: of(|run| run.loads.swap_p99_ms),
            swap_p99_ratio: of(|run| run.loads.swap_p99_ms / run.loads.p99_ms),
            beside_hostile: of(|run| run.loads.rate_beside_hostile / run.loads.rate),
        }
    }

    /// Prints them for people.
    pub(super) fn show(&self, report: &mut Report) {
        report.heading("The runtime");
        report.item(format_args!(
            "decide, 200 bytes of JSON: {:.0} ns hot, {:.0} ns natively: {:.2} times",
            self.guest_ns, self.native_ns, self.guest_by_native
        ));
        report.item(format_args!(
            "durable commands without HTTP: {}/s, {:.2} of the same decided natively",
            rounded(self.commands_per_second),
            self.commands_by_native
        ));
        report.item(format_args!("activation, compiled before: {:.2} ms", self.activation_ms));
        report.item(format_args!(
            "p99 {:.2} ms, while versions are swapped {:.2} ms: {:.2} times",
            self.p99_ms, self.swap_p99_ms, self.swap_p99_ratio
        ));
        report.item(format_args!("rate beside a hostile module: {:.2}", self.beside_hostile));
    }

    /// What misses its gate.
    pub(super) fn missed_gates(&self) -> Vec<String> {
        let mut gates = Gates::default();
        gates.most("decide by native", self.guest_by_native, 3.0);
        gates.most("activation, ms", self.activation_ms, 5.0);
        gates.most("p99 during swaps by before", self.swap_p99_ratio, 2.0);
        gates.least("commands by native", self.commands_by_native, 0.7);
        gates.least("rate beside a hostile module", self.beside_hostile, 0.5);
        gates.missed
    }
}
