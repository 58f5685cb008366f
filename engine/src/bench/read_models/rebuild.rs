//! A counter for each of 100,000 keys, projected from zero over a million events of 200 bytes: by a
//! guest, and by a native function in its place.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ground::{Ground, Rebuild};
use crate::bench::log::{Events, Order, fill};
use crate::runtime::{Change, ReadModelLook, RecordedEvent};

/// The guest's projection.
pub(super) const PROJECTION: &str = "deposits_0";
pub(super) const KEYS: u32 = 100_000;
const EVENTS: u64 = 1_000_000;

pub(super) fn measure(guest: &Bytes, runs: u32) -> anyhow::Result<Rebuild> {
    let mut ground = Ground::of(guest, PROJECTION)?;
    fill(&ground.log, &Events::over(KEYS)?, Order::Random, EVENTS)?;
    let rebuild = ground.compare(runs, native)?;
    ground.close();
    Ok(rebuild)
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Count {
    count: u64,
}

#[derive(Deserialize)]
struct Deposited {}

/// What the guest does, without a guest.
fn native(
    collection: &str,
    events: &[RecordedEvent<'_>],
    look: &dyn ReadModelLook,
) -> Result<Vec<Change>, String> {
    let keys: BTreeSet<_> = events.iter().map(key).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let stored = look.get_many(collection, &keys)?.into_iter().map(document);
    let counts = stored.collect::<Result<Vec<Count>, _>>()?;
    let mut rows: BTreeMap<_, _> = keys.into_iter().zip(counts).collect();
    for recorded in events {
        let Deposited {} = serde_json::from_str(recorded.event.data).map_err(|e| e.to_string())?;
        rows.entry(key(recorded)).or_default().count += 1;
    }
    changes(collection, rows)
}

fn key(recorded: &RecordedEvent<'_>) -> String {
    let stream = recorded.event.stream_id.and_then(|stream| stream.split_once('-'));
    stream.map_or("none", |(_, id)| id).to_owned()
}

/// A document that is stored, or a new one.
fn document<D: Default + for<'de> Deserialize<'de>>(stored: Option<String>) -> Result<D, String> {
    let read = |json: String| serde_json::from_str(&json).map_err(|error| error.to_string());
    stored.map_or_else(|| Ok(D::default()), read)
}

/// The row of a key, read if the batch meets it for the first time.
pub(super) fn row<'r, D: Default + for<'de> Deserialize<'de>>(
    rows: &'r mut BTreeMap<String, D>,
    collection: &str,
    key: String,
    look: &dyn ReadModelLook,
) -> Result<&'r mut D, String> {
    if !rows.contains_key(&key) {
        let stored = look.get_many(collection, std::slice::from_ref(&key))?.pop().flatten();
        rows.insert(key.clone(), document(stored)?);
    }
    Ok(rows.entry(key).or_default())
}

/// All rows, written.
pub(super) fn changes<D: Serialize>(
    collection: &str,
    rows: BTreeMap<String, D>,
) -> Result<Vec<Change>, String> {
    let put = |(key, row): (String, D)| {
        let json = serde_json::to_string(&row).map_err(|error| error.to_string())?;
        Ok(Change::Put((collection.to_owned(), key, json)))
    };
    rows.into_iter().map(put).collect()
}
