//! How long command ids are kept where the times that were recorded have a gap.
//!
//! A record may be ten years younger than the one before because nobody sent a command, or because
//! the machine's clock is wrong, and nothing tells which. So a long time without command ids is not
//! taken for one that passed: a retry within the window is known, whatever the clock did.

use redb::{Database, ReadableDatabase, ReadableTable};

use super::file::ARRIVALS;
use super::fresh::Fresh;
use super::{IndexError, IndexLimits};
use crate::faults::{Mutant, is_on};

/// The window for a flush: longer by the gap before the oldest id within it, if that is a long one.
pub(super) fn window_ms(
    database: &Database,
    fresh: &Fresh,
    limits: &IndexLimits,
) -> Result<u64, IndexError> {
    let window_ms = limits.idempotency_window_ms;
    let Some((_, _, newest_ms)) = fresh.arrivals.last() else { return Ok(window_ms) };
    let from_ms = newest_ms.saturating_sub(window_ms);
    let (mut before_ms, mut within_ms) = around(database, from_ms)?;
    if within_ms.is_none() {
        let first = fresh.arrivals.partition_point(|(_, _, at_ms)| *at_ms < from_ms);
        let at_ms = |place: usize| fresh.arrivals.get(place).map(|(_, _, at_ms)| *at_ms);
        before_ms = first.checked_sub(1).and_then(at_ms).or(before_ms);
        within_ms = at_ms(first);
    }
    let gap_ms = within_ms.zip(before_ms).map_or(0, |(within, before)| within - before);
    let is_long = gap_ms > limits.longest_rest_ms && !is_on(Mutant::GapsForget);
    Ok(window_ms.saturating_add(if is_long { gap_ms } else { 0 }))
}

/// When the newest id of the file before a time was recorded, and when the oldest from then on.
/// Recorded times never go back: they are in the order of decisions, and a few looks find both.
fn around(database: &Database, from_ms: u64) -> Result<(Option<u64>, Option<u64>), IndexError> {
    let arrivals = database.begin_read()?.open_table(ARRIVALS)?;
    let from = |decision: u64| -> Result<_, IndexError> {
        let row = arrivals.range(decision..)?.next().transpose()?;
        Ok(row.map(|(decision, arrival)| (decision.value(), arrival.value().1)))
    };
    let (mut low, mut high) = (0, arrivals.last()?.map_or(0, |(newest, _)| newest.value() + 1));
    while low < high {
        let middle = low + (high - low) / 2;
        match from(middle)? {
            Some((decision, at_ms)) if at_ms < from_ms => low = decision + 1,
            _ => high = middle,
        }
    }
    let before = arrivals.range(..low)?.next_back().transpose()?;
    Ok((before.map(|(_, arrival)| arrival.value().1), from(low)?.map(|(_, at_ms)| at_ms)))
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
        let limits = IndexLimits { idempotency_window_ms: WEEK, ..IndexLimits::default() };
        let mut fresh = Fresh::after(Head { position: 0, decision: 0, hash: [0; 32] });
        fresh.arrivals.extend(in_memory.iter().map(|at| (100, 0, at * HOUR)));
        window_ms(&file, &fresh, &limits).expect("reads") - WEEK
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
