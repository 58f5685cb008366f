//! What is durable, wherever it is: in rows, or so far only in the journal and in memory.

use std::sync::Arc;

use bytes::Bytes;

use super::file::LogFile;
use super::settle::Unsettled;
use super::{Group, Head, ReadError};
use crate::decision::format::parse_header;

pub(super) struct Records {
    pub(super) file: LogFile,
    pub(super) unsettled: Unsettled,
}

impl Records {
    pub(super) fn new(file: LogFile) -> Self {
        Self { file, unsettled: Unsettled::default() }
    }

    /// The group that holds a record.
    pub(super) fn group(&self, decision: u64) -> Result<Option<Arc<Group>>, ReadError> {
        // Not compared with the head: the index may name a record a moment before the head moves.
        if let Some(group) = self.unsettled.find(decision) {
            return Ok(Some(group));
        }
        let row = self.file.row_of(decision)?.map(Arc::new);
        Ok(row.filter(|row| (row.first()..=row.last()).contains(&decision)))
    }

    /// The bytes of records, in the order asked, in memory that holds nothing else; it ends before
    /// the first that there is not.
    pub(super) fn records(&self, decisions: &[u64]) -> Result<Vec<Bytes>, ReadError> {
        let mut records = Vec::with_capacity(decisions.len());
        while let Some(next) = decisions.get(records.len()) {
            if let Some(record) = self.unsettled.find(*next).and_then(|group| group.record(*next)) {
                records.push(Bytes::copy_from_slice(&record));
                continue;
            }
            let rest = decisions.get(records.len()..).unwrap_or_default();
            let settled = rest.iter().take_while(|d| self.unsettled.find(**d).is_none()).count();
            // What was settled since it was looked for is found in rows.
            let found = self.file.records(rest.get(..settled.max(1)).unwrap_or_default())?;
            if found.is_empty() {
                break;
            }
            records.extend(found);
        }
        Ok(records)
    }

    /// The bytes of one record.
    pub(super) fn record(&self, decision: u64) -> Result<Option<Bytes>, ReadError> {
        match self.records(&[decision]) {
            Err(ReadError::Archived(away)) => {
                self.file.kept(decision).map(Some).ok_or(ReadError::Archived(away))
            }
            found => Ok(found?.pop()),
        }
    }

    /// The record that holds the first event after a position: the head's successor if none does.
    pub(super) fn after_position(&self, head: &Head, position: u64) -> Result<u64, ReadError> {
        if position >= head.position {
            return Ok(head.decision + 1);
        }
        // Positions grow with decisions, so the rows can be searched without an index.
        let (before, last) = self.file.around(|end| end.head.position <= position);
        let mut low = before.map_or(0, |end| end.head.decision) + 1;
        let mut high = last.unwrap_or(head.decision);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let record = self.record(middle)?;
            match record.as_deref().map(parse_header).transpose()? {
                Some(header) if header.head_before <= position => low = middle,
                Some(_) => high = middle - 1,
                None => return Err(ReadError::Damaged(format!("decision {middle} is missing"))),
            }
        }
        Ok(low)
    }
}

/// What was not found is missing, if the log went that far before it was looked for.
pub(super) fn unless_missing<T>(
    decision: u64,
    head: u64,
    found: Option<T>,
) -> Result<Option<T>, ReadError> {
    if found.is_none() && (1..=head).contains(&decision) {
        return Err(ReadError::Damaged(format!("decision {decision} is missing")));
    }
    Ok(found)
}
