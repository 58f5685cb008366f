//! Reopening after a kill, and what memory a million streams take: each in a process of its own,
//! because only a process can be killed, and only a process's memory can be told.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::appends::open_log;
use super::events::Events;
use super::filling::{Order, fill as fill_log};
use crate::bench::median;
use crate::clock::Stopwatch;
use crate::storage::disk::Disk;

/// What the hidden `factum bench log-fill` takes.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::bench) struct FillArgs {
    /// An empty directory
    dir: PathBuf,
    /// Events to append
    #[arg(long)]
    events: u64,
    /// Streams that they are spread over
    #[arg(long)]
    streams: u32,
}

/// What the hidden `factum bench log-open` takes.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::bench) struct OpenArgs {
    /// A log's directory
    dir: PathBuf,
}

/// What a child process tells in one line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Told {
    milliseconds: f64,
    position: u64,
    memory_mb: f64,
}

/// What reopening and memory came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Reopened {
    /// Milliseconds until a killed log of a million events is open.
    pub(super) one_million_ms: f64,
    /// The same with four million.
    pub(super) four_million_ms: f64,
    /// The most memory that a process used to append a million streams, in MB.
    pub(super) million_streams_mb: f64,
    /// The most memory that a process used to open them, in MB.
    pub(super) million_streams_open_mb: f64,
}

/// Fills and says so; then it waits for its end.
///
/// # Errors
/// What kept it from filling.
pub(in crate::bench) fn fill(args: &FillArgs) -> anyhow::Result<ExitCode> {
    let started = Stopwatch::start();
    let (log, _threads) = open_log(&args.dir, &Disk::default())?;
    fill_log(&log, &Events::over(args.streams)?, Order::Random, args.events)?;
    tell(started, log.head().position)?;
    // The other side kills this process; should it be gone, the log is closed in order.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(ExitCode::SUCCESS)
}

/// Opens and says how long it took.
///
/// # Errors
/// What kept it from opening.
pub(in crate::bench) fn open(args: &OpenArgs) -> anyhow::Result<ExitCode> {
    let started = Stopwatch::start();
    let (log, _threads) = open_log(&args.dir, &Disk::default())?;
    tell(started, log.head().position)?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(ExitCode::SUCCESS)
}

fn tell(started: Stopwatch, position: u64) -> anyhow::Result<()> {
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    let told = Told { milliseconds, position, memory_mb: most_memory_mb() };
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&told)?)?)
}

/// The most memory that this process ever had, where the system tells.
fn most_memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1024.0
}

pub(super) fn measure(dir: &Path, runs: u32) -> anyhow::Result<Reopened> {
    let (one_million_ms, _) = reopen(dir, runs, 1_000_000, 10_000)?;
    let (four_million_ms, _) = reopen(dir, runs, 4_000_000, 10_000)?;
    let streams = reopen(dir, 1, 1_000_000, 1_000_000)?.1;
    Ok(Reopened {
        one_million_ms,
        four_million_ms,
        million_streams_mb: streams.0,
        million_streams_open_mb: streams.1,
    })
}

/// Fills, kills, and opens again, several times, killing each time. Answers the median of the
/// milliseconds and the most memory of filling and of opening.
fn reopen(dir: &Path, runs: u32, events: u64, streams: u32) -> anyhow::Result<(f64, (f64, f64))> {
    let dir = tempfile::tempdir_in(dir)?;
    let path = dir.path().to_str().context("a path that is no text")?;
    let (events, streams) = (events.to_string(), streams.to_string());
    let filled = told(&["log-fill", path, "--events", &events, "--streams", &streams])?;
    let mut opened = Vec::new();
    for _ in 0..runs {
        opened.push(told(&["log-open", path])?);
    }
    anyhow::ensure!(opened.iter().all(|o| o.position == filled.position), "events were lost");
    let memory = opened.iter().map(|opened| opened.memory_mb).fold(0.0, f64::max);
    let milliseconds = median(opened.iter().map(|opened| opened.milliseconds).collect());
    Ok((milliseconds, (filled.memory_mb, memory)))
}

/// Runs this program's bench until it tells something, and kills it.
fn told(args: &[&str]) -> anyhow::Result<Told> {
    let mut child: Child = Command::new(std::env::current_exe()?)
        .arg("bench")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().context("no output")?;
    let read = BufReader::new(out).read_line(&mut line);
    child.kill()?;
    child.wait()?;
    read?;
    serde_json::from_str(&line).context("the process told nothing")
}
