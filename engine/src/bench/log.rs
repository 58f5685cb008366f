//! `factum bench log`: the log as a library, durable, with events of 200 bytes.
//!
//! Promises: everything that is compared runs in turns, so that a busy machine slows all of it; it
//! writes to a temporary directory that is gone afterwards, and ends.

mod appends;
mod events;
mod figures;
mod filling;
mod plain;
mod reading;
mod reopening;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use appends::{Pace, Point, What};
pub(super) use events::{Events, Numbers};
use figures::{Figures, Row};
pub(super) use filling::{Order, append_all, fill};

use crate::report::Report;
use crate::tasks::blocking;

pub(super) use reopening::{FillArgs, OpenArgs, fill as fill_and_wait, open};

/// Streams that are appended to.
const STREAMS: u32 = 10_000;
/// What a sync of a user's disk takes longer than one here.
const SLOW_SYNC: Duration = Duration::from_millis(2);
/// Writers at once.
const MANY: [u32; 2] = [64, 256];

/// What `factum bench log` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Runs of each point, of which the median is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    runs: u32,
    /// Milliseconds that each run is measured
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(100..=60_000)
    )]
    milliseconds: u64,
    /// Only these parts; all but `reopen` unless given
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Also fill logs of up to four million events, kill their process and open them again
    #[arg(long)]
    reopen: bool,
    /// The directory of the disk to measure; the system's temporary one unless given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Fail when a figure misses its gate
    #[arg(long)]
    check: bool,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Appends beside a raw file and a row per event
    Appends,
    /// The same with slow syncs
    Slow,
    /// Conditional appends beside others
    Conditions,
    /// Reads, and bytes on disk
    Reads,
}

impl LogArgs {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// Measures and prints. The code is 1 when `--check` finds a figure that misses its gate.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: &LogArgs) -> anyhow::Result<ExitCode> {
    let mut progress = super::progress(args.json);
    let figures = measure(args, &mut progress).await?;
    let missed = figures.missed_gates();
    super::conclude(&figures, Figures::show, &missed, (args.json, args.check), &mut progress)
}

async fn measure(args: &LogArgs, progress: &mut Report) -> anyhow::Result<Figures> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let mut figures = Figures::default();
    let mut bench = Bench { args, dir: dir.path().to_owned(), events: Events::over(STREAMS)? };
    let beside = [What::Raw, What::Rows, What::Log];
    if args.wants(Part::Appends) {
        for writers in [1, 64, 256] {
            let row = bench.row(progress, &beside, writers, Duration::ZERO).await?;
            figures.appends.push(row);
        }
    }
    if args.wants(Part::Slow) {
        for writers in [1, 64, 256] {
            figures.slow_appends.push(bench.row(progress, &beside, writers, SLOW_SYNC).await?);
        }
    }
    if args.wants(Part::Conditions) {
        for writers in MANY {
            let whats = [What::Tagged, What::Conditional];
            let row = bench.row(progress, &whats, writers, Duration::ZERO).await?;
            figures.conditions.push(row);
        }
    }
    let (runs, dir) = (args.runs, bench.dir.clone());
    if args.wants(Part::Reads) {
        progress.item("reading a million events");
        figures.reads = blocking(move || reading::measure(&dir, runs)).await.transpose()?;
    }
    if args.reopen {
        let dir = bench.dir.clone();
        progress.item("filling and killing logs of one and of four million events");
        figures.reopened = blocking(move || reopening::measure(&dir, runs)).await.transpose()?;
    }
    Ok(figures)
}

struct Bench<'a> {
    args: &'a LogArgs,
    dir: PathBuf,
    events: Events,
}

impl Bench<'_> {
    /// Several things in turns, at one number of writers.
    async fn row(
        &mut self,
        progress: &mut Report,
        whats: &[What],
        writers: u32,
        sync_delay: Duration,
    ) -> anyhow::Result<Row> {
        let measured = Duration::from_millis(self.args.milliseconds);
        let pace = Pace { writers, sync_delay, warm_up: measured / 4, measured };
        let mut runs = Vec::new();
        for number in 1..=self.args.runs {
            progress.item(format_args!(
                "{writers} writers, syncs of {sync_delay:?} more, run {number}: {whats:?}"
            ));
            let mut run: Vec<(What, Point)> = Vec::new();
            for what in whats {
                run.push((*what, appends::measure(*what, &self.dir, &self.events, pace).await?));
            }
            runs.push(run);
        }
        Ok(Row::of(writers, &runs))
    }
}
