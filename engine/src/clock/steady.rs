//! Which time it is when the machine's clock jumps. Pure: what the clock shows is given.

use std::time::Duration;

use crate::faults::{Mutant, is_on};

/// What counts as a jump of the machine's clock, and when it is believed. Each has a default with a
/// reason.
#[derive(Clone, Copy, Debug)]
pub struct JumpLimits {
    /// How far the clock may be from where it should be before that is a jump. 1 hour: what is less
    /// is followed at once, and should it be wrong, recorded times stand still for an hour at most.
    pub jump: Duration,
    /// How long it must show the same before it is believed. 1 hour: for whoever reads the log to
    /// set it right; a machine that was paused has the wrong time for no longer. A restart takes
    /// what the clock shows.
    pub believed_after: Duration,
}

impl Default for JumpLimits {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { jump: hour, believed_after: hour }
    }
}

/// A look at the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What it shows, in milliseconds since 1970.
    pub(super) shows_ms: u64,
    /// Milliseconds that passed since whenever, by a clock that nobody sets.
    pub(super) passed_ms: u64,
}

impl Reading {
    /// What the clock should show when so much has passed.
    fn expects_ms(&self, passed_ms: u64) -> u64 {
        self.shows_ms.saturating_add(passed_ms.saturating_sub(self.passed_ms))
    }
}

/// Something to be told about the clock, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It shows something else than it should.
    Jumped { shows_ms: u64, expected_ms: u64 },
    /// It shows again what it should.
    Returned,
    /// It jumped long ago, and times follow it now.
    Believed,
}

impl Notice {
    pub(super) fn log(self, limits: &JumpLimits) {
        match self {
            Self::Jumped { shows_ms, expected_ms } => tracing::warn!(
                shows_ms,
                expected_ms,
                believed_after = ?limits.believed_after,
                "the machine's clock jumped, and times go on as if it had not; set it right, or \
                 restart if it is right now"
            ),
            Self::Returned => tracing::info!("the machine's clock is back where it should be"),
            Self::Believed => tracing::warn!(
                "the machine's clock is believed after its jump; recorded times never go back, so \
                 after a jump back they stand still until it has caught up"
            ),
        }
    }
}

/// A clock that is not believed at once.
#[derive(Debug)]
pub(super) struct Steady {
    limits: JumpLimits,
    /// The last look at it that was believed.
    believed: Reading,
    /// The first look at it after a jump.
    doubted: Option<Reading>,
}

impl Steady {
    pub(super) fn new(limits: JumpLimits, now: Reading) -> Self {
        Self { limits, believed: now, doubted: None }
    }

    /// The time, and what there is to be told.
    pub(super) fn tell(&mut self, now: Reading) -> (u64, Option<Notice>) {
        if self.goes_on(self.believed, now) {
            self.believed = now;
            return (now.shows_ms, self.doubted.take().map(|_| Notice::Returned));
        }
        let is_followed = is_on(Mutant::JumpsBelieved);
        let expected_ms =
            if is_followed { now.shows_ms } else { self.believed.expects_ms(now.passed_ms) };
        let Some(doubted) = self.doubted.filter(|doubted| self.goes_on(*doubted, now)) else {
            self.doubted = Some(now);
            return (expected_ms, Some(Notice::Jumped { shows_ms: now.shows_ms, expected_ms }));
        };
        let lasts = Duration::from_millis(now.passed_ms.saturating_sub(doubted.passed_ms));
        if lasts < self.limits.believed_after {
            return (expected_ms, None);
        }
        (self.believed, self.doubted) = (now, None);
        (now.shows_ms, Some(Notice::Believed))
    }

    fn goes_on(&self, from: Reading, now: Reading) -> bool {
        let off_ms = from.expects_ms(now.passed_ms).abs_diff(now.shows_ms);
        Duration::from_millis(off_ms) <= self.limits.jump
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    const START: u64 = 500_000 * HOUR;
    const DAY: i64 = 24 * 3_600_000;

    /// What is told when so much has passed and the clock is so far off.
    fn told(looks: &[(u64, i64)]) -> Vec<(u64, Option<Notice>)> {
        let reading = |&(passed_ms, off): &(u64, i64)| {
            let shows_ms = START.saturating_add(passed_ms).saturating_add_signed(off);
            Reading { shows_ms, passed_ms: 7 + passed_ms }
        };
        let mut steady = Steady::new(JumpLimits::default(), reading(&(0, 0)));
        let tell = |look| {
            let (now_ms, notice) = steady.tell(reading(look));
            (now_ms.wrapping_sub(START), notice)
        };
        looks.iter().map(tell).collect()
    }

    fn jumped(expected_ms: u64, off: i64) -> Option<Notice> {
        let expected_ms = START + expected_ms;
        Some(Notice::Jumped { shows_ms: expected_ms.saturating_add_signed(off), expected_ms })
    }

    #[test]
    fn what_is_no_jump_is_followed_at_once() {
        let looks = [(HOUR, 0), (100 * HOUR, 1), (101 * HOUR, -1_800_000)];
        let times = [(HOUR, None), (100 * HOUR + 1, None), (101 * HOUR - 30 * MINUTE, None)];
        assert_eq!(told(&looks), times);
    }

    #[test]
    fn a_jump_is_told_once_and_times_go_on_as_if_it_had_not_been() {
        let years = 3_650 * DAY;
        let looks = [(1, -DAY), (MINUTE, -DAY), (2 * MINUTE, years), (HOUR, years), (HOUR + 1, 0)];
        let notices =
            [jumped(1, -DAY), None, jumped(2 * MINUTE, years), None, Some(Notice::Returned)];
        let times = looks.map(|(passed, _)| passed);
        assert_eq!(told(&looks), times.into_iter().zip(notices).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_clock_shows_long_enough_is_believed() {
        let day = 24 * HOUR;
        let expected = [
            (1, jumped(1, DAY)),
            (HOUR, None),
            (day + HOUR + 1, Some(Notice::Believed)),
            (day + HOUR + 2, None),
            (day + HOUR + 3, jumped(day + HOUR + 3, -DAY)),
        ];
        let looks = [(1, DAY), (HOUR, DAY), (HOUR + 1, DAY), (HOUR + 2, DAY), (HOUR + 3, 0)];
        assert_eq!(told(&looks), expected);
    }
}
