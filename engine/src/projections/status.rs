//! How generations are doing: what they are at, since when, how fast, and what went wrong. Pure:
//! time is given.

use std::sync::Arc;
use std::time::Duration;

use super::settings::Settings;
use crate::clock::Stopwatch;

/// What a projection's generation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectionState {
    /// It has applied everything, or is about to.
    Live,
    /// The same, but for events that are parked.
    Parked,
    /// It is behind the head and moving.
    CatchingUp,
    /// It is built beside the one that answers.
    Building,
    /// Someone paused it.
    Paused,
    /// It cannot go on; what it has answers on.
    Failed,
}

impl ProjectionState {
    /// How it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Parked => "parked",
            Self::CatchingUp => "catching_up",
            Self::Building => "building",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What was said.
    pub reason: String,
    /// The positions of the first and the last event that it is about, where it is about events.
    pub events: Option<(u64, u64)>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How one generation is doing.
#[derive(Clone, Debug)]
pub struct GenerationStatus {
    /// The projection's version.
    pub version: u32,
    /// The module that makes it.
    pub module: String,
    /// What it is doing.
    pub state: ProjectionState,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The newest position it has applied.
    pub position: u64,
    /// Events between that and the head.
    pub lag_events: u64,
    /// Age of the oldest record it has not applied, in milliseconds.
    pub lag_ms: u64,
    /// Events a second that it lately applied.
    pub rate: f64,
    /// How long it needs for the rest at that rate; none where it does not move.
    pub remaining: Option<Duration>,
    /// Whether it is behind and has not moved for `stalled_after`, or cannot.
    pub is_stalled: bool,
    /// What went wrong last, though it may go on again.
    pub trouble: Option<Trouble>,
}

/// A projection and how it is doing.
#[derive(Clone, Debug)]
pub struct ProjectionStatus {
    /// Its name.
    pub projection: String,
    /// Its read models.
    pub collections: Vec<String>,
    /// The generation that answers.
    pub answering: GenerationStatus,
    /// The one that is built to take its place.
    pub build: Option<GenerationStatus>,
    /// What was set for it.
    pub settings: Arc<Settings>,
}

/// What a generation's thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has more to apply than it can at once.
    Behind,
    /// It has applied everything.
    AtHead,
    /// It waits for someone to let it go on.
    Paused,
    /// It waits for someone to mend what it cannot take.
    Failed,
}

/// How long a rate is taken over, at least.
const RATE_OVER: Duration = Duration::from_secs(1);

/// What is known of a generation under way, besides how far it is.
#[derive(Debug)]
pub(super) struct Condition {
    stage: Stage,
    since_ms: u64,
    trouble: Option<Trouble>,
    /// Since when its position is what it is.
    moved: Stopwatch,
    /// A moment, and the position it had then.
    mark: (Stopwatch, u64),
    rate: f64,
}

impl Condition {
    pub(super) fn new(position: u64, now_ms: u64) -> Self {
        let now = Stopwatch::start();
        let stage = Stage::Behind;
        Self {
            stage,
            since_ms: now_ms,
            trouble: None,
            moved: now,
            mark: (now, position),
            rate: 0.0,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn since_ms(&self) -> u64 {
        self.since_ms
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// It is at something, from now on or as before.
    pub(super) fn enter(&mut self, stage: Stage, now_ms: u64) {
        if stage == Stage::AtHead {
            // Nothing to apply is no standstill.
            self.moved = Stopwatch::start();
        }
        if self.stage != stage {
            self.stage = stage;
            self.since_ms = now_ms;
            self.moved = Stopwatch::start();
        }
    }

    /// It cannot go on.
    pub(super) fn fail(&mut self, trouble: Trouble) {
        self.enter(Stage::Failed, trouble.at_ms);
        self.trouble = Some(trouble);
    }

    /// Something went wrong, and it goes on.
    pub(super) fn note(&mut self, trouble: Trouble) {
        self.trouble = Some(trouble);
    }

    /// It has applied everything up to a position.
    pub(super) fn moved_to(&mut self, position: u64) {
        self.moved = Stopwatch::start();
        let elapsed = self.mark.0.elapsed();
        if elapsed >= RATE_OVER {
            self.rate = rate(position.saturating_sub(self.mark.1), elapsed);
            self.mark = (self.moved, position);
        }
    }

    /// Events a second, at a position.
    pub(super) fn rate(&self, position: u64) -> f64 {
        let (elapsed, done) = (self.mark.0.elapsed(), position.saturating_sub(self.mark.1));
        // What lies long back says nothing any more.
        if elapsed >= RATE_OVER || self.rate == 0.0 { rate(done, elapsed) } else { self.rate }
    }

    /// Whether it is unhealthy, having so much to apply.
    pub(super) fn is_stalled(&self, lag_events: u64, stalled_after: Duration) -> bool {
        match self.stage {
            Stage::Paused => false,
            Stage::Failed => true,
            Stage::Behind | Stage::AtHead => {
                lag_events > 0 && self.moved.elapsed() >= stalled_after
            }
        }
    }
}

fn rate(events: u64, time: Duration) -> f64 {
    let events = u32::try_from(events).unwrap_or(u32::MAX);
    f64::from(events) / time.as_secs_f64().max(0.001)
}

/// How long so many events take at a rate.
pub(super) fn remaining(lag_events: u64, rate: f64) -> Option<Duration> {
    let events = f64::from(u32::try_from(lag_events).unwrap_or(u32::MAX));
    if lag_events == 0 {
        return Some(Duration::ZERO);
    }
    Duration::try_from_secs_f64(events / rate).ok().filter(|_| rate > 0.0)
}

/// What a generation is doing, to those who look from outside.
pub(super) fn state(stage: Stage, is_build: bool, settings: &Settings) -> ProjectionState {
    let has_parked = settings.left_out.iter().any(|span| span.parked);
    match stage {
        Stage::Failed => ProjectionState::Failed,
        Stage::Paused => ProjectionState::Paused,
        Stage::Behind if is_build => ProjectionState::Building,
        Stage::Behind => ProjectionState::CatchingUp,
        Stage::AtHead if has_parked => ProjectionState::Parked,
        Stage::AtHead => ProjectionState::Live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_and_does_not_move_is_stalled_and_who_is_paused_is_not() {
        let mut condition = Condition::new(5, 1_000);
        let soon = Duration::ZERO;
        let late = Duration::from_secs(3_600);
        assert!(condition.is_stalled(1, soon) && !condition.is_stalled(1, late));
        assert!(!condition.is_stalled(0, soon));
        condition.enter(Stage::Paused, 2_000);
        assert!(!condition.is_stalled(1, soon));
        condition.fail(Trouble { reason: "no".into(), events: Some((6, 6)), at_ms: 3_000 });
        assert!(condition.is_stalled(0, late));
        assert_eq!((condition.stage(), condition.since_ms()), (Stage::Failed, 3_000));
        condition.enter(Stage::Failed, 4_000);
        assert_eq!(condition.since_ms(), 3_000, "it did not change");
        condition.enter(Stage::AtHead, 5_000);
        assert!(condition.trouble().is_some(), "what went wrong is remembered");
    }

    #[test]
    fn what_is_left_takes_as_long_as_the_rate_says() {
        assert_eq!(remaining(0, 0.0), Some(Duration::ZERO));
        assert_eq!(remaining(10, 0.0), None);
        assert_eq!(remaining(10, 5.0), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_state_is_what_a_thread_is_at_and_what_for() {
        let mut settings = Settings::default();
        assert_eq!(state(Stage::Behind, true, &settings), ProjectionState::Building);
        assert_eq!(state(Stage::Behind, false, &settings), ProjectionState::CatchingUp);
        assert_eq!(state(Stage::AtHead, false, &settings), ProjectionState::Live);
        let parked = super::super::settings::LeftOut {
            first: 1,
            last: 1,
            reason: String::new(),
            parked: true,
        };
        settings.leave_out(parked).expect("few");
        assert_eq!(state(Stage::AtHead, false, &settings), ProjectionState::Parked);
    }
}
