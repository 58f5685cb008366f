//! What an operator set for a projection: whether it is paused, what becomes of an event that it
//! cannot take, and which events it leaves out.
//!
//! Promises: it is an administrative act in the log, the newest of which holds whole, so it
//! survives restarts and every later build leaves out the same events.

use std::sync::Arc;
use std::sync::mpsc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::decision::{ActRecord, Draft, Kind, parse};
use crate::faults::{Mutant, is_on};
use crate::storage::log::{AppendError, Log, Submission, Work};

/// The name of the act.
const ACT: &str = "projection";
/// Most events that one projection leaves out. 500: each act records all of them, and a projection
/// that cannot take more than that is broken.
pub(super) const MOST_LEFT_OUT: usize = 500;
/// Most bytes of the reason why one is left out.
const REASON_BYTES: usize = 300;

/// What becomes of an event that a projection cannot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The projection stops before it.
    #[default]
    Stop,
    /// It is parked: left out until someone says what is to become of it.
    Park,
}

/// Events that a projection does not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The position of the first.
    pub first: u64,
    /// The position of the last; of one record all, where none of them alone is to blame.
    pub last: u64,
    /// Why.
    pub reason: String,
    /// Whether the projection parked it, or else a person skipped it.
    pub parked: bool,
}

/// What was set for a projection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// It takes no events.
    #[serde(default)]
    pub paused: bool,
    /// What becomes of an event that it cannot take.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// In the order of their positions.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

impl Settings {
    /// Whether an event is left out.
    #[must_use]
    pub fn leaves_out(&self, position: u64) -> bool {
        let after = self.left_out.partition_point(|span| span.first <= position);
        let span = after.checked_sub(1).and_then(|at| self.left_out.get(at));
        span.is_some_and(|span| position <= span.last)
    }

    /// Leaves events out from now on.
    ///
    /// # Errors
    /// [`SettingsError::TooMany`].
    pub(super) fn leave_out(&mut self, mut span: LeftOut) -> Result<(), SettingsError> {
        if self.left_out.len() >= MOST_LEFT_OUT {
            return Err(SettingsError::TooMany);
        }
        let most = (0..=REASON_BYTES).rev().find(|end| span.reason.is_char_boundary(*end));
        span.reason.truncate(most.unwrap_or_default());
        let at = self.left_out.partition_point(|before| before.first < span.first);
        self.left_out.insert(at, span);
        Ok(())
    }
}

/// Why nothing was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// It leaves out as many events as it may.
    TooMany,
    /// The log did not take the record.
    Log(AppendError),
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany => {
                write!(f, "a projection leaves out {MOST_LEFT_OUT} events at most; mend its module")
            }
            Self::Log(AppendError::NotAccepted(refusal)) => refusal.fmt(f),
            Self::Log(_) => f.write_str("whether it was recorded is unknown; look and try again"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// The settings of one projection, shared by its generations.
#[derive(Debug)]
pub(super) struct Held {
    log: Log,
    projection: String,
    now: RwLock<Arc<Settings>>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Held {
    /// What was last set.
    pub(super) fn recorded(log: &Log, projection: &str) -> Result<Self, String> {
        let record = log.newest_act(ACT, projection).map_err(|error| error.to_string())?;
        let settings = match record {
            None => Settings::default(),
            Some(record) => match parse(&record).map_err(|damage| damage.to_string())?.kind {
                Kind::Act(act) => serde_json::from_str(act.value).map_err(|e| e.to_string())?,
                _ => return Err("the index names a record that sets nothing".into()),
            },
        };
        Ok(Self {
            log: log.clone(),
            projection: projection.to_owned(),
            now: RwLock::new(Arc::new(settings)),
            changing: Mutex::new(()),
        })
    }

    /// What holds now.
    pub(super) fn now(&self) -> Arc<Settings> {
        Arc::clone(&self.now.read())
    }

    /// Changes what holds, once the log has it; nothing is recorded where nothing changes. It
    /// blocks for as long as a commit takes.
    pub(super) fn change(
        &self,
        caller: Option<&str>,
        change: impl FnOnce(&mut Settings) -> Result<(), SettingsError>,
    ) -> Result<(), SettingsError> {
        let _one_at_a_time = self.changing.lock();
        let mut settings = Settings::clone(&self.now());
        change(&mut settings)?;
        if settings == *self.now() {
            return Ok(());
        }
        let lost = |reason: &str| SettingsError::Log(AppendError::Unknown(reason.to_owned()));
        let value = serde_json::to_string(&settings).map_err(|e| lost(&e.to_string()))?;
        let record = ActRecord { act: ACT, subject: &self.projection, value: &value, caller };
        let (send, answer) = mpsc::channel();
        let record = Work::Record { draft: Draft::act(&record), expected: None };
        let is_lost = is_on(Mutant::SkipNotRecorded);
        self.log.submit(Submission {
            work: if is_lost { Work::Barrier } else { record },
            lineages: Vec::new(),
            reply: Box::new(move |answer| drop(send.send(answer))),
        });
        let answer = answer.recv().map_err(|_| lost("the writer ended"))?;
        answer.map_err(SettingsError::Log)?;
        tracing::info!(projection = self.projection, settings = value, "settings were recorded");
        *self.now.write() = Arc::new(settings);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_found_by_its_position() {
        let mut settings = Settings::default();
        let span = |first, last| LeftOut { first, last, reason: "ä".repeat(999), parked: false };
        for (first, last) in [(7, 7), (2, 3), (10, 12)] {
            settings.leave_out(span(first, last)).expect("few");
        }
        let found: Vec<_> = (0..15).filter(|at| settings.leaves_out(*at)).collect();
        assert_eq!(found, [2, 3, 7, 10, 11, 12]);
        assert_eq!(settings.left_out[0].reason.len(), REASON_BYTES);
        for at in 20..2_000 {
            let _ = settings.leave_out(span(at, at));
        }
        assert_eq!(settings.left_out.len(), MOST_LEFT_OUT);
        let json = serde_json::to_string(&settings).expect("JSON");
        assert_eq!(serde_json::from_str::<Settings>(&json).expect("read"), settings);
        assert_eq!(serde_json::from_str::<Settings>("{}").expect("read"), Settings::default());
    }
}
