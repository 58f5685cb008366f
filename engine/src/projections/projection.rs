//! One projection: the generation that answers, and the one that is built to take its place.
//!
//! Promises: this is the one place that says which generation answers; it never goes back in
//! position; a swap is one step for readers, and on disk one change of a name.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, RwLock};

use super::files::{self, Files, Use};
use super::running::Running;
use super::settings::Held;
use crate::faults::{Point, fail_point};
use crate::storage::read_models::Checkpoint;

/// A projection.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) settings: Arc<Held>,
    answering: RwLock<Arc<Running>>,
    /// What is built. Whoever has it locked decides whether there is a swap.
    build: Mutex<Option<Arc<Running>>>,
    /// Whose thread may not have ended yet.
    retired: Mutex<Vec<Arc<Running>>>,
}

impl Projection {
    pub(super) fn new(answering: Arc<Running>) -> Self {
        Self {
            settings: Arc::clone(&answering.settings),
            answering: RwLock::new(answering),
            build: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    /// The generation that answers.
    pub(super) fn answering(&self) -> Arc<Running> {
        Arc::clone(&self.answering.read())
    }

    /// The generation that is built.
    pub(super) fn build(&self) -> Option<Arc<Running>> {
        self.build.lock().clone()
    }

    /// All generations.
    pub(super) fn generations(&self) -> impl Iterator<Item = Arc<Running>> {
        std::iter::once(self.answering()).chain(self.build())
    }

    /// Another answers from the same file, with another thread.
    pub(super) fn go_on(&self, with: Arc<Running>) {
        let before = std::mem::replace(&mut *self.answering.write(), with);
        before.replace();
    }

    pub(super) fn begin_build(&self, build: Arc<Running>) {
        *self.build.lock() = Some(build);
    }

    /// Ends what is built, if it is not just taking over, and answers it.
    pub(super) fn end_build(&self) -> Option<Arc<Running>> {
        let build = self.build.lock().take()?;
        build.stop();
        Some(build)
    }

    /// Ends all threads.
    pub(super) fn stop(&self) {
        self.end_build();
        self.answering().stop();
        for retired in std::mem::take(&mut *self.retired.lock()) {
            retired.stop();
        }
    }

    /// Lets what was built answer, called by its thread. `catch_up` brings it at least to a
    /// checkpoint, durably, while readers wait; what it fails with changes nothing. False: this is
    /// not the moment.
    pub(super) fn swap<E: From<String>>(
        &self,
        build: &Arc<Running>,
        files: &Files,
        catch_up: impl FnOnce(Checkpoint) -> Result<(), E>,
    ) -> Result<bool, E> {
        if !build.swaps.load(Ordering::Acquire) {
            return Ok(false);
        }
        // Never waited for: whoever has it may be waiting for this thread.
        let Some(mut slot) = self.build.try_lock() else { return Ok(false) };
        if !slot.as_ref().is_some_and(|built| Arc::ptr_eq(built, build)) {
            return Ok(false);
        }
        let before = self.answering();
        let still = before.publishing.lock();
        catch_up(before.at())?;
        fail_point(Point::Swap);
        files.name(&build.spec, &build.file, Use::Answers)?;
        fail_point(Point::Swap);
        *self.answering.write() = Arc::clone(build);
        *slot = None;
        before.replace();
        drop(still);
        if before.spec.version != build.spec.version {
            files::remove(&files.path(&build.spec.name, before.spec.version, Use::Answers))?;
        }
        tracing::info!(
            projection = build.spec.name,
            version = build.spec.version,
            position = build.at().position,
            "what was built answers now"
        );
        let mut retired = self.retired.lock();
        retired.clear();
        retired.push(before);
        Ok(true)
    }
}
