//! Moving what the journal holds to rows, beside the writer, a journal file's worth at a time.
//!
//! What is not in rows yet is in memory as well, for readers and for the settler: the journal
//! itself is only read after a crash. A commit of rows that fails loses nothing; it is tried again
//! in a new file, because nobody knows what became of the old one's newest pages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::file::{LogFile, Row};
use super::journal::Frame;
use super::{Group, OpenError};
use crate::decision::Hash;
use crate::decision::format::{record_hash, split};
use crate::decision::{parse, parse_checked};
use crate::faults::{Mutant, Point, fail_point, is_on};

/// How long to wait before a commit of rows that failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of records in one row. redb rounds a value up to a power of two of its pages, so rows are
/// filled to a little less than 16 KiB: a record in the middle of a stream is read with its row.
const ROW_BYTES: usize = 15 << 10;

/// Groups that are durable and not in rows yet.
#[derive(Default)]
pub(super) struct Unsettled {
    groups: RwLock<VecDeque<Arc<Group>>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Up to which record to settle.
    wanted: u64,
    /// Up to which record all is in rows.
    settled: u64,
    trouble: Option<String>,
    closing: bool,
}

impl Unsettled {
    /// The group that holds a record, if it is here.
    pub(super) fn find(&self, decision: u64) -> Option<Arc<Group>> {
        let groups = self.groups.read();
        let after = groups.partition_point(|group| group.first() <= decision);
        groups.get(after.checked_sub(1)?).filter(|group| decision <= group.last()).cloned()
    }

    /// The first group that ends at or after a record.
    pub(super) fn from(&self, decision: u64) -> Option<Arc<Group>> {
        let groups = self.groups.read();
        groups.get(groups.partition_point(|group| group.last() < decision)).cloned()
    }

    pub(super) fn push(&self, groups: &[Arc<Group>]) {
        self.groups.write().extend(groups.iter().cloned());
    }

    /// Why nothing can be settled at present, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state.lock().trouble.clone()
    }

    /// Asks for everything up to a record to be settled.
    pub(super) fn ask(&self, through: u64) {
        self.state.lock().wanted = through;
        self.changed.notify_all();
    }

    /// Waits until everything up to a record that was asked for is settled; the error says why it
    /// cannot be.
    pub(super) fn wait(&self, through: u64) -> Result<(), String> {
        let mut state = self.state.lock();
        while state.settled < through {
            if let Some(reason) = &state.trouble {
                return Err(reason.clone());
            }
            self.changed.wait(&mut state);
        }
        Ok(())
    }

    /// Waits until nothing is being settled.
    #[cfg(test)]
    pub(super) fn rest(&self) {
        let mut state = self.state.lock();
        while state.settled < state.wanted {
            self.changed.wait(&mut state);
        }
    }

    /// Whether nothing is being settled.
    #[cfg(test)]
    pub(super) fn rests(&self) -> bool {
        let state = self.state.lock();
        state.settled >= state.wanted
    }

    /// Settles everything; [`Unsettled::run`] ends.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    /// Settles what is asked for until the log is closed.
    pub(super) fn run(&self, file: &LogFile) {
        while let Some(through) = self.next() {
            let outcome = self.settle(file, through);
            let mut state = self.state.lock();
            let before = std::mem::replace(&mut state.trouble, outcome.err());
            if let Some(reason) = &state.trouble {
                if before.as_ref() != Some(reason) {
                    tracing::error!(
                        reason,
                        "the log's rows cannot be written; the journal keeps them"
                    );
                }
                if state.closing {
                    return;
                }
                self.changed.notify_all();
                self.changed.wait_for(&mut state, PAUSE);
            } else {
                state.settled = through;
                self.changed.notify_all();
            }
        }
    }

    /// Up to where to settle; none when the log is closed and all is settled.
    fn next(&self) -> Option<u64> {
        let mut state = self.state.lock();
        loop {
            if state.closing {
                state.wanted = self.groups.read().back().map_or(state.settled, |g| g.last());
            }
            if state.wanted > state.settled {
                return Some(state.wanted);
            }
            if state.closing {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn settle(&self, file: &LogFile, through: u64) -> Result<(), String> {
        let held = self.groups.read();
        let groups: Vec<_> =
            held.iter().take_while(|group| group.last() <= through).cloned().collect();
        drop(held);
        let mut rows = RowBuilder::default();
        groups.iter().flat_map(|group| group.records_from(0)).for_each(|(n, r)| rows.push(n, r));
        file.append(&rows.rows())?;
        fail_point(Point::Settle);
        self.groups.write().drain(..groups.len());
        Ok(())
    }
}

/// Puts records together to rows.
#[derive(Default)]
pub(super) struct RowBuilder(Vec<(u64, Vec<u8>)>);

impl RowBuilder {
    pub(super) fn push(&mut self, decision: u64, record: &[u8]) {
        match self.0.last_mut() {
            Some((_, row)) if row.len() + record.len() <= ROW_BYTES => row.extend(record),
            _ => {
                let mut row = Vec::with_capacity(ROW_BYTES.max(record.len()));
                row.extend_from_slice(record);
                self.0.push((decision, row));
            }
        }
    }

    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        self.0.iter().map(|(first, bytes)| Row { first: *first, bytes }).collect()
    }
}

/// Settles what a crash left in the journal after the newest record in rows.
pub(super) fn settle_frames(
    file: &LogFile,
    frames: &[Frame],
    newest: (u64, Hash),
) -> Result<(), OpenError> {
    let (rows, whole) = following(frames, newest);
    whole?;
    file.append(&rows.rows()).map_err(OpenError::File)
}

/// Every record of the journal that follows those in rows, whose newest is `decision` with its
/// `hash`, in groups; and whether that is all.
pub(super) fn unsettled(
    frames: &[Frame],
    newest: (u64, Hash),
) -> (Vec<Arc<Group>>, Result<(), OpenError>) {
    let (rows, whole) = following(frames, newest);
    let rows = rows.0.into_iter();
    let groups = rows.filter_map(|(first, row)| Group::split(first, row.into()).ok());
    (groups.map(Arc::new).collect(), whole)
}

fn following(
    frames: &[Frame],
    (mut decision, mut hash): (u64, Hash),
) -> (RowBuilder, Result<(), OpenError>) {
    let mut rows = RowBuilder::default();
    for frame in frames {
        let mut rest = &*frame.records;
        // What is broken was being written when the end came, or others follow it.
        while let Ok((record, after)) = split(rest) {
            rest = after;
            let read = if is_on(Mutant::TornRecordTaken) { parse_checked } else { parse };
            let Ok(parsed) = read(record) else { break };
            let header = parsed.header;
            if header.decision <= decision {
                continue;
            }
            if header.decision > decision + 1 {
                break;
            }
            if header.previous_hash != hash {
                let reason = "the journal's record does not follow the record before it".into();
                return (rows, Err(OpenError::Damaged { decision: decision + 1, reason }));
            }
            (decision, hash) = (header.decision, record_hash(record));
            rows.push(decision, record);
        }
    }
    if let Some(lost) = frames.iter().find(|frame| frame.first > decision + 1) {
        let reason =
            format!("the journal's record is broken, and decision {} follows it", lost.first);
        return (rows, Err(OpenError::Damaged { decision: decision + 1, reason }));
    }
    (rows, Ok(()))
}

/// Number and hash of the newest record in rows.
pub(super) fn newest(file: &LogFile, genesis: Hash) -> Result<(u64, Hash), OpenError> {
    let Some(group) = file.newest()? else { return Ok((0, genesis)) };
    Ok((group.last(), record_hash(&group.record(group.last()).unwrap_or_default())))
}
