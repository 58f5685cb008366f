//! Taking in what the index does not have, at start.

use super::file::LogFile;
use super::{Head, Index, OpenError, ReadError};
use crate::decision::format::{Damage, parse_header, record_hash, split};
use crate::decision::parse;

/// Reads every record that the index does not have into it, checking each and the chain of
/// hashes. Answers the head and the newest recorded time.
pub(super) fn replay(file: &LogFile, index: &Index) -> Result<(Head, u64), OpenError> {
    let mut head = index.through();
    let newest = file.records(&[head.decision])?.pop();
    let mut recorded_at_ms = match newest.as_deref().map(parse_header).transpose() {
        Ok(header) => header.map_or(0, |header| header.recorded_at_ms),
        Err(damage) => return Err(damaged(head.decision, damage.to_string())),
    };
    let start = head.decision;
    file.for_each_row::<OpenError>(start + 1, |row| {
        let mut rest = row.bytes;
        while !rest.is_empty() {
            let next = head.decision + 1;
            let wrong = |damage: Damage| damaged(next, damage.to_string());
            let (record, after) = split(rest).map_err(wrong)?;
            rest = after;
            if parse_header(record).map_err(wrong)?.decision <= start {
                continue;
            }
            let decision = parse(record).map_err(wrong)?;
            let header = &decision.header;
            let follows = header.decision == next
                && header.head_before == head.position
                && header.previous_hash == head.hash
                && header.recorded_at_ms >= recorded_at_ms;
            if !follows {
                return Err(damaged(next, "it does not follow the record before it".into()));
            }
            let (position, hash) = (decision.head_after(), record_hash(record));
            head = Head { position, decision: next, hash };
            recorded_at_ms = header.recorded_at_ms;
            index.apply(std::iter::once((decision, hash)));
        }
        Ok(())
    })?;
    Ok((head, recorded_at_ms))
}

fn damaged(decision: u64, reason: String) -> OpenError {
    OpenError::Damaged { decision, reason }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        Self::File(error.to_string())
    }
}
