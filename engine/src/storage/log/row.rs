//! How a row is stored: its records, and where each begins, so that one is found without a walk
//! over those before it.
//!
//! ```text
//! the records, one after the other
//! for each: 4 bytes, big-endian: where it begins
//! 4 bytes, big-endian: how many there are
//! ```

use crate::decision::format::{Damage, split};

const NUMBER: usize = size_of::<u32>();
const WRONG: Damage = Damage("a row whose table of records is wrong");

/// What comes after the records of a row.
pub(super) fn table(records: &[u8]) -> Result<Vec<u8>, Damage> {
    let (mut table, mut rest, mut count) = (Vec::new(), records, 0u32);
    while !rest.is_empty() {
        let start = u32::try_from(records.len() - rest.len()).map_err(|_| WRONG)?;
        table.extend_from_slice(&start.to_be_bytes());
        count += 1;
        rest = split(rest)?.1;
    }
    table.extend_from_slice(&count.to_be_bytes());
    Ok(table)
}

/// The records of a stored row.
pub(super) fn records(stored: &[u8]) -> Result<&[u8], Damage> {
    Ok(parts(stored)?.0)
}

/// Whether the table of a stored row is the one of its records.
pub(super) fn is_whole(stored: &[u8]) -> bool {
    let rest = |records: &[u8]| stored.get(records.len()..).map(<[u8]>::to_vec);
    parts(stored).is_ok_and(|(records, _)| table(records).ok() == rest(records))
}

/// Record number `at` of a stored row; none beyond its last.
pub(super) fn nth(stored: &[u8], at: u64) -> Result<Option<&[u8]>, Damage> {
    let (records, table) = parts(stored)?;
    let at = usize::try_from(at).ok().and_then(|at| at.checked_mul(NUMBER));
    let Some(start) = at.and_then(|at| table.get(at..)?.first_chunk::<NUMBER>()) else {
        return Ok(None);
    };
    let start = usize::try_from(u32::from_be_bytes(*start)).map_err(|_| WRONG)?;
    Ok(Some(split(records.get(start..).ok_or(WRONG)?)?.0))
}

fn parts(stored: &[u8]) -> Result<(&[u8], &[u8]), Damage> {
    let (rest, count) = stored.split_last_chunk::<NUMBER>().ok_or(WRONG)?;
    let count = usize::try_from(u32::from_be_bytes(*count)).map_err(|_| WRONG)?;
    let bytes = count.checked_mul(NUMBER).ok_or(WRONG)?;
    rest.split_at_checked(rest.len().checked_sub(bytes).ok_or(WRONG)?).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_their_place_and_lengths_are_not_trusted() {
        let record = |fill: u8| {
            let mut record = vec![fill; 80 + usize::from(fill)];
            let length = u32::try_from(record.len()).expect("short");
            record[..4].copy_from_slice(&length.to_be_bytes());
            record
        };
        let all: Vec<_> = (1..20).map(record).collect();
        let records_only = all.concat();
        let stored = [records_only.clone(), table(&records_only).expect("whole")].concat();
        assert_eq!(records(&stored), Ok(&*records_only));
        for (at, record) in (0..).zip(&all) {
            assert_eq!(nth(&stored, at), Ok(Some(&**record)));
        }
        assert_eq!(nth(&stored, 19), Ok(None));
        assert!(records(&[0xff; 4]).is_err() && records(&[1]).is_err());
        assert_eq!(nth(&stored, u64::MAX), Ok(None));
    }
}
