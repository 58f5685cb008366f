//! The command line: what is asked for, and one clear line where it cannot be done.

mod archive;
mod backup;
mod build;
mod checkpoint;
mod export;
mod import;
mod progress;
mod remote;
mod schemas;
mod serve;
mod verify;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::runtime::{CompileArgs, compile_from_stdin};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "factum", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Debug, Subcommand)]
enum Asked {
    #[command(flatten)]
    Action(Box<Action>),
    /// Compile a component within caps, from standard input to standard output: a server's child
    #[command(hide = true)]
    CompileComponent(CompileArgs),
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve a data directory over HTTP
    Serve(Box<serve::ServeArgs>),
    /// Check that a store is as it was written: records, derived files, components, checkpoints.
    /// Exit codes: 0 sound, 1 damaged, 2 could not look
    Verify(verify::VerifyArgs),
    /// Print a signed checkpoint of a server's log, to be kept elsewhere
    Checkpoint(checkpoint::CheckpointArgs),
    /// Print the proof that an event is in the log of a checkpoint
    Prove(checkpoint::ProveArgs),
    /// Check such a proof, without the server. Exit codes: 0 proved, 1 not proved, 2 could not look
    VerifyProof(checkpoint::VerifyProofArgs),
    /// Copy a store to one file, from a running server or a data directory
    Backup(backup::BackupArgs),
    /// Make a data directory of backups
    Restore(backup::RestoreArgs),
    /// Move the oldest closed files of the log to an archive directory, or say what is there
    Archive(archive::ArchiveArgs),
    /// Bring them back
    Unarchive(archive::UnarchiveArgs),
    /// Build a module from a guest's Rust crate
    Build(build::BuildArgs),
    /// Write the events of a running server as CloudEvents, one a line
    Export(export::ExportArgs),
    /// Record CloudEvents, one a line, in a running server, each once
    Import(import::ImportArgs),
    /// Declare and show what the data of events must be like
    Schemas(schemas::SchemasArgs),
    /// Show Factum at work on real data: modules, commands, read models, a swap under load
    Demo(crate::demo::DemoArgs),
    /// Measure how many durable commands a second this machine can do
    Bench(crate::bench::BenchArgs),
}

impl Action {
    /// What is logged unless the user says otherwise: a server tells what it does, the other
    /// commands have lines of their own.
    fn default_log(&self) -> &'static str {
        match self {
            Self::Serve(_) => "info",
            Self::Verify(_)
            | Self::Checkpoint(_)
            | Self::Prove(_)
            | Self::VerifyProof(_)
            | Self::Backup(_)
            | Self::Archive(_)
            | Self::Unarchive(_)
            | Self::Restore(_) => "error",
            _ => "warn",
        }
    }
}

impl Cli {
    /// Does what is asked for. The code is the process's.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let action = match self.asked {
            Asked::Action(action) => action,
            // Before anything takes memory or starts threads.
            Asked::CompileComponent(args) => return compile_from_stdin(args),
        };
        log_to_stderr(action.default_log());
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return failed(format_args!("the threads cannot be started: {error}")),
        };
        let done = runtime.block_on(async {
            match *action {
                Action::Serve(args) => serve::run(*args).await.map_err(|error| error.to_string()),
                Action::Build(args) => build::run(args).await,
                Action::Export(args) => export::run(args).await,
                Action::Import(args) => import::run(args).await,
                Action::Schemas(args) => schemas::run(args).await,
                Action::Verify(args) => Ok(verify::run(args).await),
                Action::Backup(args) => backup::run(args).await,
                Action::Archive(args) => archive::run(args).await,
                Action::Unarchive(args) => archive::unarchive(args).await,
                Action::Restore(args) => backup::restore(args).await,
                Action::Checkpoint(args) => checkpoint::run(&args).await,
                Action::Prove(args) => checkpoint::prove(&args).await,
                Action::VerifyProof(args) => Ok(checkpoint::verify_proof(&args)),
                Action::Demo(args) => {
                    crate::demo::run(&args).await.map_err(|error| format!("{error:#}"))
                }
                Action::Bench(args) => {
                    crate::bench::run(&args).await.map_err(|error| format!("{error:#}"))
                }
            }
        });
        // What still blocks then is a read that nobody waits for.
        runtime.shutdown_background();
        done.unwrap_or_else(failed)
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("http")
        // Pages are read and components compiled there; more would only wait for the disk.
        .max_blocking_threads(64)
        .build()
}

fn failed(reason: impl Display) -> ExitCode {
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "factum: {reason}");
    ExitCode::FAILURE
}

/// `FACTUM_LOG` says what is logged, as in `FACTUM_LOG=info,factum::http=debug`.
fn log_to_stderr(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("FACTUM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // A second subscriber in one process is refused, and the first one serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
