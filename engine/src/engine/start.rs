//! What an engine is opened with, why it could not be, and the directory it takes.

use std::path::{Path, PathBuf};

use crate::archive::ArchivePolicy;
use crate::checkpoints::CheckpointLimits;
use crate::clock::Clock;
use crate::commands::WorkerLimits;
use crate::modules::CheckLimits;
use crate::projections::ProjectionLimits;
use crate::runtime::{
    CompileLimits, CompilerProgram, GateLimits, GuestLimits, RuntimeOptions, Wasi,
};
use crate::schemas::SchemaLimits;
use crate::storage::data_dir::{DataDir, DataDirError};
use crate::storage::log::{LogLimits, OpenError, Stored};
use crate::verify::{Kept, Pace, Subject, verify};

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory.
    pub data: PathBuf,
    /// What the log may use.
    pub log: LogLimits,
    /// What guests may use.
    pub guests: GuestLimits,
    /// What components may consist of.
    pub gate: GateLimits,
    /// Whether they may import WASI.
    pub wasi: Wasi,
    /// What compiling a component may cost.
    pub compile: CompileLimits,
    /// Who compiles components.
    pub compiler: CompilerProgram,
    /// What the threads of modules may use.
    pub workers: WorkerLimits,
    /// What a version must show before it becomes active.
    pub checks: CheckLimits,
    /// What schemas of commands and events may be.
    pub schemas: SchemaLimits,
    /// Whether to start without modules: what is active stays recorded, and a module is started by
    /// activating a version of it.
    pub safe_mode: bool,
    /// What projections may use.
    pub projections: ProjectionLimits,
    /// When checkpoints are signed.
    pub checkpoints: CheckpointLimits,
    /// When files of the log are archived.
    pub archive: ArchivePolicy,
    /// What work that reads the whole log may take beside commands.
    pub upkeep: Pace,
    /// Commands between arrival and answer, and as many direct appends; more wait. 4,096: what one
    /// group may hold, and both together fit the log's queue, so that no sender blocks on it.
    pub in_flight_commands: usize,
    /// Tells the time.
    pub clock: Clock,
}

impl Options {
    /// The defaults over a data directory. Who compiles has no default: it has to be known where
    /// the binary `factum` is, or said that components are trusted.
    #[must_use]
    pub fn new(data: PathBuf, compiler: CompilerProgram) -> Self {
        Self {
            data,
            log: LogLimits::default(),
            guests: GuestLimits::default(),
            gate: GateLimits::default(),
            wasi: Wasi::default(),
            compile: CompileLimits::default(),
            compiler,
            workers: WorkerLimits::default(),
            checks: CheckLimits::default(),
            schemas: SchemaLimits::default(),
            safe_mode: false,
            projections: ProjectionLimits::default(),
            checkpoints: CheckpointLimits::default(),
            archive: ArchivePolicy::default(),
            upkeep: Pace::default(),
            in_flight_commands: 4096,
            clock: Clock::system(),
        }
    }

    pub(super) fn runtime(&self, cache: PathBuf) -> RuntimeOptions {
        RuntimeOptions {
            guests: self.guests,
            gate: self.gate,
            wasi: self.wasi,
            compile: self.compile,
            compiler: self.compiler.clone(),
            cache,
        }
    }
}

/// Why an engine could not be opened.
#[derive(Debug)]
pub enum StartError {
    /// The data directory cannot be used.
    DataDir(DataDirError),
    /// The log cannot be used.
    Log(OpenError),
    /// The directory was copied while it was used, and what came of it is no store.
    TornCopy(PathBuf, String),
    /// Something else, in a sentence.
    Other(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::TornCopy(dir, reason) => write!(
                f,
                "{} was copied while a server used it, and its files do not fit together: \
                 {reason}. Take a copy with `factum backup`",
                dir.display()
            ),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for StartError {}

/// Takes a data directory; one that was copied while it was used is mended first.
pub(super) fn open_dir(path: &Path) -> Result<DataDir, StartError> {
    let dir = DataDir::open(path).map_err(StartError::DataDir)?;
    if dir.is_live_copy().map_err(StartError::DataDir)? {
        mend_copy(&dir).map_err(|reason| StartError::TornCopy(path.to_owned(), reason))?;
    }
    dir.begin_use().map_err(StartError::DataDir)?;
    Ok(dir)
}

/// Makes a store of a directory that was copied while it was used: what can be made of the log is
/// removed, and the log is checked from its first record on. What was written to it while it was
/// copied may be missing at its end.
fn mend_copy(dir: &DataDir) -> Result<(), String> {
    tracing::warn!(
        dir = %dir.path().display(),
        "it was copied while a server used it: its log is checked, and everything made of that is \
         made again; what was written meanwhile may be missing"
    );
    // What is made of the whole log cannot be made again without all of it.
    let stored = Stored::open(dir.path(), dir.store_id()).map_err(|error| error.to_string())?;
    stored.reach_after(0).map_err(|error| error.to_string())?;
    drop(stored);
    dir.remove_derived().map_err(|error| error.to_string())?;
    let subject = Subject::open(dir).map_err(|error| error.to_string())?;
    let report = verify(&subject, Kept::new(), Pace::ALONE, |_| true)?;
    // Compiled code that is damaged is made again by itself.
    let fault = report.faults.iter().find(|fault| fault.part != "code");
    fault.map_or(Ok(()), |fault| Err(fault.to_string()))
}
