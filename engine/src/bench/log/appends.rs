//! Many writers, each with one append under way: how many are durable a second.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossbeam_channel::Sender;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::events::{Events, Numbers};
use super::plain::{self, Job};
use crate::clock::{Clock, Stopwatch};
use crate::query::{Query, QueryItem};
use crate::storage::disk::Disk;
use crate::storage::log::{Condition, DirectAppend, Log, LogLimits, Submission, Work};
use crate::tasks::{Spawner, Thread};

/// What is appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A preallocated file.
    Raw,
    /// A row per event.
    Rows,
    /// The log.
    Log,
    /// The log, with events that have a tag each.
    Tagged,
    /// The log, with the condition that no event has the tag yet.
    Conditional,
}

/// How a point is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Writers at once.
    pub(super) writers: u32,
    /// How much longer a sync takes.
    pub(super) sync_delay: Duration,
    /// Before this, answers are not counted.
    pub(super) warm_up: Duration,
    /// The time that is measured.
    pub(super) measured: Duration,
}

/// What one point showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// Durable appends a second.
    pub(super) rate: f64,
    /// Half of them took no longer, in microseconds.
    pub(super) p50_us: f64,
}

#[derive(Clone)]
enum Target {
    Plain(Sender<Job>),
    Log { log: Log, tagged: bool, conditional: bool },
}

/// Opens a log of its own in `dir`.
pub(super) fn open_log(dir: &Path, disk: &Disk) -> anyhow::Result<(Log, Vec<Thread>)> {
    let (limits, spawner) = (LogLimits::default(), Spawner::default());
    Ok(Log::open_on(disk, dir, "bench", limits, Clock::system(), &spawner)?)
}

/// Measures one point in a directory of its own under `dir`.
pub(super) async fn measure(
    what: What,
    dir: &Path,
    events: &Events,
    pace: Pace,
) -> anyhow::Result<Point> {
    let dir = tempfile::tempdir_in(dir)?;
    let spawner = Spawner::default();
    let plain = |(submit, thread)| (Target::Plain(submit), vec![thread]);
    let (target, threads) = match what {
        What::Raw => plain(plain::raw(dir.path(), pace.sync_delay, &spawner)?),
        What::Rows => plain(plain::rows(dir.path(), pace.sync_delay, &spawner)?),
        What::Log | What::Tagged | What::Conditional => {
            let (log, threads) = open_log(dir.path(), &Disk::slowed(pace.sync_delay))?;
            let conditional = what == What::Conditional;
            (Target::Log { log, tagged: what != What::Log, conditional }, threads)
        }
    };
    let started = Stopwatch::start();
    let mut running = JoinSet::new();
    for writer in 0..pace.writers {
        let (target, events) = (target.clone(), events.clone());
        running.spawn(drive(target, events, pace, started, writer));
    }
    drop(target);
    let mut latencies = Vec::new();
    while let Some(finished) = running.join_next().await {
        latencies.extend(finished.context("a writer panicked")??);
    }
    threads.into_iter().for_each(Thread::join);
    latencies.sort_unstable();
    let count = u32::try_from(latencies.len())?;
    let p50_us = latencies.get(latencies.len() / 2).map_or(0.0, |us| f64::from(*us));
    Ok(Point { rate: f64::from(count) / pace.measured.as_secs_f64(), p50_us })
}

/// One writer: it appends, waits for the answer and goes on until the time is up.
async fn drive(
    target: Target,
    events: Events,
    pace: Pace,
    started: Stopwatch,
    writer: u32,
) -> anyhow::Result<Vec<u32>> {
    let mut latencies = Vec::new();
    for (number, random) in (u64::from(writer) << 32..).zip(Numbers(u64::from(writer))) {
        let before = started.elapsed();
        if before > pace.warm_up + pace.measured {
            break;
        }
        let (send, answer) = oneshot::channel();
        target.submit(&events, number, random, move |done| {
            let _gone = send.send(done);
        })?;
        if !answer.await? {
            bail!("an append was refused");
        }
        let after = started.elapsed();
        if before >= pace.warm_up && after <= pace.warm_up + pace.measured {
            latencies.push(u32::try_from((after - before).as_micros())?);
        }
    }
    Ok(latencies)
}

impl Target {
    fn submit(
        &self,
        events: &Events,
        number: u64,
        random: u64,
        reply: impl FnOnce(bool) + Send + 'static,
    ) -> anyhow::Result<()> {
        let stream = events.stream(random).context("no streams")?.clone();
        match self {
            Self::Plain(submit) => {
                let job = Job { stream, event: events.event(), reply: Box::new(reply) };
                submit.send(job).ok().context("the writer ended")?;
            }
            Self::Log { log, tagged, conditional } => {
                let (event, condition) = match *tagged {
                    false => (events.event(), None),
                    true => {
                        let (event, tag) = events.tagged(number).context("no tag")?;
                        let condition = conditional.then(|| none_with(log, tag)).transpose()?;
                        (event, condition)
                    }
                };
                let events = vec![(event, Some(stream))];
                let append = DirectAppend { events, condition, ..DirectAppend::default() };
                log.submit(Submission {
                    work: Work::Append(Box::new(append)),
                    lineages: Vec::new(),
                    reply: Box::new(move |answer| reply(answer.is_ok())),
                });
            }
        }
        Ok(())
    }
}

/// The condition that no event has the tag, looked for up to the head.
fn none_with(log: &Log, tag: crate::names::Tag) -> anyhow::Result<Condition> {
    let text = format!("{{\"items\":[{{\"tags\":[\"{tag}\"]}}]}}");
    let query = Query { items: vec![QueryItem { tags: vec![tag], ..QueryItem::default() }] };
    match log.first_match(&query, 0) {
        Ok((None, checked_to)) => Ok(Condition { query, after: 0, checked_to, text }),
        other => bail!("the condition cannot hold: {other:?}"),
    }
}
