//! `factum demo`: builds the example modules, starts a server, sends it a week of real flights and
//! holds its read models against the raw rows; then swaps a module while commands flow.
//!
//! Promises: everything but the server's start goes over HTTP, as a client would do it; the figures
//! it compares with never saw the engine; nothing is installed or written without a line saying
//! so. It must not leave anything behind with `--once`.

pub(crate) mod commands;
pub(crate) mod expected;
pub(crate) mod figures;
pub(crate) mod flights;
pub(crate) mod interrupt;
pub(crate) mod load;
mod local;
pub(crate) mod modules;
pub(crate) mod sources;
mod story;
mod swap;
mod tour;

use std::process::ExitCode;

use crate::client::Client;
use crate::report::Report;
use interrupt::interrupted;
use local::{Local, Place};
use sources::{ACCOUNT, ACCOUNT_OVERDRAFT, FLIGHTS, Install, Sources};
use tour::{Components, Tour};

/// What `factum demo` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Use a free port and a temporary directory, and end with code 1 if any figure differs
    #[arg(long)]
    once: bool,
    /// Only print the command that installs a missing WebAssembly toolchain
    #[arg(long)]
    no_install: bool,
}

/// Runs the demo, then leaves the server running until Ctrl-C.
///
/// # Errors
/// What kept it from being shown.
pub async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut report = Report::stdout();
    let place = if args.once { Place::temporary()? } else { Place::here()? };
    let existed = place.exists();
    // Before anything slow, so that a port that is taken is known at once.
    let local = Local::start(place).await?;
    report.line(format_args!(
        "Serving {} at http://{}",
        local.directory().display(),
        local.address()
    ));
    let toured = tokio::select! {
        toured = tour(args, &local, &mut report) => toured.map(Some),
        stopped = interrupted() => stopped.map(|()| None).map_err(Into::into),
    };
    let outcome = match toured {
        Ok(Some(differences)) => {
            conclude(differences, existed, &local, &mut report);
            if !args.once {
                leave_running(&local, &mut report).await?;
            }
            Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Ok(None) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    };
    local.stop().await?;
    outcome
}

async fn tour(args: &DemoArgs, local: &Local, report: &mut Report) -> anyhow::Result<u32> {
    let sources = Sources::find()?;
    let week = sources.week()?;
    let install = Install::unless(args.no_install);
    report.heading("Building the example modules from source (a minute or two the first time)");
    let components = Components {
        account: sources.build(ACCOUNT, install, report).await?,
        overdraft: sources.build(ACCOUNT_OVERDRAFT, install, report).await?,
        flights: sources.build(FLIGHTS, install, report).await?,
    };
    Tour { client: Client::new(local.address()), week: &week, report }.run(components).await
}

fn conclude(differences: u32, existed: bool, local: &Local, report: &mut Report) {
    if differences == 0 {
        report.heading("Everything is as the raw rows say.");
        return;
    }
    report.heading(format_args!("{differences} things are DIFFERENT from what they must be."));
    if existed {
        report.item(format_args!(
            "{} is from an earlier run; to begin afresh: rm -r {0}",
            local.directory().display()
        ));
    }
}

async fn leave_running(local: &Local, report: &mut Report) -> anyhow::Result<()> {
    let base = format!("http://{}", local.address());
    report.heading("The server goes on until Ctrl-C. Try:");
    report.item(format_args!("curl '{base}/v1/read-models/routes?order=-arrivals&limit=3'"));
    report.item(format_args!("curl '{base}/v1/events?direction=backward&limit=2'"));
    report.item(format_args!(
        "curl -X POST {base}/v1/aggregates/account/ann/commands/open \\\n       \
         -H 'content-type: application/json' -d '{{\"owner\": \"Ann\"}}'"
    ));
    interrupted().await?;
    report.line("\nStopping.");
    Ok(())
}
