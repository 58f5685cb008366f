//! A counter for each of 100,000 keys, projected from zero over a million events of 200 bytes: by a
//! guest, and by a native function in its place, with the same reading, batches and storage.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bench::log::{Events, Order, fill};
use crate::bench::median;
use crate::clock::{Clock, Stopwatch};
use crate::manifest::{Manifest, ProjectionManifest};
use crate::projections::{ProjectionLimits, replay};
use crate::runtime::{
    Change, CompileLimits, CompilerProgram, GateLimits, GuestError, GuestLimits, ReadModelLook,
    RecordedEvent, Runtime, RuntimeOptions, Wasi,
};
use crate::storage::log::{Log, LogLimits};
use crate::storage::read_models::{Collection, ReadModelFile};
use crate::tasks::{Spawner, Thread};

const EVENTS: u64 = 1_000_000;
const KEYS: u32 = 100_000;

/// Events a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rebuild {
    /// By the guest.
    pub(super) guest_per_second: f64,
    /// By a native function in its place.
    pub(super) native_per_second: f64,
    /// The first by the second, run by run.
    pub(super) ratio: f64,
}

pub(super) fn measure(guest: &Bytes, runs: u32) -> anyhow::Result<Rebuild> {
    let spawner = Spawner::default();
    let dir = tempfile::tempdir()?;
    let options = RuntimeOptions {
        guests: GuestLimits::default(),
        gate: GateLimits::default(),
        wasi: Wasi::Frozen,
        compile: CompileLimits::default(),
        compiler: CompilerProgram::InProcess,
        cache: dir.path().join("code"),
    };
    let runtime = Runtime::new(options, &spawner).map_err(|error| anyhow!(error))?;
    let component = runtime.load(guest)?;
    let mut instance = component.instantiate("bench")?;
    let manifest = Manifest::parse(&instance.describe()?)?;
    let spec = manifest.projections.into_iter().next().context("it has no projection")?;
    let limits = LogLimits::default();
    let (log, threads) = Log::open(dir.path(), "bench", limits, Clock::system(), &spawner)?;
    fill(&log, &Events::over(KEYS)?, Order::Random, EVENTS)?;
    let (mut guests, mut natives, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let path = |who: &str| dir.path().join(format!("{who}-{run}.redb"));
        let by_guest = project(&log, &path("guest"), &spec, |events, look| {
            instance.project(&spec.name, events, look)
        })?;
        let by_native = project(&log, &path("native"), &spec, |events, look| {
            Ok(native(&spec.name, events, &*look))
        })?;
        guests.push(by_guest);
        natives.push(by_native);
        ratios.push(by_guest / by_native);
    }
    drop(log);
    threads.into_iter().for_each(Thread::join);
    Ok(Rebuild {
        guest_per_second: median(guests),
        native_per_second: median(natives),
        ratio: median(ratios),
    })
}

/// Projects everything into a new file and answers events a second.
fn project(
    log: &Log,
    path: &Path,
    spec: &ProjectionManifest,
    project: impl FnMut(
        &[RecordedEvent<'_>],
        Arc<dyn ReadModelLook>,
    ) -> Result<Result<Vec<Change>, String>, GuestError>,
) -> anyhow::Result<f64> {
    let collection = Collection { name: spec.name.clone(), indexes: Vec::new() };
    let file = Arc::new(ReadModelFile::open(path, vec![collection])?);
    let started = Stopwatch::start();
    let at = replay(log, &file, spec, &ProjectionLimits::default(), project);
    let seconds = started.elapsed().as_secs_f64();
    let at = at.map_err(|error| anyhow!(error))?;
    ensure!(at.position == EVENTS, "{} events were projected", at.position);
    Ok(f64::from(u32::try_from(EVENTS)?) / seconds)
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
    let mut rows = BTreeMap::<String, Count>::new();
    for recorded in events {
        let Deposited {} = serde_json::from_str(recorded.event.data).map_err(|e| e.to_string())?;
        let stream = recorded.event.stream_id.and_then(|stream| stream.split_once('-'));
        let key = stream.map_or("none", |(_, id)| id).to_owned();
        if let Some(row) = rows.get_mut(&key) {
            row.count += 1;
            continue;
        }
        let stored = look.get_many(collection, std::slice::from_ref(&key))?.pop().flatten();
        let row = stored.map(|json| serde_json::from_str::<Count>(&json)).transpose();
        let mut row = row.map_err(|error| error.to_string())?.unwrap_or_default();
        row.count += 1;
        rows.insert(key, row);
    }
    let put = |(key, row): (String, Count)| {
        let json = serde_json::to_string(&row).map_err(|error| error.to_string())?;
        Ok(Change::Put((collection.to_owned(), key, json)))
    };
    rows.into_iter().map(put).collect()
}
