//! The switches as tests set them, in the environment: `FACTUM_MUTANT` names a mistake, and
//! `FACTUM_FAIL_POINT` a death: a point, which passing of it, and for how many milliseconds the
//! thread stands still before (`append:17:100`), so that whatever others do too early gets out.
//! `FACTUM_CLOCK` names a file that says by how many milliseconds the machine's clock is off.

use std::path::PathBuf;
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

/// By how many milliseconds the machine's clock is off, now.
pub(crate) fn clock_off_ms() -> i64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("FACTUM_CLOCK").map(PathBuf::from));
    let Some(file) = file else { return 0 };
    let said = std::fs::read_to_string(file).ok().and_then(|text| text.parse().ok());
    said.unwrap_or_else(|| unknown("FACTUM_CLOCK", &file.display()))
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

fn set<T>(variable: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(read(&text).unwrap_or_else(|| unknown(variable, &text)))
}

/// A test that misspells what it wants must not pass.
fn unknown(variable: &str, text: &dyn std::fmt::Display) -> ! {
    tracing::error!(variable, %text, "the fault build knows no such thing");
    std::process::exit(2);
}
