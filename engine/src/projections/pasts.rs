//! Read models as of a position: generations of their own, built by the version that answers now
//! when they are asked for, kept while there is room, gone with the server.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::batch::{self, Wanted};
use super::collections;
use super::crew::{Crew, Hands};
use super::files;
use super::follow::Sources;
use super::generation::Generation;
use super::running::Running;
use super::sample::text;
use super::settings::Settings;
use crate::clock::Stopwatch;
use crate::storage::log::ReadError;
use crate::storage::read_models::{Checkpoint, ReadModelFile};
use crate::subscriptions::{Feed, Records};
use crate::tasks::{Spawner, Thread};

/// How far one is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// At a position before the one that was asked for.
    Building(u64),
    Ready,
    /// It cannot be built: why.
    Failed(String),
}

/// Why there is no answer as of a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PastError {
    /// No active module has the read model.
    Unknown,
    /// It comes with a version of its projection that is built beside the one that answers.
    NotYet {
        /// The projection.
        projection: String,
        /// The version that is built.
        version: u32,
        /// How far that is.
        position: u64,
        /// How far it has to come.
        required: u64,
    },
    /// It is being built.
    Building {
        /// How far it is.
        position: u64,
        /// How far it has to come.
        required: u64,
    },
    /// As many are being built as may be.
    TooMany {
        /// The limit, `past_models`.
        past_models: usize,
    },
    /// It cannot be built: why.
    Failed(String),
    /// What it is made of cannot be read.
    Log(ReadError),
}

impl std::fmt::Display for PastError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("no active module has the read model"),
            Self::NotYet { projection, version, position, required } => write!(
                f,
                "it comes with version {version} of projection {projection}, which is built and is \
                 at {position} of {required}; ask again once that has taken its place"
            ),
            Self::Building { position, required } => {
                write!(f, "it is being built as of {required} and is at {position}; ask again")
            }
            Self::TooMany { past_models } => write!(
                f,
                "{past_models} read models are being built as of positions (past_models); ask \
                 again, or cancel one"
            ),
            Self::Failed(reason) => write!(f, "it cannot be built as of that position: {reason}"),
            Self::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PastError {}

/// One generation as of a position. Its file goes with the last handle.
#[derive(Debug)]
pub(super) struct Past {
    /// What it is made like.
    pub(super) of: Arc<Running>,
    pub(super) position: u64,
    pub(super) file: Arc<ReadModelFile>,
    path: PathBuf,
    stage: watch::Sender<Stage>,
    stop: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Drop for Past {
    fn drop(&mut self) {
        // What stays is removed by the next start.
        let _ = files::remove(&self.path);
    }
}

/// How far a read model as of a position is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastStatus {
    /// The position asked for.
    pub position: u64,
    /// The position it is at.
    pub reached: u64,
    /// Why it cannot be built, if it cannot.
    pub failed: Option<String>,
}

/// Those that are kept, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Pasts(Mutex<VecDeque<Arc<Past>>>);

impl Pasts {
    /// The one of a generation as of a position, begun if there is none.
    pub(super) fn get(
        &self,
        of: &Arc<Running>,
        position: u64,
        sources: &Sources,
        spawner: &Spawner,
    ) -> Result<Arc<Past>, PastError> {
        let mut kept = self.0.lock();
        let is_it = |past: &Arc<Past>| {
            past.of.maker.digest == of.maker.digest
                && past.of.spec.name == of.spec.name
                && past.position == position
                && past.of.settings.now() == of.settings.now()
        };
        if let Some(past) = kept.iter().position(is_it).and_then(|at| kept.remove(at)) {
            kept.push_back(Arc::clone(&past));
            return Ok(past);
        }
        sources.log.reach_after(0).map_err(PastError::Log)?;
        let past_models = sources.limits.past_models;
        if kept.len() >= past_models {
            let is_done = |past: &Arc<Past>| !matches!(*past.stage.borrow(), Stage::Building(_));
            let oldest = kept.iter().position(is_done);
            let _gone =
                oldest.and_then(|at| kept.remove(at)).ok_or(PastError::TooMany { past_models })?;
        }
        let past = Past::begin(of, position, sources).map_err(PastError::Failed)?;
        let (building, sources) = (Arc::clone(&past), sources.clone());
        let name = format!("past-{}", of.spec.name);
        let thread = spawner.thread(&name, move || building.build(&sources));
        *past.thread.lock() = Some(thread);
        kept.push_back(Arc::clone(&past));
        Ok(past)
    }

    /// Those of a projection.
    pub(super) fn list(&self, projection: &str) -> Vec<PastStatus> {
        let kept = self.0.lock();
        kept.iter().filter(|past| past.of.spec.name == projection).map(|p| p.status()).collect()
    }

    /// Ends and forgets one of a projection. False: there is none.
    pub(super) fn cancel(&self, projection: &str, position: u64) -> bool {
        self.forget(|past| past.of.spec.name == projection && past.position == position)
    }

    /// Ends and forgets all.
    pub(super) fn close(&self) {
        self.forget(|_| true);
    }

    fn forget(&self, is_gone: impl Fn(&Past) -> bool) -> bool {
        let mut kept = self.0.lock();
        let all = std::mem::take(&mut *kept);
        let (gone, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|past| is_gone(past));
        kept.extend(rest);
        drop(kept);
        for past in &gone {
            past.stop.store(true, Ordering::Release);
            if let Some(thread) = past.thread.lock().take() {
                thread.join();
            }
        }
        !gone.is_empty()
    }
}

impl Past {
    fn begin(of: &Arc<Running>, position: u64, sources: &Sources) -> Result<Arc<Self>, String> {
        let path = sources.files.past(&of.spec.name, position);
        files::remove(&path)?;
        let file = ReadModelFile::open(&path, collections(&of.spec)).map_err(|e| e.to_string())?;
        Ok(Arc::new(Self {
            of: Arc::clone(of),
            position,
            file: Arc::new(file),
            path,
            stage: watch::Sender::new(Stage::Building(0)),
            stop: AtomicBool::new(false),
            thread: Mutex::default(),
        }))
    }

    /// Waits until it is there.
    pub(super) async fn ready(&self, wait: Duration) -> Result<(), PastError> {
        let mut stage = self.stage.subscribe();
        let done = stage.wait_for(|stage| !matches!(stage, Stage::Building(_)));
        // Out of time: as it is now.
        let _ = tokio::time::timeout(wait, done).await;
        match &*self.stage.borrow() {
            Stage::Ready => Ok(()),
            Stage::Failed(reason) => Err(PastError::Failed(reason.clone())),
            Stage::Building(position) => {
                Err(PastError::Building { position: *position, required: self.position })
            }
        }
    }

    fn status(&self) -> PastStatus {
        let (reached, failed) = match &*self.stage.borrow() {
            Stage::Ready => (self.position, None),
            Stage::Building(position) => (*position, None),
            Stage::Failed(reason) => (0, Some(reason.clone())),
        };
        PastStatus { position: self.position, reached, failed }
    }

    fn build(&self, sources: &Sources) {
        let built = self.fill(sources);
        let stage = match built {
            Ok(()) => Stage::Ready,
            Err(reason) => Stage::Failed(reason),
        };
        self.stage.send_replace(stage);
    }

    /// Projects everything up to the position.
    fn fill(&self, sources: &Sources) -> Result<(), String> {
        let Running { spec, maker, settings, .. } = &*self.of;
        let (settings, limits) = (settings.now(), &sources.limits);
        // Its own: it reads parts that nobody else is near.
        let feed = Feed::new(sources.log.clone(), limits.feed);
        let mut crew = Crew::new(spec, &maker.component, &self.of.module, limits);
        let mut hands = Hands::All;
        let file = Arc::clone(&self.file);
        let mut generation = Generation::new(file, spec, Checkpoint::START, limits.clone(), false);
        while generation.at().position < self.position {
            if self.stop.load(Ordering::Acquire) {
                return Err("it was cancelled".into());
            }
            let (since, head) = (Stopwatch::start(), sources.log.head());
            let records = feed.read(generation.at().decision + 1).map_err(text)?;
            let Some(records) = records else { break };
            if generation.is_unique() {
                for single in records.singles() {
                    self.take(&mut generation, (&mut crew, Hands::One), &single, &settings)?;
                }
            } else {
                self.take(&mut generation, (&mut crew, hands), &records, &settings)?;
            }
            if generation.is_full() {
                generation.flush().map_err(text)?;
                let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
                if bytes > limits.past_bytes {
                    return Err(format!(
                        "it needs more than {} bytes (past_bytes)",
                        limits.past_bytes
                    ));
                }
            }
            let reached = generation.at().position.min(self.position);
            self.stage.send_replace(Stage::Building(reached));
            hands = Hands::All;
            if sources.log.head().decision > head.decision {
                hands = Hands::One;
                std::thread::sleep(limits.rest_of_build(since.elapsed()));
            }
        }
        generation.flush().map_err(text)
    }

    fn take(
        &self,
        generation: &mut Generation,
        (crew, hands): (&mut Crew, Hands),
        records: &Records,
        settings: &Settings,
    ) -> Result<(), String> {
        let spec = &self.of.spec;
        let look = generation.look(spec).map_err(text)?;
        let wanted = Wanted::of(spec, settings).between(0, self.position);
        let changes = crew.project(records, &wanted, look, hands).map_err(text)?;
        let after = batch::after(records).map_err(text)?;
        generation.take(changes, after).map_err(text)
    }
}
