//! Who reads the whole log, for whoever writes parts of it anew.
//!
//! Promises: nothing that a reader is to get is changed before it has had its time, however long
//! others take theirs; one that was changed under its hands knows.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Stopwatch;

/// Those who read the whole log.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    /// How often files were written anew since the start.
    erasures: u64,
    /// Since when files wait to be.
    due: Option<Stopwatch>,
}

/// Somebody who reads the whole log.
#[derive(Debug)]
pub struct Reading {
    readers: Arc<Readers>,
    erasures: u64,
}

impl Readers {
    pub(super) fn begin(self: &Arc<Self>) -> Reading {
        let mut state = self.0.lock();
        state.count += 1;
        Reading { readers: Arc::clone(self), erasures: state.erasures }
    }

    /// Records that files are written anew, which breaks whoever reads; false where readers are
    /// waited for. Who begins later finds the record in the log.
    pub(super) fn begin_erasure<E>(
        &self,
        wait: Duration,
        record: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut state = self.0.lock();
        let due = *state.due.get_or_insert_with(Stopwatch::start);
        if state.count > 0 && due.elapsed() < wait {
            return Ok(false);
        }
        record()?;
        state.erasures += 1;
        state.due = None;
        Ok(true)
    }
}

impl Reading {
    /// What becomes of one that is not whole.
    pub const BROKEN: &str = "refused commands were erased meanwhile, which waited for as long as \
                              it may (--erase-wait-seconds); begin again";

    /// Whether everything that was read so far is as it was when this began.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.readers.0.lock().erasures == self.erasures
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.readers.0.lock().count -= 1;
    }
}
