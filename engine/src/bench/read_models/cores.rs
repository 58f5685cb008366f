//! A rebuild of a projection that says which events belong together, by one core and by two: a
//! million events over 100,000 keys, in an engine that does nothing else.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use serde::Serialize;

use super::lag::install;
use super::rebuild::KEYS;
use crate::bench::log::{Events, Order, fill};
use crate::bench::median;
use crate::clock::Stopwatch;
use crate::engine::{Engine, Options};
use crate::runtime::CompilerProgram;
use crate::tasks::blocking;

const EVENTS: u64 = 1_000_000;
/// The guest's projection, and the events that it wants.
const PROJECTION: &str = "counts";
pub(super) const EVENT: &str = "Counted";
/// How often to look whether it is done, and how often at most.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS: u32 = 60_000;

/// Events a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cores {
    /// By one core.
    pub(super) one_per_second: f64,
    /// By two.
    pub(super) two_per_second: f64,
    /// The second by the first, run by run.
    pub(super) ratio: f64,
}

pub(super) async fn measure(counts: Bytes, runs: u32) -> anyhow::Result<Cores> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("store");
    let engine = open(&data, 1).await?;
    let log = engine.log().clone();
    let filled = blocking(move || fill(&log, &Events::of(EVENT, KEYS)?, Order::Random, EVENTS));
    filled.await.context("filling panicked")??;
    install(&engine, counts).await?;
    until(&engine, |lag, _| lag == 0).await?;
    close(engine).await?;
    let (mut ones, mut twos, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let (one, two) = (rebuild(&data, 1).await?, rebuild(&data, 2).await?);
        ones.push(one);
        twos.push(two);
        ratios.push(two / one);
    }
    Ok(Cores { one_per_second: median(ones), two_per_second: median(twos), ratio: median(ratios) })
}

async fn open(data: &Path, workers: usize) -> anyhow::Result<Engine> {
    let mut options = Options::new(data.to_owned(), CompilerProgram::InProcess);
    options.projections.build_workers = workers;
    let engine = blocking(|| Engine::open(options)).await;
    Ok(engine.context("opening panicked")??)
}

async fn close(engine: Engine) -> anyhow::Result<()> {
    blocking(|| engine.close()).await.context("closing panicked")
}

/// Builds it anew and answers events a second.
async fn rebuild(data: &Path, workers: usize) -> anyhow::Result<f64> {
    let engine = open(data, workers).await?;
    let started = Stopwatch::start();
    engine.projections().rebuild(PROJECTION, true).map_err(|error| anyhow!("{error}"))?;
    until(&engine, |_, is_built| !is_built).await?;
    let seconds = started.elapsed().as_secs_f64();
    close(engine).await?;
    Ok(f64::from(u32::try_from(EVENTS)?) / seconds)
}

/// Waits for how many events it is behind, and whether something is being built.
async fn until(engine: &Engine, is_so: impl Fn(u64, bool) -> bool) -> anyhow::Result<()> {
    for _ in 0..LOOKS {
        let status = engine.projections().status(PROJECTION).map_err(|error| anyhow!("{error}"))?;
        if is_so(status.answering.lag_events, status.build.is_some()) {
            return Ok(());
        }
        let build = status.build.as_ref().unwrap_or(&status.answering);
        let stopped = build.trouble.as_ref().map(|trouble| &trouble.reason);
        ensure!(stopped.is_none(), "the projection stopped: {stopped:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(anyhow!("the projection does not get there"))
}
