//! What the log is measured beside: the same queue, the same groups and the same answers, in front
//! of something simpler. A raw file shows what the disk gives; a row per event what the simple way
//! costs.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::event::NewEvent;
use crate::names::StreamId;
use crate::storage::disk::Disk;
use crate::storage::log::LogLimits;
use crate::storage::row_per_event::RowPerEvent;
use crate::tasks::{Spawner, Thread};

/// Bytes that are laid out before the first event; writing begins anew at their end.
const RAW_FILE_BYTES: u64 = 64 << 20;

/// An event and who waits for it.
pub(super) struct Job {
    pub(super) stream: StreamId,
    pub(super) event: NewEvent,
    pub(super) reply: Box<dyn FnOnce(bool) + Send>,
}

/// Starts a writer over a preallocated file.
pub(super) fn raw(
    dir: &Path,
    sync_delay: Duration,
    spawner: &Spawner,
) -> anyhow::Result<(Sender<Job>, Thread)> {
    let file = File::options().create(true).truncate(true).write(true).open(dir.join("raw"))?;
    let zeros = vec![0; 1 << 20];
    for at in (0..RAW_FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let (mut at, mut bytes) = (0, Vec::new());
    Ok(start(spawner, move |group| {
        bytes.clear();
        for job in group {
            put(&mut bytes, job.stream.as_str().as_bytes());
            put(&mut bytes, job.event.event_type.as_str().as_bytes());
            put(&mut bytes, &job.event.data);
        }
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if at + len > RAW_FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&bytes, at).and_then(|()| file.sync_data()).is_ok_and(|()| {
            if !sync_delay.is_zero() {
                std::thread::sleep(sync_delay);
            }
            at += len;
            true
        })
    }))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Starts a writer over a row per event.
pub(super) fn rows(
    dir: &Path,
    sync_delay: Duration,
    spawner: &Spawner,
) -> anyhow::Result<(Sender<Job>, Thread)> {
    let mut rows = RowPerEvent::open(&Disk::slowed(sync_delay), dir).map_err(anyhow::Error::msg)?;
    let mut streams: HashMap<StreamId, (u64, u64)> = HashMap::new();
    Ok(start(spawner, move |group| {
        let mut placed = Vec::with_capacity(group.len());
        for job in group {
            let count = u64::try_from(streams.len()).unwrap_or(u64::MAX);
            let place = streams.entry(job.stream.clone()).or_insert((count, 0));
            place.1 += 1;
            placed.push((*place, &*job.event.data));
        }
        rows.append(placed.into_iter()).is_ok()
    }))
}

fn start(
    spawner: &Spawner,
    mut commit: impl FnMut(&[Job]) -> bool + Send + 'static,
) -> (Sender<Job>, Thread) {
    let limits = LogLimits::default();
    let (submit, work): (_, Receiver<Job>) = crossbeam_channel::bounded(limits.queue_records);
    let thread = spawner.thread("bench-writer", move || {
        while let Ok(first) = work.recv() {
            let mut group = vec![first];
            group.extend(work.try_iter().take(limits.group_records - 1));
            let done = commit(&group);
            for job in group {
                (job.reply)(done);
            }
        }
    });
    (submit, thread)
}
