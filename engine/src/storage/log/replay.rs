//! Taking in what the index does not have, at start.

use super::file::LogFile;
use super::{Chain, Head, Index, OpenError, ReadError};
use crate::decision::format::{Damage, parse_header, split};
use crate::faults::{Point, fail_point};

/// Reads every record that the index does not have into it, checking each and the chain of
/// hashes. Answers the head and the newest recorded time.
pub(super) fn replay(file: &LogFile, index: &Index) -> Result<(Head, u64), OpenError> {
    let head = index.through();
    let newest = file.records(&[head.decision])?.pop();
    let recorded_at_ms = match newest.as_deref().map(parse_header).transpose() {
        Ok(header) => header.map_or(0, |header| header.recorded_at_ms),
        Err(damage) => return Err(damaged(head.decision, damage.to_string())),
    };
    let mut chain = Chain { head, recorded_at_ms };
    file.for_each_row::<OpenError>(head.decision + 1, |row| {
        let mut rest = row.bytes;
        while !rest.is_empty() {
            let wrong = |damage: Damage| damaged(chain.head.decision + 1, damage.to_string());
            let (record, after) = split(rest).map_err(wrong)?;
            rest = after;
            if parse_header(record).map_err(wrong)?.decision <= head.decision {
                continue;
            }
            fail_point(Point::Replay);
            let (decision, next) = chain.follow(record).map_err(wrong)?;
            chain = next;
            index.apply(std::iter::once((decision, chain.head.hash)));
        }
        Ok(())
    })?;
    Ok((chain.head, chain.recorded_at_ms))
}

fn damaged(decision: u64, reason: String) -> OpenError {
    OpenError::Damaged { decision, reason }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        Self::File(error.to_string())
    }
}
