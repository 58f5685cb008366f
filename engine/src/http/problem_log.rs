//! What the server's log says about problems that were answered.
//!
//! Promises: no client and no guest fills the log with them, however often it fails: so many lines
//! a second of each code, each of so many bytes, and one that says that there were more.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use parking_lot::Mutex;

use super::limits::HttpLimits;
use crate::clock::Stopwatch;

/// There is one, as there is one log of a process.
static LOG: LazyLock<Mutex<ProblemLog>> =
    LazyLock::new(|| Mutex::new(ProblemLog::within(&HttpLimits::default())));

struct ProblemLog {
    since: Stopwatch,
    lines: u32,
    bytes: usize,
    /// Of each code the last second in which there was one, and how many were in it.
    seen: BTreeMap<&'static str, (u64, u32)>,
}

/// What becomes of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Line,
    /// It is the first that has none.
    Notice,
    None,
}

impl ProblemLog {
    fn within(limits: &HttpLimits) -> Self {
        let (lines, bytes) = (limits.problem_log_lines, limits.problem_log_bytes);
        Self { since: Stopwatch::start(), lines, bytes, seen: BTreeMap::new() }
    }

    fn place(&mut self, code: &'static str, second: u64) -> Place {
        let (last, count) = self.seen.entry(code).or_default();
        if std::mem::replace(last, second) != second {
            *count = 0;
        }
        *count = count.saturating_add(1);
        match (*count).checked_sub(self.lines) {
            None | Some(0) => Place::Line,
            Some(1) => Place::Notice,
            Some(_) => Place::None,
        }
    }
}

/// Keeps to these limits from now on.
pub(super) fn limit(limits: &HttpLimits) {
    *LOG.lock() = ProblemLog::within(limits);
}

/// Says that a problem was answered.
pub(super) fn answered(code: &'static str, instance: &str, detail: &str) {
    // The Debug form escapes control characters: nobody can forge lines.
    line(code, detail, |detail| {
        tracing::warn!(instance, code, ?detail, "answered a problem");
    });
}

/// Says why the server failed.
pub(super) fn failed(reason: &str) {
    line("internal reason", reason, |reason| tracing::error!(?reason, "an answer failed"));
}

fn line(code: &'static str, text: &str, write: impl FnOnce(&str)) {
    let mut log = LOG.lock();
    let second = log.since.elapsed().as_secs();
    let (place, bytes) = (log.place(code, second), log.bytes);
    drop(log);
    match place {
        Place::Line => write(text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)),
        Place::Notice => tracing::warn!(
            code,
            "no more of these are logged for a second (problem_log_lines); metrics count them"
        ),
        Place::None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use super::*;
    use crate::http::error::{MODULE_FAULT, Problem};

    #[test]
    fn so_many_lines_of_a_code_in_a_second_then_one_that_says_so() {
        let limits = HttpLimits { problem_log_lines: 2, ..HttpLimits::default() };
        let mut log = ProblemLog::within(&limits);
        for second in [0, 1, 5] {
            let places: Vec<_> = (0..5).map(|_| log.place("a", second)).collect();
            let [line, notice, none] = [Place::Line, Place::Notice, Place::None];
            assert_eq!(places, [line, line, notice, none, none]);
            assert_eq!(log.place("b", second), line);
        }
    }

    /// Takes what is logged.
    #[derive(Clone, Default)]
    struct Taken(Arc<Mutex<Vec<u8>>>);

    impl Write for Taken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A guest whose every call fails with a kilobyte of text wrote that much for each of them.
    #[test]
    fn a_flood_of_problems_is_no_flood_of_the_log() {
        let taken = Taken::default();
        let writer = taken.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let since = Stopwatch::start();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..10_000 {
                Problem::new(&MODULE_FAULT, "x".repeat(5_000)).to_json(None);
            }
        });
        let text = String::from_utf8(taken.0.lock().clone()).expect("is text");
        let limits = HttpLimits::default();
        let seconds = usize::try_from(since.elapsed().as_secs()).expect("fits") + 2;
        let most = usize::try_from(limits.problem_log_lines).expect("fits") + 1;
        let lines = text.lines().count();
        assert!((1..=seconds * most).contains(&lines), "{lines} in {seconds} s");
        let longest = text.lines().map(str::len).max().unwrap_or(0);
        assert!(longest < limits.problem_log_bytes + 300, "{longest}");
    }
}
