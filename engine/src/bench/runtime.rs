//! `factum bench runtime`: what the sandbox costs beside the same domain logic compiled natively,
//! what an activation takes, and what a swap and a hostile neighbour do to others.
//!
//! Promises: what is compared runs in turns within one run, so that a busy machine slows both; it
//! writes to temporary directories that are gone afterwards, and ends.

mod figures;
mod guest;
mod load;
mod native;

use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;

use crate::demo::sources::{ACCOUNT, ACCOUNT_OVERDRAFT, HOSTILE, Install, Sources};
use figures::{Figures, Run};

/// What `factum bench runtime` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RuntimeArgs {
    /// Runs, of which the median of each figure is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    runs: u32,
    /// Milliseconds that each load is measured
    #[arg(
        long,
        default_value_t = 2000,
        value_parser = clap::value_parser!(u64).range(100..=60_000)
    )]
    milliseconds: u64,
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
    /// Fail when a figure misses its gate
    #[arg(long)]
    check: bool,
    /// Only print the command that installs a missing WebAssembly toolchain
    #[arg(long)]
    no_install: bool,
}

/// The modules that are measured.
struct Modules {
    account: Bytes,
    overdraft: Bytes,
    hostile: Bytes,
}

/// Measures and prints. The code is 1 when `--check` finds a figure that misses its gate.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: &RuntimeArgs) -> anyhow::Result<ExitCode> {
    let mut progress = super::progress(args.json);
    let sources = Sources::find()?;
    let install = Install::unless(args.no_install);
    progress.heading("Building the modules");
    let modules = Modules {
        account: sources.build(ACCOUNT, install, &mut progress).await?,
        overdraft: sources.build(ACCOUNT_OVERDRAFT, install, &mut progress).await?,
        hostile: sources.build(HOSTILE, install, &mut progress).await?,
    };
    let mut runs = Vec::new();
    for number in 1..=args.runs {
        progress.item(format_args!("run {number} of {}", args.runs));
        runs.push(measure(args, &modules).await?);
    }
    let figures = Figures::of(&runs);
    let missed = figures.missed_gates();
    super::conclude(&figures, Figures::show, &missed, (args.json, args.check), &mut progress)
}

async fn measure(args: &RuntimeArgs, modules: &Modules) -> anyhow::Result<Run> {
    let measured = std::time::Duration::from_millis(args.milliseconds);
    let (guest_ns, native_ns) = guest::decide_ns(&modules.account)?;
    let native = native::rate(measured).await.context("the native path")?;
    let dir = tempfile::tempdir()?;
    let loads = load::measure(dir.path(), modules, measured).await?;
    Ok(Run { guest_ns, native_ns, native_rate: native, loads })
}
