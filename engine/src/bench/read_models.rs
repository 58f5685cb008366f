//! `factum bench read-models`: how fast read models are built, how soon an event can be read, and
//! what reading costs; each beside something simpler where that says more than a rate.
//!
//! Promises: it writes to temporary directories that are gone afterwards, and ends.

mod figures;
mod lag;
mod pages;
mod points;
mod rebuild;

use std::process::ExitCode;

use figures::Figures;

use crate::demo::sources::{COUNTING, Install, Sources};
use crate::report::Report;
use crate::tasks::blocking;

/// What `factum bench read-models` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReadModelsArgs {
    /// Runs of each measurement, of which the median is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    runs: u32,
    /// Only these parts; all unless given
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Fail when a figure misses its gate
    #[arg(long)]
    check: bool,
    /// Only print the command that installs a missing WebAssembly toolchain
    #[arg(long)]
    no_install: bool,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A million events projected from zero, by a guest and by a native function
    Rebuild,
    /// From a command's acknowledgement to its event's document, with ten projections
    Lag,
    /// One document over HTTP beside a route that does nothing
    Points,
    /// A page of 50 out of a million documents, by an index
    Pages,
}

/// Measures and prints. The code is 1 when `--check` finds a figure that misses its gate.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: &ReadModelsArgs) -> anyhow::Result<ExitCode> {
    let mut progress = super::progress(args.json);
    let figures = measure(args, &mut progress).await?;
    let missed = figures.missed_gates();
    super::conclude(&figures, Figures::show, &missed, (args.json, args.check), &mut progress)
}

async fn measure(args: &ReadModelsArgs, progress: &mut Report) -> anyhow::Result<Figures> {
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    let (runs, mut figures) = (args.runs, Figures::default());
    if wants(Part::Pages) {
        progress.item("pages out of a million documents");
        figures.page_us = Some(blocking(pages::measure).await.transpose()?.unwrap_or_default());
    }
    if !(wants(Part::Rebuild) || wants(Part::Lag) || wants(Part::Points)) {
        return Ok(figures);
    }
    let sources = Sources::find()?;
    let guest = sources.build(COUNTING, Install::unless(args.no_install), progress).await?;
    if wants(Part::Rebuild) {
        progress.item("a million events projected from zero");
        let guest = guest.clone();
        figures.rebuild = blocking(move || rebuild::measure(&guest, runs)).await.transpose()?;
    }
    if wants(Part::Lag) {
        progress.item("commands with ten projections behind them");
        let account = sources.build(crate::demo::sources::ACCOUNT, Install::PrintOnly, progress);
        figures.lag = Some(lag::measure(account.await?, guest.clone()).await?);
    }
    if wants(Part::Points) {
        progress.item("documents over HTTP");
        figures.points = Some(points::measure(guest, runs).await?);
    }
    Ok(figures)
}
