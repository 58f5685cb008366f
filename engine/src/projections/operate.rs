//! What an operator does with a projection: build it anew, pause it, let it go on, leave an event
//! out. What must outlive a restart is recorded in the log first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::{self, Use};
use super::projection::Projection;
use super::running::Running;
use super::settings::{LeftOut, OnFailure, SettingsError};
use super::status::{ProjectionStatus, Stage};
use super::{Diff, Maker, PastStatus, Projections, diff};
use crate::storage::log::ReadError;
use crate::storage::read_models::ReadModelError;

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperateError {
    /// No active module has the projection.
    Unknown(String),
    /// It has no such event parked.
    NotParked {
        /// The projection.
        projection: String,
        /// The position asked for.
        position: u64,
    },
    /// It is not in the state for it: a sentence says which it is in, and what to do.
    NotNow(String),
    /// It could not be recorded.
    Settings(SettingsError),
    /// A file failed.
    File(String),
    /// What it is to be made of cannot be read.
    Log(ReadError),
}

impl std::fmt::Display for OperateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "no active module has a projection {name:?}"),
            Self::NotParked { projection, position } => {
                write!(f, "projection {projection} has no event parked at position {position}")
            }
            Self::NotNow(reason) => f.write_str(reason),
            Self::Settings(error) => error.fmt(f),
            Self::File(reason) => write!(f, "the projection's files: {reason}"),
            Self::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OperateError {}

impl From<SettingsError> for OperateError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<ReadModelError> for OperateError {
    fn from(error: ReadModelError) -> Self {
        Self::File(error.to_string())
    }
}

type Operated = Result<ProjectionStatus, OperateError>;

impl Projections {
    /// One projection and how it is doing.
    ///
    /// # Errors
    /// [`OperateError::Unknown`].
    pub fn status(&self, projection: &str) -> Operated {
        self.known(projection).map(|found| self.status_of(&found))
    }

    /// Builds the projection anew beside the generation that answers. It takes its place when it
    /// caught up, or, unless `swaps`, when [`Projections::swap`] asks for it, restarts or not.
    ///
    /// # Errors
    /// [`OperateError`]; one that is being built stays.
    pub fn rebuild(&self, projection: &str, swaps: bool) -> Operated {
        self.rebuild_once(projection, swaps, |_| Ok(()))
    }

    /// The same, with something that changes between making the file and filling it: a crash in
    /// between builds once too often, and never once too few.
    fn rebuild_once(
        &self,
        projection: &str,
        swaps: bool,
        change: impl FnOnce(&Projection) -> Result<(), OperateError>,
    ) -> Operated {
        let _one_at_a_time = self.operating.lock();
        let found = self.known(projection)?;
        if found.build().is_some() {
            let reason = "it is being built already; wait for that, or abort it";
            return Err(OperateError::NotNow(reason.into()));
        }
        self.sources.log.reach_after(0).map_err(OperateError::Log)?;
        let answering = found.answering();
        let (maker, spec) = (Maker::clone(&answering.maker), Arc::clone(&answering.spec));
        let is_for = if swaps { Use::Builds } else { Use::Waits };
        let file = self.sources.files.create(&spec, &maker.digest, is_for);
        let file = file.map_err(OperateError::File)?;
        if let Err(error) = change(&found) {
            files::remove(&file.path()).map_err(OperateError::File)?;
            return Err(error);
        }
        let begun = self.begin_build(&found, (&spec, &maker), file, is_for);
        begun.map_err(OperateError::File)?;
        Ok(self.status_of(&found))
    }

    /// Gives the projection an event again that was parked. In its order: it is built anew beside
    /// what answers.
    ///
    /// # Errors
    /// [`OperateError`]; the event stays parked.
    pub fn retry_parked(&self, projection: &str, position: u64, caller: Option<&str>) -> Operated {
        self.parked(projection, position)?;
        self.rebuild_once(projection, true, |found| {
            let change = found.settings.change(caller, |settings| {
                settings.left_out.retain(|span| !(span.parked && span.first == position));
                Ok(())
            });
            Ok(change?)
        })
    }

    /// Leaves an event out for good that was parked.
    ///
    /// # Errors
    /// [`OperateError`]; the event stays parked.
    pub fn discard_parked(
        &self,
        projection: &str,
        position: u64,
        caller: Option<&str>,
    ) -> Operated {
        let found = self.parked(projection, position)?;
        found.settings.change(caller, |settings| {
            let mut spans = settings.left_out.iter_mut();
            if let Some(span) = spans.find(|span| span.first == position) {
                span.parked = false;
            }
            Ok(())
        })?;
        Ok(self.status_of(&found))
    }

    /// The projection that has an event parked.
    fn parked(&self, projection: &str, position: u64) -> Result<Arc<Projection>, OperateError> {
        let found = self.known(projection)?;
        let settings = found.settings.now();
        let mut spans = settings.left_out.iter();
        match spans.any(|span| span.parked && span.first == position) {
            true => Ok(found),
            false => Err(OperateError::NotParked { projection: projection.to_owned(), position }),
        }
    }

    /// Lets what was built answer as soon as it caught up.
    ///
    /// # Errors
    /// [`OperateError`], when nothing is being built.
    pub fn swap(&self, projection: &str) -> Operated {
        let _one_at_a_time = self.operating.lock();
        let found = self.known(projection)?;
        let build = being_built(&found)?;
        if !build.swaps.load(Ordering::Acquire) {
            // First its name, which outlives a restart.
            let named = self.sources.files.name(&build.spec, &build.file, Use::Builds);
            named.map_err(OperateError::File)?;
            build.swaps.store(true, Ordering::Release);
        }
        Ok(self.status_of(&found))
    }

    /// Ends a rebuild and leaves nothing of it. What a module version needs cannot be ended.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was ended.
    pub fn abort(&self, projection: &str) -> Operated {
        let _one_at_a_time = self.operating.lock();
        let found = self.known(projection)?;
        let build = being_built(&found)?;
        if build.spec.version != found.answering().spec.version {
            let version = build.spec.version;
            return Err(OperateError::NotNow(format!(
                "the active version of module {} needs version {version} of it; activate the \
                 module's version before to end this",
                build.module
            )));
        }
        if let Some(ended) = found.end_build() {
            files::remove(&ended.file.path()).map_err(OperateError::File)?;
        }
        Ok(self.status_of(&found))
    }

    /// Pauses the projection, or lets it go on.
    ///
    /// # Errors
    /// [`OperateError`]; it is as it was.
    pub fn pause(&self, projection: &str, is_paused: bool, caller: Option<&str>) -> Operated {
        let found = self.known(projection)?;
        found.settings.change(caller, |settings| {
            settings.paused = is_paused;
            Ok(())
        })?;
        Ok(self.status_of(&found))
    }

    /// Says what becomes of an event that the projection cannot take, and lets it try again.
    ///
    /// # Errors
    /// [`OperateError`]; it is as it was.
    pub fn set_policy(
        &self,
        projection: &str,
        policy: OnFailure,
        caller: Option<&str>,
    ) -> Operated {
        let found = self.known(projection)?;
        found.settings.change(caller, |settings| {
            settings.on_failure = policy;
            Ok(())
        })?;
        found.generations().for_each(|running| running.try_again());
        Ok(self.status_of(&found))
    }

    /// Lets a projection that stopped try again.
    ///
    /// # Errors
    /// [`OperateError`], when it did not stop.
    pub fn retry(&self, projection: &str) -> Operated {
        let found = self.known(projection)?;
        let stopped: Vec<_> =
            found.generations().filter(|running| running.stage() == Stage::Failed).collect();
        if stopped.is_empty() {
            return Err(OperateError::NotNow("it did not stop: there is nothing to retry".into()));
        }
        stopped.iter().for_each(|running| running.try_again());
        Ok(self.status_of(&found))
    }

    /// Leaves out the event that a projection stopped at, in every later build too, and lets it go
    /// on.
    ///
    /// # Errors
    /// [`OperateError`], when it did not stop there.
    pub fn skip(
        &self,
        projection: &str,
        position: u64,
        reason: String,
        caller: Option<&str>,
    ) -> Operated {
        let found = self.known(projection)?;
        let stopped_at = |running: &Arc<Running>| running.failure()?.events;
        let stops: Vec<_> = found.generations().filter_map(|r| stopped_at(&r)).collect();
        let stop = stops.iter().find(|(first, last)| (*first..=*last).contains(&position));
        let Some((first, last)) = stop.copied() else {
            let at: Vec<_> = stops.iter().map(|(first, _)| first.to_string()).collect();
            let reason = match &*at {
                [] => "it did not stop at an event: there is nothing to skip".to_owned(),
                at => format!("it stopped at position {}, not at {position}", at.join(" and ")),
            };
            return Err(OperateError::NotNow(reason));
        };
        let span = LeftOut { first, last, reason, parked: false };
        found.settings.change(caller, |settings| settings.leave_out(span))?;
        found.generations().for_each(|running| running.try_again());
        Ok(self.status_of(&found))
    }

    /// What is kept, or being built, of a projection as of positions.
    ///
    /// # Errors
    /// [`OperateError::Unknown`].
    pub fn pasts(&self, projection: &str) -> Result<Vec<PastStatus>, OperateError> {
        self.known(projection).map(|_| self.pasts.list(projection))
    }

    /// Ends and forgets what was made of a projection as of a position. It blocks, shortly.
    ///
    /// # Errors
    /// [`OperateError`], when there is no such thing.
    pub fn cancel_past(
        &self,
        projection: &str,
        position: u64,
    ) -> Result<Vec<PastStatus>, OperateError> {
        self.known(projection)?;
        if self.pasts.cancel(projection, position) {
            return self.pasts(projection);
        }
        Err(OperateError::NotNow(format!("nothing is kept of it as of position {position}")))
    }

    /// Compares what is being built with what answers, row by row. It blocks.
    ///
    /// # Errors
    /// [`OperateError`], when nothing is being built.
    pub fn diff(&self, projection: &str) -> Result<Diff, OperateError> {
        let found = self.known(projection)?;
        let (before, after) = (found.answering(), being_built(&found)?);
        Ok(diff::compare(&before, &after, self.sources.limits.diff_rows)?)
    }

    fn known(&self, projection: &str) -> Result<Arc<Projection>, OperateError> {
        self.find(projection).ok_or_else(|| OperateError::Unknown(projection.to_owned()))
    }
}

fn being_built(projection: &Projection) -> Result<Arc<Running>, OperateError> {
    let nothing = || OperateError::NotNow("nothing is being built; ask for a rebuild first".into());
    projection.build().ok_or_else(nothing)
}
