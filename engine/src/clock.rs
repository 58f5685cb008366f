//! The only place that reads the time and the system's randomness.
#![expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]

mod steady;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

pub use steady::JumpLimits;
use steady::{Reading, Steady};

/// Tells the time in milliseconds since 1970. Cheap to clone; a test may give its own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The machine's clock, as [`Clock::steady`] with the default limits.
    #[must_use]
    pub fn system() -> Self {
        Self::steady(JumpLimits::default())
    }

    /// The machine's clock, which is not believed at once when it jumps: meanwhile times go on as
    /// if it had not. A recorded time never goes back, so a clock that was ten years ahead for a
    /// moment would leave its mark for ten years.
    #[must_use]
    pub fn steady(limits: JumpLimits) -> Self {
        let steady = Mutex::new(Steady::new(limits, read()));
        Self::new(move || {
            let (now_ms, notice) = steady.lock().tell(read());
            notice.into_iter().for_each(|notice| notice.log(&limits));
            now_ms
        })
    }

    /// Says so if the newest record of a log is from far ahead of the clock.
    pub(crate) fn warn_if_behind(&self, newest_ms: u64) {
        let behind = Duration::from_millis(newest_ms.saturating_sub(self.now_ms()));
        if behind > JumpLimits::default().jump {
            tracing::warn!(
                ?behind,
                "the machine's clock is behind the newest record; recorded times never go back, so \
                 they stand still until it has caught up"
            );
        }
    }

    /// A clock of the caller's.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

/// What the machine's clock shows, in milliseconds since 1970.
fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    ms.saturating_add_signed(crate::faults::clock_off_ms())
}

/// What it shows, and the time that passed by the clock that nobody sets. Where the system has one,
/// that is one that goes on while the machine sleeps.
fn read() -> Reading {
    #[cfg(target_os = "linux")]
    let id = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = ClockId::Monotonic;
    let passed = Duration::try_from(clock_gettime(id)).unwrap_or_default();
    let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    Reading { shows_ms: system_ms(), passed_ms }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// A new id that nobody else has: UUID version 7, ordered by the time it was made.
#[must_use]
pub fn new_id() -> uuid::Uuid {
    let [high, low] = [random(), random()].map(u64::to_be_bytes);
    let mut bytes = [0; 10];
    for (to, from) in bytes.iter_mut().zip(high.into_iter().chain(low)) {
        *to = from;
    }
    uuid::Builder::from_unix_timestamp_millis(system_ms(), &bytes).into_uuid()
}

/// 64 random bits: the seed of a decision.
#[must_use]
pub fn new_seed() -> u64 {
    random()
}

/// 256 bits that nobody can guess, from the system.
///
/// # Errors
/// The system's.
pub fn new_secret() -> std::io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    let got = rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
    if got == secret.len() { Ok(secret) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

/// Random for ids and seeds, not for secrets: asking the system each time costs a call of it.
fn random() -> u64 {
    thread_local! {
        // Keyed by the system's randomness, and another key for each thread.
        static NUMBERS: Cell<(u64, u64)> = {
            let (state, key) = uuid::Uuid::new_v4().as_u64_pair();
            let more = uuid::Uuid::new_v4().as_u64_pair().1;
            // What makes a UUID of it is fixed in some bits: more of them fill the gaps.
            Cell::new((state ^ more.rotate_left(32), key.rotate_left(32) ^ more | 1))
        };
    }
    NUMBERS.with(|numbers| {
        let (state, step) = numbers.get();
        let state = state.wrapping_add(step);
        numbers.set((state, step));
        // SplitMix64's mixer over a sequence with the thread's own odd step.
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Measures how long something takes; not moved by changes of the machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts at nothing.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since its start.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_seeds_do_not_repeat_within_and_across_threads() {
        let make = || (0..10_000).map(|_| (new_id(), new_seed())).collect::<Vec<_>>();
        let here = make();
        let there = std::thread::scope(|scope| scope.spawn(make).join().expect("makes"));
        let both = || here.iter().chain(&there);
        let ids: std::collections::HashSet<_> = both().map(|made| made.0).collect();
        let seeds: std::collections::HashSet<_> = both().map(|made| made.1).collect();
        assert_eq!((ids.len(), seeds.len()), (20_000, 20_000));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
