//! Filling a log fast: single-event appends, thousands under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;

use super::events::{Events, Numbers};
use crate::event::NewEvent;
use crate::names::StreamId;
use crate::storage::log::{DirectAppend, Log, Submission, Work};

/// Which stream an event goes to.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) enum Order {
    /// One after the other.
    Round,
    /// As it comes.
    Random,
}

/// Appends `count` events and waits until all are durable.
pub(in crate::bench) fn fill(
    log: &Log,
    events: &Events,
    order: Order,
    count: u64,
) -> anyhow::Result<()> {
    let event = |(number, random): (u64, u64)| {
        let at = match order {
            Order::Round => number,
            Order::Random => random,
        };
        events.stream(at).map(|stream| (events.event(), stream.clone()))
    };
    append_all(log, (0..count).zip(Numbers(count)).filter_map(event))
}

/// Appends events, each by itself, and waits until all are durable.
pub(in crate::bench) fn append_all(
    log: &Log,
    events: impl IntoIterator<Item = (NewEvent, StreamId)>,
) -> anyhow::Result<()> {
    let (done, mut count) = (Arc::new(AtomicU64::new(0)), 0);
    for (event, stream) in events {
        count += 1;
        let append = DirectAppend { events: vec![(event, Some(stream))], ..Default::default() };
        let done = Arc::clone(&done);
        log.submit(Submission {
            work: Work::Append(Box::new(append)),
            lineages: Vec::new(),
            reply: Box::new(move |answer| {
                done.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
            }),
        });
    }
    let (send, passed) = std::sync::mpsc::channel();
    log.submit(Submission {
        work: Work::Barrier,
        lineages: Vec::new(),
        reply: Box::new(move |answer| {
            let _gone = send.send(answer.is_ok());
        }),
    });
    let passed = passed.recv().context("the writer ended")?;
    anyhow::ensure!(passed && done.load(Ordering::Relaxed) == count, "an append was refused");
    Ok(())
}
