//! `factum bench`: how fast this machine is with Factum. `http` measures durable commands over
//! HTTP, `log` the log as a library, `read-models` what is made of it, `runtime` components,
//! `exchange` CloudEvents; each beside something simpler in the same run, because only the ratios
//! can be compared between machines.

mod exchange;
mod gates;
mod http;
mod log;
mod read_models;
mod runtime;

use std::process::ExitCode;

use crate::report::Report;

/// What `factum bench` takes: without a name it measures `http`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    http: http::HttpArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Which {
    /// Durable commands over HTTP beside a route that does nothing, and building read models
    Http(http::HttpArgs),
    /// The log as a library beside a raw file and a row per event: appends, reads, disk, reopening
    Log(log::LogArgs),
    /// Read models: built from zero, live, read by key and by index
    ReadModels(read_models::ReadModelsArgs),
    /// CloudEvents into a server and out of it, beside a plain file
    Exchange(exchange::ExchangeArgs),
    /// Components beside native code: a decision, the path of a command, activation, swaps and a
    /// hostile neighbour
    Runtime(runtime::RuntimeArgs),
    /// Fill a log and wait to be killed
    #[command(hide = true)]
    LogFill(log::FillArgs),
    /// Open a log and say how long it took
    #[command(hide = true)]
    LogOpen(log::OpenArgs),
}

/// Measures and prints. The code is 1 when `--check` finds a figure that misses its gate.
///
/// # Errors
/// What kept it from measuring.
pub async fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    match &args.which {
        None => http::run(&args.http).await,
        Some(Which::Http(args)) => http::run(args).await,
        Some(Which::Log(args)) => log::run(args).await,
        Some(Which::ReadModels(args)) => read_models::run(args).await,
        Some(Which::Exchange(args)) => exchange::run(args).await,
        Some(Which::Runtime(args)) => runtime::run(args).await,
        Some(Which::LogFill(args)) => log::fill_and_wait(args),
        Some(Which::LogOpen(args)) => log::open(args),
    }
}

/// The middle one; of two in the middle, the lower.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or_default()
}

/// Where a bench says how far it is: whoever reads JSON gets nothing else on standard output.
fn progress(json: bool) -> Report {
    if json { Report::new(std::io::stderr()) } else { Report::stdout() }
}

/// Prints what a bench found and which gates it missed; fails for those where it is to check.
fn conclude<F: serde::Serialize>(
    figures: &F,
    show: impl FnOnce(&F, &mut Report),
    missed: &[String],
    (json, check): (bool, bool),
    progress: &mut Report,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::stdout();
    if json {
        report.line(serde_json::to_string_pretty(figures)?);
    } else {
        show(figures, &mut report);
    }
    for reason in missed {
        progress.line(format_args!("missed: {reason}"));
    }
    Ok(if check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
