//! How much of a core work may take beside commands.

use std::time::Duration;

use crate::clock::Stopwatch;

/// The longest rest: whoever waits for the work sees it move.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// What work that reads the whole log may take of a core while commands come in.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// In percent of one core. 10: a twentieth of a machine with two.
    pub percent: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { percent: 10 }
    }
}

impl Pace {
    /// Nobody else is there.
    pub const ALONE: Self = Self { percent: 100 };

    /// Rests after some work, if the log grew meanwhile.
    pub fn rest(self, since: Stopwatch, grew: bool) {
        let percent = self.percent.clamp(1, 100);
        let rest = since.elapsed().saturating_mul(100 - percent) / percent;
        if grew && !rest.is_zero() {
            std::thread::sleep(rest.min(LONGEST_REST));
        }
    }
}
