//! How much of a core work may take beside commands.

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::storage::log::Head;

/// The longest rest: whoever waits for the work sees it move.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// The longest work that is rested for later: who did nothing for so long does nothing.
const LONGEST_DEBT: Duration = Duration::from_millis(20);

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

    /// Begins work that is done in steps, on a log that is so long.
    #[must_use]
    pub fn begin(self, head: Option<Head>) -> Steps {
        Steps { pace: self, head, since: Stopwatch::start(), worked: Duration::ZERO }
    }
}

/// Work in steps, and what is owed for it.
#[derive(Debug)]
pub struct Steps {
    pace: Pace,
    /// The head when there was last something new.
    head: Option<Head>,
    since: Stopwatch,
    worked: Duration,
}

impl Steps {
    /// Waits for somebody else, which is no work.
    pub fn aside<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        self.worked += self.since.elapsed();
        let waited_for = wait();
        self.since = Stopwatch::start();
        waited_for
    }

    /// A step is done: rests for it and those before it, if the log grew meanwhile. A step may be
    /// shorter than what commands leave between them, so what is not rested for is still owed.
    pub fn done(&mut self, head: Option<Head>) {
        self.worked += self.since.elapsed();
        let grew = std::mem::replace(&mut self.head, head) != head;
        if grew || self.worked > LONGEST_DEBT {
            let worked = std::mem::take(&mut self.worked);
            let percent = self.pace.percent.clamp(1, 100);
            let rest = worked.saturating_mul(100 - percent) / percent;
            if grew && !rest.is_zero() {
                std::thread::sleep(rest.min(LONGEST_REST));
            }
        }
        self.since = Stopwatch::start();
    }
}

/// Where work writes to: what takes what is written is waited for.
#[derive(Debug)]
pub struct Aside<'s, W> {
    /// What takes it.
    pub out: W,
    /// The work.
    pub steps: &'s RefCell<Steps>,
}

impl<W: Write> Write for Aside<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.steps.borrow_mut().aside(|| self.out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.steps.borrow_mut().aside(|| self.out.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that takes its time.
    struct Slow(Duration);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(self.0);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            std::thread::sleep(self.0);
            Ok(())
        }
    }

    /// A backup rested for the time that its client took, as if that were its own.
    #[test]
    fn waiting_for_a_reader_is_no_work() {
        let all = Stopwatch::start();
        let steps = RefCell::new(Pace::default().begin(None));
        let wait = Duration::from_millis(50);
        let mut out = Aside { out: Slow(wait), steps: &steps };
        out.write_all(b"a piece").expect("is taken");
        out.flush().expect("is taken");
        let steps = steps.into_inner();
        let worked = steps.worked + steps.since.elapsed();
        assert!(worked + 2 * wait <= all.elapsed(), "{worked:?}");
    }
}
