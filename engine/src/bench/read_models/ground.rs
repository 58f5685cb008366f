//! A guest's projection and a log of its own: what builds from zero are measured on, by the guest
//! and by a native function in its place, with the same reading, batches and storage.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use serde::Serialize;
use tempfile::TempDir;

use crate::bench::median;
use crate::clock::{Clock, Stopwatch};
use crate::manifest::{Manifest, ProjectionManifest};
use crate::projections::{ProjectionLimits, replay};
use crate::runtime::{
    Change, CompileLimits, CompilerProgram, GateLimits, GuestError, GuestLimits, Instance,
    ReadModelLook, RecordedEvent, Runtime, RuntimeOptions, Wasi,
};
use crate::storage::log::{Log, LogLimits};
use crate::storage::read_models::{Collection, ReadModelFile};
use crate::tasks::{Spawner, Thread};

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

/// What something makes of events.
type Projected = Result<Result<Vec<Change>, String>, GuestError>;

/// A projection without a guest: the collection, events, and what it may read.
type Native = fn(&str, &[RecordedEvent<'_>], &dyn ReadModelLook) -> Result<Vec<Change>, String>;

pub(super) struct Ground {
    pub(super) log: Log,
    spec: ProjectionManifest,
    instance: Instance,
    threads: Vec<Thread>,
    dir: TempDir,
    /// It ends calls that take too long.
    _runtime: Runtime,
}

impl Ground {
    /// With the guest's projection of a name.
    pub(super) fn of(guest: &Bytes, projection: &str) -> anyhow::Result<Self> {
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
        let mut instance = runtime.load(guest)?.instantiate("bench")?;
        let manifest = Manifest::parse(&instance.describe()?)?;
        let mut specs = manifest.projections.into_iter();
        let spec = specs.find(|spec| spec.name == projection).context("no such projection")?;
        let limits = LogLimits::default();
        let (log, threads) = Log::open(dir.path(), "bench", limits, Clock::system(), &spawner)?;
        Ok(Self { log, spec, instance, threads, dir, _runtime: runtime })
    }

    /// Lets both project everything, in turns.
    pub(super) fn compare(&mut self, runs: u32, native: Native) -> anyhow::Result<Rebuild> {
        let (mut guests, mut natives, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let name = self.spec.name.clone();
        for run in 0..runs {
            let by_guest = self.by_guest(&format!("guest-{run}"), |_| {})?;
            let by_native = self.project(&format!("native-{run}"), |events, look| {
                Ok(native(&name, events, &*look))
            })?;
            guests.push(by_guest);
            natives.push(by_native);
            ratios.push(by_guest / by_native);
        }
        Ok(Rebuild {
            guest_per_second: median(guests),
            native_per_second: median(natives),
            ratio: median(ratios),
        })
    }

    /// Lets the guest project everything, telling how many events before each batch.
    pub(super) fn by_guest(
        &mut self,
        file: &str,
        mut tell: impl FnMut(usize),
    ) -> anyhow::Result<f64> {
        let Self { log, spec, instance, dir, .. } = self;
        project(log, dir, spec, file, |events, look| {
            tell(events.len());
            instance.project(&spec.name, events, look)
        })
    }

    fn project(
        &self,
        file: &str,
        by: impl FnMut(&[RecordedEvent<'_>], Arc<dyn ReadModelLook>) -> Projected,
    ) -> anyhow::Result<f64> {
        project(&self.log, &self.dir, &self.spec, file, by)
    }

    pub(super) fn close(self) {
        drop(self.log);
        self.threads.into_iter().for_each(Thread::join);
    }
}

/// Projects everything into a new file and answers events a second.
fn project(
    log: &Log,
    dir: &TempDir,
    spec: &ProjectionManifest,
    file: &str,
    by: impl FnMut(&[RecordedEvent<'_>], Arc<dyn ReadModelLook>) -> Projected,
) -> anyhow::Result<f64> {
    let collections = spec.collections.iter().map(|collection| {
        let indexes = collection.indexes.iter().map(|index| index.parse());
        Ok(Collection {
            name: collection.name.clone(),
            indexes: indexes.collect::<Result<_, _>>()?,
        })
    });
    let collections = collections.collect::<anyhow::Result<_>>()?;
    let file = ReadModelFile::open(&dir.path().join(file), collections)?;
    let (started, events) = (Stopwatch::start(), log.head().position);
    let at = replay(log, &Arc::new(file), spec, &ProjectionLimits::default(), by);
    let seconds = started.elapsed().as_secs_f64();
    let at = at.map_err(|error| anyhow!(error))?;
    ensure!(at.position == events, "{} events were projected", at.position);
    Ok(f64::from(u32::try_from(events)?) / seconds)
}
