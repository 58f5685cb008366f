//! `factum bench read-models`: how fast read models are built, how soon an event can be read, and
//! what reading costs; each beside something simpler where that says more than a rate.
//!
//! Promises: it writes to temporary directories that are gone afterwards, and ends.

mod beside;
mod cores;
mod figures;
mod ground;
mod lag;
mod long;
mod month;
mod pages;
mod points;
mod rebuild;

use std::process::ExitCode;

use figures::Figures;

use crate::demo::sources::{ACCOUNT, COUNTING, COUNTS, FLIGHTS, Install, Sources};
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
    /// Also build ten million events, which takes some minutes and 6 GB of disk
    #[arg(long)]
    long: bool,
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
    /// The same with a month of flights
    Month,
    /// Built anew by one core and by two
    Cores,
    /// Commands alone, and beside a build
    Beside,
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
    if args.only == [Part::Pages] && !args.long {
        return Ok(figures);
    }
    let (sources, install) = (Sources::find()?, Install::unless(args.no_install));
    let guest = sources.build(COUNTING, install, progress).await?;
    if wants(Part::Rebuild) {
        progress.item("a million events projected from zero");
        let guest = guest.clone();
        figures.rebuild = blocking(move || rebuild::measure(&guest, runs)).await.transpose()?;
    }
    if wants(Part::Month) {
        let (flights, week) = (sources.build(FLIGHTS, install, progress).await?, sources.week()?);
        progress.item("a month of flights projected from zero");
        let measured = blocking(move || month::measure(&flights, &week, runs));
        figures.month = measured.await.transpose()?;
    }
    if wants(Part::Cores) {
        let counts = sources.build(COUNTS, install, progress).await?;
        progress.item("a million events built anew by one core and by two");
        figures.cores = Some(cores::measure(counts, runs).await?);
    }
    if wants(Part::Beside) {
        let counts = sources.build(COUNTS, install, progress).await?;
        let account = sources.build(ACCOUNT, install, progress).await?;
        progress.item("commands alone and beside a build");
        figures.beside = Some(beside::measure(account, counts, runs).await?);
    }
    if wants(Part::Lag) {
        progress.item("commands with ten projections behind them");
        let account = sources.build(ACCOUNT, Install::PrintOnly, progress);
        figures.lag = Some(lag::measure(account.await?, guest.clone()).await?);
    }
    if wants(Part::Points) {
        progress.item("documents over HTTP");
        figures.points = Some(points::measure(guest.clone(), runs).await?);
    }
    if args.long {
        progress.item("ten million events projected from zero");
        figures.long = blocking(move || long::measure(&guest)).await.transpose()?;
    }
    Ok(figures)
}
