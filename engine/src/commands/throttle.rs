//! A module that keeps hitting its deadline is slowed down to one thread and a short queue, so that
//! neither the cores nor the commands in flight are all its own. It recovers by answering in time.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// When a module is slowed down. Each has a default with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Calls in a row that hit the deadline before the module is slowed down. 3: once may be a
    /// busy machine.
    pub overdue_calls: u32,
    /// Calls in time that make up for one that hit the deadline. 50: a call in time takes
    /// microseconds, so one in 50 that takes a second still takes all of the time.
    pub calls_for_one: u32,
    /// Commands that may wait for one thread of a slowed down module; more are refused. 4: each
    /// may take as long as the deadline.
    pub queue: usize,
}

impl Default for ThrottleLimits {
    fn default() -> Self {
        Self { overdue_calls: 3, calls_for_one: 50, queue: 4 }
    }
}

/// Shared by the threads of one module.
#[derive(Debug)]
pub(super) struct Throttle {
    limits: ThrottleLimits,
    /// Calls in time that it owes; beyond `ON` while it is slowed down.
    owed: AtomicU32,
    /// Held by the one thread that works.
    gate: Mutex<()>,
}

/// Added to what is owed while slowed down: that ends only when nothing is owed.
const ON: u32 = 1 << 31;

impl Throttle {
    pub(super) fn new(limits: ThrottleLimits) -> Self {
        Self { limits, owed: AtomicU32::new(0), gate: Mutex::new(()) }
    }

    pub(super) fn is_on(&self) -> bool {
        self.owed.load(Ordering::Relaxed) >= ON
    }

    /// Whether work with so much before it is refused.
    pub(super) fn refuses(&self, waiting: usize) -> bool {
        self.is_on() && waiting > self.limits.queue
    }

    /// Waits until no other thread works, if only one may.
    pub(super) fn enter(&self) -> Option<MutexGuard<'_, ()>> {
        self.is_on().then(|| self.gate.lock())
    }

    /// A call hit its deadline.
    pub(super) fn overdue(&self) {
        let ThrottleLimits { overdue_calls, calls_for_one, .. } = self.limits;
        let most = overdue_calls.saturating_mul(calls_for_one).min(ON - 1);
        self.change(|owed| {
            let after = (owed & !ON).saturating_add(calls_for_one).min(most);
            if after >= most { after | ON } else { after | (owed & ON) }
        });
    }

    /// A call did not.
    pub(super) fn in_time(&self) {
        if self.owed.load(Ordering::Relaxed) > 0 {
            self.change(|owed| match owed & !ON {
                0 | 1 => 0,
                left => (left - 1) | (owed & ON),
            });
        }
    }

    fn change(&self, to: impl Fn(u32) -> u32) {
        // Nothing else is read by it, so the order does not matter.
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| Some(to(owed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_after_some_and_off_when_all_is_made_up_for() {
        let throttle =
            Throttle::new(ThrottleLimits { overdue_calls: 3, calls_for_one: 2, queue: 1 });
        throttle.overdue();
        throttle.overdue();
        throttle.in_time();
        assert!(!throttle.is_on() && !throttle.refuses(100) && throttle.enter().is_none());
        throttle.overdue();
        throttle.overdue();
        assert!(throttle.is_on() && throttle.refuses(2) && !throttle.refuses(1));
        assert!(throttle.enter().is_some());
        for _ in 0..5 {
            throttle.in_time();
        }
        assert!(throttle.is_on(), "it owes one more");
        throttle.overdue();
        (0..2).for_each(|_| throttle.in_time());
        assert!(throttle.is_on());
        throttle.in_time();
        assert!(!throttle.is_on());
    }
}
