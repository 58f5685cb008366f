//! The switches as tests set them, in the environment: `FACTUM_MUTANT` names a mistake, and
//! `FACTUM_FAIL_POINT` a death: a point, which passing of it, and for how many milliseconds the
//! thread stands still before (`append:17:100`), so that whatever others do too early gets out.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Mutant, Point};

struct Death {
    point: Point,
    passings_left: AtomicU64,
    after: Duration,
}

/// Whether the process makes this mistake.
pub(crate) fn is_on(mutant: Mutant) -> bool {
    static ON: OnceLock<Option<Mutant>> = OnceLock::new();
    let read = || set("FACTUM_MUTANT", |text| find(Mutant::ALL, Mutant::name, text));
    *ON.get_or_init(read) == Some(mutant)
}

/// Dies here, if the process was told to.
pub(crate) fn fail_point(point: Point) {
    static DEATH: OnceLock<Option<Death>> = OnceLock::new();
    let Some(death) = DEATH.get_or_init(|| set("FACTUM_FAIL_POINT", death)) else { return };
    if death.point == point && death.passings_left.fetch_sub(1, Ordering::Relaxed) == 1 {
        std::thread::sleep(death.after);
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn death(text: &str) -> Option<Death> {
    let mut parts = text.split(':');
    let point = find(Point::ALL, Point::name, parts.next()?)?;
    let passings_left = AtomicU64::new(parts.next()?.parse().ok()?);
    Some(Death { point, passings_left, after: Duration::from_millis(parts.next()?.parse().ok()?) })
}

fn find<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|one| name(*one) == text)
}

/// A test that misspells what it wants must not pass.
fn set<T>(variable: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    let value = read(&text);
    if value.is_none() {
        tracing::error!(variable, text, "the fault build knows no such thing");
        std::process::exit(2);
    }
    value
}
