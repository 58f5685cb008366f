//! `factum bench http`: how many durable commands a second this machine can do over HTTP, beside a
//! route that does nothing, and how fast read models are built.
//!
//! Promises: the runs of both routes alternate, so that a busy machine slows both; every answer is
//! checked; everything is on loopback, in a temporary directory, and ends. What is compared between
//! machines is the ratio, never a rate.

mod backups;
mod connection;
mod figures;
mod load;
mod rebuild;
mod requests;
mod server;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::client::Client;
use crate::demo::interrupt::interrupted;
use crate::demo::modules::{Uploaded, activate, upload};
use crate::demo::sources::{ACCOUNT, FLIGHTS, Install, Sources};
use crate::report::Report;
use figures::{Figures, Pair, Row};
pub(super) use load::{Pace, measure};
pub(super) use requests::{Requests, open_accounts, wait_until_ready};
pub(super) use server::Server;

/// Connections at once, from a lone client to many.
const CONNECTIONS: [u32; 3] = [1, 64, 256];
/// Before a point is measured. 1 s: instances are live, states hot, connections open.
const WARM_UP: Duration = Duration::from_secs(1);

/// What `factum bench http` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HttpArgs {
    /// Seconds that each point is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Runs of each point, of which the median is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    runs: u32,
    /// Copies of a week of flights (18,262 events each) that read models are built from
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    copies: u32,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Fail when commands are slower than they may be beside the route that does nothing
    #[arg(long)]
    check: bool,
    /// Only print the command that installs a missing WebAssembly toolchain
    #[arg(long)]
    no_install: bool,
}

/// Measures and prints. The code is 1 when `--check` finds a ratio that is too low.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: &HttpArgs) -> anyhow::Result<ExitCode> {
    let mut report = Report::stdout();
    // Whoever reads JSON gets nothing else on standard output.
    let mut progress = if args.json { Report::new(std::io::stderr()) } else { Report::stdout() };
    let figures = tokio::select! {
        measured = measure_all(args, &mut progress) => measured?,
        // What is dropped then ends the server.
        stopped = interrupted() => return Ok(stopped.map(|()| ExitCode::FAILURE)?),
    };
    if args.json {
        report.line(serde_json::to_string_pretty(&figures)?);
    } else {
        figures.show(&mut report);
    }
    let below = figures.missed_gates();
    if !args.check || below.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for reason in below {
        progress.line(format_args!("too slow: {reason}"));
    }
    Ok(ExitCode::FAILURE)
}

async fn measure_all(args: &HttpArgs, progress: &mut Report) -> anyhow::Result<Figures> {
    let sources = Sources::find()?;
    let week = sources.week()?;
    let install = Install::unless(args.no_install);
    progress.heading("Building the modules");
    let account = sources.build(ACCOUNT, install, progress).await?;
    let flights = sources.build(FLIGHTS, install, progress).await?;

    let server = Server::start().await?;
    progress.heading(format_args!("Measuring a server of its own at {}", server.address()));
    let client = Client::new(server.address());
    wait_until_ready(&client).await?;
    activate(&client, &upload(&client, account).await?).await?;
    open_accounts(&client).await?;
    let commands = measure_commands(args, server.address(), progress).await?;

    let backup = backups::measure(args, server.address(), &client, progress).await?;
    server.stop().await.context("after the commands")?;
    let server = Server::start().await?;
    let client = Client::new(server.address());
    wait_until_ready(&client).await?;
    let flights: Uploaded = upload(&client, flights).await?;
    let projections = rebuild::measure(&server, &client, &flights, &week, args.copies).await?;
    server.stop().await.context("after the projections")?;
    Ok(Figures { commands, backup, projections })
}

async fn measure_commands(
    args: &HttpArgs,
    address: &str,
    progress: &mut Report,
) -> anyhow::Result<Vec<Row>> {
    let nothing = Arc::new(Requests::nothing(address));
    let deposits = Arc::new(Requests::deposits(address));
    let measured = Duration::from_secs(args.seconds);
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let pace = Pace { connections, warm_up: WARM_UP, measured };
        let mut runs = Vec::new();
        for number in 1..=args.runs {
            progress.item(format_args!(
                "{connections} connections, run {number} of {}: {} s of nothing, {} s of commands",
                args.runs, args.seconds, args.seconds
            ));
            let nothing = load::measure(address, &nothing, pace).await?;
            let commands = load::measure(address, &deposits, pace).await?;
            runs.push(Pair { nothing, commands });
        }
        rows.push(Row::of(connections, &runs));
    }
    Ok(rows)
}
