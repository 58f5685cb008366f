//! `factum verify`: whether a store is as it was written.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::ProgressBar;
use serde::Deserialize;

use super::progress::{self, Where};
use crate::checkpoints::{self, PublicKey};
use crate::report::{Report as Lines, grouped, rounded};
use crate::storage::data_dir::{DataDir, DataDirError};
use crate::tasks;
use crate::verify::{Pace, Progress, Report, Subject, read_kept, verify};

/// The code of a store that is damaged.
pub(super) const DAMAGED: u8 = 1;
/// The code where nothing could be looked at.
pub(super) const COULD_NOT_LOOK: u8 = 2;

/// What `factum verify` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: Where,
    /// A file of signed checkpoints that was kept elsewhere: what they cover must be unchanged
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// The public key that must have signed them, as `factum checkpoint --public-key` prints it;
    /// without one, the keys in the data directory count
    #[arg(long = "key", value_name = "KEY", value_parser = public_key)]
    keys: Vec<PublicKey>,
    /// Print the report as one JSON document
    #[arg(long)]
    json: bool,
}

/// A public key as it is written.
pub(super) fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).ok_or_else(|| "it is not like name+id+key".to_owned())
}

/// Verifies and prints. The code is 0, 1 or 2.
pub(super) async fn run(args: VerifyArgs) -> ExitCode {
    let bar = progress::bar("records", args.json);
    let verified = match (&args.place.data, &args.place.url) {
        (Some(data), _) => offline(&args, data.clone(), bar.clone()).await,
        (None, Some(url)) => running(&args, url, &bar).await,
        (None, None) => Err("name --data or --url".into()),
    };
    bar.finish_and_clear();
    match verified {
        Ok(report) => {
            show(&report, args.json);
            if report.sound { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
        }
        Err(reason) => could_not_look(&reason),
    }
}

/// Says why.
pub(super) fn could_not_look(reason: &str) -> ExitCode {
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "factum: {reason}");
    ExitCode::from(COULD_NOT_LOOK)
}

/// A data directory that no server uses, to look at.
pub(super) fn look(data: &Path) -> Result<DataDir, String> {
    DataDir::look(data).map_err(|error| match error {
        DataDirError::InUse(dir) => {
            format!("a running server uses {}: ask it with --url, or stop it first", dir.display())
        }
        other => other.to_string(),
    })
}

async fn offline(args: &VerifyArgs, data: PathBuf, bar: ProgressBar) -> Result<Report, String> {
    let (files, mut keys) = (args.against.clone(), args.keys.clone());
    let verified = tasks::blocking(move || {
        let dir = look(&data)?;
        if keys.is_empty() {
            keys = checkpoints::keys(dir.path()).map_err(|error| error.to_string())?;
        }
        let mut against = Vec::new();
        for file in &files {
            against.extend(read_kept(&file.display().to_string(), &read(file)?, &keys)?);
        }
        let subject = Subject::open(&dir).map_err(|error| error.to_string())?;
        verify(&subject, against, Pace::ALONE, |progress| {
            advance(&bar, progress);
            true
        })
    });
    verified.await.unwrap_or_else(|| Err("verifying panicked".into()))
}

/// Reads a text.
pub(super) fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn advance(bar: &ProgressBar, progress: &Progress) {
    if let Some(of) = progress.of {
        bar.set_length(of);
    }
    bar.set_position(progress.decision);
    bar.set_message(format!("{} events/s", rounded(progress.events_per_second)));
}

/// A line of a server's answer.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Progress { decision: u64, of: Option<u64>, events: u64, events_per_second: f64 },
    Report(Box<Report>),
}

async fn running(args: &VerifyArgs, url: &str, bar: &ProgressBar) -> Result<Report, String> {
    let client = progress::client(url)?;
    let mut against = String::new();
    for file in &args.against {
        against.push_str(&read(file)?);
        against.push('\n');
    }
    let mut keys: Vec<_> = args.keys.iter().map(ToString::to_string).collect();
    if keys.is_empty() && !against.is_empty() {
        let key = client.text("/v1/checkpoint/key").await.map_err(|error| error.to_string())?;
        keys.push(key.trim().to_owned());
    }
    let asked = serde_json::json!({"against": against, "keys": keys});
    let mut lines = client.ask("/v1/verify", &asked).await.map_err(|error| error.to_string())?;
    while let Some(line) = lines.next().await.map_err(|error| error.to_string())? {
        match line {
            Line::Progress { decision, of, events, events_per_second } => {
                advance(bar, &Progress { decision, of, events, events_per_second });
            }
            Line::Report(report) => return Ok(*report),
        }
    }
    Err(format!("{url} ended its answer before its report"))
}

fn show(report: &Report, is_json: bool) {
    let mut lines = Lines::stdout();
    if is_json {
        // Numbers and strings: there is nothing that could fail.
        return lines.line(serde_json::to_string_pretty(report).unwrap_or_default());
    }
    let count = |number: u64| grouped(i64::try_from(number).unwrap_or(i64::MAX));
    lines.line(format_args!(
        "{} records with {} events in {} files, {} events/s",
        count(report.records),
        count(report.events),
        report.files,
        rounded(report.events_per_second)
    ));
    for compared in &report.compared {
        lines.item(format_args!("{}: {}", compared.what, compared.outcome));
    }
    for fault in &report.faults {
        lines.item(format_args!("FAULT {fault}"));
    }
    if let (Some(_), Some(before)) = (&report.first_damage, &report.reads_before) {
        lines.line(format_args!(
            "up to decision {} (position {}) all is as it was written; {} records after the damage \
             can be read",
            before.decision,
            before.position,
            count(report.reads_after)
        ));
    }
    match report.sound {
        true => lines.line("sound"),
        false => lines.line(format_args!("damaged: {} faults", count(report.fault_count))),
    }
}
