//! Which test catches which mutant, and the proof: the test is run in a process that makes the
//! mistake, and must fail.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::Mutant;
use crate::clock::Stopwatch;
use crate::tasks::side_by_side;

/// How long a test may take to catch its mutant.
const AT_MOST: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a test binary ends with when a test failed.
const FAILED: i32 = 101;

/// The binary that a test is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The library's own.
    Unit,
    /// The one over the real binary.
    BlackBox,
}

/// A mutant, the promise that it breaks, and the test that catches it.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The mistake.
    pub mutant: Mutant,
    /// The promise, as `ASSURANCE.md` numbers them.
    pub promise: &'static str,
    /// Where the test is.
    pub suite: Suite,
    /// Its whole name.
    pub test: &'static str,
}

const fn unit(mutant: Mutant, promise: &'static str, test: &'static str) -> Claim {
    Claim { mutant, promise, suite: Suite::Unit, test }
}

const fn black_box(mutant: Mutant, promise: &'static str, test: &'static str) -> Claim {
    Claim { mutant, promise, suite: Suite::BlackBox, test }
}

const FAILED_SYNC: &str = "storage::log::faults::\
    a_sync_that_fails_and_then_lies_loses_nothing_that_was_acknowledged";
const POWER_LOSS: &str = "storage::log::power_loss::\
    what_was_acknowledged_survives_any_loss_of_power";
const ONE_GROUP: &str = "storage::log::tests::of_two_in_one_group_that_exclude_each_other_one_wins";

/// All mutants.
pub const CLAIMS: &[Claim] = &[
    unit(Mutant::AcknowledgeBeforeCommit, "P1", POWER_LOSS),
    unit(Mutant::NoFsync, "P1", POWER_LOSS),
    black_box(Mutant::ShowBeforeCommit, "P1", "crash::points::append"),
    unit(Mutant::IndexAheadOfLog, "P1", FAILED_SYNC),
    unit(
        Mutant::LineageNeverBreaks,
        "P3",
        "storage::log::tests::a_broken_lineage_takes_all_that_was_built_on_it",
    ),
    unit(Mutant::VersionIgnoresGroup, "P3", ONE_GROUP),
    unit(Mutant::ConditionIgnoresGroup, "P3", ONE_GROUP),
    unit(
        Mutant::JournalReusedEarly,
        "P1",
        "storage::log::faults::\
         rows_that_cannot_be_written_stop_appends_only_when_the_journal_is_full",
    ),
    unit(
        Mutant::TornRecordTaken,
        "P2",
        "storage::log::faults::\
         a_group_cut_off_anywhere_was_never_acknowledged_and_takes_nothing_with_it",
    ),
    unit(Mutant::TimeGoesBack, "P3", "storage::log::tests::recorded_time_never_goes_back"),
    black_box(
        Mutant::JumpsBelieved,
        "P3",
        "faults::clock::a_clock_that_jumps_under_load_and_comes_back_moves_no_time",
    ),
    unit(
        Mutant::ChecksumIgnored,
        "P7",
        "storage::log::tests::a_damaged_log_is_refused_with_the_record_named",
    ),
    unit(
        Mutant::PageSumIgnored,
        "P7",
        "storage::log::power_loss::faults::\
         bits_that_turn_over_in_a_read_model_are_noticed_and_it_begins_again",
    ),
    black_box(
        Mutant::ReplayForgetsRejections,
        "P4",
        "commands::a_retry_replays_the_answer_across_a_restart_and_rejections_too",
    ),
    black_box(Mutant::FlushForgetsCommandIds, "P4", "crash::points::index"),
    black_box(
        Mutant::GapsForget,
        "P4",
        "faults::clock::started_with_a_wrong_clock_it_forgets_no_key_and_goes_on",
    ),
    black_box(
        Mutant::IndexLacksTag,
        "P3",
        "appends::lists::a_query_finds_what_a_look_at_every_event_finds",
    ),
    black_box(Mutant::PageOfOthers, "P3", "appends::a_page_of_a_stream_has_its_own_events_alone"),
    black_box(Mutant::SpeculationLeaks, "P1", "crash::points::append"),
    black_box(
        Mutant::HotStateKept,
        "P3",
        "appends::commands_and_direct_appends_race_on_one_stream_without_a_gap",
    ),
    black_box(
        Mutant::CommandIdNotHeld,
        "P4",
        "commands::one_key_from_all_sides_has_one_effect_and_one_answer",
    ),
    black_box(
        Mutant::EventLimitsIgnored,
        "P6",
        "hostile::every_misdeed_has_its_problem_and_records_nothing",
    ),
    black_box(
        Mutant::HiddenStateTrusted,
        "P8",
        "isolation::a_counter_that_hides_until_later_is_found_by_comparing_with_evolve",
    ),
    black_box(
        Mutant::SwapKeepsOldVersion,
        "P8",
        "swap::what_is_active_survives_a_restart_and_can_be_rolled_back_or_switched_off",
    ),
    unit(Mutant::CheckpointApart, "P5", POWER_LOSS),
    unit(
        Mutant::CursorWithoutKey,
        "P5",
        "projections::query::tests::pages_are_what_a_plain_evaluation_gives_while_rows_change",
    ),
    black_box(
        Mutant::SkipNotRecorded,
        "P5",
        "read_models::operated::\
         one_poisoned_event_stops_one_projection_until_someone_says_what_becomes_of_it",
    ),
    black_box(Mutant::ArchiveUnnamed, "P1", "archive::deaths::to_the_archive"),
    black_box(
        Mutant::CutBackupTaken,
        "P9",
        "backup::what_is_cut_changed_or_out_of_order_is_never_restored",
    ),
];

/// Runs what a suite claims, two at a time, in processes of its own binary. Answers what was not
/// caught, and why.
#[must_use]
pub fn uncaught(suite: Suite) -> Vec<String> {
    let Ok(binary) = std::env::current_exe() else { return vec!["this program is gone".into()] };
    let claims: Vec<_> = CLAIMS.iter().filter(|claim| claim.suite == suite).collect();
    let next = AtomicUsize::new(0);
    let found = side_by_side(&mut [Vec::new(), Vec::new()], |_, faults| {
        while let Some(claim) = claims.get(next.fetch_add(1, Ordering::Relaxed)) {
            let since = Stopwatch::start();
            let caught = claim.is_caught(&binary);
            let took = since.elapsed();
            tracing::debug!(mutant = claim.mutant.name(), ?took, ?caught, "a mutant was tried");
            faults.extend(caught.err().map(|reason| format!("{claim:?}: {reason}")));
        }
        std::mem::take(faults)
    });
    found.map_or_else(|error| vec![error.to_string()], |found| found.concat())
}

impl Claim {
    /// Runs its test until that fails: where threads race, not every run meets the mistake.
    fn is_caught(&self, binary: &Path) -> Result<(), String> {
        let since = Stopwatch::start();
        let mut runs = 0;
        while let Some(left) = AT_MOST.checked_sub(since.elapsed()) {
            if self.is_caught_by_one_run(binary, left)? {
                return Ok(());
            }
            runs += 1;
        }
        Err(format!("it was not caught by {runs} runs"))
    }

    fn is_caught_by_one_run(&self, binary: &Path, at_most: Duration) -> Result<bool, String> {
        let output = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        let said = |error: std::io::Error| error.to_string();
        let child = spawn(
            Command::new(binary)
                .args([self.test, "--exact", "--test-threads=1"])
                .env("FACTUM_MUTANT", self.mutant.name())
                .stdin(Stdio::null())
                .stdout(output.reopen().map_err(said)?)
                .stderr(Stdio::null()),
        );
        let status = in_time(child.map_err(said)?, at_most)?;
        let text = std::fs::read_to_string(output.path()).map_err(said)?;
        let ended = |how: &str| text.contains(&format!("test {} ... {how}", self.test));
        match status.code() {
            Some(FAILED) if ended("FAILED") => Ok(true),
            Some(0) if ended("ok") => Ok(false),
            _ => Err(format!("its test did not end as tests do: {status}\n{text}")),
        }
    }
}

/// In a group of its own, so that its servers end with it.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    std::os::unix::process::CommandExt::process_group(command, 0).spawn()
}

fn in_time(mut child: Child, at_most: Duration) -> Result<ExitStatus, String> {
    let (since, group) = (Stopwatch::start(), Pid::from_child(&child));
    let ended = loop {
        match child.try_wait() {
            Ok(None) if since.elapsed() < at_most => std::thread::sleep(LOOK_EVERY),
            Ok(None) => break Err("it was not caught in time".to_owned()),
            Ok(Some(status)) => break Ok(status),
            Err(error) => break Err(error.to_string()),
        }
    };
    if ended.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_is_claimed_once() {
        let claimed: Vec<_> = CLAIMS.iter().map(|claim| claim.mutant).collect();
        assert_eq!(claimed, Mutant::ALL);
    }

    #[test]
    fn each_mutant_of_the_library_is_caught() {
        let uncaught = uncaught(Suite::Unit);
        assert!(uncaught.is_empty(), "\n{}", uncaught.join("\n"));
    }
}
