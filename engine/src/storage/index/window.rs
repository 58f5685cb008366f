//! How long command ids are kept where the times that were recorded have a gap.
//!
//! A record may be ten years younger than the one before because nobody sent a command, or because
//! the machine's clock is wrong, and nothing tells which. So a long time without command ids is not
//! taken for one that passed: a retry within the window is known, whatever the clock did.

use redb::{Database, ReadableDatabase, ReadableTable};

use super::IndexError;
use super::file::ARRIVALS;
use super::fresh::Fresh;
use crate::faults::{Mutant, is_on};

/// Time without command ids that is taken for time that passed, in milliseconds. 1 day: whoever
/// rests for longer keeps some ids for longer, and no window should be as short.
const LONGEST_REST_MS: u64 = 24 * 3600 * 1000;

/// The window for a flush: longer by the gap before the oldest id within it, if that is a long one.
pub(super) fn window_ms(
    database: &Database,
    fresh: &Fresh,
    window_ms: u64,
) -> Result<u64, IndexError> {
    let Some((_, _, newest_ms)) = fresh.arrivals.last() else { return Ok(window_ms) };
    let from_ms = newest_ms.saturating_sub(window_ms);
    let mut before_ms = None;
    let mut gap_within = |recorded_ms: u64| {
        let before_ms = before_ms.replace(recorded_ms).unwrap_or(recorded_ms);
        (recorded_ms >= from_ms).then(|| recorded_ms.saturating_sub(before_ms))
    };
    let mut gap_ms = None;
    for row in database.begin_read()?.open_table(ARRIVALS)?.iter()? {
        gap_ms = gap_within(row?.1.value().1);
        if gap_ms.is_some() {
            break;
        }
    }
    let mut in_memory = fresh.arrivals.iter();
    let gap_ms = gap_ms.or_else(|| in_memory.find_map(|(_, _, at_ms)| gap_within(*at_ms)));
    let long_ms = gap_ms.filter(|gap| *gap > LONGEST_REST_MS && !is_on(Mutant::GapsForget));
    Ok(window_ms.saturating_add(long_ms.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use redb::Database;
    use redb::backends::InMemoryBackend;

    use super::super::Head;
    use super::*;

    const HOUR: u64 = 3600 * 1000;
    const WEEK: u64 = 7 * 24 * HOUR;
    const YEARS: u64 = 10 * 365 * 24 * HOUR;

    /// By how much the week is longer when ids were recorded at some hours, the last of which are in
    /// memory.
    fn longer_by(in_file: &[u64], in_memory: &[u64]) -> u64 {
        let file = Database::builder().create_with_backend(InMemoryBackend::new()).expect("opens");
        let write = file.begin_write().expect("begins");
        for (number, at) in (1..).zip(in_file) {
            let mut arrivals = write.open_table(ARRIVALS).expect("opens");
            arrivals.insert(number, (0, at * HOUR)).expect("inserts");
        }
        drop(write.open_table(ARRIVALS).expect("opens"));
        write.commit().expect("commits");
        let mut fresh = Fresh::after(Head { position: 0, decision: 0, hash: [0; 32] });
        fresh.arrivals.extend(in_memory.iter().map(|at| (100, 0, at * HOUR)));
        window_ms(&file, &fresh, WEEK).expect("reads") - WEEK
    }

    #[test]
    fn a_long_time_without_command_ids_does_not_count() {
        let years = YEARS / HOUR;
        let week: Vec<_> = (0..20).map(|number| 12 * number).collect();
        assert_eq!(longer_by(&[], &[]), 0);
        assert_eq!(longer_by(&week, &[]), 0);
        assert_eq!(longer_by(&week, &[240, 250]), 0, "a rest of half a day");
        assert_eq!(longer_by(&[0, 1, 2], &[2 + years, 3 + years]), YEARS);
        assert_eq!(longer_by(&[0, 1, 2, 2 + years], &[2 + years + 7 * 24]), YEARS);
        let lived: Vec<_> = (0..20).map(|number| years + 12 * number).collect();
        assert_eq!(longer_by(&[0, 1, 2], &lived), 0, "a week has passed since");
    }
}
