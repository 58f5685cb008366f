//! What is derived from the log to find things in it: streams, command ids, active modules.
//!
//! It lives in memory and is built from the log at start. It only ever holds durable records.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::log::Direction;
use crate::decision::{Decision, Hash, Kind};

/// Command ids younger than this replay. 7 days: longer than any client's retries.
const IDEMPOTENCY_WINDOW_MS: u64 = 7 * 24 * 3600 * 1000;
/// Most command ids remembered. 10 million: at 40 bytes each, 400 MB.
const IDEMPOTENCY_IDS: usize = 10_000_000;

/// The index of one log.
#[derive(Default)]
pub(super) struct Index {
    streams: HashMap<Box<str>, Stream>,
    commands: HashMap<u128, u64>,
    /// The ids in `commands`, oldest first, with their recorded times.
    window: VecDeque<(u128, u64)>,
    active: BTreeMap<String, (String, Hash)>,
}

struct Stream {
    version: u64,
    /// The version before each record's first event, and the record.
    records: Vec<(u64, u64)>,
}

impl Index {
    /// Takes in the next record.
    pub(super) fn apply(&mut self, decision: &Decision<'_>) {
        let header = &decision.header;
        match &decision.kind {
            Kind::Command(record) => {
                if header.event_count > 0 {
                    let place = (record.context.stream_version, header.decision);
                    let version = place.0 + u64::from(header.event_count);
                    match self.streams.get_mut(record.context.stream) {
                        Some(stream) => {
                            stream.version = version;
                            stream.records.push(place);
                        }
                        None => {
                            let stream = Stream { version, records: vec![place] };
                            self.streams.insert(record.context.stream.into(), stream);
                        }
                    }
                }
                if record.id_from_client {
                    let key = command_key(record.caller, record.command_id);
                    self.commands.insert(key, header.decision);
                    self.window.push_back((key, header.recorded_at_ms));
                    self.forget(header.recorded_at_ms);
                }
            }
            Kind::Activation(record) => match record.version {
                Some((version, digest)) => {
                    self.active.insert(record.module.into(), (version.into(), digest));
                }
                None => {
                    self.active.remove(record.module);
                }
            },
        }
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some(&(key, recorded_at_ms)) = self.window.front() {
            let expired = recorded_at_ms.saturating_add(IDEMPOTENCY_WINDOW_MS) < now_ms;
            if !expired && self.window.len() <= IDEMPOTENCY_IDS {
                return;
            }
            self.window.pop_front();
            self.commands.remove(&key);
        }
    }

    pub(super) fn stream_version(&self, stream: &str) -> Option<u64> {
        self.streams.get(stream).map(|stream| stream.version)
    }

    pub(super) fn command(&self, caller: Option<&str>, command_id: &str) -> Option<u64> {
        self.commands.get(&command_key(caller, command_id)).copied()
    }

    /// The active version of each module.
    pub(super) fn active(&self) -> &BTreeMap<String, (String, Hash)> {
        &self.active
    }

    /// The records of up to `limit` events after (or before) a version.
    pub(super) fn records(
        &self,
        stream: &str,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Vec<u64> {
        let Some(stream) = self.streams.get(stream) else { return Vec::new() };
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        // Events `first` to `last` are wanted; a record holds those after its own number.
        let (first, last) = match direction {
            Direction::Forward => (from + 1, from.saturating_add(limit).min(stream.version)),
            Direction::Backward => {
                let last = from.saturating_sub(1).min(stream.version);
                ((last + 1).saturating_sub(limit).max(1), last)
            }
        };
        if first > last {
            return Vec::new();
        }
        let begin = stream.records.partition_point(|(before, _)| *before < first).saturating_sub(1);
        let end = stream.records.partition_point(|(before, _)| *before < last);
        let records = stream.records.get(begin..end).unwrap_or_default();
        let numbers = records.iter().map(|(_, decision)| *decision);
        match direction {
            Direction::Forward => numbers.collect(),
            Direction::Backward => numbers.rev().collect(),
        }
    }
}

/// A caller's scope and the id in it, as one number that does not collide.
fn command_key(caller: Option<&str>, command_id: &str) -> u128 {
    let mut hasher = blake3::Hasher::new();
    // No caller contains a NUL, so the two parts cannot be confused.
    hasher.update(caller.unwrap_or_default().as_bytes());
    hasher.update(&[0, u8::from(caller.is_some())]);
    hasher.update(command_id.as_bytes());
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(hasher.finalize().as_bytes()) {
        *to = *from;
    }
    u128::from_be_bytes(half)
}
