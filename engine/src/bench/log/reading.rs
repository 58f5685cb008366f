//! Reading what was appended: the whole log in order, and single streams; and what it takes on
//! disk.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::appends::open_log;
use super::events::{Events, Numbers};
use super::filling::{Order, fill};
use crate::bench::median;
use crate::clock::Stopwatch;
use crate::decision::{parse, parse_checked};
use crate::storage::disk::Disk;
use crate::storage::log::{Direction, Log};
use crate::tasks::Thread;
use crate::verify::{Kept, Pace, Subject, verify};

/// Events in the log that is read: a hundred for each of 10,000 streams.
const EVENTS: u64 = 1_000_000;
const STREAMS: u32 = 10_000;
/// Streams that are read with their pages in memory.
const COLD_STREAMS: usize = 200;
/// Times that one stream is read again.
const HOT_READS: usize = 1_000;

/// How fast reads are, and what is read takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Reads {
    /// Events of the whole log in order, each parsed, a second.
    pub(super) in_order_per_second: f64,
    /// Events that are verified a second: every record, its hash, and the index against them.
    pub(super) verified_per_second: f64,
    /// A stream of a hundred events whose pages are in memory, in microseconds.
    pub(super) stream_us: f64,
    /// The same stream again, in microseconds.
    pub(super) hot_stream_us: f64,
    /// Bytes of an event: what the client gave of it.
    pub(super) given_bytes: f64,
    /// Bytes of an event as redb counts what is stored.
    pub(super) stored_bytes: f64,
    /// Bytes of an event by the size of the log's files.
    pub(super) file_bytes: f64,
}

pub(super) fn measure(dir: &Path, runs: u32) -> anyhow::Result<Reads> {
    let dir = tempfile::tempdir_in(dir)?;
    let events = Events::over(STREAMS)?;
    let (log, threads) = open_log(dir.path(), &Disk::default())?;
    fill(&log, &events, Order::Round, EVENTS)?;
    let rates = (0..runs).map(|_| in_order(&log)).collect::<anyhow::Result<_>>()?;
    let verified = (0..runs).map(|_| verified(&log, dir.path())).collect::<anyhow::Result<_>>()?;
    let mut cold = Vec::new();
    for number in Numbers(1).take(COLD_STREAMS) {
        // Once to have the pages in memory; then the other way round, so that it is not the same.
        stream(&log, &events, number, Direction::Forward)?;
        cold.push(stream(&log, &events, number, Direction::Backward)?);
    }
    let hot = (0..HOT_READS)
        .map(|_| stream(&log, &events, 7, Direction::Forward))
        .collect::<anyhow::Result<_>>()?;
    let count = f64::from(u32::try_from(EVENTS)?);
    let stored = f64::from(u32::try_from(log.stored_bytes()?)?);
    let given: usize =
        (0..1000).filter_map(|at| events.stream(at)).map(|s| events.given_bytes(s)).sum();
    drop(log);
    threads.into_iter().for_each(Thread::join);
    Ok(Reads {
        in_order_per_second: median(rates),
        verified_per_second: median(verified),
        stream_us: median(cold),
        hot_stream_us: median(hot),
        given_bytes: f64::from(u32::try_from(given)?) / 1000.0,
        stored_bytes: stored / count,
        file_bytes: f64::from(u32::try_from(log_bytes(dir.path())?)?) / count,
    })
}

/// Bytes of the log's files.
fn log_bytes(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("log") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn in_order(log: &Log) -> anyhow::Result<f64> {
    let started = Stopwatch::start();
    let (mut decision, mut events, mut bytes) = (1, 0u32, 0);
    while let Some(group) = log.group(decision)? {
        for (_, record) in group.records_from(decision) {
            let parsed = parse(record)?;
            events += parsed.header.event_count;
            bytes += parsed.events.iter().map(|event| event.data.len()).sum::<usize>();
        }
        decision = group.last() + 1;
    }
    anyhow::ensure!(u64::from(events) == EVENTS && bytes > 0, "events are missing");
    Ok(f64::from(events) / started.elapsed().as_secs_f64())
}

/// Verifies all of it, as beside a server that nobody uses.
fn verified(log: &Log, dir: &Path) -> anyhow::Result<f64> {
    let (store_id, dir, read_models) = ("bench".to_owned(), dir.to_owned(), Vec::new());
    let subject = Subject { stored: log.stored(), store_id, dir, read_models };
    let report = verify(&subject, Kept::new(), Pace::ALONE, |_| true);
    let report = report.map_err(anyhow::Error::msg)?;
    let log_faults = report.faults.iter().filter(|fault| fault.part != "component").count();
    anyhow::ensure!(log_faults == 0 && report.events == EVENTS, "{:?}", report.faults);
    Ok(report.events_per_second)
}

/// Reads a stream whole and answers the microseconds.
fn stream(log: &Log, events: &Events, number: u64, direction: Direction) -> anyhow::Result<f64> {
    let stream = events.stream(number).context("no streams")?;
    let from = if direction == Direction::Forward { 0 } else { u64::MAX };
    let started = Stopwatch::start();
    let records = log.stream_records(stream.as_str(), from, direction, 100)?;
    let mut found = 0;
    for record in records.iter() {
        let decision = parse_checked(record)?;
        found += decision.events.iter().filter(|e| e.stream == Some(stream.as_str())).count();
    }
    let took = started.elapsed();
    anyhow::ensure!(found == 100, "the stream has {found} events");
    Ok(took.as_secs_f64() * 1e6)
}
