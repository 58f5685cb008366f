//! `factum bench exchange`: CloudEvents out of a server and into one, by `factum export` and
//! `factum import` themselves, over HTTP.
//!
//! Promises: every process is of its own and ends, everything is in a temporary directory, and what
//! comes out is counted. Each run begins with an empty store and copies the same lines to a plain
//! file, with a sync where an import has one: only the ratios can be compared between machines.

mod figures;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::http::Server;
use crate::clock::Stopwatch;
use crate::report::Report;
use crate::tasks::blocking;
use figures::{Figures, Run};

/// Events of one append of an import, and of one sync of the plain file.
const BATCH: u64 = 256;
/// Streams that the events are of.
const STREAMS: u64 = 10_000;
/// Characters that fill an event up to some 400 bytes.
const FILLING: usize = 150;

/// What `factum bench exchange` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExchangeArgs {
    /// Events that are imported and exported
    #[arg(
        long,
        default_value_t = 300_000,
        value_parser = clap::value_parser!(u64).range(1_000..=10_000_000)
    )]
    events: u64,
    /// Runs, of which the median is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    runs: u32,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Fail when a figure misses its gate
    #[arg(long)]
    check: bool,
}

/// What the commands say with `--json`, each in its last line.
#[derive(Deserialize)]
struct Said {
    events: u64,
    #[serde(default)]
    known: u64,
}

/// Measures and prints. The code is 1 when `--check` finds a figure that misses its gate.
///
/// # Errors
/// What kept it from measuring.
pub(super) async fn run(args: &ExchangeArgs) -> anyhow::Result<ExitCode> {
    let mut progress = super::progress(args.json);
    let dir = tempfile::tempdir()?;
    let (given, count) = (dir.path().join("given.ndjson"), args.events);
    let file = given.clone();
    blocking(move || write_events(&file, count)).await.context("writing the events panicked")??;
    let mut runs = Vec::new();
    for number in 1..=args.runs {
        progress.item(format_args!("{count} events, run {number} of {}", args.runs));
        runs.push(measure(dir.path(), &given, count, &mut progress).await?);
    }
    let figures = Figures::of(count, std::fs::metadata(&given)?.len(), &runs);
    let missed = figures.missed_gates();
    super::conclude(&figures, Figures::show, &missed, (args.json, args.check), &mut progress)
}

async fn measure(
    dir: &Path,
    given: &Path,
    count: u64,
    progress: &mut Report,
) -> anyhow::Result<Run> {
    let (from, to) = (given.to_owned(), dir.join("plain"));
    let plain = blocking(move || copy(&from, &to)).await.context("copying panicked")??;
    let server = Server::start().await?;
    let url = format!("http://{}", server.address());
    let given = given.to_owned();
    let out = dir.join("exported.ndjson");
    let measured = blocking(move || {
        let import = || factum(&["import", "--url", &url, "--json", text(&given)?]);
        let (import_seconds, new) = import()?;
        let (again_seconds, known) = import()?;
        ensure!(new.events == count && new.known == 0, "{} events were imported", new.events);
        ensure!(known.known == count, "{} of {count} events were known", known.known);
        let export = ["export", "--url", &url, "--json", "--output", text(&out)?];
        let (export_seconds, exported) = factum(&export)?;
        ensure!(exported.events == count, "{} events were exported", exported.events);
        Ok((import_seconds, again_seconds, export_seconds))
    });
    let (import, again, export) = measured.await.context("a command panicked")??;
    server.stop().await?;
    progress.item(format_args!("import {import:.2} s, again {again:.2} s, export {export:.2} s"));
    Ok(Run { plain, import, again, export })
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the temporary directory's name is no text")
}

/// Runs this executable again; answers how long that took and what it said last.
fn factum(arguments: &[&str]) -> anyhow::Result<(f64, Said)> {
    let since = Stopwatch::start();
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(arguments).stdin(Stdio::null()).output()?;
    let seconds = since.elapsed().as_secs_f64();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    ensure!(output.status.success(), "{arguments:?} ended with {}: {said:?}", output.status);
    // An export says it on standard error: its standard output is the events.
    let last = said.iter().find_map(|said| said.lines().last());
    Ok((seconds, serde_json::from_str(last.context("it said nothing")?)?))
}

/// Events as other systems make them: ids that lie anywhere, of many streams.
fn write_events(path: &Path, count: u64) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let filling = "x".repeat(FILLING);
    for number in 0..count {
        let hash = blake3::hash(&number.to_be_bytes());
        let random = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        let id = uuid::Builder::from_random_bytes(random).into_uuid();
        writeln!(
            file,
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/bench/exchange\",\
             \"type\":\"Deposited\",\"subject\":\"account-{}\",\
             \"time\":\"2024-01-01T00:00:00.000Z\",\"datacontenttype\":\"application/json\",\
             \"data\":{{\"number\":{number},\"note\":\"{filling}\"}}}}",
            number % STREAMS
        )?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// Copies lines to a plain file, with a sync where an import makes an append durable.
fn copy(from: &Path, to: &Path) -> anyhow::Result<f64> {
    let since = Stopwatch::start();
    let (mut lines, mut out) = (BufReader::new(File::open(from)?), File::create(to)?);
    let mut pending = Vec::new();
    loop {
        let mut read = 1;
        for _ in 0..BATCH {
            read = lines.read_until(b'\n', &mut pending)?;
        }
        out.write_all(&pending)?;
        out.sync_data()?;
        pending.clear();
        if read == 0 {
            return Ok(since.elapsed().as_secs_f64());
        }
    }
}
